//! What all requests share: `BODY_BUFFER_BYTES`, the bytes of those read and not yet queued, and
//! `MAX_CONCURRENT_REQUESTS`, how many there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a request beyond `MAX_CONCURRENT_REQUESTS` is told.
pub const TOO_MANY: &str = "too many requests at once; try again later";

/// A shared count with a limit. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Budget {
    used: Arc<AtomicUsize>,
    limit: usize,
}

impl Budget {
    /// A budget of `limit`.
    pub fn new(limit: usize) -> Self {
        Self { used: Arc::default(), limit }
    }

    /// A lease that holds nothing yet.
    pub fn lease(&self) -> Lease {
        Lease { budget: self.clone(), held: 0 }
    }

    /// A lease that holds one; `None` where the budget would be passed.
    pub fn one(&self) -> Option<Lease> {
        let mut lease = self.lease();
        lease.grow(1).then_some(lease)
    }
}

/// What one request holds; given back when dropped.
#[derive(Debug)]
pub struct Lease {
    budget: Budget,
    held: usize,
}

impl Lease {
    /// Takes `more`; false, and nothing taken, where the budget would be passed.
    #[must_use]
    pub fn grow(&mut self, more: usize) -> bool {
        let before = self.budget.used.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) > self.budget.limit {
            self.budget.used.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.held += more;
        true
    }

    /// Gives `less` back, at most what it holds.
    pub fn shrink(&mut self, less: usize) {
        let less = less.min(self.held);
        self.budget.used.fetch_sub(less, Ordering::Relaxed);
        self.held -= less;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shrink(self.held);
    }
}
