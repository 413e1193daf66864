//! Many events: `ProcessEvents` in one message, `StreamEvents` in a stream of any length.

use std::pin::Pin;
use std::time::Instant;

use futures_util::Stream;
use producer_core::ingest::bulk::BatchSummary;
use producer_core::model::CALL_VIOLATIONS;
use producer_core::{Clock, Draft, Event, Location, Outcome, Problem, Step, Violations};
use producer_server::App;
use producer_telemetry::request as telemetry;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use crate::args::Args;
use crate::call::{Call, request_id};
use crate::field_paths::FieldPaths;
use crate::proto::v1;
use crate::wire::event::{EventMessage, EventsMessage};
use crate::wire::fields::DecodeError;
use crate::wire::update::AttributesField;
use crate::{convert, status, stream};

const MAX_EVENTS: usize = 10_000;

/// The answers of `StreamEvents`.
pub(crate) type ResultStream = Pin<Box<dyn Stream<Item = Result<v1::EventResult, Status>> + Send>>;

/// `ProcessEvents`.
pub(crate) async fn process_events(
    app: &App<Args>,
    request: Request<EventsMessage>,
) -> Result<Response<v1::ProcessEventsResponse>, Status> {
    let Call { id, lease: _until_answered, message, .. } = Call::new(request)?;
    let mut paths = FieldPaths::default();
    process(app, message, &mut paths)
        .await
        .map(Response::new)
        .map_err(|problem| status::from_event_problem(&problem, &id, &paths))
}

/// `StreamEvents`.
pub(crate) fn stream_events(
    app: &App<Args>,
    request: Request<Streaming<EventMessage>>,
) -> Result<Response<ResultStream>, Status> {
    let id = request_id(request.extensions())?;
    let call = app.ingest.open_call().map_err(|problem| status::from_problem(&problem, &id))?;
    let (clock, shutdown) = (app.clock.clone(), app.shutdown.clone());
    let results = stream::results(request.into_inner(), call, clock, shutdown, id);
    Ok(Response::new(Box::pin(results)))
}

/// Applies the events of one call. Of an atomic one, whose error names fields, `paths` gets the
/// fields that carry attributes.
async fn process(
    app: &App<Args>,
    call: EventsMessage,
    paths: &mut FieldPaths,
) -> Result<v1::ProcessEventsResponse, Problem> {
    let started = Instant::now();
    check_count(call.count())?;
    let is_atomic = call.is_atomic()?;
    let items = items(&call, &app.clock, is_atomic.then_some(paths))?;
    drop(call);
    let outcomes = if is_atomic {
        app.ingest.submit_items_atomic(items).await?
    } else {
        app.ingest.submit_items(items).await?
    };
    let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    response(outcomes, app.clock.new_uuid(), elapsed_ms)
}

fn items(
    call: &EventsMessage,
    clock: &Clock,
    mut paths: Option<&mut FieldPaths>,
) -> Result<Vec<Result<Event, Problem>>, DecodeError> {
    let mut violations_left = CALL_VIOLATIONS;
    let item = |draft: Result<(Draft, Vec<AttributesField>), DecodeError>| {
        let (draft, fields) = draft?;
        if let Some(FieldPaths(events)) = &mut paths {
            events.push(fields);
        }
        Ok(draft.finish(clock).map_err(|problem| problem.list_at_most(&mut violations_left)))
    };
    call.drafts().map(item).collect()
}

fn check_count(count: usize) -> Result<(), Problem> {
    let detail = match count {
        0 => "must have at least one item",
        1..=MAX_EVENTS => return Ok(()),
        _ => "must have at most 10,000 items",
    };
    let place = Location(vec![Step::Key("events".into())]);
    Err(Problem::validation(Violations::one(place, detail)))
}

fn response(
    outcomes: Vec<Outcome>,
    batch_id: Uuid,
    processing_time_ms: u64,
) -> Result<v1::ProcessEventsResponse, Problem> {
    let mut summary = BatchSummary::default();
    let mut results = Vec::with_capacity(outcomes.len());
    for (index, outcome) in (0..).zip(outcomes) {
        summary.count(&outcome);
        results.push(convert::result(index, outcome));
    }
    telemetry::refuse(summary.refusal());
    if let Some(problem) = summary.problem_if_nothing_stored() {
        return Err(problem.clone());
    }
    Ok(v1::ProcessEventsResponse {
        success: summary.success(),
        message: summary.message(),
        processed_count: summary.processed(),
        failed_count: summary.failed(),
        batch_id: batch_id.to_string(),
        processing_time_ms,
        results,
        duplicate_count: summary.duplicates(),
    })
}
