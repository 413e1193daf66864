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

    /// Notes what was read, unless something later is known.
    pub(crate) fn put(&self, read: KeptParts) -> Arc<KeptParts> {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let read = Arc::new(read);
        if known.as_ref().is_none_or(|known| known.generation() < read.generation()) {
            *known = Some(Arc::clone(&read));
        }
        read
    }
}
