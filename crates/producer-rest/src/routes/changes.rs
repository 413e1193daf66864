//! The change feed: pages, server-sent events, and lines of JSON.

use std::convert::Infallible;
use std::fmt::Write;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, Method, Uri, header};
use producer_core::feed::{Item, MAX_WAIT, Page, PageRequest, Start, Token, Types, WatchRequest};
use producer_core::filter::{Filter, Scope};
use producer_core::query::{MAX_PAGE_SIZE, PAGE_SIZE};
use producer_core::{Problem, ProblemKind};
use producer_telemetry::request;
use producer_telemetry::stopwatch::Part;

use crate::accept::{self, FEED_FORMS};
use crate::change_stream::{ChangeStream, StreamForm};
use crate::openapi::examples;
use crate::openapi::feed::{ChangesPageDoc, ChangesQuery, FeedItemDoc, LastEventHeader};
use crate::openapi::problems::ChangesProblems;
use crate::problem::ProblemResponse;
use crate::query_parameters::{broken, duration, filter, known_values_and_list, size};
use crate::state::AppState;

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// `None` is a page.
const FORMS: [(&str, Option<StreamForm>); 3] = [
    ("application/json", None),
    (StreamForm::Sse.media_type(), Some(StreamForm::Sse)),
    (StreamForm::Ndjson.media_type(), Some(StreamForm::Ndjson)),
];

/// Reads what is committed, in one order
///
/// As a page (`application/json`), or as a stream without end: server-sent events (`text/event-stream`), whose
/// `id` is the token and whose `event` is the kind, or an item a line (`application/x-ndjson`). `pageSize` and
/// `wait` are for pages, `until` for streams.
#[utoipa::path(
    get, path = "/api/v1/changes", operation_id = "listChanges", tag = "changes",
    params(ChangesQuery, LastEventHeader),
    responses(
        (status = 200, description = "A page of changes, or a stream. To readers of `text/event-stream` also 410 and 503, as its only event", content(
            (ChangesPageDoc = "application/json", example = examples::changes),
            (String = "text/event-stream", example = examples::events_of_changes),
            (FeedItemDoc = "application/x-ndjson", example = examples::snapshot),
        )),
        ChangesProblems,
    ),
)]
pub(crate) async fn get(
    State(app): State<AppState>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ProblemResponse> {
    let form = accept::choose(&headers, &FORMS)
        .ok_or_else(|| ProblemResponse::new(ProblemKind::NotAcceptable, FEED_FORMS))?;
    let parameters = Parameters::from_query(&uri)?;
    let (media, body) = match form {
        None => ("application/json", page(&app, parameters).await?),
        Some(form) => {
            let request = parameters.stream(form, &headers)?;
            let body = match method {
                Method::HEAD => Body::from_stream(stream::empty::<Result<Bytes, Infallible>>()),
                _ => open(&app, form, request).await?.into_body(),
            };
            (form.media_type(), body)
        }
    };
    let headers = [
        (header::CONTENT_TYPE, media),
        // without transformation: a proxy that compresses a stream holds it back
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        (X_ACCEL_BUFFERING, "no"),
        (header::VARY, "accept"),
    ];
    Ok((headers, body).into_response())
}

/// A page. It holds no slot of `MAX_CONCURRENT_REQUESTS`: pages that wait would take them from writes. It
/// counts towards `MAX_CHANGE_READERS` instead.
async fn page(app: &AppState, parameters: Parameters) -> Result<Body, ProblemResponse> {
    let request = parameters.page(app.settings.common.max_body_bytes)?;
    if !request.wait.is_zero() {
        // it is as slow as its client wants
        request::mark_long();
    }
    let with_data = request.include_data;
    let page = request::measure(Part::Database, app.feed.page(request)).await?;
    Ok(page_json(&page, with_data).into())
}

fn page_json(page: &Page, with_data: bool) -> String {
    let mut text = String::from("{\"changes\":[");
    for (index, item) in page.items.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        item.write_json(with_data, &mut text);
    }
    let Page { next, caught_up, .. } = page;
    // a String takes all that is written
    let _ = write!(text, "],\"nextToken\":\"{next}\",\"caughtUp\":{caught_up}}}");
    text
}

/// A stream holds no slot either, and has no deadline. Metrics, span and `SLOW_REQUEST` are about its
/// opening: the request counts as answered with its headers.
async fn open(
    app: &AppState,
    form: StreamForm,
    request: WatchRequest,
) -> Result<ChangeStream, ProblemResponse> {
    match request::measure(Part::Database, app.feed.watch(request)).await {
        Ok(reader) => Ok(ChangeStream::new(form, reader)),
        Err(problem) => match (form, last_item(&problem)) {
            // a browser gives up for good on the status of an error
            (StreamForm::Sse, Some(item)) => Ok(ChangeStream::of(form, item)),
            _ => Err(problem.into()),
        },
    }
}

/// The item that ends a running stream with this problem.
fn last_item(problem: &Problem) -> Option<Item> {
    match problem.kind {
        ProblemKind::Gone => Some(Item::Gone(problem.clone().into())),
        ProblemKind::Overloaded | ProblemKind::Unavailable => {
            Some(Item::Unavailable(problem.clone().into()))
        }
        _ => None,
    }
}

/// What the query says.
struct Parameters {
    start: Option<Start>,
    until_now: bool,
    types: Types,
    filter: Option<Filter>,
    include_data: bool,
    page_size: Option<u32>,
    wait: Option<Duration>,
}

impl Parameters {
    fn from_query(uri: &Uri) -> Result<Self, ProblemResponse> {
        let known = ["from", "until", "filter", "include", "pageSize", "wait"];
        let ([from, until, condition, include, page_size, wait], types) =
            known_values_and_list(uri, known, "type")?;
        let start = from.map(|text| Start::parse(&text)).transpose();
        let page_size = page_size.map(|text| size("pageSize", &text, MAX_PAGE_SIZE));
        Ok(Self {
            start: start.map_err(|rule| broken("from", rule))?,
            until_now: is_given("until", until.as_deref(), "now")?,
            types: Types::new(types).map_err(|rule| broken("type", rule))?,
            filter: condition.map(|text| filter("filter", &text, Scope::Change)).transpose()?,
            include_data: is_given("include", include.as_deref(), "data")?,
            page_size: page_size.transpose()?,
            wait: wait.map(|text| duration("wait", &text, MAX_WAIT)).transpose()?,
        })
    }

    fn page(self, bytes: usize) -> Result<PageRequest, ProblemResponse> {
        if self.until_now {
            return Err(broken("until", "is for streams; a page says with caughtUp where it ends"));
        }
        Ok(PageRequest {
            start: self.start.unwrap_or(Start::Oldest),
            types: self.types,
            filter: self.filter,
            include_data: self.include_data,
            size: self.page_size.unwrap_or(PAGE_SIZE),
            bytes,
            wait: self.wait.unwrap_or_default(),
        })
    }

    fn stream(
        self,
        form: StreamForm,
        headers: &HeaderMap,
    ) -> Result<WatchRequest, ProblemResponse> {
        for (name, is_given) in
            [("pageSize", self.page_size.is_some()), ("wait", self.wait.is_some())]
        {
            if is_given {
                return Err(broken(name, "is for pages, not for streams"));
            }
        }
        let last_event = match form {
            StreamForm::Sse => last_event(headers)?,
            StreamForm::Ndjson => None,
        };
        Ok(WatchRequest {
            kind: form.reader_kind(),
            start: last_event.or(self.start).unwrap_or(Start::Now),
            until_now: self.until_now,
            types: self.types,
            filter: self.filter,
            include_data: self.include_data,
        })
    }
}

/// Whether a parameter has its only value.
fn is_given(name: &str, value: Option<&str>, only: &str) -> Result<bool, ProblemResponse> {
    match value {
        None => Ok(false),
        Some(value) if value == only => Ok(true),
        Some(_) => Err(broken(name, format_args!("must be {only}"))),
    }
}

/// Behind which event a browser goes on.
fn last_event(headers: &HeaderMap) -> Result<Option<Start>, ProblemResponse> {
    let mut values = headers.get_all("last-event-id").iter().filter(|value| !value.is_empty());
    let Some(value) = values.next() else { return Ok(None) };
    let token = value.to_str().ok().and_then(Token::parse).filter(|_| values.next().is_none());
    let refused = || {
        let detail = "the header Last-Event-ID must be the id of an event of this stream";
        ProblemResponse::new(ProblemKind::Malformed, detail)
    };
    token.map(|token| Some(Start::Token(token))).ok_or_else(refused)
}
