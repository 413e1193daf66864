//! What a batch does to its entities, computed in memory: the slow path, which both adapters share.
//! Pure: the adapter reads first, and writes what the plan says afterwards.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use uuid::Uuid;

use super::conditions::{Judged, LookedAt};
use crate::filter::JudgingTime;
use crate::ingest::Verdict;
use crate::json::{Document, Location, Step, Violations};
use crate::model::{
    AttemptId, EntityKey, EntityUpdate, Event, FailedPrecondition, LoggedEvent, LoggedUpdate,
    NewVersion, Operation, Timestamp,
};
use crate::types::index_key::EntityFacts;

/// What the database holds of a batch's uuids and entities.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The verdicts on those events of the batch, by their places, whose uuid is taken.
    pub(crate) seen: HashMap<usize, Verdict>,
    /// The entities that have a row and may be written.
    pub(crate) entities: HashMap<EntityKey, Stored>,
}

/// An entity as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) version: u64,
    /// Whether it was deleted: then only its version and its times mean something.
    pub(crate) deleted: bool,
    /// Upper bound of the document's size.
    pub(crate) size: usize,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    pub(crate) data: String,
}

impl Stored {
    /// What its indexes depend on; `None` where it does not exist.
    pub(crate) fn facts(&self) -> Option<EntityFacts<'_>> {
        let Self { created, updated, data, .. } = self;
        (!self.deleted).then_some(EntityFacts { created: *created, updated: *updated, data })
    }
}

/// What a plan depends on besides the batch and the database.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// `MAX_ENTITY_BYTES`
    pub(crate) max_entity_bytes: usize,
    /// The time of the commit.
    pub(crate) now: Timestamp,
    pub(crate) attempt: AttemptId,
    /// Whether nothing of the batch is stored where one of its events is refused.
    pub(crate) atomic: bool,
}

/// What to write.
#[derive(Debug, Default)]
pub(crate) struct Writes<'a> {
    /// The entities' new states, in the order of their keys.
    pub(crate) changes: Vec<Change<'a>>,
    /// The log's new rows, in commit order.
    pub(crate) log: Vec<LogRow<'a>>,
}

/// One entity's new state.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    pub(crate) key: &'a EntityKey,
    /// The stored version that it replaces; 0 where the entity has no row.
    pub(crate) replaces: u64,
    pub(crate) version: u64,
    /// Whether the entity is deleted; its document is `{}` then.
    pub(crate) deleted: bool,
    pub(crate) size: usize,
    pub(crate) data: String,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
}

impl Change<'_> {
    /// What the entity's indexes depend on; `None` where it is deleted.
    pub(crate) fn facts(&self) -> Option<EntityFacts<'_>> {
        let Self { created, updated, data, .. } = self;
        (!self.deleted).then_some(EntityFacts { created: *created, updated: *updated, data })
    }
}

/// One update for the log.
#[derive(Debug)]
pub(crate) struct LogRow<'a> {
    pub(crate) event: &'a Event,
    pub(crate) ordinal: usize,
    pub(crate) update: &'a EntityUpdate,
    pub(crate) version: u64,
    /// Whether the entity did not exist just before.
    pub(crate) created: bool,
    pub(crate) committed: Timestamp,
}

/// Plans `batch`; a verdict for each event, in order. `held` are the keys that other sessions have locked;
/// an event that touches one is `Locked`, and so are later events on its other entities, to keep
/// their order: those keys are added.
///
/// # Errors
/// A stored document that is no JSON object, as a sentence for the log.
pub(crate) fn plan<'a>(
    batch: &'a [Event],
    known: &'a Known,
    held: &mut HashSet<EntityKey>,
    rules: Rules,
) -> Result<(Vec<Verdict>, Writes<'a>), String> {
    let mut planner = Planner::new(rules, batch.len());
    let judge = |(place, event)| planner.judge(place, event, known, held);
    let verdicts = batch.iter().enumerate().map(judge);
    let verdicts = verdicts.collect::<Result<_, _>>()?;
    Ok((verdicts, planner.finish()))
}

/// Plans a run of the updates of one event, which is new and of which nothing is held. Where the
/// verdict isn't [`Verdict::Applied`] there is nothing to write, and the runs before it are to be
/// undone. What this run adds to `earlier` is added.
///
/// # Errors
/// As [`plan`].
pub(crate) fn plan_part<'a>(
    event: &'a Event,
    part: Range<usize>,
    known: &'a Known,
    earlier: &mut EarlierParts,
    rules: Rules,
) -> Result<(Verdict, Writes<'a>), String> {
    let mut planner = Planner::new(rules, part.len());
    planner.load(&event.updates()[part.clone()], known)?;
    for (&key, state) in &planner.states {
        if !earlier.versions.contains_key(key) {
            earlier.versions.insert(key.clone(), state.current_version());
        }
    }
    planner.looked_at = earlier.looked_at;
    let updated = planner.update_all(event, part);
    earlier.looked_at = planner.looked_at;
    Ok(match updated {
        Ok(()) => (Verdict::Applied(planner.versions_of(event, 0)), planner.finish()),
        Err(refusal) => {
            let stays = earlier.versions.get(refusal.key(event)).copied().flatten();
            (refusal.into_verdict(event, rules, stays), Writes::default())
        }
    })
}

/// What [`plan_part`] has to know of the runs before.
#[derive(Debug, Default)]
pub(crate) struct EarlierParts {
    /// The versions of the event's entities before the event, as far as they were met.
    versions: HashMap<EntityKey, Option<u64>>,
    looked_at: LookedAt,
}

struct Planner<'a> {
    rules: Rules,
    /// Of the present event, or of all events of an atomic call.
    looked_at: LookedAt,
    /// Of all events.
    judging_time: JudgingTime,
    states: BTreeMap<&'a EntityKey, State<'a>>,
    applied: HashMap<Uuid, (&'a Event, usize)>,
    log: Vec<LogRow<'a>>,
}

/// The state of an entity while the batch is planned.
#[derive(Clone)]
struct State<'a> {
    document: Document<'a>,
    exists: bool,
    /// The version in the database, where the entity exists there.
    stored: Option<u64>,
    replaces: u64,
    version: u64,
    /// At least the document's size.
    bound: usize,
    created: Timestamp,
    updated: Timestamp,
}

/// Why an event is refused.
struct Refusal {
    /// The update that decided.
    ordinal: usize,
    reason: RefusalReason,
}

enum RefusalReason {
    /// The document would exceed `MAX_ENTITY_BYTES`.
    TooLarge,
    /// The conditions before this one have looked at as much as they may.
    TooManyConditions,
    /// The entity does not fulfil the update's precondition or condition in this state, which has the
    /// event's updates before: they are refused too.
    Precondition(FailedPrecondition),
}

impl Refusal {
    /// The entity of the update that decided.
    fn key<'e>(&self, event: &'e Event) -> &'e EntityKey {
        event.updates()[self.ordinal].key()
    }

    /// `stays` is the version of that entity without the event.
    fn into_verdict(self, event: &Event, rules: Rules, stays: Option<u64>) -> Verdict {
        let mut steps = vec![
            Step::Key("eventBody".into()),
            Step::Key("entities".into()),
            Step::Index(self.ordinal),
        ];
        match self.reason {
            RefusalReason::TooLarge => {
                steps.push(Step::Key("updatedAttributes".into()));
                let limit = rules.max_entity_bytes;
                let detail = format!("would make the entity's document larger than {limit} bytes");
                Verdict::Invalid(Violations::one(Location(steps), detail))
            }
            RefusalReason::TooManyConditions => {
                steps.push(Step::Key("condition".into()));
                let most = LookedAt::most(rules.max_entity_bytes);
                let detail = format!(
                    "is one too many: those before it have read {most} bytes of documents, counted once \
                     for each condition and operator; send less at once"
                );
                Verdict::Invalid(Violations::one(Location(steps), detail))
            }
            RefusalReason::Precondition(judged) => {
                let stays = FailedPrecondition { current_version: stays };
                let mut detail = judged.detail(event.updates()[self.ordinal].precondition());
                if judged != stays {
                    detail.push_str(" (with the updates before it)");
                }
                let violations = Violations::one(Location(steps), detail);
                Verdict::PreconditionFailed(violations, stays)
            }
        }
    }
}

impl<'a> Planner<'a> {
    fn new(rules: Rules, events: usize) -> Self {
        Self {
            rules,
            looked_at: LookedAt::default(),
            judging_time: JudgingTime::default(),
            states: BTreeMap::new(),
            applied: HashMap::new(),
            log: Vec::with_capacity(events),
        }
    }

    fn judge(
        &mut self,
        place: usize,
        event: &'a Event,
        known: &'a Known,
        held: &mut HashSet<EntityKey>,
    ) -> Result<Verdict, String> {
        // a uuid takes effect once; a refused event leaves it free
        let seen = known.seen.get(&place).cloned();
        if let Some(verdict) = seen.or_else(|| self.seen_in_batch(event)) {
            return Ok(verdict);
        }
        if event.updates().iter().any(|update| held.contains(update.key())) {
            held.extend(event.updates().iter().map(|update| update.key().clone()));
            return Ok(Verdict::Locked);
        }
        self.load(event.updates(), known)?;
        let first_row = self.log.len();
        Ok(match self.apply(event) {
            Ok(()) => {
                self.applied.insert(event.uuid(), (event, first_row));
                Verdict::Applied(self.versions_of(event, first_row))
            }
            Err(refusal) => {
                let stays = self.version_without_event(refusal.key(event));
                refusal.into_verdict(event, self.rules, stays)
            }
        })
    }

    fn seen_in_batch(&self, event: &Event) -> Option<Verdict> {
        let &(first, first_row) = self.applied.get(&event.uuid())?;
        let versions = self.versions_of(first, first_row);
        Some(compare(event, &as_logged(first, &versions, self.rules)))
    }

    fn versions_of(&self, event: &Event, first_row: usize) -> Vec<NewVersion> {
        let rows = self.log.iter().skip(first_row).take(event.updates().len());
        rows.map(|row| NewVersion { version: row.version, created: row.created }).collect()
    }

    fn load(&mut self, updates: &'a [EntityUpdate], known: &'a Known) -> Result<(), String> {
        for update in updates {
            let key = update.key();
            if self.states.contains_key(key) {
                continue;
            }
            let state = match known.entities.get(key) {
                Some(stored) => State::from_stored(key, stored)?,
                None => State::new(self.rules.now),
            };
            self.states.insert(key, state);
        }
        Ok(())
    }

    /// All updates of `event` or none.
    fn apply(&mut self, event: &'a Event) -> Result<(), Refusal> {
        let before = (!self.surely_passes(event)).then(|| self.copies(event));
        let first_row = self.log.len();
        // an atomic call may have thousands of events, all of which wait for each other
        if !self.rules.atomic {
            self.looked_at = LookedAt::default();
        }
        let applied = self.update_all(event, 0..event.updates().len());
        if applied.is_err() {
            self.log.truncate(first_row);
            self.states.extend(before.into_iter().flatten());
        }
        applied
    }

    /// The version that an entity has where an event is refused, whose updates are undone.
    fn version_without_event(&self, key: &EntityKey) -> Option<u64> {
        let state = self.states.get(key)?;
        if self.rules.atomic { state.stored } else { state.current_version() }
    }

    fn update_all(&mut self, event: &'a Event, part: Range<usize>) -> Result<(), Refusal> {
        for ordinal in part {
            let updated = self.update(event, ordinal, &event.updates()[ordinal]);
            updated.map_err(|reason| Refusal { ordinal, reason })?;
        }
        Ok(())
    }

    /// Whether no update can be refused after another one changed a state: then no copy of the states
    /// is needed.
    fn surely_passes(&self, event: &Event) -> bool {
        let is_first_only = event.updates().len() == 1;
        (is_first_only || event.updates().iter().all(EntityUpdate::is_unconditional))
            && self.surely_fits(event)
    }

    /// Whether even the sum of all sizes is within the limit, so that no document need be measured.
    fn surely_fits(&self, event: &Event) -> bool {
        let added: usize = event.updates().iter().map(|update| update.patch().size()).sum();
        let largest =
            event.updates().iter().filter_map(|u| self.states.get(u.key())).map(|s| s.bound);
        largest.max().unwrap_or(0).saturating_add(added) <= self.rules.max_entity_bytes
    }

    fn copies(&self, event: &'a Event) -> BTreeMap<&'a EntityKey, State<'a>> {
        let keys = event.updates().iter().map(EntityUpdate::key);
        keys.filter_map(|key| Some((key, self.states.get(key)?.clone()))).collect()
    }

    fn update(
        &mut self,
        event: &'a Event,
        ordinal: usize,
        update: &'a EntityUpdate,
    ) -> Result<(), RefusalReason> {
        let Rules { max_entity_bytes, now, .. } = self.rules;
        let state = self.states.entry(update.key()).or_insert_with(|| State::new(now));
        let current_version = state.current_version();
        let is_delete = update.operation() == Operation::Delete;
        if !update.precondition().holds(current_version) || (is_delete && !state.exists) {
            return Err(RefusalReason::Precondition(FailedPrecondition { current_version }));
        }
        if let Some(condition) = update.condition() {
            if self.looked_at.is_most(max_entity_bytes) {
                return Err(RefusalReason::TooManyConditions);
            }
            let (looked_at, time) = (&mut self.looked_at, &mut self.judging_time);
            let judged = state.judged(update.key());
            if !state.exists || !looked_at.judge(condition, &judged, now, time) {
                return Err(RefusalReason::Precondition(FailedPrecondition { current_version }));
            }
        }
        // before parsing it, which takes long where it is far too large
        if update.patch().makes_more_than(max_entity_bytes) {
            return Err(RefusalReason::TooLarge);
        }
        if update.operation() != Operation::Merge {
            state.document = Document::empty();
            state.bound = state.document.size();
        }
        state.document.apply(update.patch());
        state.bound = state.bound.saturating_add(update.patch().size());
        if state.bound > max_entity_bytes {
            state.bound = state.document.size();
            if state.bound > max_entity_bytes {
                return Err(RefusalReason::TooLarge);
            }
        }
        state.version += 1;
        state.updated = state.updated.max(now);
        let created = !state.exists;
        if created {
            state.created = state.updated;
        }
        state.exists = !is_delete;
        let (version, committed) = (state.version, state.updated);
        self.log.push(LogRow { event, ordinal, update, version, created, committed });
        Ok(())
    }

    fn finish(self) -> Writes<'a> {
        let changed = self.states.into_iter().filter(|(_, state)| state.version > state.replaces);
        let changes = changed.map(|(key, state)| state.into_change(key)).collect();
        Writes { changes, log: self.log }
    }
}

impl<'a> State<'a> {
    fn new(now: Timestamp) -> Self {
        let document = Document::empty();
        let bound = document.size();
        Self {
            document,
            exists: false,
            stored: None,
            replaces: 0,
            version: 0,
            bound,
            created: now,
            updated: now,
        }
    }

    fn from_stored(key: &EntityKey, stored: &'a Stored) -> Result<Self, String> {
        let (replaces, version) = (stored.version, stored.version);
        let (created, updated) = (stored.created, stored.updated);
        if stored.deleted {
            return Ok(Self { replaces, version, created, ..Self::new(updated) });
        }
        let document = Document::parse(&stored.data).map_err(|error| {
            let (entity_type, id) = (key.entity_type(), key.entity_id());
            format!("the stored document of {entity_type} {id} is no JSON object: {error}")
        })?;
        let bound = stored.size;
        let stored = Some(version);
        Ok(Self { document, exists: true, stored, replaces, version, bound, created, updated })
    }

    /// The version, where the entity exists.
    fn current_version(&self) -> Option<u64> {
        self.exists.then_some(self.version)
    }

    fn judged<'s>(&'s self, key: &'s EntityKey) -> Judged<'s, 'a> {
        let Self { version, created, updated, ref document, .. } = *self;
        Judged { key, version, created, updated, document }
    }

    fn into_change<'k>(self, key: &'k EntityKey) -> Change<'k> {
        Change {
            key,
            replaces: self.replaces,
            version: self.version,
            deleted: !self.exists,
            size: self.document.size(),
            data: self.document.to_json(),
            created: self.created,
            updated: self.updated,
        }
    }
}

/// The verdicts on the events of a batch, by their places, whose uuid is `logged`'s.
pub(crate) fn seen<'a>(
    batch: &'a [Event],
    logged: &'a LoggedEvent,
) -> impl Iterator<Item = (usize, Verdict)> + 'a {
    let same = batch.iter().enumerate().filter(|(_, event)| event.uuid() == logged.uuid);
    same.map(|(place, event)| (place, compare(event, logged)))
}

fn compare(event: &Event, logged: &LoggedEvent) -> Verdict {
    if event.same_content(logged) {
        let version =
            |made: &LoggedUpdate| NewVersion { version: made.version, created: made.created };
        let versions = logged.updates.iter().map(version).collect();
        Verdict::Duplicate { versions, attempt: logged.attempt }
    } else {
        Verdict::Conflict
    }
}

/// What the log will have of an event of this batch.
fn as_logged(
    event: &Event,
    versions: &[NewVersion],
    Rules { now, attempt, .. }: Rules,
) -> LoggedEvent {
    let updates = event.updates().iter().zip(versions).map(|(update, new)| LoggedUpdate {
        key: update.key().clone(),
        version: new.version,
        created: new.created,
        operation: update.operation(),
        patch: update.patch().text().to_owned(),
    });
    LoggedEvent {
        uuid: event.uuid(),
        name: event.name().to_owned(),
        event_type: event.event_type().map(str::to_owned),
        created: event.created(),
        saved: event.saved().unwrap_or(now),
        source: event.source().map(str::to_owned),
        actor: event.actor().map(str::to_owned),
        committed: now,
        attempt,
        updates: updates.collect(),
    }
}
