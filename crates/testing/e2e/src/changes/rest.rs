//! The forms of REST.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::{BoxStream, iter, try_unfold};
use futures_util::{StreamExt, TryStreamExt};
use producer_test_support::http_client_builder;
use reqwest::{RequestBuilder, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, Lines};
use tokio_util::io::StreamReader;

use super::item::{ChangeItem, ReaderError, from_json};
use super::request::{ChangesRequest, POLL_INTERVAL};

type Items = BoxStream<'static, Result<ChangeItem, ReaderError>>;

fn request(
    address: SocketAddr,
    accept: &str,
    from: &str,
    request: &ChangesRequest,
) -> RequestBuilder {
    // without a timeout: a stream has no end
    let client = http_client_builder().no_proxy().build().expect("a client without TLS");
    let mut parameters = vec![("from", from)];
    parameters.extend(request.types.iter().map(|name| ("type", &**name)));
    parameters.extend(request.filter.map(|filter| ("filter", filter)));
    if request.include_data {
        parameters.push(("include", "data"));
    }
    let url = format!("http://{address}/api/v1/changes");
    client.get(url).query(&parameters).header("accept", accept)
}

async fn send(request: RequestBuilder) -> Result<Response, ReaderError> {
    let answer = request.send().await.map_err(broken)?;
    let status = answer.status().as_u16();
    if status == 200 {
        return Ok(answer);
    }
    let text = answer.text().await.map_err(broken)?;
    Err(match status {
        410 => ReaderError::Gone(text),
        503 => ReaderError::Unavailable(text),
        _ => ReaderError::Unexpected(format!("{status} {text}")),
    })
}

fn broken(error: reqwest::Error) -> ReaderError {
    ReaderError::Unavailable(format!("{error:?}"))
}

/// The lines of a body. A body that breaks off has no last line.
fn lines_of(answer: Response) -> Lines<impl AsyncBufRead + Unpin> {
    let body = answer.bytes_stream().map_err(io::Error::other).boxed();
    StreamReader::new(body).lines()
}

async fn next_line(
    lines: &mut Lines<impl AsyncBufRead + Unpin>,
) -> Result<Option<String>, ReaderError> {
    lines.next_line().await.map_err(|error| ReaderError::Unavailable(format!("{error:?}")))
}

pub(super) async fn lines(
    address: SocketAddr,
    wanted: &ChangesRequest,
) -> Result<Items, ReaderError> {
    let request = request(address, "application/x-ndjson", wanted.place(), wanted);
    let lines = lines_of(send(request).await?);
    let items = try_unfold(lines, |mut lines| async move {
        let line = next_line(&mut lines).await?;
        line.map(|line| Ok((from_json(&line)?, lines))).transpose()
    });
    Ok(items.boxed())
}

pub(super) async fn events(
    address: SocketAddr,
    wanted: &ChangesRequest,
) -> Result<Items, ReaderError> {
    let mut request = request(address, "text/event-stream", &wanted.from, wanted);
    if let Some(last) = &wanted.last {
        request = request.header("last-event-id", last);
    }
    let lines = lines_of(send(request).await?);
    let items = try_unfold(lines, |mut lines| async move {
        let event = Event::read(&mut lines).await?;
        event.map(|event| Ok((event.item()?, lines))).transpose()
    });
    Ok(items.boxed())
}

/// A server-sent event.
#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    id: Option<String>,
    event: String,
    data: String,
}

impl Event {
    /// The next one with data. One that breaks off is none.
    async fn read(
        lines: &mut Lines<impl AsyncBufRead + Unpin>,
    ) -> Result<Option<Self>, ReaderError> {
        let mut event = Self::default();
        while let Some(line) = next_line(lines).await? {
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => event.id = Some(value.into()),
                "event" => event.event = value.into(),
                "data" if event.data.is_empty() => event.data = value.into(),
                "data" => event.data = format!("{}\n{value}", event.data),
                "" if line.is_empty() && event.data.is_empty() => event = Self::default(),
                "" if line.is_empty() => return Ok(Some(event)),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Its item, which the other fields must agree with.
    fn item(self) -> Result<ChangeItem, ReaderError> {
        let item = from_json(&self.data);
        let (kind, id) = match &item {
            Ok(ChangeItem::Change(_)) => ("change", true),
            Ok(ChangeItem::Left(_)) => ("left", true),
            Ok(ChangeItem::Snapshot(_)) => ("snapshot", true),
            Ok(ChangeItem::SnapshotEnd { .. }) => ("snapshotEnd", true),
            Ok(ChangeItem::Bookmark { .. }) => ("bookmark", true),
            Err(ReaderError::Gone(_)) => ("gone", self.id.as_deref() == Some("")),
            Err(ReaderError::Unavailable(_)) => ("unavailable", self.id.is_none()),
            Err(ReaderError::Unexpected(_)) => return item,
        };
        let has_token = item.as_ref().is_ok_and(|item| self.id.as_deref() == Some(item.token()));
        if self.event != kind || !id || item.is_ok() != has_token {
            return Err(ReaderError::Unexpected(format!("fields that differ: {self:?}")));
        }
        item
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    changes: Vec<Box<RawValue>>,
    next_token: String,
    caught_up: bool,
}

/// Pages, one after the other.
struct Pages {
    address: SocketAddr,
    request: ChangesRequest,
    wait: Duration,
    pause: Duration,
}

pub(super) fn pages(address: SocketAddr, request: ChangesRequest, wait: Duration) -> Items {
    let pages = Pages { address, request, wait, pause: Duration::ZERO };
    try_unfold(pages, async |mut pages| {
        let items = pages.next().await?;
        Ok::<_, ReaderError>(Some((iter(items.into_iter().map(Ok)), pages)))
    })
    .try_flatten()
    .boxed()
}

impl Pages {
    async fn next(&mut self) -> Result<Vec<ChangeItem>, ReaderError> {
        tokio::time::sleep(self.pause).await;
        let mut parameters = vec![("pageSize", "1000".to_owned())];
        if !self.wait.is_zero() {
            parameters.push(("wait", self.wait.as_secs().to_string()));
        }
        let request =
            request(self.address, "application/json", self.request.place(), &self.request);
        let text = send(request.query(&parameters)).await?.text().await.map_err(broken)?;
        let page: Page = serde_json::from_str(&text)
            .map_err(|error| ReaderError::Unexpected(format!("{error}: {text}")))?;
        let items = page.changes.iter().map(|item| from_json(item.get()));
        let mut items = items.collect::<Result<Vec<_>, _>>()?;
        let (token, caught_up) = (page.next_token, page.caught_up);
        self.request.last = Some(token.clone());
        self.pause = if caught_up && self.wait.is_zero() { POLL_INTERVAL } else { Duration::ZERO };
        items.push(ChangeItem::Bookmark { token, caught_up });
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOKMARK: &str = r#"{"kind":"bookmark","token":"t","caughtUp":true}"#;

    async fn events(text: &str) -> Vec<Event> {
        let mut lines = text.as_bytes().lines();
        let mut events = Vec::new();
        while let Some(event) = Event::read(&mut lines).await.unwrap() {
            events.push(event);
        }
        events
    }

    #[tokio::test]
    async fn events_are_read_as_browsers_read_them() {
        let text =
            ": a comment\n\nid:1\nevent: a\ndata: x\ndata:y\n\nretry: 5\ndata: z\n\ndata: cut";
        let event = |id: Option<&str>, event: &str, data: &str| Event {
            id: id.map(str::to_owned),
            event: event.into(),
            data: data.into(),
        };
        assert_eq!(events(text).await, [event(Some("1"), "a", "x\ny"), event(None, "", "z")]);
    }

    #[tokio::test]
    async fn the_fields_of_an_event_must_agree_with_its_item() {
        let item = async |text: String| events(&text).await.remove(0).item();
        let bookmark = ChangeItem::Bookmark { token: "t".into(), caught_up: true };
        assert_eq!(
            item(format!("id: t\nevent: bookmark\ndata: {BOOKMARK}\n\n")).await,
            Ok(bookmark)
        );
        let unavailable = "data: {\"kind\":\"unavailable\"}\n\n";
        let ended = item(format!("event: unavailable\n{unavailable}")).await;
        assert!(matches!(ended, Err(ReaderError::Unavailable(_))), "{ended:?}");
        for wrong in [
            format!("id: other\nevent: bookmark\ndata: {BOOKMARK}\n\n"),
            format!("event: bookmark\ndata: {BOOKMARK}\n\n"),
            format!("id: t\nevent: change\ndata: {BOOKMARK}\n\n"),
            format!("id: t\nevent: unavailable\n{unavailable}"),
            "event: gone\ndata: {\"kind\":\"gone\"}\n\n".into(),
        ] {
            let refused = item(wrong.clone()).await;
            assert!(matches!(refused, Err(ReaderError::Unexpected(_))), "{wrong}: {refused:?}");
        }
    }
}
