//! The fold of one entity's log, page by page.

use producer_core::json::{Document, same_value};
use producer_core::{EntityKey, Timestamp};

use crate::connection::Connection;
use crate::error::MaintenanceError;
use crate::tables::{Access, Kind, Logged, PAGE_ROWS, Stored};

/// The state of an entity by its log, as far as it was read.
#[derive(Debug)]
pub(crate) struct Fold {
    pub(crate) state: String,
    pub(crate) size: usize,
    pub(crate) version: u64,
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
        let next = self.version + 1;
        if entry.kind == Kind::Checkpoint {
            *document = Document::empty();
            (self.broken, self.created_at) = (None, None);
        } else if entry.version != next && self.broken.is_none() {
            self.broken = Some(format!("its log has no version {next}"));
        }
        match Document::parse(&entry.patch) {
            Ok(patch) => document.merge(patch),
            Err(error) => {
                self.broken = Some(format!("version {} of its log: {error}", entry.version))
            }
        }
        let made_at = match entry.kind {
            Kind::Event | Kind::DetachedUpdate => entry.committed_at,
            Kind::Adopted | Kind::Checkpoint => entry.created_at.unwrap_or(entry.committed_at),
        };
        self.created_at.get_or_insert(made_at);
        self.updated_at = self.updated_at.max(Some(entry.committed_at));
        self.version = entry.version;
    }

    /// How the stored entity differs from the fold.
    pub(crate) fn difference(&self, stored: &Stored) -> Option<Difference> {
        if self.version != stored.version {
            let (is, ends) = (stored.version, self.version);
            let what = format!("it is stored at version {is}, its log ends at {ends}");
            // versions beyond the log's end are missing in the log; repairing would lose them in the state too
            return Some(Difference { what, explained: is <= ends });
        }
        if !same_value(&self.state, &stored.data) {
            let what = "its stored document differs from the fold of its log";
            return Some(Difference::explained(what.into()));
        }
        if self.size > stored.size {
            let (is, has) = (stored.size, self.size);
            return Some(Difference::explained(format!(
                "its size is stored as {is} bytes, it has {has}"
            )));
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
