//! What both adapters share of connectors and dead letters: their rows, and the statements that are alike.
//! `T` is how a database has times.

use std::borrow::Cow;
use std::time::Duration;

use sqlx::FromRow;

use super::numbers::{from_bigint, to_bigint};
use crate::model::{EntityKey, Timestamp};
use crate::worker::{
    Connector, Control, DeadLetter, DeadLetterPlace, DeadLetterState, Lease, NewDeadLetter, Report,
    Role, SinkLag,
};

/// Dead letters that one statement changes, so that it is short.
pub(crate) const STEP_LETTERS: u32 = 500;

/// Only of the lease that is valid, and not of a position that was reset meanwhile.
pub(crate) const ADVANCE: &str = r"
UPDATE connectors SET token = $5, position = $6
WHERE role = $1 AND name = $2 AND lease_epoch = $3 AND generation = $4";

/// Its epoch ends too: what the worker still sends has no effect.
pub(crate) const RELEASE: &str = r"
UPDATE connectors SET lease_epoch = lease_epoch + 1, worker = NULL, lease_until = NULL
WHERE role = $1 AND name = $2 AND lease_epoch = $3";

/// Pauses or resumes.
pub(crate) const SET_PAUSED: &str =
    "UPDATE connectors SET paused = $3 WHERE role = $1 AND name = $2";

/// Of a sink.
pub(crate) const SKIP: &str = "UPDATE connectors SET skip = $2 WHERE role = 0 AND name = $1";

/// Of a sink. What was to be given up is not there any more.
pub(crate) const RESET: &str = r"
UPDATE connectors SET token = $2, position = $3, generation = generation + 1, skip = NULL
WHERE role = 0 AND name = $1";

/// With the last of its dead letters.
pub(crate) const DELETE_CONNECTOR: &str = "DELETE FROM connectors WHERE role = $1 AND name = $2";

/// Of a sink.
pub(crate) const SETTLE_ENTITY: &str = r"
DELETE FROM dead_letters
WHERE role = $1 AND connector = $2 AND entity_type = $4 AND entity_id = $5
    AND EXISTS (SELECT 1 FROM connectors WHERE role = $1 AND name = $2 AND lease_epoch = $3)";

/// The entities of a sink's dead letters.
pub(crate) const HELD_ENTITIES: &str = r"
SELECT DISTINCT entity_type, entity_id FROM dead_letters
WHERE role = 0 AND connector = $1 AND position IS NOT NULL";

/// Up to $3. All dead letters of the connector are passed over once, in the order of an index: a join of them
/// with themselves would depend on what the planner knows of a table that was empty a moment ago.
pub(crate) const DUE: &str = r"
WITH numbered AS (
    SELECT id, position, state,
           row_number() OVER (PARTITION BY entity_type, entity_id ORDER BY position) AS number
    FROM dead_letters
    WHERE role = $1 AND connector = $2 AND position IS NOT NULL
), due AS (
    SELECT id, position FROM numbered WHERE number = 1 AND state = 1
    UNION ALL
    SELECT id, position FROM dead_letters WHERE role = $1 AND connector = $2 AND state = 2
    ORDER BY position, id LIMIT $3
)
SELECT d.id, d.role, d.connector, d.state, d.place, d.position, d.entity_type, d.entity_id, d.version,
       d.message, d.error, d.tries, d.first_at, d.last_at
FROM due CROSS JOIN dead_letters AS d WHERE d.id = due.id
ORDER BY d.position, d.id";

/// A dead letter with its message.
pub(crate) const LETTER: &str = r"
SELECT id, role, connector, state, place, position, entity_type, entity_id, version,
       message, error, tries, first_at, last_at
FROM dead_letters WHERE id = $1";

/// A text that both databases take: PostgreSQL has none with NUL. What a target answered may have one.
pub(crate) fn storable(text: &str) -> Cow<'_, str> {
    match text.contains('\0') {
        true => Cow::Owned(text.replace('\0', "\u{FFFD}")),
        false => Cow::Borrowed(text),
    }
}

/// A report for the column `report`. JSON escapes NUL.
pub(crate) fn report_json(report: &Report) -> Result<String, sqlx::Error> {
    serde_json::to_string(report).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// A connector with what is counted for it.
#[derive(FromRow)]
pub(crate) struct ConnectorRow {
    name: String,
    kind: String,
    paused: bool,
    worker: Option<String>,
    token: Option<String>,
    position: Option<i64>,
    report: String,
    /// The last position of the log.
    last: Option<i64>,
    /// Microseconds since the first change behind the position was committed.
    age: Option<i64>,
    letters: i64,
}

impl ConnectorRow {
    pub(crate) fn into_connector(self, role: Role) -> Connector {
        let lag = self.position.map(|position| SinkLag {
            changes: from_bigint(self.last.unwrap_or(0).saturating_sub(position)),
            age: Duration::from_micros(self.age.map_or(0, from_bigint)),
        });
        Connector {
            role,
            name: self.name,
            kind: self.kind,
            paused: self.paused,
            worker: self.worker,
            token: self.token,
            lag,
            // what another release wrote, and this one can't read, is no reason to hide the connector
            report: serde_json::from_str(&self.report).unwrap_or_default(),
            dead_letters: from_bigint(self.letters),
        }
    }
}

/// What is asked of a connector.
#[derive(FromRow)]
pub(crate) struct ControlRow {
    paused: bool,
    generation: i64,
    skip: Option<String>,
    letters_generation: i64,
}

impl From<ControlRow> for Control {
    fn from(row: ControlRow) -> Self {
        Self {
            paused: row.paused,
            generation: from_bigint(row.generation),
            skip: row.skip,
            letters_generation: from_bigint(row.letters_generation),
        }
    }
}

/// A lease that began.
#[derive(FromRow)]
pub(crate) struct LeaseRow {
    lease_epoch: i64,
    token: Option<String>,
    #[sqlx(flatten)]
    control: ControlRow,
}

impl LeaseRow {
    pub(crate) fn into_lease(self, role: Role, name: &str) -> Lease {
        let control = Control::from(self.control);
        Lease {
            role,
            name: name.to_owned(),
            epoch: from_bigint(self.lease_epoch),
            generation: control.generation,
            token: self.token,
            control,
        }
    }
}

/// A dead letter.
#[derive(FromRow)]
pub(crate) struct LetterRow<T> {
    id: i64,
    role: i16,
    connector: String,
    state: i16,
    place: String,
    position: Option<i64>,
    entity_type: Option<String>,
    entity_id: Option<String>,
    version: Option<i64>,
    message: Vec<u8>,
    error: String,
    tries: i64,
    first_at: T,
    last_at: T,
}

impl<T> LetterRow<T> {
    pub(crate) fn into_letter(self, moment: impl Fn(T) -> Timestamp) -> DeadLetter {
        let place = match (self.position, self.entity_type, self.entity_id) {
            (Some(position), Some(entity_type), Some(entity_id)) => DeadLetterPlace::Change {
                position: from_bigint(position),
                key: EntityKey::new_unchecked(entity_type, entity_id),
                version: self.version.map_or(0, from_bigint),
            },
            _ => DeadLetterPlace::Message(self.place),
        };
        DeadLetter {
            id: from_bigint(self.id),
            role: Role::from_code(self.role),
            connector: self.connector,
            letter: NewDeadLetter {
                place,
                state: DeadLetterState::from_code(self.state),
                message: self.message,
                error: self.error,
                tries: u32::try_from(self.tries).unwrap_or(u32::MAX),
                first_at: moment(self.first_at),
                last_at: moment(self.last_at),
            },
        }
    }
}

/// The columns of a place.
pub(crate) struct PlaceColumns<'l> {
    pub(crate) place: Cow<'l, str>,
    pub(crate) position: Option<i64>,
    pub(crate) entity_type: Option<&'l str>,
    pub(crate) entity_id: Option<&'l str>,
    pub(crate) version: Option<i64>,
}

impl<'l> PlaceColumns<'l> {
    pub(crate) fn of(place: &'l DeadLetterPlace) -> Self {
        match place {
            DeadLetterPlace::Change { position, key, version } => Self {
                // of a snapshot several entities have one position
                place: Cow::Owned(format!("{position} {}/{}", key.entity_type(), key.entity_id())),
                position: Some(to_bigint(*position)),
                entity_type: Some(key.entity_type()),
                entity_id: Some(key.entity_id()),
                version: Some(to_bigint(*version)),
            },
            DeadLetterPlace::Message(place) => Self {
                place: storable(place),
                position: None,
                entity_type: None,
                entity_id: None,
                version: None,
            },
        }
    }
}
