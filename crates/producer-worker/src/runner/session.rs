//! One run of a sink, from a token until something ends it: it reads the feed, delivers in lanes, and moves the
//! position behind what is settled.

mod advance;
mod dead;
mod deliver;
mod state;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::OptionFuture;
use producer_core::EntityKey;
use producer_core::feed::{Item, Reader};
use producer_core::model::Problem;
use producer_core::worker::{Breaker, Current, Report};
pub(super) use state::Session;
use state::{Advanced, Delivery, Sweep};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::lanes::Pending;
use super::{letters, update_of};
use crate::sink::Failure;

/// The window's limits. What the lanes and the batches hold at most counts too.
const MIN_WINDOW: usize = 1024;
const WINDOW_BYTES: usize = 8 << 20;
/// The longest time without a look at what is to be done.
const WAKE_EVERY: Duration = Duration::from_secs(1);
/// How often it is put down how the sink is.
const SAY_EVERY: Duration = Duration::from_millis(200);
/// How long what is in flight is waited for when the sink is paused.
const PAUSE_GRACE: Duration = Duration::from_millis(1500);
/// The same when the worker stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Why a run ended.
#[derive(Debug)]
pub(super) enum End {
    /// The worker stops.
    Stopped,
    /// Another worker may have the sink.
    LeaseLost,
    /// It is paused.
    Paused,
    /// Its position was reset.
    Reset,
    /// The target has lost what it had.
    TargetLost,
    /// What follows on the position is not kept.
    Gone(Arc<Problem>),
    /// The feed can't go on now.
    Unavailable(Arc<Problem>),
}

/// What woke the loop.
enum Event {
    Stop,
    Lost,
    Control,
    Delivered(Delivery),
    Advanced(Advanced),
    Letters(letters::Done),
    Swept(Result<(), Failure>),
    Read(Vec<Item>),
    Wake,
}

impl Session<'_> {
    /// Runs until something ends it.
    pub(super) async fn run(&mut self, mut reader: Reader) -> End {
        let end = loop {
            self.begin_statements(&reader);
            self.dispatch();
            self.say_when_due();
            match self.next_event(&mut reader).await {
                Event::Stop => break End::Stopped,
                Event::Lost => return End::LeaseLost,
                Event::Control => {
                    if let Some(end) = self.control() {
                        break end;
                    }
                }
                Event::Delivered(delivery) => self.delivered(delivery).await,
                Event::Advanced(advanced) => {
                    if self.advanced(advanced) {
                        return End::TargetLost;
                    }
                }
                Event::Letters(done) => self.stored(done).await,
                Event::Swept(result) => self.swept(result),
                Event::Read(items) => {
                    if let Some(end) = self.take_in(items) {
                        break end;
                    }
                }
                Event::Wake => {}
            }
        };
        match end {
            End::Stopped => self.finish(STOP_GRACE).await,
            End::Paused => self.finish(PAUSE_GRACE).await,
            _ => {}
        }
        self.say();
        end
    }

    async fn next_event(&mut self, reader: &mut Reader) -> Event {
        let wake_at = self.wake_at();
        let reads = self.reads();
        let held = &self.runner.held;
        let sweep = match &mut self.sweep {
            Sweep::Runs(_, sweep) => Some(sweep),
            _ => None,
        };
        tokio::select! {
            biased;
            () = self.runner.shutdown.cancelled() => Event::Stop,
            () = held.lost().cancelled() => Event::Lost,
            Ok(()) = self.control.changed() => Event::Control,
            Some(delivery) = self.deliveries.next(), if !self.deliveries.is_empty() => Event::Delivered(delivery),
            Some(advanced) = OptionFuture::from(self.advancing.as_mut()) => {
                self.advancing = None;
                Event::Advanced(advanced)
            }
            Some(done) = OptionFuture::from(self.storing.as_mut()) => {
                self.storing = None;
                Event::Letters(done)
            }
            Some(result) = OptionFuture::from(sweep) => Event::Swept(result),
            Some(items) = async { if reads { reader.next().await } else { pending().await } } => Event::Read(items),
            () = sleep_until(wake_at) => Event::Wake,
        }
    }

    /// Whether there is room for more of the feed.
    fn reads(&self) -> bool {
        let config = &self.runner.config;
        let most = MIN_WINDOW.max(2 * config.lanes * config.batch);
        let has_room = self.window.len() < most && self.window.bytes() < WINDOW_BYTES;
        has_room && matches!(self.sweep, Sweep::None) && !self.is_ending && self.letters.is_ready()
    }

    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let sweep_at = match &self.sweep {
            Sweep::Failed(_, at) => Some(*at),
            _ => None,
        };
        let others = [
            self.lanes.next_at(),
            self.left_alone_until,
            self.rate_at,
            self.letters.next_at(),
            self.breaker.next_at(),
            sweep_at,
        ];
        let later = others.into_iter().flatten().filter(|at| *at > now);
        let advance_at = self.advancing.is_none().then(|| self.advance_due().max(now));
        later.chain(advance_at).min().unwrap_or(now + WAKE_EVERY)
    }

    /// Takes in what was read.
    fn take_in(&mut self, items: Vec<Item>) -> Option<End> {
        for item in items {
            match item {
                Item::Bookmark { caught_up, .. } => self.has_caught_up |= caught_up,
                Item::SnapshotEnd(token) => self.sweep = Sweep::Awaits(token),
                Item::Gone(problem) => return Some(End::Gone(problem)),
                Item::Unavailable(problem) => return Some(End::Unavailable(problem)),
                item => self.take_in_update(item),
            }
        }
        None
    }

    fn take_in_update(&mut self, item: Item) {
        let Some((update, place)) = update_of(item) else { return };
        let number = self.window.push(place, update.bytes());
        let pending = Pending::new(update, number);
        if self.letters.holds(pending.update.key()) {
            let position = self.window.position(Some(number));
            self.letters.park(&pending, position, &self.runner.parts.clock);
        } else {
            self.lanes.push(pending);
        }
    }

    /// What was asked of the sink.
    fn control(&mut self) -> Option<End> {
        let control = self.control.borrow_and_update().clone();
        if control.generation != self.lease.generation {
            return Some(End::Reset);
        }
        if control.paused {
            return Some(End::Paused);
        }
        if control.letters_generation != self.lease.control.letters_generation {
            self.letters.changed();
        }
        self.lease.control = control;
        self.give_up_skipped();
        None
    }

    /// Waits for what is in flight, and moves the position behind it.
    async fn finish(&mut self, within: Duration) {
        self.is_ending = true;
        let until = Instant::now() + within;
        let settled = async {
            while let Some(delivery) = self.deliveries.next().await {
                self.delivered(delivery).await;
            }
            while !self.letters.is_idle() {
                let next =
                    self.storing.take().or_else(|| self.letters.next(&self.access, &self.lease));
                let Some(next) = next else { break };
                let done = next.await;
                self.stored(done).await;
            }
            if let Some(advancing) = self.advancing.take()
                && let Advanced::To(token) = advancing.await
            {
                self.stored = token;
            }
            if let Some(place) = self.window.pass() {
                self.reached = place.token();
            }
            if self.reached != self.stored
                && let Advanced::To(token) = self.advance().await
            {
                self.stored = token;
            }
        };
        // what is not settled by then comes again
        let _elapsed = timeout_at(until, settled).await;
    }

    fn say_when_due(&mut self) {
        let now = Instant::now();
        if self.say_at <= now {
            self.say_at = now + SAY_EVERY;
            self.say();
        }
    }

    /// Puts down how the sink is, for the next report.
    fn say(&self) {
        let is_retrying = self.lanes.is_retrying() || matches!(self.sweep, Sweep::Failed(..));
        let breaker = self.breaker.reported();
        let report = Report {
            retrying: is_retrying || breaker != Breaker::Closed,
            caught_up: self.has_caught_up
                && self.window.is_empty()
                && matches!(self.sweep, Sweep::None),
            current: self.lanes.first_failed().and_then(|pending| self.current(pending)),
            last_error: self.last_error.clone(),
            breaker,
            settings: Some(self.runner.settings.clone()),
            ..Report::default()
        };
        self.runner.held.report(report);
    }

    fn current(&self, pending: &Pending) -> Option<Current> {
        let number = pending.first_number()?;
        let key: &EntityKey = pending.update.key();
        Some(Current {
            token: self.window.place(number)?.token().to_string(),
            entity_type: key.entity_type().to_owned(),
            entity_id: key.entity_id().to_owned(),
            tries: pending.tries,
        })
    }
}
