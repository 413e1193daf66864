//! One run of a sink, from a token until something ends it: it reads the feed, delivers in lanes, and moves the
//! position behind what is settled.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, OptionFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use producer_core::EntityKey;
use producer_core::feed::{Item, Reader, Token};
use producer_core::model::{Entity, Problem};
use producer_core::query::ReadError;
use producer_core::worker::{Control, Current, LastError, Lease, MAX_DEAD_LETTERS, Report, Role};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::lanes::{Batch, Lanes, Pending};
use super::leased_sink::LeasedSink;
use super::letters::{self, Again, Letters};
use super::present::Entities;
use super::retry::{Breaker, MaySend, pause};
use super::window::{Place, Window};
use super::{DATABASE_PAUSE, update_of};
use crate::config::{Mode, Rate};
use crate::sink::{Failure, Kept, NotDelivered};
use crate::update::{Cause, Update};

/// The window's limits. What the lanes and the batches hold at most counts too.
const MIN_WINDOW: usize = 1024;
const WINDOW_BYTES: usize = 8 << 20;
/// How often the position is moved at most, and how soon it is moved after the last delivery.
const ADVANCE_EVERY: Duration = Duration::from_millis(250);
/// How often the target is asked what it has while nothing is delivered.
const CHECK_EVERY: Duration = Duration::from_secs(1);
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
    Read(Option<Vec<Item>>),
    Wake,
}

/// A delivery that has ended.
struct Delivery {
    lane: usize,
    batch: Batch,
    result: Result<Vec<Result<(), NotDelivered>>, Failure>,
    took: Duration,
}

/// What became of moving the position.
enum Advanced {
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
enum Sweep {
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
pub(super) struct Session<'r> {
    runner: &'r LeasedSink,
    lease: Lease,
    window: Window,
    lanes: Lanes,
    breaker: Breaker,
    letters: Letters,
    access: letters::Access,
    deliveries: FuturesUnordered<BoxFuture<'static, Delivery>>,
    advancing: Option<BoxFuture<'static, Advanced>>,
    storing: Option<BoxFuture<'static, letters::Done>>,
    sweep: Sweep,
    /// Up to here everything is settled.
    reached: Token,
    /// What the database has.
    stored: Token,
    advance_at: Instant,
    check_at: Instant,
    /// The target wants to be left alone until then.
    left_alone_until: Option<Instant>,
    limiter: Option<DefaultDirectRateLimiter>,
    /// When the rate lets the next change through.
    rate_at: Option<Instant>,
    /// It will be paused, reset or lose its lease: nothing new is sent.
    is_ending: bool,
    has_caught_up: bool,
    skip: Option<String>,
    last_error: Option<LastError>,
    say_at: Instant,
    control: watch::Receiver<Control>,
}

impl<'r> Session<'r> {
    pub(super) fn new(
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
            skip: lease.control.skip.clone(),
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
                    if let Some(end) = self.advanced(advanced) {
                        return end;
                    }
                }
                Event::Letters(done) => self.stored(done).await,
                Event::Swept(result) => self.swept(result),
                Event::Read(None) => {}
                Event::Read(Some(items)) => {
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
            items = async { if reads { reader.next().await } else { pending().await } } => Event::Read(items),
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
        let advance_at = (self.reached != self.stored).then_some(self.advance_at);
        let advance_at = advance_at.unwrap_or(self.check_at).max(Instant::now());
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
        let now = Instant::now();
        let later = others.into_iter().flatten().filter(|at| *at > now);
        later
            .chain(self.advancing.is_none().then_some(advance_at))
            .min()
            .unwrap_or(now + CHECK_EVERY)
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
        let position = place.token().position();
        let number = self.window.push(place, update.bytes());
        let pending = Pending::new(update, number);
        if self.letters.holds(pending.update.key()) {
            self.letters.park(&pending, position, &self.runner.parts.clock);
        } else {
            self.lanes.push(pending);
        }
    }

    /// Sends what may be sent.
    fn dispatch(&mut self) {
        let now = Instant::now();
        let is_sweeping = matches!(self.sweep, Sweep::Runs(..));
        // after a freeze the lease may be over before that was noticed
        let may_send = !self.is_ending && !is_sweeping && self.runner.held.is_held();
        if !may_send || self.left_alone_until.is_some_and(|at| at > now) {
            return;
        }
        self.rate_at = None;
        let ready: Vec<usize> = self.lanes.ready(now).collect();
        for lane in ready {
            if matches!(self.breaker.may_send(now), MaySend::Nothing) {
                break;
            }
            let most = self.within_rate(self.lanes.waiting(lane).min(self.runner.config.batch));
            if most == 0 {
                break;
            }
            let batch = self.lanes.take(lane, most);
            self.breaker.sent();
            self.deliveries.push(self.deliver(lane, batch));
        }
    }

    /// How many of these changes the rate lets through now.
    fn within_rate(&mut self, wanted: usize) -> usize {
        let Some(limiter) = &self.limiter else { return wanted };
        for passed in 0..wanted {
            if let Err(not_until) = limiter.check() {
                let wait = not_until.wait_time_from(DefaultClock::default().now());
                self.rate_at = Some(Instant::now() + wait);
                return passed;
            }
        }
        wanted
    }

    fn deliver(&self, lane: usize, batch: Batch) -> BoxFuture<'static, Delivery> {
        let sink = Arc::clone(&self.runner.sink);
        let is_stale = |pending: &Pending| pending.tries > 0;
        let refreshes = self.runner.config.mode == Mode::Latest && batch.iter().any(is_stale);
        let entities = refreshes.then(|| self.access.entities.clone());
        self.runner.metrics.batch.observe(batch.len() as f64);
        async move {
            let began = Instant::now();
            let mut updates: Vec<Update> = batch.iter().map(|each| each.update.clone()).collect();
            if let Some(entities) = entities {
                refresh(&entities, &mut updates).await;
            }
            let result = timeout(sink.deadline(), sink.deliver(&updates)).await;
            let result =
                result.unwrap_or_else(|_| Err(Failure::new("the target does not answer in time")));
            Delivery { lane, batch, result, took: began.elapsed() }
        }
        .boxed()
    }

    /// Takes in what became of a delivery.
    async fn delivered(&mut self, delivery: Delivery) {
        let Delivery { lane, batch, result, took } = delivery;
        let metrics = &self.runner.metrics;
        metrics.seconds.observe(took.as_secs_f64());
        let outcomes = outcomes(result, batch.len());
        let (mut undelivered, mut refused, mut failure) = (Vec::new(), Vec::new(), None);
        let mut answered = false;
        for (pending, outcome) in batch.iter().zip(outcomes) {
            answered |= !matches!(outcome, Err(NotDelivered::Failed(_)));
            match outcome {
                Ok(()) => {
                    metrics.delivered.inc();
                    pending.numbers.iter().for_each(|number| self.window.settle(*number));
                    self.letters.delivered(pending);
                }
                Err(NotDelivered::Refused { detail, message }) => {
                    refused.push((pending.clone(), detail, message));
                }
                Err(NotDelivered::Failed(failed)) => {
                    metrics.retried.inc();
                    undelivered.push(self.again(pending));
                    failure.get_or_insert(failed);
                }
            }
        }
        let retry = &self.runner.config.retry;
        let pause = |failures| Instant::now() + pause(retry, failures);
        self.lanes.finish(lane, failure.is_some(), pause);
        self.lanes.put_back(lane, undelivered);
        for (pending, detail, message) in refused {
            self.refuse(&pending, detail, message);
        }
        if answered {
            self.breaker.succeeded();
        }
        if let Some(failure) = failure {
            self.failed(failure, answered).await;
        }
    }

    fn again(&self, pending: &Pending) -> Pending {
        let first_at = pending.first_at.unwrap_or_else(|| self.runner.parts.clock.now());
        Pending { tries: pending.tries + 1, first_at: Some(first_at), ..pending.clone() }
    }

    /// A delivery failed in a way that may pass.
    async fn failed(&mut self, failure: Failure, answered: bool) {
        let now = Instant::now();
        if !answered && self.breaker.failed(&self.runner.config.retry, now) {
            self.runner.warn("the circuit breaker opens", &failure.detail);
        }
        self.note(&failure.detail);
        if let Some(wait) = failure.retry_after {
            self.left_alone_until = Some(now + wait);
        }
        if failure.pauses {
            self.pause_itself(failure.detail.clone()).await;
        }
        self.give_up_old(&failure.detail);
        self.give_up_skipped();
    }

    /// What was tried for longer than `max_age` becomes a dead letter.
    fn give_up_old(&mut self, detail: &str) {
        let Some(max_age) = self.runner.config.retry.max_age else { return };
        let now = self.runner.parts.clock.now().micros();
        let oldest = now.saturating_sub(i64::try_from(max_age.as_micros()).unwrap_or(i64::MAX));
        for pending in self.lanes.take_waiting(|first_at| first_at.micros() < oldest) {
            let detail = format!("older than max_age: {detail}");
            self.give_up(&pending, detail);
        }
    }

    /// What a user wants to skip becomes a dead letter, where it is what can't be got past.
    fn give_up_skipped(&mut self) {
        let Some(skip) = &self.skip else { return };
        let number = self.lanes.first_failed().and_then(|pending| pending.numbers.iter().min());
        let Some(&number) = number else { return };
        let is_meant = |place: &Place| place.token().to_string() == *skip;
        if self.window.place(number).is_some_and(is_meant)
            && let Some(pending) = self.lanes.remove_number(number)
        {
            self.skip = None;
            let why = self.last_error.as_ref().map_or("", |error| error.detail.as_str());
            self.give_up(&pending, format!("skipped by a user: {why}"));
        }
    }

    fn give_up(&mut self, pending: &Pending, detail: String) {
        let message = match &pending.update.cause {
            Cause::Change(change) | Cause::Left(change) => change.json(true).as_bytes().to_vec(),
            Cause::Snapshot(entity) => entity.data.as_bytes().to_vec(),
        };
        self.refuse(pending, detail, message);
    }

    /// An update becomes a dead letter; with `hold`, what waits of its entity waits behind it.
    fn refuse(&mut self, pending: &Pending, detail: String, message: Vec<u8>) {
        self.runner.metrics.dead.inc();
        self.note(&detail);
        let clock = &self.runner.parts.clock;
        let position = |window: &Window, pending: &Pending| {
            let place = pending.numbers.iter().min().and_then(|number| window.place(*number));
            place.map_or(0, |place| place.token().position())
        };
        let place = position(&self.window, pending);
        self.letters.refused(pending, detail, message, place, clock);
        if self.letters.holds_entities() {
            for behind in self.lanes.remove(pending.update.key()) {
                let place = position(&self.window, &behind);
                self.letters.park(&behind, place, clock);
            }
        }
    }

    fn note(&mut self, detail: &str) {
        self.last_error = Some(LastError::new(self.runner.parts.clock.now(), detail));
    }

    async fn pause_itself(&mut self, why: String) {
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
        self.skip.clone_from(&control.skip);
        self.lease.control = control;
        self.give_up_skipped();
        None
    }

    /// Begins what is to be done in the database and in the target beside deliveries.
    fn begin_statements(&mut self, reader: &Reader) {
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
        let is_due =
            if self.reached == self.stored { self.check_at } else { self.advance_at } <= now;
        if is_due && self.advancing.is_none() && !self.is_ending {
            self.advancing = Some(self.advance());
            (self.advance_at, self.check_at) = (now + ADVANCE_EVERY, now + CHECK_EVERY);
        }
    }

    fn begin_sweep(&mut self) {
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

    fn swept(&mut self, result: Result<(), Failure>) {
        let Sweep::Runs(token, _) = std::mem::replace(&mut self.sweep, Sweep::None) else { return };
        match result {
            Ok(()) => self.reached = token,
            Err(failure) => {
                self.note(&failure.detail);
                self.sweep = Sweep::Failed(
                    token,
                    Instant::now() + self.runner.config.retry.max.min(CHECK_EVERY),
                );
            }
        }
    }

    fn advance(&self) -> BoxFuture<'static, Advanced> {
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

    fn advanced(&mut self, advanced: Advanced) -> Option<End> {
        match advanced {
            Advanced::To(token) => self.stored = token,
            Advanced::TargetLost => return Some(End::TargetLost),
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
        None
    }

    /// Takes in what became of dead letters.
    async fn stored(&mut self, done: letters::Done) {
        for number in self.letters.done(&done) {
            self.window.settle(number);
        }
        match done {
            letters::Done::Stored(_, count) if count >= MAX_DEAD_LETTERS => {
                let why = format!(
                    "there are {count} dead letters: replay or delete them, then resume the sink"
                );
                self.pause_itself(why).await;
            }
            letters::Done::LeaseLost => self.is_ending = true,
            letters::Done::Due(letters) => {
                for (letter, again) in letters {
                    if let Again::Update(update) = again {
                        self.lanes.push(Pending::of_letter(update, &letter));
                    }
                }
            }
            _ => {}
        }
    }

    /// Where a later run goes on, and what failed last.
    pub(super) fn into_place(self) -> (Token, Option<LastError>) {
        (self.stored, self.last_error)
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
        let _elapsed = tokio::time::timeout_at(until, settled).await;
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
            retrying: is_retrying || breaker != producer_core::worker::Breaker::Closed,
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
        let number = pending.numbers.iter().min()?;
        let key: &EntityKey = pending.update.key();
        Some(Current {
            token: self.window.place(*number)?.token().to_string(),
            entity_type: key.entity_type().to_owned(),
            entity_id: key.entity_id().to_owned(),
            tries: pending.tries,
        })
    }
}

fn limiter(rate: Rate) -> Option<DefaultDirectRateLimiter> {
    let quota = Quota::with_period(rate.per / rate.changes.max(1))?;
    Some(RateLimiter::direct(quota.allow_burst(rate.changes.try_into().ok()?)))
}

/// What became of each update.
fn outcomes(
    result: Result<Vec<Result<(), NotDelivered>>, Failure>,
    updates: usize,
) -> Vec<Result<(), NotDelivered>> {
    match result {
        Ok(outcomes) if outcomes.len() == updates => outcomes,
        Ok(_) => vec![
            Err(Failure::new("the kind of sink has a defect: it lost updates").into());
            updates
        ],
        Err(failure) => vec![Err(failure.into()); updates],
    }
}

/// Reads the states anew where they are sent again; where that fails, they stay as they were.
async fn refresh(entities: &Entities, updates: &mut [Update]) {
    let keys: Vec<EntityKey> = updates.iter().map(|update| update.key().clone()).collect();
    let Ok(mut states) = entities.states(keys.iter()).await else { return };
    for update in updates {
        let newer: Option<Arc<Entity>> = states.remove(update.key());
        match (&mut update.cause, newer) {
            // what matches again comes by itself
            (Cause::Left(_), _) => {}
            (Cause::Change(_), state) => update.state = state,
            (Cause::Snapshot(entity), Some(state)) => {
                *entity = Arc::clone(&state);
                update.state = Some(state);
            }
            // its delete comes by itself
            (Cause::Snapshot(_), None) => {}
        }
    }
}
