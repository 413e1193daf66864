//! The fold of one entity's log, page by page.

use super::tables::{Access, Kind, Logged, Stored};
use super::{Connection, MaintenanceError};
use crate::merge::{Document, same_value};
use crate::{EntityKey, Timestamp};

/// Rows fetched at once for one entity; most have few, and what follows is another's.
const FEW_ROWS: i64 = 32;

/// What a log says about its entity, as far as it was read.
#[derive(Debug)]
pub(super) struct Fold {
    pub(super) state: String,
    pub(super) size: usize,
    pub(super) version: u64,
    pub(super) created_at: Option<Timestamp>,
    pub(super) updated_at: Option<Timestamp>,
    /// Why the log explains nothing, where it doesn't.
    pub(super) broken: Option<String>,
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
    pub(super) fn extend(&mut self, entries: &[Logged]) {
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
        if entry.kind == Kind::Base {
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
            Kind::Event => entry.committed_at,
            Kind::Adopted | Kind::Base => entry.created_at.unwrap_or(entry.committed_at),
        };
        self.created_at.get_or_insert(made_at);
        self.updated_at = Some(entry.committed_at);
        self.version = entry.version;
    }

    /// How the stored entity differs from the fold.
    pub(super) fn difference(&self, stored: &Stored) -> Option<String> {
        if self.version != stored.version {
            Some(format!(
                "it is stored at version {}, its log ends at {}",
                stored.version, self.version
            ))
        } else if !same_value(&self.state, &stored.data) {
            Some("its stored document differs from the fold of its log".into())
        } else if self.size > stored.size {
            Some(format!("its size is stored as {} bytes, it has {}", stored.size, self.size))
        } else {
            None
        }
    }
}

impl Connection {
    /// Folds the log of one entity up to `last` inclusively.
    pub(super) async fn fold(
        &mut self,
        key: &EntityKey,
        last: u64,
    ) -> Result<Fold, MaintenanceError> {
        let (mut fold, mut read) = (Fold::default(), 0);
        while read < last {
            let mut page = self.log_after(key, read, FEW_ROWS).await?;
            let fetched = page.len();
            page.retain(|entry| entry.key == *key && entry.version <= last);
            fold.extend(&page);
            match page.last() {
                Some(entry) if page.len() == fetched => read = entry.version,
                _ => break,
            }
        }
        Ok(fold)
    }

    /// One entity and the fold of its log, of the same moment.
    pub(super) async fn both(
        &mut self,
        key: &EntityKey,
        access: Access,
    ) -> Result<(Option<Stored>, Fold), MaintenanceError> {
        let stored = self.entity(key, access).await?;
        Ok((stored, self.fold(key, u64::MAX).await?))
    }
}
