//! What both APIs answer about a call of many events: the status of each item, and a summary.

use producer_telemetry::refusal::Refusal;

use crate::json::Violations;
use crate::model::{CALL_VIOLATIONS, Event, Outcome, Problem, ProblemKind};

/// The events of an array of which all or none are to be applied.
///
/// # Errors
/// `Validation` with the broken rules of all items, with locations from the array's root.
pub fn all_valid(
    items: impl IntoIterator<Item = Result<Event, Problem>>,
) -> Result<Vec<Event>, Problem> {
    let mut violations = Violations::default();
    let mut events = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        match item {
            Ok(event) => events.push(event),
            Err(problem) => {
                violations.append_up_to(problem.violations.below_index(index), CALL_VIOLATIONS);
            }
        }
    }
    if violations.is_empty() { Ok(events) } else { Err(Problem::validation(violations)) }
}

/// The status of one item, as the sender gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemStatus {
    /// Stored now.
    Processed,
    /// Stored before, with the same content.
    Duplicate,
    /// It breaks a rule, or is no event at all.
    Invalid,
    /// Its uuid is stored with other content.
    Conflict,
    /// A condition on one of its entities does not hold.
    PreconditionFailed,
    /// Not stored, for no reason of its own.
    Unavailable,
    /// It may or may not be stored.
    Unknown,
}

impl ItemStatus {
    /// The status of an item with this outcome.
    pub fn from_outcome(outcome: &Outcome) -> Self {
        match outcome {
            Ok(receipt) if receipt.duplicate => Self::Duplicate,
            Ok(_) => Self::Processed,
            Err(problem) => Self::from_problem(problem.kind),
        }
    }

    fn from_problem(kind: ProblemKind) -> Self {
        match kind {
            ProblemKind::Conflict => Self::Conflict,
            ProblemKind::PreconditionFailed => Self::PreconditionFailed,
            ProblemKind::Overloaded | ProblemKind::Unavailable => Self::Unavailable,
            ProblemKind::OutcomeUnknown => Self::Unknown,
            _ => Self::Invalid,
        }
    }

    /// The name in REST; gRPC's enum has the same in capitals.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Processed => "processed",
            Self::Duplicate => "duplicate",
            Self::Invalid => "invalid",
            Self::Conflict => "conflict",
            Self::PreconditionFailed => "precondition-failed",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the item counts as processed: it is stored, now or before.
    pub const fn is_stored(self) -> bool {
        matches!(self, Self::Processed | Self::Duplicate)
    }
}

/// A summary of the items of a call.
#[derive(Debug, Clone, Default)]
pub struct BatchSummary {
    processed: u64,
    duplicates: u64,
    failed: u64,
    unknown: u64,
    is_incomplete: bool,
    /// Items that were refused because of what they are, and the reason of the first.
    refused: u64,
    first_refusal: Option<Refusal>,
    /// The problem of the first item that was unavailable.
    unavailable: Option<Problem>,
}

impl BatchSummary {
    /// Counts one more outcome and returns its status.
    pub fn count(&mut self, outcome: &Outcome) -> ItemStatus {
        let status = ItemStatus::from_outcome(outcome);
        if status.is_stored() {
            self.processed += 1;
        } else {
            self.failed += 1;
        }
        match (status, outcome) {
            (ItemStatus::Duplicate, _) => self.duplicates += 1,
            (ItemStatus::Unknown, _) => self.unknown += 1,
            (ItemStatus::Invalid | ItemStatus::Conflict, Err(problem)) => {
                self.refused += 1;
                if self.first_refusal.is_none() {
                    self.first_refusal = problem.refusal();
                }
            }
            (ItemStatus::Unavailable, Err(problem)) if self.unavailable.is_none() => {
                self.unavailable = Some(Problem::new(problem.kind, problem.detail.clone()));
            }
            _ => {}
        }
        status
    }

    /// Notes that the sender may have sent more, which was not read: the call is no success.
    pub fn mark_incomplete(&mut self) {
        self.is_incomplete = true;
    }

    /// How many items were refused because of what they are, and the reason of the first.
    pub fn refusal(&self) -> Option<Refusal> {
        self.first_refusal.clone().map(|first| Refusal { events: Some(self.refused), ..first })
    }

    /// Items stored, now or before.
    pub fn processed(&self) -> u64 {
        self.processed
    }

    /// Items stored before; they count as processed.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Items that are not stored, or may not be.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// Items read: the index of the first one that was not.
    pub fn total(&self) -> u64 {
        self.processed + self.failed
    }

    /// Whether everything that was sent is stored.
    pub fn success(&self) -> bool {
        self.failed == 0 && !self.is_incomplete
    }

    /// The message that existing clients read.
    pub fn message(&self) -> String {
        if self.success() {
            "All events processed successfully".into()
        } else {
            format!("Processed {} events, {} failed", self.processed, self.failed)
        }
    }

    /// The problem to answer instead, where some were unavailable and nothing is stored or unknown.
    pub fn problem_if_nothing_stored(&self) -> Option<&Problem> {
        self.unavailable.as_ref().filter(|_| self.processed == 0 && self.unknown == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Receipt;

    fn stored(duplicate: bool) -> Outcome {
        Ok(Receipt { event_id: uuid::Uuid::nil(), duplicate, entities: vec![] })
    }

    fn failed(kind: ProblemKind) -> Outcome {
        Err(Problem::new(kind, "no"))
    }

    fn summary(outcomes: &[Outcome]) -> BatchSummary {
        let mut summary = BatchSummary::default();
        for outcome in outcomes {
            summary.count(outcome);
        }
        summary
    }

    #[test]
    fn a_duplicate_counts_as_processed() {
        let summary = summary(&[stored(false), stored(true)]);
        assert!(summary.success());
        assert_eq!((summary.processed(), summary.duplicates()), (2, 1));
        assert_eq!(summary.message(), "All events processed successfully");
    }

    #[test]
    fn a_failure_makes_the_message_count() {
        let summary = summary(&[stored(false), failed(ProblemKind::Malformed)]);
        assert!(!summary.success());
        assert_eq!(summary.message(), "Processed 1 events, 1 failed");
    }

    #[test]
    fn unavailable_alone_or_beside_invalid_items_is_a_503() {
        use ProblemKind::{OutcomeUnknown, Overloaded, Unavailable, Validation};
        let kind =
            |outcomes: &[Outcome]| summary(outcomes).problem_if_nothing_stored().map(|p| p.kind);
        assert_eq!(kind(&[failed(Overloaded), failed(Validation)]), Some(Overloaded));
        assert_eq!(kind(&[failed(Unavailable), failed(OutcomeUnknown)]), None);
        assert_eq!(kind(&[stored(true), failed(Unavailable)]), None);
        assert_eq!(kind(&[failed(Validation)]), None);
    }

    #[test]
    fn an_incomplete_call_is_no_success() {
        let mut summary = summary(&[stored(false)]);
        summary.mark_incomplete();
        assert!(!summary.success());
        assert_eq!(summary.message(), "Processed 1 events, 0 failed");
    }
}
