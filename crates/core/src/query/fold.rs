//! The fold of an entity's log: its state, entry by entry.

use crate::json::Document;
use crate::model::{EntryKind, LogEntry, LogPoint, Operation, Timestamp};

/// The state of an entity as far as its log was read.
#[derive(Debug)]
pub(super) struct Fold {
    /// The document; `{}` where the entity does not exist.
    pub(super) data: String,
    /// Whether it exists: not before its first update, and not after a delete.
    pub(super) exists: bool,
    pub(super) version: u64,
    pub(super) made_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

impl Fold {
    /// Nothing yet: the state before the base of `point`, if that and the time when the entity was made are
    /// near enough.
    pub(super) fn before(point: LogPoint) -> Option<Self> {
        let (base, made_at) = (point.base?, point.made_at?);
        Some(Self {
            data: "{}".into(),
            exists: false,
            version: base.saturating_sub(1),
            made_at,
            updated_at: made_at,
        })
    }

    /// Whether the entries follow on what was read. A checkpoint holds all that was before it.
    pub(super) fn continues_with(&self, entries: &[LogEntry]) -> bool {
        entries.first().is_some_and(|first| {
            first.version == self.version + 1 || first.kind == EntryKind::Checkpoint
        })
    }

    /// Takes the next entries; `each` gets every one and its patch.
    ///
    /// # Errors
    /// A patch that is no JSON object, as a sentence for the log.
    pub(super) fn extend(
        &mut self,
        entries: &[LogEntry],
        each: &mut impl FnMut(&LogEntry, &Document<'_>),
    ) -> Result<(), String> {
        let before = std::mem::take(&mut self.data);
        let mut document = Document::parse(&before).map_err(|error| error.to_string())?;
        for entry in entries {
            let patch = Document::parse(&entry.patch)
                .map_err(|error| format!("version {}: {error}", entry.version))?;
            each(entry, &patch);
            if entry.is_base() {
                document = Document::empty();
            }
            document.merge(patch);
            self.exists = entry.operation != Operation::Delete;
            self.version = entry.version;
            self.made_at = entry.made_at().unwrap_or(self.made_at);
            self.updated_at = entry.committed;
        }
        self.data = document.to_json();
        Ok(())
    }
}
