//! One run of a source, from opening its reader until something ends it: the reader reads and acknowledges,
//! one call at a time; all else is the [`Work`].

use std::time::Duration;

use producer_core::worker::LastError;
use tokio::time::{Instant, timeout};

use super::backoff::Backoff;
use super::work::{End, Work};
use crate::sink::Failure;
use crate::source::Source;

/// How often the source is asked what waits.
const LAG_EVERY: Duration = Duration::from_secs(1);
/// How long one call that is no reading may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long what was sent is waited for when the worker stops.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// The same when the source is paused.
const PAUSE_GRACE: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Session<'r> {
    source: Box<dyn Source>,
    work: Work<'r>,
    reading: Backoff,
    acknowledging: Backoff,
    lag_at: Instant,
}

impl<'r> Session<'r> {
    pub(super) fn new(source: Box<dyn Source>, work: Work<'r>) -> Self {
        let (reading, acknowledging) = Default::default();
        Self { source, work, reading, acknowledging, lag_at: Instant::now() }
    }

    /// Runs until something ends it. Returns also what failed last.
    pub(super) async fn run(mut self) -> (End, Option<LastError>) {
        let end = loop {
            self.work.note_known();
            if !self.settle().await {
                break End::Lost;
            }
            if let Some(end) = self.work.end() {
                break end;
            }
            self.work.open_call();
            self.work.begin_replay();
            self.look().await;
            self.receive().await;
        };
        self.finish(end).await;
        (end, self.work.into_last_error())
    }

    /// Stores dead letters and acknowledges what is settled. False where the lease is lost.
    async fn settle(&mut self) -> bool {
        if !self.work.store_dead_letters().await {
            return false;
        }
        if self.work.settled.is_empty() || !self.acknowledging.is_due() {
            return true;
        }
        let acknowledge = self.source.acknowledge(&self.work.settled);
        match timeout(CALL_TIMEOUT, acknowledge).await.unwrap_or_else(|_| Err(too_slow())) {
            Ok(()) => {
                self.acknowledging.succeeded();
                self.work.settled.clear();
            }
            Err(failure) => self.work.note_failure(failure, &mut self.acknowledging),
        }
        true
    }

    /// Asks what waits, and says how the source is.
    async fn look(&mut self) {
        if self.lag_at > Instant::now() {
            return;
        }
        self.lag_at = Instant::now() + LAG_EVERY;
        let lag = timeout(CALL_TIMEOUT, self.source.lag()).await;
        self.work.set_lag(lag.unwrap_or(None));
        let failing =
            if self.acknowledging.is_failing() { &self.acknowledging } else { &self.reading };
        self.work.report(failing);
    }

    /// Reads messages, or waits where none may be read now.
    async fn receive(&mut self) {
        let may_read = self.reading.is_due() && self.work.settled.is_empty();
        let most = if may_read { self.work.room() } else { 0 };
        let receive = (most > 0).then(|| self.source.receive(most));
        match self.work.wait(receive).await {
            Some(Ok(messages)) => {
                self.reading.succeeded();
                self.work.take(messages, most);
            }
            Some(Err(failure)) => self.work.note_failure(failure, &mut self.reading),
            None => {}
        }
    }

    async fn finish(&mut self, end: End) {
        let grace = match end {
            End::Stopped => STOP_GRACE,
            End::Paused => PAUSE_GRACE,
            End::Lost => Duration::ZERO,
        };
        self.work.wait_for_sent(Instant::now() + grace).await;
        self.settle().await;
        let _ = timeout(CALL_TIMEOUT, self.source.close()).await;
    }
}

fn too_slow() -> Failure {
    Failure::new(format!("no answer within {CALL_TIMEOUT:?}"))
}
