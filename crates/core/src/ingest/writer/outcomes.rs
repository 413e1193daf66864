//! The outcomes that senders get, from what the store returned.

use std::collections::HashSet;

use tracing::{Level, debug, enabled};
use uuid::Uuid;

use super::parts::EventResult;
use crate::ingest::job::JobMeta;
use crate::ingest::port::Verdict;
use crate::ingest::problems::{
    conflict, internal, outcome_unknown, panicked, too_old, unavailable,
};
use crate::json::{Location, Step, Violations};
use crate::model::{
    AttemptId, CALL_VIOLATIONS, EntityVersion, Event, NewVersion, Operation, Outcome, Problem,
    ProblemKind, Receipt,
};

/// Events that attempts of this very batch stored, though their answers were lost. Each uuid counts
/// once: if it is in the batch again, that is a duplicate.
#[derive(Default)]
pub(super) struct OwnCommits(HashSet<Uuid>);

impl OwnCommits {
    /// Whether an event that was found stored is a duplicate.
    fn is_duplicate(
        &mut self,
        event: &Event,
        attempt: AttemptId,
        unconfirmed: &[AttemptId],
    ) -> bool {
        !(unconfirmed.contains(&attempt) && self.0.insert(event.uuid()))
    }
}

/// The outcome of one event. If that is unavailable or unknown, its call learns of it before an
/// event behind it can be taken.
pub(super) fn outcome(
    event: Event,
    result: EventResult,
    job: &JobMeta,
    own: &mut OwnCommits,
) -> Outcome {
    let uuid = event.uuid();
    let is_database_unavailable =
        matches!(result, EventResult::Unavailable(_) | EventResult::Unknown);
    let problem = match result {
        EventResult::Verdict(Verdict::Applied(versions)) => {
            return Ok(receipt(event, versions, false));
        }
        EventResult::Verdict(Verdict::Duplicate { versions, attempt }) => {
            let duplicate = own.is_duplicate(&event, attempt, &job.unconfirmed_attempts);
            return Ok(receipt(event, versions, duplicate));
        }
        EventResult::Verdict(Verdict::Conflict) => conflict(),
        EventResult::Verdict(Verdict::Invalid(violations)) => Problem::validation(violations),
        EventResult::Verdict(Verdict::PreconditionFailed(violations, state)) => {
            Problem::precondition_failed(violations, state)
        }
        EventResult::Verdict(Verdict::Locked) => job.refusal(too_old()),
        EventResult::Refused => job.refusal(internal()),
        EventResult::Panicked => panic_problem(job),
        EventResult::Unavailable(kind) => job.refusal(unavailable(kind)),
        EventResult::Unknown => outcome_unknown(),
    };
    if let Some(call) = &job.call
        && blocks_later_events(problem.kind)
    {
        call.fail(job.keys(), is_database_unavailable);
    }
    Err(problem.with_event_id(uuid))
}

/// Of an event that makes the writer panic, alone and repeatedly: a defect, which the sender can do
/// nothing about. It must not send it again, as it would after an unknown outcome.
pub(super) fn panic_problem(job: &JobMeta) -> Problem {
    if job.unconfirmed_attempts.is_empty() { panicked() } else { outcome_unknown() }
}

/// Whether later events of the call on the same entity must not be applied.
fn blocks_later_events(kind: ProblemKind) -> bool {
    matches!(kind, ProblemKind::Overloaded | ProblemKind::Unavailable | ProblemKind::OutcomeUnknown)
}

/// One outcome for all: what is invalid comes before what conflicts, and that before what does not
/// meet its conditions, as the contract says.
pub(super) fn all_or_none(
    events: Vec<Event>,
    verdicts: Vec<Verdict>,
    unconfirmed: &[AttemptId],
) -> Result<Vec<Receipt>, Problem> {
    let mut receipts = Vec::with_capacity(events.len());
    let mut invalid = Violations::default();
    let mut conflicts = Violations::default();
    let mut unmet = Violations::default();
    let mut first_unmet = None;
    let mut own = OwnCommits::default();
    for (index, (event, verdict)) in events.into_iter().zip(verdicts).enumerate() {
        match verdict {
            Verdict::Applied(versions) => receipts.push(receipt(event, versions, false)),
            Verdict::Duplicate { versions, attempt } => {
                let duplicate = own.is_duplicate(&event, attempt, unconfirmed);
                receipts.push(receipt(event, versions, duplicate));
            }
            Verdict::Invalid(violations) => {
                invalid.append_up_to(violations.below_index(index), CALL_VIOLATIONS);
            }
            Verdict::Conflict => {
                let one = Violations::one(uuid_of_item(index), conflict().detail);
                conflicts.append_up_to(one, CALL_VIOLATIONS);
            }
            Verdict::PreconditionFailed(violations, state) => {
                first_unmet.get_or_insert(state);
                unmet.append_up_to(violations.below_index(index), CALL_VIOLATIONS);
            }
            Verdict::Locked => {}
        }
    }
    if !invalid.is_empty() {
        return Err(Problem::validation(invalid));
    }
    if !conflicts.is_empty() {
        return Err(Problem { violations: conflicts, ..conflict() });
    }
    if let Some(state) = first_unmet {
        return Err(Problem::precondition_failed(unmet, state));
    }
    Ok(receipts)
}

/// Updates that are stored now, not before.
pub(super) fn new_updates(receipt: &Receipt) -> u64 {
    if receipt.duplicate { 0 } else { receipt.entities.len() as u64 }
}

fn receipt(event: Event, versions: Vec<NewVersion>, duplicate: bool) -> Receipt {
    let uuid = event.uuid();
    if enabled!(Level::DEBUG) {
        let event_type = event.event_type();
        for (update, new) in event.updates.iter().zip(&versions).filter(|_| !duplicate) {
            let milestone = match update.operation {
                Operation::Delete => "entity deleted",
                _ if new.created => "entity created",
                Operation::Replace => "entity replaced",
                Operation::Merge => "entity updated",
            };
            let (entity_type, entity_id) = (update.key.entity_type(), update.key.entity_id());
            debug!(%uuid, event_type, entity_type, entity_id, new.version, "{milestone}");
        }
        debug!(%uuid, event_type, duplicate, "event committed");
    }
    let keys = event.updates.into_iter().map(|update| update.key);
    let version = |(key, NewVersion { version, created })| EntityVersion { key, version, created };
    let entities = keys.zip(versions).map(version).collect();
    Receipt { event_id: uuid, duplicate, entities }
}

fn uuid_of_item(index: usize) -> Location {
    Location(vec![Step::Index(index), Step::Key("eventHeader".into()), Step::Key("uuid".into())])
}
