//! The answer to a bulk call: counts, and as many results as its limits allow.

use std::time::Instant;

use axum::response::Response;
use producer_core::Outcome;
use producer_core::ingest::bulk::{BatchSummary, ItemStatus};
use producer_core::model::CALL_VIOLATIONS;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::answers::{EntityVersionBody, json_answer};
use crate::problem::{BrokenRule, broken_rules};

/// The maximum number of results in an answer.
const MAX_RESULTS: usize = 10_000;

/// Which results an answer lists. Those of unknown items are always there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum ResultsFilter {
    /// Every item.
    #[default]
    All,
    /// Those that are not stored.
    Failed,
    /// None.
    None,
}

impl ResultsFilter {
    fn includes(self, status: ItemStatus) -> bool {
        match self {
            Self::All => true,
            Self::Failed => !status.is_stored(),
            Self::None => status == ItemStatus::Unknown,
        }
    }
}

/// The result of one event of a bulk call.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BulkResult)]
pub(crate) struct ItemBody<'a> {
    /// The event's position in the call, from 0; blank lines of NDJSON don't count
    index: u64,
    /// The event's uuid, if it is known
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    event_id: Option<Uuid>,
    /// `processed`, `duplicate`, `invalid`, `conflict`, `precondition-failed`, `unavailable` or `unknown`
    #[schema(
        pattern = "^(processed|duplicate|invalid|conflict|precondition-failed|unavailable|unknown)$"
    )]
    status: &'static str,
    /// The versions that the event made, if it is stored
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    entities: Option<Vec<EntityVersionBody<'a>>>,
    /// Why the event is not stored; of NDJSON with the line of the body, from 1
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<&'a str>,
    /// The broken rules, with pointers relative to the event
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<BrokenRule<'a>>,
    /// With `precondition-failed` always: the entity's version, null if it does not exist
    #[serde(skip_serializing_if = "Option::is_none")]
    current_version: Option<Option<u64>>,
}

/// The head of a bulk answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Head {
    success: bool,
    message: String,
    processed_count: u64,
    failed_count: u64,
    duplicate_count: u64,
    batch_id: Uuid,
    processing_time_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    results_omitted: Option<u64>,
}

// For the document only: `Report` writes it piece by piece.
/// The answer to a bulk call: counts, and the results of its items.
#[derive(Debug, ToSchema)]
#[schema(as = BulkAnswer, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what Report writes")]
pub(crate) struct BulkBody {
    /// Whether everything that was sent is stored
    success: bool,
    /// The same in words
    message: String,
    /// Events stored, now or before
    processed_count: u64,
    /// All others
    failed_count: u64,
    /// Of the processed ones, those stored before
    duplicate_count: u64,
    /// Names this call
    batch_id: Uuid,
    /// From the request to this answer
    processing_time_ms: u64,
    /// The number of results left out because of the limits of an answer, if there are any
    #[schema(nullable = false)]
    results_omitted: Option<u64>,
    results: Vec<ItemBody<'static>>,
}

/// Which results to prefer if not all can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Stored,
    Failed,
    Unknown,
}

impl Rank {
    const ALL: [Self; 3] = [Self::Stored, Self::Failed, Self::Unknown];

    fn from_status(status: ItemStatus) -> Self {
        match status {
            ItemStatus::Unknown => Self::Unknown,
            _ if status.is_stored() => Self::Stored,
            _ => Self::Failed,
        }
    }
}

/// Collects outcomes in order. Keeps results as JSON text, within the limits.
pub(crate) struct Report {
    summary: BatchSummary,
    filter: ResultsFilter,
    max_bytes: usize,
    started: Instant,
    /// The earliest of each rank, with their indexes.
    listed: [Vec<(u64, Vec<u8>)>; 3],
    listed_count: usize,
    listed_bytes: usize,
    violations_left: usize,
    omitted: u64,
    /// The highest rank with an omitted result: later ones of it may not be listed.
    closed: Option<Rank>,
}

impl Report {
    /// An empty report with at most `max_bytes` of results.
    pub(crate) fn new(filter: ResultsFilter, max_bytes: usize) -> Self {
        Self {
            summary: BatchSummary::default(),
            filter,
            max_bytes,
            started: Instant::now(),
            listed: Default::default(),
            listed_count: 0,
            listed_bytes: 0,
            violations_left: CALL_VIOLATIONS,
            omitted: 0,
            closed: None,
        }
    }

    /// The counts.
    pub(crate) fn summary(&mut self) -> &mut BatchSummary {
        &mut self.summary
    }

    /// Adds the next outcome. With `line` its error names that line of the body.
    pub(crate) fn add(&mut self, outcome: &Outcome, line: Option<usize>) {
        let index = self.summary.total();
        let status = self.summary.count(outcome);
        if !self.filter.includes(status) {
            return;
        }
        let rank = Rank::from_status(status);
        if self.closed.is_some_and(|closed| rank <= closed) {
            self.omitted += 1;
            return;
        }
        let json = match (outcome, line) {
            (Err(problem), Some(line)) => {
                self.item(index, status, &Err(problem.clone().in_line(line)))
            }
            _ => self.item(index, status, outcome),
        };
        if self.make_room(rank, json.len()) {
            self.listed_count += 1;
            self.listed_bytes += json.len();
            self.listed[rank as usize].push((index, json));
        } else {
            self.omit(rank);
        }
    }

    fn item(&mut self, index: u64, status: ItemStatus, outcome: &Outcome) -> Vec<u8> {
        let mut body = ItemBody {
            index,
            event_id: None,
            status: status.as_str(),
            entities: None,
            error: None,
            errors: Vec::new(),
            current_version: None,
        };
        match outcome {
            Ok(receipt) => {
                body.event_id = Some(receipt.event_id);
                body.entities = Some(receipt.entities.iter().map(Into::into).collect());
            }
            Err(problem) => {
                body.event_id = problem.event_id;
                body.error = Some(&problem.detail);
                body.errors = broken_rules(problem, self.violations_left);
                body.current_version = problem.precondition.map(|state| state.current_version);
            }
        }
        self.violations_left -= body.errors.len();
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// Whether a result fits, if need be after the latest results of lower ranks are removed. Nothing
    /// is removed if that isn't enough.
    fn make_room(&mut self, rank: Rank, bytes: usize) -> bool {
        if self.fits(bytes) {
            return true;
        }
        let remaining = self.listed[rank as usize..].iter().flatten();
        let (count, size) =
            remaining.fold((0, 0), |(count, size), (_, json)| (count + 1, size + json.len()));
        if count >= MAX_RESULTS || size + bytes > self.max_bytes {
            return false;
        }
        for lower in Rank::ALL.into_iter().take_while(|&lower| lower < rank) {
            while !self.fits(bytes) {
                let Some((_, json)) = self.listed[lower as usize].pop() else { break };
                self.listed_count -= 1;
                self.listed_bytes -= json.len();
                self.omit(lower);
            }
        }
        true
    }

    fn fits(&self, bytes: usize) -> bool {
        self.listed_count < MAX_RESULTS && self.listed_bytes + bytes <= self.max_bytes
    }

    fn omit(&mut self, rank: Rank) {
        self.omitted += 1;
        self.closed = self.closed.max(Some(rank));
    }

    /// The answer.
    pub(crate) fn into_response(self, batch_id: Uuid) -> Response {
        let head = Head {
            success: self.summary.success(),
            message: self.summary.message(),
            processed_count: self.summary.processed(),
            failed_count: self.summary.failed(),
            duplicate_count: self.summary.duplicates(),
            batch_id,
            processing_time_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(0),
            results_omitted: (self.omitted > 0).then_some(self.omitted),
        };
        let mut body = serde_json::to_vec(&head).unwrap_or_default();
        body.pop();
        body.extend_from_slice(b",\"results\":[");
        let mut listed: Vec<_> = self.listed.into_iter().flatten().collect();
        listed.sort_unstable_by_key(|&(index, _)| index);
        for (position, (_, json)) in listed.iter().enumerate() {
            if position > 0 {
                body.push(b',');
            }
            body.extend_from_slice(json);
        }
        body.extend_from_slice(b"]}");
        json_answer(body)
    }
}

#[cfg(test)]
mod tests {
    use producer_core::{Problem, ProblemKind, Receipt};

    use super::*;

    #[test]
    fn a_failure_too_large_to_list_removes_no_result() {
        let mut report = Report::new(ResultsFilter::All, 400);
        let receipt = Receipt { event_id: Uuid::nil(), duplicate: false, entities: Vec::new() };
        report.add(&Ok(receipt.clone()), None);
        report.add(&Err(Problem::new(ProblemKind::Validation, "x".repeat(1000))), None);
        report.add(&Err(Problem::new(ProblemKind::Validation, "small")), None);
        assert_eq!((report.listed_count, report.omitted), (1, 2));
    }
}
