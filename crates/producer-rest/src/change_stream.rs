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
/// How long a browser waits before it connects again, in milliseconds.
const RETRY_MILLIS: u32 = 5000;

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
        // a String takes all that is written
        let _ = match item {
            // without an id a browser begins again with its URL's `from`
            Item::Gone(_) => writeln!(text, "retry: {RETRY_MILLIS}\nid:"),
            Item::Unavailable(_) => writeln!(text, "retry: {RETRY_MILLIS}"),
            _ => item.token().map_or(Ok(()), |token| writeln!(text, "id: {token}")),
        };
        let _ = write!(text, "event: {}\ndata: ", item.kind());
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
