//! `ProcessEvents`: many events in one call.

use std::time::Instant;

use producer_core::ingest::bulk::{BatchSummary, ItemStatus};
use producer_core::model::CALL_VIOLATIONS;
use producer_core::{Clock, Draft, Event, Ingest, Location, Outcome, Problem, Step, Violations};
use uuid::Uuid;

use crate::convert;
use crate::message::{AttributesField, EventsMessage};
use crate::paths::Paths;
use crate::proto::v1;
use crate::wire::DecodeError;

const MAX_EVENTS: usize = 10_000;

/// Applies the events of one call. `paths` learns of an atomic one where its attributes stand.
pub(crate) async fn process(
    call: EventsMessage,
    ingest: &Ingest,
    clock: &Clock,
    paths: &mut Paths,
) -> Result<v1::ProcessEventsResponse, Problem> {
    let started = Instant::now();
    check_count(call.count())?;
    let is_atomic = call.is_atomic()?;
    let items = items(&call, clock, is_atomic.then_some(paths))?;
    drop(call);
    let outcomes =
        if is_atomic { ingest.submit_all(items).await? } else { ingest.submit_each(items).await? };
    let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    response(outcomes, clock.new_uuid(), elapsed_ms)
}

fn items(
    call: &EventsMessage,
    clock: &Clock,
    mut paths: Option<&mut Paths>,
) -> Result<Vec<Result<Event, Problem>>, DecodeError> {
    let mut listed = CALL_VIOLATIONS;
    let item = |draft: Result<(Draft, Vec<AttributesField>), DecodeError>| {
        let (draft, fields) = draft?;
        if let Some(Paths(of_events)) = &mut paths {
            of_events.push(fields);
        }
        Ok(draft.finish(clock).map_err(|problem| problem.list_at_most(&mut listed)))
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
        results.push(result(index, outcome));
    }
    if let Some(problem) = summary.nothing_stored() {
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
    })
}

/// What became of the event at `index`.
pub(crate) fn result(index: u64, outcome: Outcome) -> v1::EventResult {
    let mut result = v1::EventResult { index, ..v1::EventResult::default() };
    result.set_status(status(ItemStatus::from_outcome(&outcome)));
    match outcome {
        Ok(receipt) => {
            result.event_id = receipt.event_id.to_string();
            result.entities = convert::versions(receipt);
        }
        Err(problem) => {
            result.event_id = problem.event_id.map(|uuid| uuid.to_string()).unwrap_or_default();
            result.violations = convert::violations(&problem.violations);
            result.message = problem.detail.into_owned();
        }
    }
    result
}

fn status(status: ItemStatus) -> v1::EventStatus {
    match status {
        ItemStatus::Processed => v1::EventStatus::Processed,
        ItemStatus::Duplicate => v1::EventStatus::Duplicate,
        ItemStatus::Invalid => v1::EventStatus::Invalid,
        ItemStatus::Conflict => v1::EventStatus::Conflict,
        ItemStatus::Unavailable => v1::EventStatus::Unavailable,
        ItemStatus::Unknown => v1::EventStatus::Unknown,
    }
}
