//! The writer tasks: take a batch, settle what becomes of each event, tell the senders.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use producer_telemetry::spans::BatchSpan;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{Level, debug, enabled, error, warn};
use uuid::Uuid;

use super::job::{Job, JobMeta, Work};
use super::port::{ApplyError, ApplyMode, Verdict, WriteStore, Writer};
use super::problems::{internal, outcome_unknown, too_old_problem, unavailable};
use super::queue::{Batch, Queue};
use super::trace;
use crate::json::{Location, Step, Violations};
use crate::model::{
    AttemptId, CALL_VIOLATIONS, EntityVersion, Event, Outcome, Problem, ProblemKind, Receipt,
};

/// Between two tries to learn what became of a batch.
const SETTLE_PAUSE: Duration = Duration::from_millis(50);

/// How long a batch that the database refuses is split.
const SPLIT_TIME: Duration = Duration::from_millis(300);

/// Starts writer `index`, and starts it again should it panic.
pub(super) fn spawn(index: usize, store: Arc<dyn WriteStore>, queue: Arc<Queue>, runtime: &Handle) {
    runtime.spawn(async move {
        loop {
            let queue = Arc::clone(&queue);
            let task = WriterTask { index, writer: store.writer(), queue, span: None };
            match tokio::spawn(task.run()).await {
                Err(reason) if reason.is_panic() => {
                    error!(writer = index, "a writer died and is started again");
                }
                Ok(()) | Err(_) => return,
            }
        }
    });
}

/// What became of one event of a batch.
enum Settled {
    Verdict(Verdict),
    /// Nothing is stored, the database is out of reach.
    Unavailable,
    Unknown,
    /// The database refuses this very event.
    Poison,
}

/// Where the outcome of one event goes.
struct Sender {
    reply: oneshot::Sender<Outcome>,
    meta: JobMeta,
}

impl Sender {
    /// Notes in the call that the event failed, before anything behind it can be taken.
    fn fail(&self, problem: Problem, all: bool) -> Problem {
        self.meta.call.iter().for_each(|call| call.fail(&self.meta.keys, all));
        problem
    }
}

struct WriterTask {
    index: usize,
    writer: Box<dyn Writer>,
    queue: Arc<Queue>,
    /// Of the batch under way.
    span: Option<BatchSpan>,
}

impl WriterTask {
    async fn run(mut self) {
        while let Some(batch) = self.queue.next_batch(self.index).await {
            self.span = trace::begin(&batch.jobs);
            if batch.is_atomic() {
                self.process_all_or_none(batch).await;
            } else {
                self.process_each(batch).await;
            }
            self.span = None;
        }
    }

    async fn process_each(&mut self, mut batch: Batch) {
        let mode = if batch.parked { ApplyMode::SkipLocked } else { ApplyMode::Normal };
        let (events, mut senders) = split(std::mem::take(&mut batch.jobs));
        let settled = self.settle(&events, &mut senders, mode).await;
        let applied = Instant::now();
        let mut parked = Vec::new();
        let mut held = Vec::new();
        let mut answers = Vec::with_capacity(events.len());
        let mut own = OwnCommits::default();
        for ((event, mut sender), settled) in events.into_iter().zip(senders).zip(settled) {
            let locked = matches!(settled, Settled::Verdict(Verdict::Locked));
            if locked {
                held.extend(&sender.meta.keys);
            }
            if locked && self.may_wait(&mut sender.meta) {
                let work = Work::One(event, sender.reply);
                parked.push(Job { work, meta: sender.meta });
            } else {
                sender.meta.applied(applied);
                let outcome = outcome(event, settled, &sender, &mut own);
                answers.push((sender.reply, outcome));
            }
        }
        self.queue.metrics.retries_locked.inc_by(parked.len() as u64);
        self.queue.log_progress(answers.iter().map(|(_, outcome)| new_updates(outcome)).sum());
        batch.finish(parked, held);
        for (reply, outcome) in answers {
            // A sender that went away doesn't need to know.
            drop(reply.send(outcome));
        }
    }

    /// Whether a job whose entity is locked may wait on.
    fn may_wait(&self, meta: &mut JobMeta) -> bool {
        let now = Instant::now();
        now < *meta.expires.get_or_insert(now + self.queue.limits.queue_age)
    }

    async fn process_all_or_none(&mut self, mut batch: Batch) {
        let Some(Job { work: Work::All(events, reply), mut meta }) = batch.jobs.pop() else {
            return;
        };
        let (settled, lost) = self.apply(&events, ApplyMode::Atomic).await;
        meta.unconfirmed_attempts.extend(lost);
        meta.applied(Instant::now());
        let mut held = Vec::new();
        let answer = match settled {
            Ok(verdicts) if verdicts.contains(&Verdict::Locked) => {
                held.extend(&meta.keys);
                if self.may_wait(&mut meta) {
                    self.queue.metrics.retries_locked.inc_by(events.len() as u64);
                    let job = Job { work: Work::All(events, reply), meta };
                    return batch.finish(vec![job], held);
                }
                Err(meta.refusal(too_old_problem()))
            }
            Ok(verdicts) => all_or_none(events, verdicts, &meta.unconfirmed_attempts),
            Err(ApplyError::Unavailable(_)) => Err(meta.refusal(unavailable())),
            Err(ApplyError::Unknown { .. }) => Err(outcome_unknown()),
            Err(ApplyError::Refused(reason)) => {
                error!(reason, "the database refuses an atomic array");
                Err(internal())
            }
        };
        self.queue.log_progress(answer.iter().flatten().map(updates_of).sum());
        batch.finish(Vec::new(), held);
        drop(reply.send(answer));
    }

    /// What becomes of each event. A batch that the database refuses is split until the culprit
    /// stands alone; no event is applied ahead of an earlier one that waits for a lock. Where that
    /// takes long (a lock on a whole table), the rest waits aside like what is locked.
    async fn settle(
        &mut self,
        events: &[Event],
        senders: &mut [Sender],
        mut mode: ApplyMode,
    ) -> Vec<Settled> {
        let mut split_until = None;
        let mut settled = Vec::with_capacity(events.len());
        let mut ranges: Vec<Range<usize>> = std::iter::once(0..events.len()).collect();
        while let Some(range) = ranges.pop() {
            let part = &events[range.clone()];
            if split_until.is_some_and(|until| until < Instant::now()) {
                settled.extend(part.iter().map(|_| Settled::Verdict(Verdict::Locked)));
                continue;
            }
            if waits_behind(&senders[range.clone()], senders, &settled) {
                match halves(range) {
                    Some(halves) => ranges.extend(halves),
                    None => settled.push(Settled::Verdict(Verdict::Locked)),
                }
                continue;
            }
            let (applied, lost) = self.apply(part, mode).await;
            for sender in &mut senders[range.clone()] {
                sender.meta.unconfirmed_attempts.extend(&lost);
            }
            match applied {
                Ok(verdicts) => settled.extend(verdicts.into_iter().map(Settled::Verdict)),
                Err(ApplyError::Refused(reason)) => match halves(range) {
                    Some(halves) => {
                        debug!(events = part.len(), reason, "a batch is split");
                        self.queue.metrics.retries_split.inc();
                        mode = ApplyMode::SkipLocked;
                        split_until.get_or_insert_with(|| Instant::now() + SPLIT_TIME);
                        ranges.extend(halves);
                    }
                    None => {
                        error!(uuid = %part[0].uuid(), reason, "the database refuses an event");
                        settled.push(Settled::Poison);
                    }
                },
                Err(ApplyError::Unavailable(_)) => break,
                Err(ApplyError::Unknown { .. }) => {
                    settled.extend(part.iter().map(|_| Settled::Unknown));
                    break;
                }
            }
        }
        settled.resize_with(events.len(), || Settled::Unavailable);
        settled
    }

    /// Applies, and where the outcome is unknown finds it out: applying again settles it, because
    /// the log takes a uuid once. Gives up at `REQUEST_TIMEOUT`, when the senders do. Also tells the
    /// stamps of the tries whose outcome was unknown for a while.
    async fn apply(
        &mut self,
        events: &[Event],
        mode: ApplyMode,
    ) -> (Result<Vec<Verdict>, ApplyError>, Vec<AttemptId>) {
        let deadline = Instant::now() + self.queue.limits.request_timeout;
        match self.timed(events, mode).await {
            Err(ApplyError::Unknown { reason, attempt }) => {
                let mut lost = vec![attempt];
                warn!(events = events.len(), reason, "the outcome of a batch is looked up");
                let found = self.resolve_unknown_outcome(events, mode, deadline, &mut lost).await;
                (found.unwrap_or(Err(ApplyError::Unknown { reason, attempt })), lost)
            }
            Err(ApplyError::Unavailable(reason)) => {
                warn!(events = events.len(), reason, "database unavailable, events are refused");
                (Err(ApplyError::Unavailable(reason)), Vec::new())
            }
            settled => (settled, Vec::new()),
        }
    }

    async fn timed(
        &mut self,
        events: &[Event],
        mode: ApplyMode,
    ) -> Result<Vec<Verdict>, ApplyError> {
        let started = Instant::now();
        let applied = self.writer.apply(events, mode).await;
        self.queue.metrics.tried(events.len(), started.elapsed());
        if let Some(span) = &self.span {
            span.commit(events.len(), started, applied.as_ref().err().map(ApplyError::as_str));
        }
        applied
    }

    async fn resolve_unknown_outcome(
        &mut self,
        events: &[Event],
        mode: ApplyMode,
        deadline: Instant,
        lost: &mut Vec<AttemptId>,
    ) -> Option<Result<Vec<Verdict>, ApplyError>> {
        let mode = if mode == ApplyMode::Atomic { mode } else { ApplyMode::SkipLocked };
        while Instant::now() + SETTLE_PAUSE < deadline {
            sleep(SETTLE_PAUSE).await;
            self.queue.metrics.retries_unknown.inc();
            match timeout_at(deadline, self.writer.apply(events, mode)).await {
                Ok(Err(ApplyError::Unknown { attempt, .. })) => lost.push(attempt),
                Ok(Err(ApplyError::Unavailable(_))) | Err(_) => {}
                Ok(settled) => return Some(settled),
            }
        }
        error!(events = events.len(), "the outcome of a batch stays unknown");
        None
    }
}

fn split(jobs: Vec<Job>) -> (Vec<Event>, Vec<Sender>) {
    let mut events = Vec::with_capacity(jobs.len());
    let mut senders = Vec::with_capacity(jobs.len());
    let milestones = enabled!(Level::DEBUG);
    for Job { work, meta } in jobs {
        // An atomic job is a batch of its own and never comes here.
        let Work::One(event, reply) = work else { continue };
        if milestones {
            debug!(uuid = %event.uuid(), event_type = event.event_type(), "event claimed");
        }
        events.push(event);
        senders.push(Sender { reply, meta });
    }
    (events, senders)
}

/// The left half last, so that it is popped first; none of a single event.
fn halves(range: Range<usize>) -> Option<[Range<usize>; 2]> {
    let middle = range.start + range.len() / 2;
    (range.len() > 1).then_some([middle..range.end, range.start..middle])
}

/// Whether one of `part` shares a key with an earlier event that waits for a lock.
fn waits_behind(part: &[Sender], senders: &[Sender], settled: &[Settled]) -> bool {
    let waiting = senders
        .iter()
        .zip(settled)
        .filter(|(_, settled)| matches!(settled, Settled::Verdict(Verdict::Locked)));
    waiting.into_iter().any(|(earlier, _)| {
        let shares = |key| earlier.meta.keys.contains(key);
        part.iter().any(|sender| sender.meta.keys.iter().any(shares))
    })
}

/// Events that the tries of this very batch stored, though their answers were lost. Each uuid counts
/// once: if it stands in the batch again, that is a duplicate.
#[derive(Default)]
struct OwnCommits(HashSet<Uuid>);

impl OwnCommits {
    /// Whether an event that was found stored is a duplicate.
    fn is_duplicate(&mut self, event: &Event, attempt: AttemptId, lost: &[AttemptId]) -> bool {
        !(lost.contains(&attempt) && self.0.insert(event.uuid()))
    }
}

fn outcome(event: Event, settled: Settled, sender: &Sender, own: &mut OwnCommits) -> Outcome {
    let uuid = event.uuid();
    let problem = match settled {
        Settled::Verdict(Verdict::Applied(versions)) => {
            return Ok(receipt(event, versions, false));
        }
        Settled::Verdict(Verdict::Duplicate { versions, attempt }) => {
            let duplicate = own.is_duplicate(&event, attempt, &sender.meta.unconfirmed_attempts);
            return Ok(receipt(event, versions, duplicate));
        }
        Settled::Verdict(Verdict::Conflict) => conflict(),
        Settled::Verdict(Verdict::Invalid(violations)) => Problem::validation(violations),
        Settled::Verdict(Verdict::Locked) => {
            sender.fail(sender.meta.refusal(too_old_problem()), false)
        }
        Settled::Poison => internal(),
        Settled::Unavailable => sender.fail(sender.meta.refusal(unavailable()), true),
        Settled::Unknown => sender.fail(outcome_unknown(), true),
    };
    Err(problem.with_event_id(uuid))
}

fn receipt(event: Event, versions: Vec<u64>, duplicate: bool) -> Receipt {
    let uuid = event.uuid();
    if enabled!(Level::DEBUG) {
        let event_type = event.event_type();
        for version in versions.iter().filter(|_| !duplicate) {
            let milestone = if *version == 1 { "entity created" } else { "entity updated" };
            debug!(%uuid, event_type, version, "{milestone}");
        }
        debug!(%uuid, event_type, duplicate, "event committed");
    }
    let keys = event.updates.into_iter().map(|update| update.key);
    let entities =
        keys.zip(versions).map(|(key, version)| EntityVersion { key, version }).collect();
    Receipt { event_id: uuid, duplicate, entities }
}

/// One verdict for all: what is invalid comes before what conflicts, as the contract says.
fn all_or_none(
    events: Vec<Event>,
    verdicts: Vec<Verdict>,
    lost: &[AttemptId],
) -> Result<Vec<Receipt>, Problem> {
    let mut receipts = Vec::with_capacity(events.len());
    let mut invalid = Violations::default();
    let mut conflicts = Violations::default();
    let mut own = OwnCommits::default();
    for (index, (event, verdict)) in events.into_iter().zip(verdicts).enumerate() {
        match verdict {
            Verdict::Applied(versions) => receipts.push(receipt(event, versions, false)),
            Verdict::Duplicate { versions, attempt } => {
                let duplicate = own.is_duplicate(&event, attempt, lost);
                receipts.push(receipt(event, versions, duplicate));
            }
            Verdict::Invalid(violations) => {
                invalid.append_up_to(violations.below_index(index), CALL_VIOLATIONS)
            }
            Verdict::Conflict => {
                let one = Violations::one(uuid_of_item(index), conflict().detail);
                conflicts.append_up_to(one, CALL_VIOLATIONS);
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
    Ok(receipts)
}

fn uuid_of_item(index: usize) -> Location {
    Location(vec![Step::Index(index), Step::Key("eventHeader".into()), Step::Key("uuid".into())])
}

fn conflict() -> Problem {
    Problem::new(ProblemKind::Conflict, "the uuid is already used by an event with other content")
}

fn new_updates(outcome: &Outcome) -> u64 {
    outcome.as_ref().map_or(0, updates_of)
}

fn updates_of(receipt: &Receipt) -> u64 {
    if receipt.duplicate { 0 } else { receipt.entities.len() as u64 }
}
