//! The builder of events. Both transports fill it, so that both give the same verdict.

use std::borrow::Cow;

use producer_telemetry::log_rate::LogRate;
use uuid::Uuid;

use super::fields::{EntityFields, Field, Header};
use super::locations::{ATTRIBUTES, BODY, HEADER, all_entities, entity_field, header_field, key};
use super::uuid::uuid;
use crate::json::{Location, Patch, Violations, is_whole, whole};
use crate::model::{
    Clock, Condition, EntityKey, EntityUpdate, Event, Operation, Precondition, Problem,
    ProblemKind, Timestamp, check_id, check_name,
};

const MAX_ENTITIES: usize = 1000;

const REQUIRED: &str = "is required";

/// Required members by their JSON names: what gRPC calls them, and the violation of one that is missing
/// where that is there instead.
const SNAKE_CASE: [(&str, &str, &str); 6] = [
    (HEADER, "event_header", "is required; found event_header, REST uses eventHeader"),
    (BODY, "event_body", "is required; found event_body, REST uses eventBody"),
    ("eventName", "event_name", "is required; found event_name, REST uses eventName"),
    ("entityType", "entity_type", "is required; found entity_type, REST uses entityType"),
    ("entityId", "entity_id", "is required; found entity_id, REST uses entityId"),
    (
        ATTRIBUTES,
        "updated_attributes",
        "is required; found updated_attributes, REST uses updatedAttributes",
    ),
];

/// The bits of [`SNAKE_CASE`] that each entity has anew.
const ENTITY_MEMBERS: u8 = 0b11_1000;

/// Optional members that gRPC calls otherwise: in JSON they are ignored.
const IGNORED_SNAKE_CASE: [(&str, &str); 3] =
    [("event_type", "eventType"), ("created_date", "createdDate"), ("saved_date", "savedDate")];

/// Members of an entity that decide what is done with it. In another notation (`expected_version`,
/// `Operation`) they are refused: ignoring them would lose updates.
const DECISIVE: [&str; 4] = ["operation", "expectedVersion", "exists", "condition"];

/// Unix milliseconds of 1980-01-01: whole numbers below it are likely to be seconds.
const LIKELY_SECONDS: std::ops::Range<i64> = 1..315_532_800_000;

static SECONDS_RATE: LogRate = LogRate::new();
static SNAKE_CASE_RATE: LogRate = LogRate::new();
const NO_STRING: &str = "must be a string";
const NO_OPERATION: &str = "must be merge, replace or delete";
const NO_VERSION: &str = "must be a whole number of 1 or more";

/// A required value.
#[derive(Debug, Default)]
enum Slot<T> {
    #[default]
    Missing,
    /// There, and reported.
    Refused,
    Is(T),
}

impl<T> Slot<T> {
    fn set(&mut self, value: Option<T>) {
        *self = value.map_or(Self::Refused, Self::Is);
    }

    fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }
}

/// A builder of an [`Event`]. It takes fields in any order, reports every broken rule in that order, and
/// yields the event if there is none.
///
/// ```
/// # use producer_core::{Clock, Draft, EntityFields, Field, Header, Patch};
/// # let clock = Clock::system();
/// let mut draft = Draft::new();
/// draft.header(Header { event_name: Field::Text("LoanPaymentSubmitted".into()), ..Header::default() });
/// draft.body(|draft| draft.entity(EntityFields {
///     entity_type: Field::Text("Loan".into()),
///     entity_id: Field::Text("loan-12345".into()),
///     ..EntityFields::new(Patch::parse("{}"))
/// }));
/// assert_eq!(draft.finish(&clock)?.updates().len(), 1);
/// # Ok::<(), producer_core::Problem>(())
/// ```
#[derive(Debug, Default)]
pub struct Draft {
    uuid: Option<Uuid>,
    has_uuid: bool,
    name: Slot<String>,
    event_type: Option<String>,
    created: Option<Timestamp>,
    saved: Option<Timestamp>,
    source: Option<String>,
    actor: Option<String>,
    updates: Vec<EntityUpdate>,
    entity: EntityDraft,
    entities_begun: usize,
    has_header: bool,
    has_body: bool,
    has_entities: bool,
    /// A bit for each member of [`SNAKE_CASE`] that was found under that name.
    snake_case: u8,
    violations: Violations,
    /// Whether one of them is a text that can't be read as a filter.
    is_malformed: bool,
}

/// What an event gets where it has none itself.
#[derive(Debug, Clone, Copy)]
pub struct Defaults<'a> {
    /// `uuid`
    pub uuid: Uuid,
    /// `source`
    pub source: &'a str,
}

#[derive(Debug, Default)]
struct EntityDraft {
    entity_type: Slot<String>,
    entity_id: Slot<String>,
    operation: Operation,
    /// Whether `operation` is not the one that was sent, which is reported.
    operation_refused: bool,
    precondition: Precondition,
    condition: Option<Condition>,
    patch: Slot<Patch>,
}

impl Draft {
    /// An empty draft.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a whole header.
    pub fn header(&mut self, header: Header<'_>) {
        self.begin_header();
        self.uuid(header.uuid);
        self.event_name(header.event_name);
        self.created_date(header.created_date);
        self.saved_date(header.saved_date);
        self.event_type(header.event_type);
        self.source(header.source);
        self.actor(header.actor);
        self.end_header();
    }

    /// Takes a whole body: `entities` calls [`Draft::entity`] for each.
    pub fn body(&mut self, entities: impl FnOnce(&mut Self)) {
        self.begin_body();
        self.begin_entities();
        entities(self);
        self.end_entities();
        self.end_body();
    }

    /// Takes a whole entity of the body.
    pub fn entity(&mut self, fields: EntityFields<'_>) {
        self.begin_entity();
        self.entity_type(fields.entity_type);
        self.entity_id(fields.entity_id);
        self.operation(fields.operation);
        self.expected_version(fields.expected_version);
        self.exists(fields.exists);
        self.condition(fields.condition);
        match fields.attributes {
            Ok(patch) => self.patch(Some(patch)),
            Err(violations) => {
                self.violations.append(violations.below(&self.entity_field(ATTRIBUTES)));
                self.patch(None);
            }
        }
        self.end_entity();
    }

    /// Takes the uuid that was given outside of the event, by an idempotency key.
    ///
    /// # Errors
    /// `Malformed` where the event has a uuid too.
    pub fn with_uuid(mut self, uuid: Option<Uuid>) -> Result<Self, Problem> {
        if let Some(uuid) = uuid {
            if self.has_uuid {
                let detail = "an idempotency key and a uuid in the event must not both be given";
                return Err(Problem::new(ProblemKind::Malformed, detail));
            }
            self.uuid = Some(uuid);
        }
        Ok(self)
    }

    /// Takes what the event gets where it has none itself.
    #[must_use]
    pub fn with_defaults(mut self, defaults: Defaults<'_>) -> Self {
        self.uuid = self.uuid.or(Some(defaults.uuid));
        if self.source.is_none() {
            self.source(Field::Text(defaults.source.into()));
        }
        self
    }

    /// Makes the event, with a new uuid where none was given.
    ///
    /// # Errors
    /// `Validation` with every broken rule, and the event's uuid where a valid one was given; `Malformed`
    /// with the same where one of them is a condition that is no filter. As with text that is no JSON, that
    /// comes before all other rules.
    pub fn finish(mut self, clock: &Clock) -> Result<Event, Problem> {
        for (is_there, part) in [(self.has_header, HEADER), (self.has_body, BODY)] {
            if !is_there {
                let detail = self.missing(part);
                self.violations.add(|| Location(vec![key(part)]), detail);
            }
        }
        match self.name {
            Slot::Is(name) if self.violations.is_empty() => Ok(Event {
                uuid: self.uuid.unwrap_or_else(|| clock.new_uuid()),
                name,
                event_type: self.event_type,
                created: self.created,
                saved: self.saved,
                source: self.source,
                actor: self.actor,
                updates: self.updates,
            }),
            _ => {
                let mut problem = Problem::validation(self.violations);
                if self.is_malformed {
                    problem.kind = ProblemKind::Malformed;
                }
                Err(Problem { event_id: self.uuid, ..problem })
            }
        }
    }

    /// For a value that is no event at all and reported as such: no member is reported as missing.
    pub(crate) fn need_no_members(&mut self) {
        (self.has_header, self.has_body) = (true, true);
    }

    /// Notes a member that JSON doesn't have. Where it is one of ours by its name in gRPC, the missing
    /// one's violation says so.
    pub(crate) fn unknown_member(&mut self, name: &str) {
        if let Some(index) = SNAKE_CASE.iter().position(|(_, snake_case, _)| *snake_case == name) {
            self.snake_case |= 1 << index;
        }
        let ignored = IGNORED_SNAKE_CASE.iter().find(|(snake_case, _)| *snake_case == name);
        if let Some((found, expected)) = ignored
            && let Some(omitted) = SNAKE_CASE_RATE.try_log()
        {
            tracing::warn!(found, expected, omitted, "member of an event ignored");
        }
    }

    /// Notes a member of an entity that JSON doesn't have.
    pub(crate) fn unknown_entity_member(&mut self, name: &str) {
        let is_same = |known: &&&str| {
            let letters = name.bytes().filter(|byte| !matches!(byte, b'_' | b'-'));
            letters
                .map(|byte| byte.to_ascii_lowercase())
                .eq(known.bytes().map(|byte| byte.to_ascii_lowercase()))
        };
        if let Some(known) = DECISIVE.iter().find(is_same) {
            let place = || entity_field(self.entities_begun, name.to_owned());
            self.violations.add(place, format!("is not known; did you mean {known}?"));
        }
    }

    /// The violation of a required member that is missing.
    fn missing(&self, name: &str) -> &'static str {
        let found = SNAKE_CASE.iter().enumerate().find(|(_, (member, ..))| *member == name);
        match found {
            Some((index, (_, _, detail))) if self.snake_case & (1 << index) != 0 => detail,
            _ => REQUIRED,
        }
    }

    pub(crate) fn violations_mut(&mut self) -> &mut Violations {
        &mut self.violations
    }

    pub(crate) fn begin_header(&mut self) {
        self.has_header = true;
    }

    pub(crate) fn uuid(&mut self, field: Field<'_>) {
        self.has_uuid |= field != Field::Absent;
        let given = self.optional_text(field, "uuid");
        self.uuid = given.and_then(|text| {
            let uuid = uuid(&text);
            if uuid.is_none() {
                let detail = "must be a UUID, hyphenated or as 32 hexadecimal digits";
                self.violations.add(|| header_field("uuid"), detail);
            }
            uuid
        });
    }

    pub(crate) fn event_name(&mut self, field: Field<'_>) {
        let place = || header_field("eventName");
        required(&mut self.name, field, check_name, place, &mut self.violations);
    }

    pub(crate) fn event_type(&mut self, field: Field<'_>) {
        self.event_type = self.optional_name(field, "eventType");
    }

    pub(crate) fn source(&mut self, field: Field<'_>) {
        self.source = self.optional_name(field, "source");
    }

    pub(crate) fn actor(&mut self, field: Field<'_>) {
        self.actor = self.optional_name(field, "actor");
    }

    /// An empty text counts as absent.
    fn optional_name(&mut self, field: Field<'_>, name: &'static str) -> Option<String> {
        let given = self.optional_text(field, name).filter(|text| !text.is_empty())?;
        if let Err(detail) = check_name(&given) {
            self.violations.add(|| header_field(name), detail);
        }
        Some(given.into_owned())
    }

    pub(crate) fn created_date(&mut self, field: Field<'_>) {
        let is_number = match &field {
            Field::Number(_) => true,
            Field::Text(text) => text.bytes().all(|byte| byte.is_ascii_digit()),
            _ => false,
        };
        self.created = self.date(field, "createdDate");
        if let Some(created) = self.created.filter(|_| is_number)
            && LIKELY_SECONDS.contains(&(created.micros() / 1000))
            && let Some(omitted) = SECONDS_RATE.try_log()
        {
            tracing::warn!(
                created_date = %created,
                omitted,
                "createdDate is before 1980: it counts milliseconds, but seems to be in seconds"
            );
        }
    }

    pub(crate) fn saved_date(&mut self, field: Field<'_>) {
        self.saved = self.date(field, "savedDate");
    }

    fn date(&mut self, field: Field<'_>, name: &'static str) -> Option<Timestamp> {
        let date = match &field {
            Field::Absent | Field::Refused => return None,
            Field::Text(text) => Timestamp::from_text(text),
            Field::Number(text) => Timestamp::from_number(text),
            Field::Bool(_) | Field::Other => Err("must be a string or a number"),
        };
        date.map_err(|detail| self.violations.add(|| header_field(name), detail)).ok()
    }

    fn optional_text<'f>(&mut self, field: Field<'f>, name: &'static str) -> Option<Cow<'f, str>> {
        match field {
            Field::Text(text) => return Some(text),
            Field::Absent | Field::Refused => {}
            Field::Number(_) | Field::Bool(_) | Field::Other => {
                self.violations.add(|| header_field(name), NO_STRING);
            }
        }
        None
    }

    pub(crate) fn end_header(&mut self) {
        if self.name.is_missing() {
            let detail = self.missing("eventName");
            self.violations.add(|| header_field("eventName"), detail);
        }
    }

    pub(crate) fn begin_body(&mut self) {
        self.has_body = true;
    }

    pub(crate) fn begin_entities(&mut self) {
        self.has_entities = true;
        self.entities_begun = 0; // if the list occurs twice, locations count from the start of each
    }

    pub(crate) fn begin_entity(&mut self) {
        self.entities_begun += 1;
        self.entity = EntityDraft::default();
        self.snake_case &= !ENTITY_MEMBERS;
        if self.entities_begun == MAX_ENTITIES + 1 {
            self.violations.add(all_entities, "must have at most 1,000 items");
        }
    }

    pub(crate) fn entity_type(&mut self, field: Field<'_>) {
        let (slot, place) = (&mut self.entity.entity_type, self.entities_begun);
        let place = || entity_field(place, "entityType");
        required(slot, field, check_id, place, &mut self.violations);
    }

    pub(crate) fn entity_id(&mut self, field: Field<'_>) {
        let (slot, place) = (&mut self.entity.entity_id, self.entities_begun);
        let place = || entity_field(place, "entityId");
        required(slot, field, check_id, place, &mut self.violations);
    }

    pub(crate) fn operation(&mut self, field: Field<'_>) {
        let operation = match &field {
            Field::Absent => return,
            Field::Text(name) => Operation::from_name(name),
            Field::Number(_) | Field::Bool(_) | Field::Other | Field::Refused => None,
        };
        match operation {
            Some(operation) => self.entity.operation = operation,
            None => self.entity.operation_refused = true,
        }
        if operation.is_none() && field != Field::Refused {
            self.violations.add(|| entity_field(self.entities_begun, "operation"), NO_OPERATION);
        }
    }

    pub(crate) fn expected_version(&mut self, field: Field<'_>) {
        let version = match field {
            Field::Absent | Field::Refused => return,
            Field::Number(text) => version(text),
            Field::Text(_) | Field::Bool(_) | Field::Other => None,
        };
        match version {
            Some(version) => {
                self.set_precondition(Precondition::Versions([version].into()), "expectedVersion");
            }
            None => self
                .violations
                .add(|| entity_field(self.entities_begun, "expectedVersion"), NO_VERSION),
        }
    }

    pub(crate) fn exists(&mut self, field: Field<'_>) {
        match field {
            Field::Absent | Field::Refused => {}
            Field::Bool(true) => self.set_precondition(Precondition::Exists, "exists"),
            Field::Bool(false) => self.set_precondition(Precondition::Absent, "exists"),
            Field::Text(_) | Field::Number(_) | Field::Other => {
                let detail = "must be true or false";
                self.violations.add(|| entity_field(self.entities_begun, "exists"), detail);
            }
        }
    }

    fn set_precondition(&mut self, precondition: Precondition, name: &'static str) {
        if self.entity.precondition != Precondition::None {
            let detail = "must not be given: expectedVersion and exists exclude each other";
            self.violations.add(|| entity_field(self.entities_begun, name), detail);
        }
        self.entity.precondition = precondition;
    }

    pub(crate) fn condition(&mut self, field: Field<'_>) {
        let place = || entity_field(self.entities_begun, "condition");
        match field {
            Field::Absent => {}
            // JSON has reported a text that no filter can have: protobuf's readers find out by parsing it
            Field::Refused => self.is_malformed = true,
            Field::Text(text) => match Condition::parse(&text) {
                Ok(condition) => self.entity.condition = Some(condition),
                Err(error) => {
                    self.is_malformed = true;
                    self.violations.add(place, error.to_string());
                }
            },
            Field::Number(_) | Field::Bool(_) | Field::Other => {
                self.violations.add(place, NO_STRING);
            }
        }
    }

    /// `None`: it is there, and reported as broken.
    pub(crate) fn patch(&mut self, patch: Option<Patch>) {
        self.entity.patch.set(patch);
    }

    pub(crate) fn end_entity(&mut self) {
        let mut entity = std::mem::take(&mut self.entity);
        self.check_attributes(&mut entity);
        let missing = [
            (entity.entity_type.is_missing(), "entityType"),
            (entity.entity_id.is_missing(), "entityId"),
            (entity.patch.is_missing(), ATTRIBUTES),
        ];
        for (_, name) in missing.into_iter().filter(|(is_missing, _)| *is_missing) {
            let detail = self.missing(name);
            self.violations.add(|| entity_field(self.entities_begun, name), detail);
        }
        let EntityDraft {
            entity_type, entity_id, operation, precondition, condition, patch, ..
        } = entity;
        if let (Slot::Is(entity_type), Slot::Is(entity_id), Slot::Is(patch)) =
            (entity_type, entity_id, patch)
            && self.violations.is_empty()
        {
            // most events have one: a vector that grows by itself would have room for four
            if self.updates.is_empty() {
                self.updates.reserve_exact(1);
            }
            self.updates.push(EntityUpdate {
                key: EntityKey::new_unchecked(entity_type, entity_id),
                operation,
                precondition,
                condition,
                patch,
            });
        }
    }

    /// A delete has no attributes; an update whose operation is unknown may have none.
    fn check_attributes(&mut self, entity: &mut EntityDraft) {
        match &entity.patch {
            Slot::Missing if entity.operation == Operation::Delete => {
                entity.patch = Slot::Is(Patch::empty());
            }
            Slot::Missing if entity.operation_refused => entity.patch = Slot::Refused,
            Slot::Is(patch) if entity.operation == Operation::Delete && !patch.is_empty() => {
                let detail = "must be absent or {}, because operation is delete";
                self.violations.add(|| entity_field(self.entities_begun, ATTRIBUTES), detail);
            }
            _ => {}
        }
    }

    pub(crate) fn end_entities(&mut self) {
        if self.entities_begun == 0 {
            self.violations.add(all_entities, "must have at least one item");
        }
    }

    pub(crate) fn end_body(&mut self) {
        if !self.has_entities {
            self.violations.add(all_entities, REQUIRED);
        }
    }

    fn entity_field(&self, name: &'static str) -> Location {
        entity_field(self.entities_begun, name)
    }
}

/// Fills `slot` from a field that must be a string and pass `check`.
fn required(
    slot: &mut Slot<String>,
    field: Field<'_>,
    check: fn(&str) -> Result<(), &'static str>,
    place: impl FnOnce() -> Location,
    violations: &mut Violations,
) {
    let verdict = match field {
        Field::Absent => return,
        Field::Refused => return slot.set(None),
        Field::Text(text) => check(&text).map(|()| text),
        Field::Number(_) | Field::Bool(_) | Field::Other => Err(NO_STRING),
    };
    match verdict {
        Ok(text) => slot.set(Some(text.into_owned())),
        Err(detail) => {
            violations.add(place, detail);
            slot.set(None);
        }
    }
}

/// The value of a JSON number that is whole and 1 or more. No entity has a version beyond `i64`.
fn version(text: &str) -> Option<u64> {
    match whole(text) {
        Some(version) => u64::try_from(version).ok().filter(|version| *version > 0),
        None if is_whole(text) && !text.starts_with('-') => Some(u64::MAX),
        None => None,
    }
}
