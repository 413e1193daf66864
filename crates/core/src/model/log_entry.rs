//! One entity's log, entry by entry.

use uuid::Uuid;

use super::operation::Operation;
use crate::time::Timestamp;

/// What an entry of the log is: its column `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// An update of an event.
    Event,
    /// A row that was taken over from an older service.
    Adopted,
    /// What pruning left of the entries up to its version: the state, as a replace with the document or as a
    /// delete. Its `created_at` is when the entity was made.
    Checkpoint,
    /// An update whose event pruning has deleted in part. It belongs to no event any more, and still
    /// counts for its entity until that is pruned up to it.
    Detached,
}

impl EntryKind {
    /// The kind that the log's column `kind` means.
    ///
    /// # Errors
    /// A value that this release doesn't know, as a sentence for the log.
    pub fn from_code(code: i16) -> Result<Self, String> {
        match code {
            0 => Ok(Self::Event),
            1 => Ok(Self::Adopted),
            2 => Ok(Self::Checkpoint),
            3 => Ok(Self::Detached),
            _ => Err(format!(
                "the log has an entry of kind {code}, which this release does not know: use the newer \
                 release that wrote it"
            )),
        }
    }

    /// The value of the log's column `kind`.
    pub const fn code(self) -> i16 {
        match self {
            Self::Event => 0,
            Self::Adopted => 1,
            Self::Checkpoint => 2,
            Self::Detached => 3,
        }
    }
}

/// One entry of an entity's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// What it is.
    pub kind: EntryKind,
    /// The event's uuid.
    pub uuid: Uuid,
    /// The update's place in its event, from 0; below 0 of checkpoints and detached updates.
    pub ordinal: i16,
    /// The version that it made.
    pub version: u64,
    /// What it did with the entity.
    pub operation: Operation,
    /// Whether the entity did not exist just before; false of a checkpoint.
    pub created: bool,
    /// `eventName`.
    pub event_name: String,
    /// `eventType`.
    pub event_type: Option<String>,
    /// `source`.
    pub source: Option<String>,
    /// `actor`.
    pub actor: Option<String>,
    /// `createdDate`; of checkpoints and adopted rows when the entity was made.
    pub created_date: Option<Timestamp>,
    /// When it was committed.
    pub committed: Timestamp,
    /// The patch as it was sent, a JSON object.
    pub patch: String,
}

impl LogEntry {
    /// The event that it belongs to, where the log still has it.
    pub fn event_id(&self) -> Option<Uuid> {
        matches!(self.kind, EntryKind::Event | EntryKind::Adopted).then_some(self.uuid)
    }

    /// When the entity was made, where this entry says so.
    pub fn made_at(&self) -> Option<Timestamp> {
        match self.kind {
            EntryKind::Checkpoint => self.created_date,
            EntryKind::Adopted if self.created => self.created_date.or(Some(self.committed)),
            _ => self.created.then_some(self.committed),
        }
    }

    /// Bytes of its texts but the patch.
    pub(crate) fn names_bytes(&self) -> usize {
        let optional = [&self.event_type, &self.source, &self.actor];
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        self.event_name.len() + optional.map(length).iter().sum::<usize>()
    }

    /// The same without its patch.
    pub(crate) fn without_patch(&self) -> Self {
        Self {
            kind: self.kind,
            uuid: self.uuid,
            ordinal: self.ordinal,
            version: self.version,
            operation: self.operation,
            created: self.created,
            event_name: self.event_name.clone(),
            event_type: self.event_type.clone(),
            source: self.source.clone(),
            actor: self.actor.clone(),
            created_date: self.created_date,
            committed: self.committed,
            patch: String::new(),
        }
    }

    /// Whether the state after it needs nothing that came before.
    pub fn is_base(&self) -> bool {
        self.created || self.kind == EntryKind::Checkpoint || self.operation != Operation::Merge
    }
}

/// A moment in an entity's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// The update that made this version.
    Version(u64),
    /// The last update that was not committed after this time.
    Time(Timestamp),
}

/// What the log has of an entity at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPoint {
    /// The version then.
    pub version: u64,
    /// The last entry up to it that needs none before (see [`LogEntry::is_base`]), where it is near enough.
    pub base: Option<u64>,
    /// When the entity was made, where that is known or near enough.
    pub made_at: Option<Timestamp>,
}

/// A part of one entity's log, in the order of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRange {
    /// Versions after this one.
    pub after: u64,
    /// Versions up to this one.
    pub up_to: u64,
    /// Begins with the last one.
    pub descending: bool,
    /// At most so many; fewer come where they are large.
    pub entries: u32,
}

impl LogRange {
    /// What follows on entries that were read of it.
    pub(crate) fn behind(self, read: &[LogEntry]) -> Self {
        match read.last() {
            Some(last) if self.descending => Self { up_to: last.version.saturating_sub(1), ..self },
            Some(last) => Self { after: last.version, ..self },
            None => self,
        }
    }
}
