//! Requests with many events, and the outcome of each event.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use producer_e2e::proto::{EventResult, EventStatus, ProcessEventsRequest};
use producer_e2e::{Grpc, Outcome, Rest, SentEvent, outcome_from_status};
use reqwest::Body;
use serde_json::Value;
use tokio::time::sleep;

/// The pause between two lines or messages.
const SEND_INTERVAL: Duration = Duration::from_millis(2);

/// How many events are sent over REST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bulk {
    Array,
    Atomic,
    Lines,
}

/// A refusal; the header is only checked for single events.
const REFUSED: Outcome = Outcome::Refused { retry_after: true };

pub(crate) async fn send_bulk(rest: &Rest, events: &[SentEvent], bulk: Bulk) -> Vec<Outcome> {
    let path = match bulk {
        Bulk::Atomic => "/api/v1/events/bulk?mode=atomic",
        Bulk::Array | Bulk::Lines => "/api/v1/events/bulk",
    };
    let documents: Vec<Value> = events.iter().map(SentEvent::json).collect();
    let request = rest.http.post(rest.url(path));
    let request = match bulk {
        Bulk::Lines => {
            request.header("content-type", "application/x-ndjson").body(body_by_line(documents))
        }
        Bulk::Array | Bulk::Atomic => request.json(&documents),
    };
    let all = |outcome: Outcome| vec![outcome; events.len()];
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) if error.is_connect() => return all(Outcome::NotConnected),
        Err(error) => return all(Outcome::NoResponse(format!("{error:?}"))),
    };
    let status = answer.status().as_u16();
    let text = match answer.text().await {
        Ok(text) => text,
        Err(error) => return all(Outcome::NoResponse(format!("{error:?}"))),
    };
    match status {
        200 => {
            outcomes_from_document(&serde_json::from_str(&text).unwrap_or_default(), events.len())
        }
        412 => all(Outcome::PreconditionFailed),
        503 => all(REFUSED),
        504 => all(Outcome::Unknown),
        _ => all(Outcome::Unexpected(format!("{status} {text}"))),
    }
}

/// Sends one line after the other.
fn body_by_line(documents: Vec<Value>) -> Body {
    Body::wrap_stream(stream::iter(documents).then(async |document| {
        sleep(SEND_INTERVAL).await;
        Ok::<_, Infallible>(format!("{document}\n"))
    }))
}

/// Events that were not processed are not stored.
fn outcomes_from_document(document: &Value, count: usize) -> Vec<Outcome> {
    let results = document["results"].as_array().map_or(&[][..], Vec::as_slice);
    let duplicates = results.iter().filter(|result| result["status"] == "duplicate").count();
    if document["duplicateCount"] != duplicates {
        return vec![Outcome::Unexpected(format!("wrong duplicateCount: {document}")); count];
    }
    let processed = ["processedCount", "failedCount"].map(|name| document[name].as_u64());
    let processed = processed.into_iter().flatten().sum::<u64>() as usize;
    let missing = |index: usize| match index < processed || processed == 0 {
        true => Outcome::Unexpected(format!("no result for {index}: {document}")),
        false => REFUSED,
    };
    let mut outcomes: Vec<Outcome> = (0..count).map(missing).collect();
    for result in results {
        let index = result["index"].as_u64().unwrap_or(u64::MAX) as usize;
        if let Some(outcome) = outcomes.get_mut(index) {
            *outcome = outcome_from_item(result);
        }
    }
    outcomes
}

fn outcome_from_item(result: &Value) -> Outcome {
    let versions = result["entities"].as_array().into_iter().flatten();
    let versions = versions.filter_map(|entity| entity["version"].as_u64()).collect();
    match result["status"].as_str() {
        Some("processed") => Outcome::Done { duplicate: false, versions },
        Some("duplicate") => Outcome::Done { duplicate: true, versions },
        Some("precondition-failed") => Outcome::PreconditionFailed,
        Some("unavailable") => REFUSED,
        Some("unknown") => Outcome::Unknown,
        _ => Outcome::Unexpected(result.to_string()),
    }
}

pub(crate) async fn send_calls(grpc: &Grpc, events: &[SentEvent], atomic: bool) -> Vec<Outcome> {
    let events: Vec<_> = events.iter().map(SentEvent::message).collect();
    let count = events.len();
    let request = ProcessEventsRequest { events, atomic };
    let mut outcomes = vec![Outcome::Unexpected("no result".into()); count];
    match grpc.client.clone().process_events(request).await {
        Ok(answer) => {
            answer.into_inner().results.iter().for_each(|one| set_outcome(&mut outcomes, one))
        }
        Err(status) => outcomes.fill(outcome_from_status(&status)),
    }
    outcomes
}

/// Sends one event after the other in a stream. Events without a result were not read if the
/// service ended the stream, and have an unknown outcome if the connection broke.
pub(crate) async fn send_stream(grpc: &Grpc, events: &[SentEvent]) -> Vec<Outcome> {
    let mut outcomes = vec![None; events.len()];
    let messages: Vec<_> = events.iter().map(SentEvent::message).collect();
    let messages = stream::iter(messages).then(async |message| {
        sleep(SEND_INTERVAL).await;
        message
    });
    let end = match grpc.client.clone().stream_events(Box::pin(messages)).await {
        Ok(answer) => {
            let mut results = answer.into_inner();
            loop {
                match results.next().await {
                    Some(Ok(result)) => set_outcome(&mut outcomes, &result),
                    Some(Err(status)) => break outcome_from_status(&status),
                    None => break Outcome::Unexpected("the stream ended without a result".into()),
                }
            }
        }
        Err(status) => outcome_from_status(&status),
    };
    // events of unknown outcome have a result of their own
    let end = if end == Outcome::Unknown { REFUSED } else { end };
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| end.clone())).collect()
}

fn set_outcome<T: From<Outcome>>(outcomes: &mut [T], result: &EventResult) {
    let versions = result.entities.iter().map(|entity| entity.version).collect();
    let outcome = match result.status() {
        EventStatus::Processed => Outcome::Done { duplicate: false, versions },
        EventStatus::Duplicate => Outcome::Done { duplicate: true, versions },
        EventStatus::PreconditionFailed => Outcome::PreconditionFailed,
        EventStatus::Unavailable => REFUSED,
        EventStatus::Unknown => Outcome::Unknown,
        _ => Outcome::Unexpected(format!("{result:?}")),
    };
    if let Some(place) = outcomes.get_mut(result.index as usize) {
        *place = outcome.into();
    }
}
