//! What was committed, in order: `ListChanges`, a page, and `WatchChanges`, a stream.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use std::vec;

use futures_util::{Stream, StreamExt, stream};
use producer_core::Problem;
use producer_core::feed::{
    self, Item, MAX_WAIT, Page, PageRequest, Reader, ReaderKind, Start, Types, WatchRequest,
};
use producer_core::filter::Scope;
use producer_server::App;
use producer_telemetry::request as telemetry;
use producer_telemetry::stopwatch::Part;
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::args::Args;
use crate::call::{Call, broken, filter, page_size};
use crate::proto::v1;
use crate::request_id::RequestId;
use crate::{convert, status};

/// Bytes before each item of an answer and before its token, at most: a key and a length.
const KEY_BYTES: usize = 6;
/// Bytes of `caught_up` in an answer.
const CAUGHT_UP_BYTES: usize = 2;

/// The answers of `WatchChanges`.
pub(crate) type ItemStream = Pin<Box<dyn Stream<Item = Result<v1::ChangeItem, Status>> + Send>>;

/// `ListChanges`.
pub(crate) async fn list_changes(
    app: &App<Args>,
    request: Request<v1::ListChangesRequest>,
) -> Result<Response<v1::ListChangesResponse>, Status> {
    let Call { id, message, .. } = Call::new(request)?;
    let page = list(app, message).await;
    page.map(Response::new).map_err(|problem| status::from_problem(&problem, &id))
}

/// `WatchChanges`.
pub(crate) async fn watch_changes(
    app: &App<Args>,
    request: Request<v1::WatchChangesRequest>,
) -> Result<Response<ItemStream>, Status> {
    telemetry::mark_long();
    let Call { id, message, .. } = Call::new(request)?;
    let reader = watch(app, message).await;
    let reader = reader.map_err(|problem| status::from_problem(&problem, &id))?;
    let items = items(reader, app.shutdown.clone(), id.clone());
    Ok(Response::new(Box::pin(or_internal(items, id))))
}

async fn list(
    app: &App<Args>,
    request: v1::ListChangesRequest,
) -> Result<v1::ListChangesResponse, Problem> {
    let bytes = app.settings.common.max_body_bytes;
    let request = page_request(request, bytes)?;
    if !request.wait.is_zero() {
        // the client decides how long it takes
        telemetry::mark_long();
    }
    let with_data = request.include_data;
    let page = telemetry::measure(Part::Database, app.feed.page(request)).await;
    answer(page?, with_data, bytes)
}

fn page_request(request: v1::ListChangesRequest, bytes: usize) -> Result<PageRequest, Problem> {
    Ok(PageRequest {
        start: start(&request.from, Start::Oldest)?,
        types: types(request.types)?,
        filter: filter(&request.filter, Scope::Change)?,
        include_data: request.include_data,
        size: page_size(request.page_size),
        bytes,
        wait: wait(request.wait)?,
    })
}

/// As much of a page as fits into an answer of `max` bytes, at least one item if there is any.
fn answer(page: Page, with_data: bool, max: usize) -> Result<v1::ListChangesResponse, Problem> {
    let (mut items, mut bytes) = (Vec::new(), 0);
    let mut last = None::<String>;
    for item in page.items {
        let token = item.token().map(ToString::to_string).unwrap_or_default();
        let item = convert::item(item, with_data).map_err(Arc::unwrap_or_clone)?;
        bytes += KEY_BYTES + item.encoded_len();
        if bytes + KEY_BYTES + token.len() + CAUGHT_UP_BYTES > max
            && let Some(next_token) = last
        {
            return Ok(v1::ListChangesResponse { items, next_token, caught_up: false });
        }
        items.push(item);
        last = Some(token);
    }
    let (next_token, caught_up) = (page.next.to_string(), page.caught_up);
    Ok(v1::ListChangesResponse { items, next_token, caught_up })
}

async fn watch(app: &App<Args>, request: v1::WatchChangesRequest) -> Result<Reader, Problem> {
    let until_now = match request.until.as_str() {
        "" => false,
        "now" => true,
        _ => return Err(broken("until", "must be now")),
    };
    let request = WatchRequest {
        kind: ReaderKind::Grpc,
        start: start(&request.from, Start::Now)?,
        until_now,
        types: types(request.types)?,
        filter: filter(&request.filter, Scope::Change)?,
        include_data: request.include_data,
    };
    telemetry::measure(Part::Database, app.feed.watch(request)).await
}

/// A stream under way.
struct Watch {
    reader: Reader,
    /// What the reader returned and was not yet asked for.
    batch: vec::IntoIter<Item>,
    shutdown: CancellationToken,
    id: RequestId,
}

/// The items, one by one as they are asked for, then the status that the stream ends with unless that is OK.
fn items(
    reader: Reader,
    shutdown: CancellationToken,
    id: RequestId,
) -> impl Stream<Item = Result<v1::ChangeItem, Status>> + Send {
    let watch = Watch { reader, batch: Vec::new().into_iter(), shutdown, id };
    stream::unfold(Some(watch), |watch| async {
        let mut watch = watch?;
        let item = watch.next().await?;
        // after an error the reader's place is free
        let watch = item.is_ok().then_some(watch);
        Some((item, watch))
    })
}

impl Watch {
    async fn next(&mut self) -> Option<Result<v1::ChangeItem, Status>> {
        if self.batch.len() == 0 {
            self.batch = self.reader.next().await?.into_iter();
        } else if self.shutdown.is_cancelled() {
            // a client that reads slowly must not delay the end by the rest of the batch
            return Some(Err(status::from_problem(&feed::draining(), &self.id)));
        }
        let item = convert::item(self.batch.next()?, self.reader.includes_data());
        Some(item.map_err(|problem| status::from_problem(&problem, &self.id)))
    }
}

/// Ends the stream with `INTERNAL` where it panics, which would else end all streams of its connection.
fn or_internal<T>(
    items: impl Stream<Item = Result<T, Status>>,
    id: RequestId,
) -> impl Stream<Item = Result<T, Status>> {
    let items = AssertUnwindSafe(items).catch_unwind();
    items.map(move |item| item.unwrap_or_else(|_panic| Err(status::internal(&id))))
}

fn start(from: &str, default: Start) -> Result<Start, Problem> {
    if from.is_empty() {
        return Ok(default);
    }
    Start::parse(from).map_err(|detail| broken("from", detail))
}

fn types(names: Vec<String>) -> Result<Types, Problem> {
    Types::new(names).map_err(|detail| broken("types", detail))
}

fn wait(wait: Option<prost_types::Duration>) -> Result<Duration, Problem> {
    let wait = convert::duration(wait.unwrap_or_default());
    wait.map(|wait| wait.min(MAX_WAIT)).map_err(|detail| broken("wait", detail))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn a_stream_that_panics_ends_with_internal() {
        let items = stream::iter(0..3).map(|number| {
            assert_ne!(number, 1, "a defect");
            Ok(number)
        });
        let id = RequestId(HeaderValue::from_static("mine"));
        let items: Vec<Result<i32, Status>> = or_internal(items, id).collect().await;
        let codes: Vec<_> = items.into_iter().map(|item| item.map_err(|s| s.code())).collect();
        assert_eq!(codes, [Ok(0), Err(Code::Internal)]);
    }
}
