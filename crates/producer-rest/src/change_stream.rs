//! Streams of the change feed: server-sent events and lines of JSON.

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::vec;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use producer_core::feed::{Item, Reader, ReaderKind};
use producer_telemetry::request::{self, RequestContext};

/// What is written at once, about: a client that reads slowly holds so much, and the rest of a batch as
/// items that all readers share.
const CHUNK_BYTES: usize = 64 << 10;
/// About so many bytes an item has.
const ITEM_BYTES: usize = 512;
/// Lets a browser wait for so many milliseconds before it connects again.
const RETRY: &str = "retry: 5000\n";

/// The form of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamForm {
    /// Server-sent events (HTML, 9.2).
    Sse,
    /// A line of JSON for each item.
    Ndjson,
}

impl StreamForm {
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    pub(crate) const fn reader_kind(self) -> ReaderKind {
        match self {
            Self::Sse => ReaderKind::Sse,
            Self::Ndjson => ReaderKind::Ndjson,
        }
    }
}

/// A stream. It reads only when more can be sent.
pub(crate) struct ChangeStream {
    form: StreamForm,
    /// `None` of one that ends with the problem that it begins with.
    reader: Option<Reader>,
    /// What is read and not yet written.
    items: vec::IntoIter<Item>,
    with_data: bool,
    /// The answer is written outside of the future that serves the request.
    request: Option<Arc<RequestContext>>,
}

impl ChangeStream {
    /// What `reader` reads.
    pub(crate) fn new(form: StreamForm, reader: Reader) -> Self {
        let with_data = reader.includes_data();
        let (items, request) = (Vec::new().into_iter(), request::current());
        Self { form, reader: Some(reader), items, with_data, request }
    }

    /// Only this item.
    pub(crate) fn of(form: StreamForm, item: Item) -> Self {
        let (items, request) = (vec![item].into_iter(), request::current());
        Self { form, reader: None, items, with_data: false, request }
    }

    /// The body of the answer. Dropping it ends the reader.
    pub(crate) fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(self, |mut stream| async move {
            let request = stream.request.clone();
            let chunk = async {
                let chunk = stream.next_chunk().await?;
                Some((Ok::<_, Infallible>(chunk), stream))
            };
            match request {
                Some(request) => request.scope(chunk).await,
                None => chunk.await,
            }
        }))
    }

    /// Whole items, about [`CHUNK_BYTES`] of them at most; `None` at the end.
    async fn next_chunk(&mut self) -> Option<Bytes> {
        if self.items.as_slice().is_empty() {
            self.items = self.reader.as_mut()?.next().await?.into_iter();
        }
        let mut text = String::with_capacity((self.items.len() * ITEM_BYTES).min(CHUNK_BYTES));
        while text.len() < CHUNK_BYTES {
            let Some(item) = self.items.next() else { break };
            match self.form {
                StreamForm::Sse => self.write_event(&item, &mut text),
                StreamForm::Ndjson => {
                    self.write_json(&item, &mut text);
                    text.push('\n');
                }
            }
        }
        Some(text.into())
    }

    fn write_event(&self, item: &Item, text: &mut String) {
        match item {
            // without an id a browser begins again with its URL's `from`
            Item::Gone(_) => text.extend([RETRY, "id:\n"]),
            Item::Unavailable(_) => text.push_str(RETRY),
            _ => {
                text.push_str("id: ");
                item.write_token(text);
                text.push('\n');
            }
        }
        text.extend(["event: ", item.kind(), "\ndata: "]);
        self.write_json(item, text);
        text.push_str("\n\n");
    }

    /// The item, on one line.
    fn write_json(&self, item: &Item, text: &mut String) {
        item.write_json(self.with_data, text);
        if let (Some(_), Some(request)) = (item.problem(), &self.request) {
            // as in all problems, the last member
            text.pop();
            let id = serde_json::Value::from(request.id());
            let _ = write!(text, ",\"requestId\":{id}}}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, HeaderValue};
    use producer_core::feed::Token;
    use producer_core::{Problem, ProblemKind};
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn a_large_batch_is_written_in_chunks_of_whole_items() {
        let item = |position| Item::SnapshotEnd(Token::in_log(Uuid::nil(), position));
        let items: Vec<_> = (0..5000).map(item).collect();
        let expected: Vec<_> = items.iter().filter_map(Item::token).map(Token::to_string).collect();
        for form in [StreamForm::Sse, StreamForm::Ndjson] {
            let items = items.clone().into_iter();
            let mut stream =
                ChangeStream { form, reader: None, items, with_data: false, request: None };
            let (mut all, mut chunks) = (String::new(), 0);
            while let Some(chunk) = stream.next_chunk().await {
                let chunk = std::str::from_utf8(&chunk).expect("text");
                assert!(chunk.len() < CHUNK_BYTES + ITEM_BYTES && chunk.ends_with('\n'));
                all.push_str(chunk);
                chunks += 1;
            }
            assert!(chunks > 3, "{chunks}");
            let tokens = all.split("\"token\":\"").skip(1);
            assert!(tokens.map(|rest| rest.split('"').next().expect("a token")).eq(&expected));
        }
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_problem() {
        let problem = Problem::new(ProblemKind::Gone, "it is gone");
        let item = Item::Gone(problem.into());
        let id = HeaderValue::from_static("\"}r1");
        let request = producer_server::request::begin(&HeaderMap::new(), None, &id, Duration::ZERO);
        let stream = request.scope(async { ChangeStream::of(StreamForm::Sse, item) });
        let mut stream = stream.await;
        let chunk = stream.next_chunk().await.expect("the item");
        let expected = "retry: 5000\nid:\nevent: gone\ndata: {\"kind\":\"gone\",\
            \"type\":\"urn:producer:problem:gone\",\"title\":\"No longer kept\",\"status\":410,\
            \"detail\":\"it is gone\",\"retryable\":false,\"requestId\":\"\\\"}r1\"}\n\n";
        assert_eq!(chunk, expected);
        assert_eq!(stream.next_chunk().await, None);
    }
}
