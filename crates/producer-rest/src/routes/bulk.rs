//! Many events in one call: a JSON array, or NDJSON of any length.

use std::sync::mpsc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Uri};
use producer_core::ingest::{CallResults, CallSender};
use producer_core::model::CALL_VIOLATIONS;
use producer_core::{ProblemKind, decode};
use producer_telemetry::request;
use producer_telemetry::stopwatch::Part;

use super::query_pairs;
use crate::body::{self, BodyStream, MediaType};
use crate::bulk_report::{BulkBody, Report, ResultsFilter};
use crate::ndjson::{Line, Lines, line_too_long};
use crate::openapi::examples;
use crate::openapi::problems::PostEventsProblems;
use crate::openapi::schemas::{BulkQuery, EventDoc, EventsDoc};
use crate::problem::ProblemResponse;
use crate::state::AppState;

#[derive(Debug, Default)]
struct Options {
    results: ResultsFilter,
    atomic: bool,
}

impl Options {
    fn from_query(uri: &Uri) -> Result<Self, ProblemResponse> {
        let mut options = Self::default();
        for (name, value) in query_pairs(uri)? {
            match (name.as_str(), value.as_str()) {
                ("results", "all") => options.results = ResultsFilter::All,
                ("results", "failed") => options.results = ResultsFilter::Failed,
                ("results", "none") => options.results = ResultsFilter::None,
                ("mode", "atomic") => options.atomic = true,
                ("results", _) => {
                    return Err(malformed(
                        "the query parameter results must be all, failed or none",
                    ));
                }
                ("mode", _) => return Err(malformed("the query parameter mode must be atomic")),
                _ => {}
            }
        }
        Ok(options)
    }
}

fn malformed(detail: &'static str) -> ProblemResponse {
    ProblemResponse::new(ProblemKind::Malformed, detail)
}

/// Applies many events
///
/// A JSON array of 1 to 10,000 events, or NDJSON of any length, which is applied while it is received.
/// Events are applied in their order and independently of each other: an invalid one is reported in its
/// place in `results`, and the others are applied. With `mode=atomic` an array is applied as a whole or
/// not at all.
#[utoipa::path(
    post, path = "/api/v1/events/bulk", operation_id = "postEvents", tag = "events",
    params(BulkQuery),
    request_body(content(
        (EventsDoc = "application/json", example = examples::events),
        (EventDoc = "application/x-ndjson", example = examples::ndjson),
        (EventDoc = "application/jsonl", example = examples::ndjson),
    )),
    responses(
        (status = 200, description = "The result of each event", body = BulkBody, examples(
            ("all processed" = (value = json!(examples::bulk_answer()))),
            ("invalid lines of NDJSON" = (value = json!(examples::failed_bulk_answer()))),
        )),
        PostEventsProblems,
    ),
)]
pub(crate) async fn post(
    State(app): State<AppState>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    let body = BodyStream::new(body, app.body_limits());
    let options = Options::from_query(&uri)?;
    match body::media_type(&headers)? {
        MediaType::Json => array(&app, &options, &headers, body).await,
        MediaType::Ndjson if options.atomic => {
            Err(malformed("mode=atomic needs a JSON array, not NDJSON"))
        }
        MediaType::Ndjson => ndjson(&app, &options, &headers, body).await,
    }
}

async fn array(
    app: &AppState,
    options: &Options,
    headers: &HeaderMap,
    body: BodyStream,
) -> Result<Response, ProblemResponse> {
    let mut report = app.report(options.results);
    let read = body.read_all(headers, &app.budget);
    let (bytes, lease) = request::measure(Part::Body, read).await?;
    let items = decode::events(&bytes, &app.clock)?;
    drop(bytes);
    let outcomes = if options.atomic {
        app.ingest.submit_items_atomic(items).await?
    } else {
        app.ingest.submit_items(items).await?
    };
    drop(lease); // until here: the events took the place of the bytes until they were queued
    outcomes.iter().for_each(|outcome| report.add(outcome, None));
    answer(app, report)
}

async fn ndjson(
    app: &AppState,
    options: &Options,
    headers: &HeaderMap,
    body: BodyStream,
) -> Result<Response, ProblemResponse> {
    request::mark_long();
    let body = body.decoded(headers)?;
    let settings = &app.settings;
    let (max_line, timeout) = (settings.common.max_body_bytes, settings.common.request_timeout);
    let lines = Lines::new(body, app.budget.lease(), max_line, timeout);
    let (sender, results) = app.ingest.open_call()?;
    let mut report = app.report(options.results);
    let (number_sender, numbers) = mpsc::channel();
    let sending = send(app, lines, sender, number_sender);
    let (end, ()) = tokio::join!(sending, collect(results, numbers, &mut report));
    if end == End::StoppedEarly {
        report.summary().mark_incomplete();
    }
    if report.summary().total() == 0 {
        return Err(no_items(end));
    }
    answer(app, report)
}

/// Why no more is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The body ended.
    Body,
    /// The call is broken, or the service is draining.
    StoppedEarly,
}

/// Sends the events of the lines. `numbers` gets a number for each: that of the line, or `None`
/// where the problem of the line names it already.
async fn send(
    app: &AppState,
    mut lines: Lines,
    mut sender: CallSender,
    numbers: mpsc::Sender<Option<usize>>,
) -> End {
    let mut violations_left = CALL_VIOLATIONS;
    loop {
        let line = tokio::select! {
            biased;
            () = sender.broken() => return End::StoppedEarly,
            () = app.shutdown.cancelled() => return End::StoppedEarly,
            line = lines.next() => line,
        };
        let number = lines.number();
        let item = match line {
            None => return End::Body,
            Some(Line::Text(text)) => decode::line(&text, number, &app.clock),
            Some(Line::TooLong) => {
                Err(line_too_long(app.settings.common.max_body_bytes).in_line(number))
            }
            Some(Line::Broken(problem)) => Err(problem.in_line(number)),
        };
        let item = item.map_err(|problem| problem.list_at_most(&mut violations_left));
        // before the item, so that it is there when the item's outcome is
        let _ = numbers.send(item.is_ok().then_some(number));
        if !sender.send(item).await {
            return End::StoppedEarly;
        }
    }
}

async fn collect(
    mut results: CallResults,
    numbers: mpsc::Receiver<Option<usize>>,
    report: &mut Report,
) {
    while let Some(outcome) = results.next().await {
        report.add(&outcome, numbers.try_recv().unwrap_or(None));
    }
}

fn no_items(end: End) -> ProblemResponse {
    match end {
        End::Body => ProblemResponse::new(ProblemKind::Validation, "must have at least one event"),
        End::StoppedEarly => {
            ProblemResponse::new(ProblemKind::Unavailable, "the service is draining")
        }
    }
}

fn answer(app: &AppState, mut report: Report) -> Result<Response, ProblemResponse> {
    request::refuse(report.summary().refusal());
    match report.summary().problem_if_nothing_stored() {
        Some(problem) => Err(problem.clone().into()),
        None => Ok(report.into_response(app.clock.new_uuid())),
    }
}
