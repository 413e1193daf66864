//! Reads streams of the change feed.

use reqwest::Response;
use serde_json::Value;
use tokio::time::timeout;

use crate::app::{TIMEOUT, TestApp};

pub(crate) const CHANGES: &str = "/api/v1/changes";
pub(crate) const SSE: &str = "text/event-stream";
pub(crate) const NDJSON: &str = "application/x-ndjson";
/// The forms of a stream.
pub(crate) const STREAMS: [&str; 2] = [SSE, NDJSON];

/// An item, and what server-sent events say besides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) kind: String,
    pub(crate) item: Value,
    /// `id` of an event.
    pub(crate) id: Option<String>,
    /// `retry` of an event.
    pub(crate) retry: Option<String>,
}

impl Received {
    fn line(line: &str) -> Self {
        let item: Value = serde_json::from_str(line).unwrap();
        let kind = item["kind"].as_str().unwrap().to_owned();
        Self { kind, item, id: None, retry: None }
    }

    fn event(event: &str) -> Self {
        let field = |name: &str| {
            let mut values = event.lines().filter_map(|line| line.strip_prefix(name));
            let value = values.next().map(|value| value.trim_start().to_owned());
            assert_eq!(values.next(), None, "{name} twice: {event}");
            value
        };
        let received = Self {
            id: field("id:"),
            retry: field("retry:"),
            ..Self::line(&field("data:").unwrap())
        };
        assert_eq!(field("event:").as_ref(), Some(&received.kind));
        received
    }

    pub(crate) fn token(&self) -> &str {
        self.item["token"].as_str().unwrap()
    }

    /// Id and version of an entity.
    pub(crate) fn version(&self) -> (String, u64) {
        let version = self.item["version"].as_u64();
        (self.item["entityId"].as_str().unwrap().to_owned(), version.unwrap())
    }
}

/// A stream.
pub(crate) struct Stream {
    pub(crate) response: Response,
    is_sse: bool,
    buffer: Vec<u8>,
}

impl Stream {
    /// Opens a stream; `query` begins with `?`, if there is one.
    pub(crate) async fn open(app: &TestApp, media: &str, query: &str) -> Self {
        let request = app.get(&format!("{CHANGES}{query}")).header("accept", media);
        Self::of(request.send().await.unwrap())
    }

    pub(crate) fn of(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        let header = |name: &str| response.headers()[name].to_str().unwrap();
        assert_eq!(header("cache-control"), "no-cache, no-transform");
        assert_eq!(header("x-accel-buffering"), "no");
        let is_sse = header("content-type") == SSE;
        assert!(is_sse || header("content-type") == NDJSON);
        Self { response, is_sse, buffer: Vec::new() }
    }

    /// The next item; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Received> {
        let end: &[u8] = if self.is_sse { b"\n\n" } else { b"\n" };
        loop {
            let found = self.buffer.windows(end.len()).position(|window| window == end);
            if let Some(at) = found {
                let item: Vec<_> = self.buffer.drain(..at + end.len()).collect();
                let text = std::str::from_utf8(&item[..at]).unwrap();
                let received = if self.is_sse { Received::event } else { Received::line };
                return Some(received(text));
            }
            let chunk = timeout(TIMEOUT, self.response.chunk()).await.unwrap().unwrap();
            let Some(chunk) = chunk else {
                assert!(self.buffer.is_empty(), "it ends within an item");
                return None;
            };
            self.buffer.extend_from_slice(&chunk);
        }
    }

    /// The next item that is no bookmark.
    pub(crate) async fn news(&mut self) -> Received {
        loop {
            let received = self.next().await.unwrap();
            if received.kind != "bookmark" {
                return received;
            }
        }
    }

    /// Everything but bookmarks, until the one that says that nothing more is there.
    pub(crate) async fn caught_up(&mut self) -> Vec<Received> {
        let mut all = Vec::new();
        loop {
            let received = self.next().await.unwrap();
            if received.item["caughtUp"] == true {
                return all;
            }
            if received.kind != "bookmark" {
                all.push(received);
            }
        }
    }

    /// Everything to the end; of bookmarks, which may come at any time, only one that is the last item.
    pub(crate) async fn rest(mut self) -> Vec<Received> {
        let mut all = Vec::new();
        while let Some(received) = self.next().await {
            all.push(received);
        }
        let last = all.pop();
        all.retain(|received| received.kind != "bookmark");
        all.extend(last);
        all
    }
}

/// The only item of a stream that ends with a problem: of `text/event-stream` also one that could not begin.
pub(crate) async fn only_event(response: Response) -> Received {
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let mut all = Stream::of(response).rest().await;
    let only = all.pop().unwrap();
    assert!(all.is_empty(), "{all:?}");
    assert_eq!(only.item["requestId"], id);
    only
}
