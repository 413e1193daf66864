//! What the writers of a store know of the definitions of types.

use std::sync::{Arc, PoisonError, RwLock};

use crate::types::KeptParts;

/// The parts that the writers of a store know. All of them share it.
#[derive(Debug, Default)]
pub(crate) struct KeptPartsCache(RwLock<Option<Arc<KeptParts>>>);

impl KeptPartsCache {
    /// What is known; `None` before the first look.
    pub(crate) fn get(&self) -> Option<Arc<KeptParts>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what was read. It may be older than what is known, since a database may be restored to an earlier
    /// time; where another writer has just read more, the next batch reads again.
    pub(crate) fn put(&self, read: KeptParts) -> Arc<KeptParts> {
        let read = Arc::new(read);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&read));
        read
    }
}
