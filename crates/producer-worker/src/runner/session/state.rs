//! What a run of a sink works with.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use producer_core::feed::Token;
use producer_core::query::ReadError;
use producer_core::worker::{Control, LastError, Lease, Role};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Rate;
use crate::runner::lanes::{Batch, Lanes};
use crate::runner::leased_sink::LeasedSink;
use crate::runner::letters::{self, Letters};
use crate::runner::present::Entities;
use crate::runner::retry::Breaker;
use crate::runner::window::Window;
use crate::sink::{Failure, NotDelivered};

/// A delivery that has ended.
pub(super) struct Delivery {
    pub(super) lane: usize,
    pub(super) batch: Batch,
    pub(super) result: Result<Vec<Result<(), NotDelivered>>, Failure>,
    pub(super) took: Duration,
}

/// What became of moving the position.
pub(super) enum Advanced {
    /// The database has it.
    To(Token),
    /// The lease is lost, or the position was reset.
    Refused,
    /// The target has lost what it had.
    TargetLost,
    Target(Failure),
    Database(ReadError),
}

/// The end of a snapshot.
pub(super) enum Sweep {
    /// No snapshot ends.
    None,
    /// All before it is to be delivered first.
    Awaits(Token),
    /// The target is swept.
    Runs(Token, BoxFuture<'static, Result<(), Failure>>),
    /// To be tried again then.
    Failed(Token, Instant),
}

/// See the module.
pub(in crate::runner) struct Session<'r> {
    pub(super) runner: &'r LeasedSink,
    pub(super) lease: Lease,
    pub(super) window: Window,
    pub(super) lanes: Lanes,
    pub(super) breaker: Breaker,
    pub(super) letters: Letters,
    pub(super) access: letters::Access,
    pub(super) deliveries: FuturesUnordered<BoxFuture<'static, Delivery>>,
    pub(super) advancing: Option<BoxFuture<'static, Advanced>>,
    pub(super) storing: Option<BoxFuture<'static, letters::Done>>,
    pub(super) sweep: Sweep,
    /// Up to here everything is settled.
    pub(super) reached: Token,
    /// What the database has.
    pub(super) stored: Token,
    pub(super) advance_at: Instant,
    pub(super) check_at: Instant,
    /// The target wants to be left alone until then.
    pub(super) left_alone_until: Option<Instant>,
    pub(super) limiter: Option<DefaultDirectRateLimiter>,
    /// When the rate lets the next change through.
    pub(super) rate_at: Option<Instant>,
    /// It will be paused, reset or lose its lease: nothing new is sent.
    pub(super) is_ending: bool,
    pub(super) has_caught_up: bool,
    pub(super) last_error: Option<LastError>,
    pub(super) say_at: Instant,
    pub(super) control: watch::Receiver<Control>,
}

impl<'r> Session<'r> {
    pub(in crate::runner) fn new(
        runner: &'r LeasedSink,
        lease: Lease,
        start: Token,
        last_error: Option<LastError>,
    ) -> Self {
        let config = &runner.config;
        let entities = Entities {
            store: runner.parts.store.clone(),
            types: config.types.clone(),
            filter: config.filter.clone(),
        };
        let access = letters::Access {
            store: runner.parts.store.clone(),
            feed: runner.parts.feed.clone(),
            entities,
            mode: config.mode,
        };
        let now = Instant::now();
        Self {
            lanes: Lanes::new(config.lanes, config.mode),
            breaker: Breaker::new(),
            letters: Letters::new(config),
            limiter: config.rate.and_then(limiter),
            runner,
            lease,
            window: Window::default(),
            access,
            deliveries: FuturesUnordered::new(),
            advancing: None,
            storing: None,
            sweep: Sweep::None,
            reached: start.clone(),
            stored: start,
            advance_at: now,
            check_at: now,
            left_alone_until: None,
            rate_at: None,
            is_ending: false,
            has_caught_up: false,
            last_error,
            say_at: now,
            control: runner.held.control(),
        }
    }

    /// Where a later run goes on, and what failed last.
    pub(in crate::runner) fn into_place(self) -> (Token, Option<LastError>) {
        (self.stored, self.last_error)
    }

    pub(super) fn note(&mut self, detail: &str) {
        self.last_error = Some(LastError::new(self.runner.parts.clock.now(), detail));
    }

    pub(super) async fn pause_itself(&mut self, why: String) {
        self.runner.warn("the sink pauses itself", &why);
        self.note(&why);
        self.is_ending = true;
        let name = &self.runner.config.name;
        if let Err(error) = self.runner.parts.store.set_paused(Role::Sink, name, true).await {
            self.note(&format!("{why}; pausing failed: {error}"));
            // tried again by the next delivery that fails so
            self.is_ending = false;
        }
    }
}

fn limiter(rate: Rate) -> Option<DefaultDirectRateLimiter> {
    let quota = Quota::with_period(rate.per / rate.changes.max(1))?;
    Some(RateLimiter::direct(quota.allow_burst(rate.changes.try_into().ok()?)))
}
