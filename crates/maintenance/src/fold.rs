//! The fold of one entity's log, page by page.

use producer_core::json::{Document, same_value};
use producer_core::model::EntryKind;
use producer_core::{EntityKey, Operation, Timestamp};

use crate::connection::Connection;
use crate::error::MaintenanceError;
use crate::tables::{Access, Logged, PAGE_ROWS, Stored};

/// The state of an entity by its log, as far as it was read.
#[derive(Debug)]
pub(crate) struct Fold {
    /// The document; `{}` where the entity does not exist.
    pub(crate) state: String,
    pub(crate) size: usize,
    /// Whether the entity exists: not before its first update, and not after a delete.
    pub(crate) exists: bool,
    pub(crate) version: u64,
    /// When the entity was made, the last time: a deleted one keeps it.
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) updated_at: Option<Timestamp>,
    /// Why the log can't be folded, where it can't.
    pub(crate) broken: Option<String>,
}

impl Default for Fold {
    fn default() -> Self {
        Self {
            state: "{}".into(),
            size: 2,
            exists: false,
            version: 0,
            created_at: None,
            updated_at: None,
            broken: None,
        }
    }
}

impl Fold {
    /// Takes the entity's next entries.
    pub(crate) fn extend(&mut self, entries: &[Logged]) {
        let state = std::mem::take(&mut self.state);
        let mut document = Document::parse(&state).unwrap_or_default();
        for entry in entries {
            self.step(&mut document, entry);
        }
        self.size = document.size();
        self.state = document.to_json();
    }

    fn step<'e>(&mut self, document: &mut Document<'e>, entry: &'e Logged) {
        let made_at = match entry.kind {
            EntryKind::Event | EntryKind::Detached => entry.committed_at,
            EntryKind::Adopted | EntryKind::Checkpoint => {
                entry.created_at.unwrap_or(entry.committed_at)
            }
        };
        if entry.kind == EntryKind::Checkpoint {
            // it holds whatever came before
            *document = Document::empty();
            (self.broken, self.created_at) = (None, Some(made_at));
        } else {
            self.broken = self.broken.take().or_else(|| self.contradiction(entry));
            if entry.created {
                self.created_at = Some(made_at);
            }
        }
        if entry.operation != Operation::Merge {
            *document = Document::empty();
        }
        self.exists = entry.operation != Operation::Delete;
        match Document::parse(&entry.patch) {
            Ok(patch) if self.exists => document.merge(patch),
            Ok(_) => {}
            Err(error) => {
                let broken = || format!("version {} of its log: {error}", entry.version);
                self.broken.get_or_insert_with(broken);
            }
        }
        self.updated_at = self.updated_at.max(Some(entry.committed_at));
        self.version = entry.version;
    }

    /// Why this entry can't be what happened next, where it can't.
    fn contradiction(&self, entry: &Logged) -> Option<String> {
        let (version, next) = (entry.version, self.version + 1);
        if version != next {
            return Some(format!("its log has no version {next}"));
        }
        let what = match (self.exists, entry.operation, entry.created) {
            (false, Operation::Delete, _) => "deletes an entity that did not exist",
            (true, _, true) => "creates an entity that existed",
            (false, _, false) => "updates an entity that did not exist",
            (true, _, false) | (false, _, true) => return None,
        };
        Some(format!("version {version} of its log {what}"))
    }

    /// How the entity that `connection` has stored differs from the fold.
    pub(crate) fn difference(
        &self,
        stored: &Stored,
        connection: &Connection,
    ) -> Option<Difference> {
        if self.version != stored.version {
            let (is, ends) = (stored.version, self.version);
            let what = format!("it is stored at version {is}, its log ends at {ends}");
            // versions beyond the log's end are missing in the log; repairing would lose them in the state too
            return Some(Difference { what, explained: is <= ends });
        }
        if self.exists == stored.deleted {
            let what = match stored.deleted {
                true => "it is stored as deleted, by its log it exists",
                false => "it is stored as existing, by its log it is deleted",
            };
            return Some(Difference::explained(what.into()));
        }
        if !same_value(&self.state, &stored.data) {
            let what = "its stored document differs from the fold of its log";
            return Some(Difference::explained(what.into()));
        }
        let (is, least) = (stored.size, connection.least_size(!self.exists, self.size));
        if is < least {
            let what = format!("its size is stored as {is}, it must be {least} at least");
            return Some(Difference::explained(what));
        }
        self.difference_of_times(stored)
    }

    fn difference_of_times(&self, stored: &Stored) -> Option<Difference> {
        let (created_at, updated_at) = (self.created_at?, self.updated_at?);
        let differs = |name, is: Timestamp, logged| {
            Difference::explained(format!(
                "its {name} is stored as {is}, by its log it is {logged}"
            ))
        };
        if stored.created_at != created_at {
            return Some(differs("createdAt", stored.created_at, created_at));
        }
        // the entity's next event writes a time ahead into the log; repairing it would make time run
        // backwards for readers who have seen it
        let explained = stored.updated_at < updated_at;
        let difference = differs("updatedAt", stored.updated_at, updated_at);
        (stored.updated_at != updated_at).then_some(Difference { explained, ..difference })
    }
}

/// How an entity differs from its log.
#[derive(Debug)]
pub(crate) struct Difference {
    /// A sentence for the operator.
    pub(crate) what: String,
    /// Whether the state can be repaired from the log.
    pub(crate) explained: bool,
}

impl Difference {
    fn explained(what: String) -> Self {
        Self { what, explained: true }
    }
}

impl Connection {
    /// Folds the log of one entity up to `last` inclusively.
    pub(crate) async fn fold(
        &mut self,
        key: &EntityKey,
        last: u64,
    ) -> Result<Fold, MaintenanceError> {
        let (mut fold, mut read) = (Fold::default(), 0);
        loop {
            let mut page = self.log_of(key, read, PAGE_ROWS).await?;
            let Some(end) = page.last() else { return Ok(fold) };
            read = end.version;
            page.retain(|entry| entry.version <= last);
            fold.extend(&page);
            if read >= last {
                return Ok(fold);
            }
        }
    }

    /// One entity and the fold of its log, from the same snapshot.
    pub(crate) async fn entity_and_fold(
        &mut self,
        key: &EntityKey,
        access: Access,
    ) -> Result<(Option<Stored>, Fold), MaintenanceError> {
        let stored = self.entity(key, access).await?;
        Ok((stored, self.fold(key, u64::MAX).await?))
    }
}
