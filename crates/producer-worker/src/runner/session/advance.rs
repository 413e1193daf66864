//! The position: moved behind what is settled, past a snapshot only after the target is swept.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use producer_core::feed::Reader;
use tokio::time::Instant;

use super::state::{Advanced, Session, Sweep};
use crate::runner::DATABASE_PAUSE;
use crate::sink::{Failure, Kept};

/// How often the target is asked what it has while nothing is delivered, and after it could not be asked.
const CHECK_EVERY: Duration = Duration::from_secs(1);

impl Session<'_> {
    /// Begins what is to be done in the database and in the target beside deliveries.
    pub(super) fn begin_statements(&mut self, reader: &Reader) {
        if self.storing.is_none() {
            self.storing = self.letters.next(&self.access, &self.lease);
        }
        if let Some(place) = self.window.pass() {
            self.reached = place.token();
        }
        self.begin_sweep();
        if self.window.is_empty() && matches!(self.sweep, Sweep::None) {
            self.reached = reader.token();
        }
        let now = Instant::now();
        if self.advance_due() <= now && self.advancing.is_none() && !self.is_ending {
            self.advancing = Some(self.advance());
            let advance_at = now + self.runner.sink.checkpoint_every();
            (self.advance_at, self.check_at) = (advance_at, now + CHECK_EVERY);
        }
    }

    /// When the position is to be moved; where it need not be, when the target is to be asked what it has.
    pub(super) fn advance_due(&self) -> Instant {
        if self.reached == self.stored { self.check_at } else { self.advance_at }
    }

    pub(super) fn begin_sweep(&mut self) {
        let token = match &self.sweep {
            Sweep::Awaits(token) if self.window.is_empty() && self.lanes.is_empty() => {
                token.clone()
            }
            Sweep::Failed(token, at) if *at <= Instant::now() => token.clone(),
            _ => return,
        };
        let (sink, entities) = (Arc::clone(&self.runner.sink), self.access.entities.clone());
        let sweep = async move { sink.sweep(&entities).await };
        self.sweep = Sweep::Runs(token, sweep.boxed());
    }

    pub(super) fn swept(&mut self, result: Result<(), Failure>) {
        let Sweep::Runs(token, _) = std::mem::replace(&mut self.sweep, Sweep::None) else { return };
        match result {
            Ok(()) => self.reached = token,
            Err(failure) => {
                self.note(&failure.detail);
                self.sweep = Sweep::Failed(token, Instant::now() + CHECK_EVERY);
            }
        }
    }

    pub(super) fn advance(&self) -> BoxFuture<'static, Advanced> {
        let (sink, store) = (Arc::clone(&self.runner.sink), Arc::clone(&self.runner.parts.store));
        let (lease, reached, stored) =
            (self.lease.clone(), self.reached.clone(), self.stored.clone());
        async move {
            match sink.checkpoint(&reached, &stored).await {
                Ok(Kept::Everything) => {}
                Ok(Kept::Lost) => return Advanced::TargetLost,
                Err(failure) => return Advanced::Target(failure),
            }
            if reached == stored {
                return Advanced::To(stored);
            }
            match store.advance(&lease, &reached.to_string(), reached.position()).await {
                Ok(true) => Advanced::To(reached),
                Ok(false) => Advanced::Refused,
                Err(error) => Advanced::Database(error),
            }
        }
        .boxed()
    }

    /// Takes in what became of moving the position; returns whether the target has lost something.
    pub(super) fn advanced(&mut self, advanced: Advanced) -> bool {
        match advanced {
            Advanced::To(token) => self.stored = token,
            Advanced::TargetLost => return true,
            // the lease says which of both it is, within a second
            Advanced::Refused => self.is_ending = true,
            Advanced::Target(failure) => {
                self.note(&failure.detail);
                self.advance_at = Instant::now() + CHECK_EVERY;
            }
            Advanced::Database(error) => {
                tracing::debug!(sink = self.runner.config.name, %error, "the position can't be stored now");
                self.advance_at = Instant::now() + DATABASE_PAUSE;
            }
        }
        false
    }
}
