//! Timers for the waits of senders. To begin and end a timer for each event would cost more than the wait.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// Timers that are kept for later waits at most; of 300 bytes each.
const KEPT: usize = 1024;

/// Timers that nobody waits for at present. Each is still set for an earlier wait: when it fires it is set
/// anew, which happens once in the duration of the deadlines instead of twice for each wait.
#[derive(Default)]
pub(super) struct Timers(Mutex<Vec<Pin<Box<Sleep>>>>);

impl Timers {
    /// A timer for one wait at a time.
    pub(super) fn timer(&self) -> Timer<'_> {
        Timer { timers: self, sleep: None }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Pin<Box<Sleep>>>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A timer that goes back to the others when it is dropped.
pub(super) struct Timer<'a> {
    timers: &'a Timers,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer<'_> {
    /// Ready from `deadline` on.
    pub(super) fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let kept = || self.timers.kept().pop();
        let new = || Box::pin(sleep_until(deadline));
        let sleep = self.sleep.get_or_insert_with(|| kept().unwrap_or_else(new));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        let Some(sleep) = self.sleep.take() else { return };
        let mut kept = self.timers.kept();
        if kept.len() < KEPT {
            kept.push(sleep);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_kept_timer_fires_at_the_deadline_of_its_present_wait() {
        let timers = Timers::default();
        // kept timers are due at once, before, and after the present wait
        for (before, wait) in [(10, 10), (10, 50), (50, 10), (0, 10), (10, 0)] {
            let mut timer = timers.timer();
            let deadline = Instant::now() + Duration::from_secs(before);
            assert!(
                poll_fn(|cx| Poll::Ready(timer.poll(deadline, cx))).await.is_pending()
                    || before == 0
            );
            drop(timer);
            assert_eq!(timers.kept().len(), 1);
            let mut timer = timers.timer();
            let begun = Instant::now();
            let deadline = begun + Duration::from_secs(wait);
            poll_fn(|cx| timer.poll(deadline, cx)).await;
            assert!(timers.kept().is_empty());
            let took = begun.elapsed();
            assert!(took >= Duration::from_secs(wait), "{took:?}");
            assert!(took < Duration::from_secs(wait) + Duration::from_millis(10), "{took:?}");
        }
    }

    #[tokio::test]
    async fn few_are_kept() {
        let timers = Timers::default();
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut waiting: Vec<_> = (0..KEPT + 10).map(|_| timers.timer()).collect();
        poll_fn(|cx| {
            waiting.iter_mut().for_each(|timer| assert!(timer.poll(deadline, cx).is_pending()));
            Poll::Ready(())
        })
        .await;
        drop(waiting);
        assert_eq!(timers.kept().len(), KEPT);
    }
}
