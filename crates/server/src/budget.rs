//! Limits that all requests share: `BODY_BUFFER_BYTES`, the bytes that are read and not yet queued,
//! and `MAX_CONCURRENT_REQUESTS`, the number of requests under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The detail of the answer to a request beyond `MAX_CONCURRENT_REQUESTS`.
pub const TOO_MANY: &str = "too many requests at once; try again later";

/// A shared count with a limit. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    used: AtomicUsize,
    limit: usize,
    /// Tasks in [`Lease::grow_when_free`]. Without any, returning a share notifies nobody and so
    /// takes no lock.
    waiting: AtomicUsize,
    freed: Notify,
}

impl Budget {
    /// A budget of `limit`.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Shared {
            used: AtomicUsize::new(0),
            limit,
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
        }))
    }

    /// A lease of nothing yet.
    pub fn lease(&self) -> Lease {
        Lease { budget: self.clone(), held: 0 }
    }

    /// A lease of one; `None` where the budget is used up.
    pub fn acquire_one(&self) -> Option<Lease> {
        let mut lease = self.lease();
        lease.grow(1).then_some(lease)
    }
}

/// The share of one request, returned when it is dropped.
#[derive(Debug)]
pub struct Lease {
    budget: Budget,
    held: usize,
}

impl Lease {
    /// How much it holds.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Takes `more`; false, and nothing taken, where that exceeds the budget.
    #[must_use]
    pub fn grow(&mut self, more: usize) -> bool {
        let Shared { used, limit, .. } = &*self.budget.0;
        // never above the limit, not even for a moment: another request that fits must not see it
        let within = |used: usize| used.checked_add(more).filter(|sum| sum <= limit);
        let fits = used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, within).is_ok();
        if fits {
            self.held += more;
        }
        fits
    }

    /// Takes `more` as soon as the budget has room for it. Whoever comes first when something is
    /// returned takes it: a large share may wait as long as smaller ones come, so callers need a
    /// timeout. Cancel safe.
    pub async fn grow_when_free(&mut self, more: usize) {
        let budget = self.budget.clone();
        // before the first attempt, so that what is returned after it notifies
        let _waiting = Waiting::new(&budget.0.waiting);
        loop {
            // notified also of what is returned between here and the first poll
            let freed = budget.0.freed.notified();
            if self.grow(more) {
                return;
            }
            freed.await;
        }
    }

    /// Returns `less`, at most what it holds.
    pub fn shrink(&mut self, less: usize) {
        let less = less.min(self.held);
        if less == 0 {
            return;
        }
        self.held -= less;
        let Shared { used, waiting, freed, .. } = &*self.budget.0;
        // SeqCst, here and in `grow`: either this sees the waiting task, or the task sees the room
        used.fetch_sub(less, Ordering::SeqCst);
        if waiting.load(Ordering::SeqCst) > 0 {
            freed.notify_waiters();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shrink(self.held);
    }
}

/// Counts a waiting task until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::time::timeout;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    #[test]
    fn requests_that_do_not_fit_refuse_no_other() {
        let budget = Budget::new(100);
        let mut first = budget.lease();
        assert!(first.grow(10));
        let (refused, done) = (AtomicUsize::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        assert!(!budget.lease().grow(95));
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let mut fits = true;
            while fits && refused.load(Ordering::Relaxed) < 3_000_000 {
                fits = budget.lease().grow(50);
            }
            done.store(true, Ordering::Relaxed);
            assert!(fits, "there was room for it all the time");
        });
        assert!(!first.grow(usize::MAX), "no overflow");
        assert!(first.grow(90) && budget.acquire_one().is_none());
    }

    #[tokio::test]
    async fn a_waiting_lease_grows_when_enough_is_returned() {
        let budget = Budget::new(100);
        let (mut holder, mut large, mut small) = (budget.lease(), budget.lease(), budget.lease());
        assert!(holder.grow(100));
        let mut waits_for_more = Box::pin(large.grow_when_free(60));
        let mut waits_for_less = Box::pin(small.grow_when_free(20));
        assert!((&mut waits_for_more).now_or_never().is_none());
        assert!((&mut waits_for_less).now_or_never().is_none());
        holder.shrink(30);
        // the first in line doesn't fit and keeps no other from it
        assert!((&mut waits_for_more).now_or_never().is_none());
        assert!((&mut waits_for_less).now_or_never().is_some());
        drop(holder);
        assert!((&mut waits_for_more).now_or_never().is_some());
        drop((waits_for_more, waits_for_less));
        assert_eq!((large.held(), small.held()), (60, 20));
        assert_eq!(budget.0.waiting.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_takes_nothing() {
        let budget = Budget::new(1);
        let first = budget.acquire_one();
        let mut second = budget.lease();
        assert!(second.grow_when_free(1).now_or_never().is_none());
        drop(first);
        assert_eq!((second.held(), budget.0.waiting.load(Ordering::SeqCst)), (0, 0));
        assert!(second.grow(1));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_wake_up_is_lost() {
        let budget = Budget::new(3);
        let tasks: Vec<_> = (0..8)
            .map(|task| {
                let budget = budget.clone();
                tokio::spawn(async move {
                    for _ in 0..2000 {
                        let mut lease = budget.lease();
                        lease.grow_when_free(1 + task % 3).await;
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            timeout(DEADLINE, task).await.expect("it is woken").expect("no panic");
        }
        assert_eq!(budget.0.used.load(Ordering::SeqCst), 0);
    }
}
