//! Which indexes the types have, as far as this process knows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::query::port::ReadError;
use crate::types::{IndexDefinition, PartKind, PartState, PartStatus, TypeStore};

/// How long what was read counts: an index that was declared since serves nothing until then.
const KNOWN_FOR: Duration = Duration::from_secs(10);
/// Types of which the indexes are kept in memory, at most.
const MAX_TYPES: usize = 1000;

/// The indexes of types. Definitions may change at any time, so whoever uses an index checks in the same
/// statement that it is ready.
pub(super) struct Catalog {
    store: Arc<dyn TypeStore>,
    known: Mutex<HashMap<String, Known>>,
}

/// The indexes of a type, and when they were read.
struct Known {
    read_at: Instant,
    indexes: Arc<[DeclaredIndex]>,
}

/// An index of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeclaredIndex {
    /// No other one ever has the same.
    pub(super) id: i32,
    pub(super) definition: IndexDefinition,
    /// Whether it has every entity.
    pub(super) is_ready: bool,
    /// While it is being built: how many entities it has, and of about how many.
    pub(super) progress: (u64, Option<u64>),
}

impl Catalog {
    pub(super) fn new(store: Arc<dyn TypeStore>) -> Self {
        Self { store, known: Mutex::default() }
    }

    /// The indexes of a type as they were read a short time ago.
    pub(super) fn known(&self, entity_type: &str) -> Option<Arc<[DeclaredIndex]>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(entity_type).filter(|known| known.read_at.elapsed() < KNOWN_FOR)?;
        Some(Arc::clone(&known.indexes))
    }

    /// The indexes of a type as they are.
    ///
    /// # Errors
    /// The database.
    pub(super) async fn read(&self, entity_type: &str) -> Result<Arc<[DeclaredIndex]>, ReadError> {
        let read_at = Instant::now();
        let stored = self.store.type_definition(entity_type).await?;
        let parts = stored.map(|stored| stored.parts).unwrap_or_default();
        let indexes: Arc<[DeclaredIndex]> = parts.into_iter().filter_map(index).collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_TYPES {
            known.clear();
        }
        known.insert(entity_type.to_owned(), Known { read_at, indexes: Arc::clone(&indexes) });
        Ok(indexes)
    }
}

fn index(status: PartStatus) -> Option<DeclaredIndex> {
    let PartStatus { part, state, done, total } = status;
    match part.kind {
        PartKind::Index(definition) => Some(DeclaredIndex {
            id: part.id,
            definition,
            is_ready: state == PartState::Ready,
            progress: (done, total),
        }),
        PartKind::Search(_) => None,
    }
}
