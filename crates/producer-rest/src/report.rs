//! The answer to a bulk call: counts, and as many results as its limits let through.

use std::time::Instant;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, header};
use producer_core::Outcome;
use producer_core::ingest::bulk::{BatchSummary, ItemStatus};
use producer_core::model::CALL_VIOLATIONS;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::problem::{BrokenRule, broken_rules};
use crate::routes::events::EntityVersionBody;

/// Results that an answer lists at most.
const LISTED_RESULTS: usize = 10_000;

/// `?results=`: what an answer lists. Unknown items are listed always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Listing {
    /// Every item.
    #[default]
    All,
    /// Those that are not stored.
    Failed,
    /// None.
    None,
}

impl Listing {
    fn wants(self, status: ItemStatus) -> bool {
        match self {
            Self::All => true,
            Self::Failed => !status.is_stored(),
            Self::None => status == ItemStatus::Unknown,
        }
    }
}

/// One item's result.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ItemBody<'a> {
    /// Its place in what was sent, from 0
    index: u64,
    /// Its uuid, where it is known
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<Uuid>,
    /// `processed`, `duplicate`, `invalid`, `conflict`, `unavailable` or `unknown`
    #[schema(pattern = "^(processed|duplicate|invalid|conflict|unavailable|unknown)$")]
    status: &'static str,
    /// The versions that it made, where it is stored
    #[serde(skip_serializing_if = "Option::is_none")]
    entities: Option<Vec<EntityVersionBody<'a>>>,
    /// Why it is not stored
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    /// The broken rules, with pointers relative to the item
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<BrokenRule<'a>>,
}

/// The head of a bulk answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Head {
    success: bool,
    message: String,
    processed_count: u64,
    failed_count: u64,
    batch_id: Uuid,
    processing_time_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    results_omitted: Option<u64>,
}

/// The body of a bulk answer, for the document only: [`Report`] writes it without holding it.
#[derive(Debug, ToSchema)]
#[schema(as = BulkAnswer)]
#[expect(dead_code, reason = "describes what Report writes")]
pub(crate) struct BulkBody {
    #[schema(inline)]
    #[doc = "Whether everything that was sent is stored"]
    success: bool,
    message: String,
    #[schema(rename = "processedCount")]
    processed_count: u64,
    #[schema(rename = "failedCount")]
    failed_count: u64,
    #[schema(rename = "batchId")]
    batch_id: Uuid,
    #[schema(rename = "processingTimeMs")]
    processing_time_ms: u64,
    #[schema(rename = "resultsOmitted")]
    /// Results that the limits of an answer left out, where there are any
    results_omitted: Option<u64>,
    results: Vec<ItemBody<'static>>,
}

/// How much a result matters where not all can be listed.
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

/// Gathers outcomes in their order. Keeps a result as its JSON text, within the limits.
pub(crate) struct Report {
    summary: BatchSummary,
    listing: Listing,
    max_bytes: usize,
    started: Instant,
    /// Of each rank the earliest, with their index.
    kept: [Vec<(u64, Vec<u8>)>; 3],
    kept_count: usize,
    kept_bytes: usize,
    rules_left: usize,
    omitted: u64,
    /// The highest rank of which one was omitted: no later one of it may be listed.
    closed: Option<Rank>,
}

impl Report {
    /// An empty report whose results take `max_bytes` at most.
    pub(crate) fn new(listing: Listing, max_bytes: usize) -> Self {
        Self {
            summary: BatchSummary::default(),
            listing,
            max_bytes,
            started: Instant::now(),
            kept: Default::default(),
            kept_count: 0,
            kept_bytes: 0,
            rules_left: CALL_VIOLATIONS,
            omitted: 0,
            closed: None,
        }
    }

    /// The counts.
    pub(crate) fn summary(&mut self) -> &mut BatchSummary {
        &mut self.summary
    }

    /// Takes the next outcome.
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        let index = self.summary.total();
        let status = self.summary.count(outcome);
        if !self.listing.wants(status) {
            return;
        }
        let rank = Rank::from_status(status);
        if self.closed.is_some_and(|closed| rank <= closed) {
            self.omitted += 1;
            return;
        }
        let json = self.item(index, status, outcome);
        if self.make_room(rank, json.len()) {
            self.kept_count += 1;
            self.kept_bytes += json.len();
            self.kept[rank as usize].push((index, json));
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
        };
        match outcome {
            Ok(receipt) => {
                body.event_id = Some(receipt.event_id);
                body.entities = Some(receipt.entities.iter().map(Into::into).collect());
            }
            Err(problem) => {
                body.event_id = problem.event_id;
                body.error = Some(&problem.detail);
                body.errors = broken_rules(problem, self.rules_left);
            }
        }
        self.rules_left -= body.errors.len();
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// Whether a result fits, after the latest of lower ranks made way. They stay where that would
    /// not help.
    fn make_room(&mut self, rank: Rank, bytes: usize) -> bool {
        if self.fits(bytes) {
            return true;
        }
        let staying = self.kept[rank as usize..].iter().flatten();
        let (count, held) = staying.fold((0, 0), |(n, held), (_, json)| (n + 1, held + json.len()));
        if count >= LISTED_RESULTS || held + bytes > self.max_bytes {
            return false;
        }
        for lower in Rank::ALL.into_iter().take_while(|&lower| lower < rank) {
            while !self.fits(bytes) {
                let Some((_, json)) = self.kept[lower as usize].pop() else { break };
                self.kept_count -= 1;
                self.kept_bytes -= json.len();
                self.omit(lower);
            }
        }
        true
    }

    fn fits(&self, bytes: usize) -> bool {
        self.kept_count < LISTED_RESULTS && self.kept_bytes + bytes <= self.max_bytes
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
            batch_id,
            processing_time_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(0),
            results_omitted: (self.omitted > 0).then_some(self.omitted),
        };
        let mut body = serde_json::to_vec(&head).unwrap_or_default();
        body.pop();
        body.extend_from_slice(b",\"results\":[");
        let mut listed: Vec<_> = self.kept.into_iter().flatten().collect();
        listed.sort_unstable_by_key(|&(index, _)| index);
        for (position, (_, json)) in listed.iter().enumerate() {
            if position > 0 {
                body.push(b',');
            }
            body.extend_from_slice(json);
        }
        body.extend_from_slice(b"]}");
        let mut response = Response::new(Body::from(body));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

#[cfg(test)]
mod tests {
    use producer_core::{Problem, ProblemKind, Receipt};

    use super::*;

    #[test]
    fn a_failure_too_large_to_list_throws_no_result_out() {
        let mut report = Report::new(Listing::All, 400);
        let receipt = Receipt { event_id: Uuid::nil(), duplicate: false, entities: Vec::new() };
        report.add(&Ok(receipt.clone()));
        report.add(&Err(Problem::new(ProblemKind::Validation, "x".repeat(1000))));
        report.add(&Err(Problem::new(ProblemKind::Validation, "small")));
        assert_eq!((report.kept_count, report.omitted), (1, 2));
    }
}
