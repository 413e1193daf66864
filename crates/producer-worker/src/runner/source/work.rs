//! What a source's worker does with messages, without the reader that they come from: it sends events, takes
//! outcomes, and keeps what is to be acknowledged.

use std::collections::VecDeque;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, OptionFuture};
use producer_core::model::Outcome;
use producer_core::worker::{
    Control, Current, DeadLetterPlace, DeadLetterState, LastError, Lease, MAX_DEAD_LETTERS,
    NewDeadLetter, Report, Role,
};
use producer_core::{Event, Problem, Timestamp};
use producer_telemetry::log_rate::LogRate;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::call::Call;
use super::replay::Replay;
use crate::config::SourceConfig;
use crate::decode::Decoder;
use crate::metrics::ConnectorMetrics;
use crate::runner::lease::Held;
use crate::runner::parts::Parts;
use crate::sink::Failure;
use crate::source::{Message, Place, SourceLag};
use crate::stored;

/// Messages that are neither committed nor dead letters, at most.
const MAX_MESSAGES: usize = 10_000;
/// Their bytes, at which no more are read.
const MAX_BYTES: usize = 16 << 20;
/// Messages that are read at once.
const MAX_RECEIVED: usize = 1_000;
/// How long the commit of what was read last is waited for, where the source had no more.
const REST: Duration = Duration::from_millis(20);
/// How often the source is looked at while nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(1);

static FAILURE_RATE: LogRate = LogRate::new();

/// Why a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The worker stops.
    Stopped,
    /// Another worker may have the source.
    Lost,
    /// It is paused.
    Paused,
}

/// A message on its way.
struct InFlight {
    message: Message,
    tries: u32,
    first_at: Timestamp,
    since: Instant,
}

/// See the module.
pub(super) struct Work<'r> {
    config: Arc<SourceConfig>,
    parts: Parts,
    lease: Option<Lease>,
    held: &'r Held,
    control: watch::Receiver<Control>,
    settings: String,
    shutdown: CancellationToken,
    decoder: Decoder,
    metrics: ConnectorMetrics,
    /// None at the beginning, and after the database went away.
    call: Option<Call>,
    opening: Backoff,
    /// Those that were sent, in their order.
    sent: VecDeque<InFlight>,
    /// Those that are to be sent (again) to the next call, in their order.
    again: VecDeque<InFlight>,
    bytes: usize,
    /// Bytes of the largest message that was received last.
    largest: usize,
    /// To be acknowledged.
    pub(super) settled: Vec<Place>,
    dead: Vec<(NewDeadLetter, Place)>,
    storing: Backoff,
    replay: Option<BoxFuture<'static, Result<(), String>>>,
    replaying: Backoff,
    /// Of what is replayed.
    letters_generation: Option<u64>,
    /// Whether the last look at the source found nothing.
    is_empty: bool,
    /// Until when nothing more is read, so that what was read last is acknowledged first.
    rests_until: Option<Instant>,
    lag: Option<SourceLag>,
    last_error: Option<LastError>,
}

impl<'r> Work<'r> {
    pub(super) fn new(
        config: &Arc<SourceConfig>,
        parts: &Parts,
        lease: Option<Lease>,
        held: &'r Held,
        settings: &str,
        shutdown: &CancellationToken,
        last_error: Option<LastError>,
    ) -> Self {
        let clock = parts.clock.clone();
        Self {
            config: Arc::clone(config),
            parts: parts.clone(),
            lease,
            held,
            control: held.control(),
            settings: settings.to_owned(),
            shutdown: shutdown.clone(),
            decoder: Decoder::new(&config.name, config.map.clone(), parts.max_body_bytes, clock),
            metrics: parts.metrics.of(Role::Source, &config.name),
            call: None,
            opening: Backoff::default(),
            sent: VecDeque::new(),
            again: VecDeque::new(),
            bytes: 0,
            largest: 1,
            settled: Vec::new(),
            dead: Vec::new(),
            storing: Backoff::default(),
            replay: None,
            replaying: Backoff::default(),
            letters_generation: None,
            is_empty: false,
            rests_until: None,
            lag: None,
            last_error,
        }
    }

    pub(super) fn into_last_error(self) -> Option<LastError> {
        self.last_error
    }

    /// Why the run has to end, where it has to.
    pub(super) fn end(&self) -> Option<End> {
        if self.shutdown.is_cancelled() {
            Some(End::Stopped)
        } else if !self.held.is_held() {
            Some(End::Lost)
        } else {
            self.control.borrow().paused.then_some(End::Paused)
        }
    }

    /// Notes that something failed that is tried again.
    fn failed(&mut self, detail: impl Into<String>) {
        let detail = detail.into();
        if let Some(omitted) = FAILURE_RATE.try_log() {
            tracing::warn!(
                source = self.config.name,
                detail,
                omitted,
                "the source can't go on now"
            );
        }
        self.last_error = Some(LastError::new(self.parts.clock.now(), detail));
    }

    /// How many messages may be read now; none while earlier ones can't be settled, or are to be acknowledged
    /// before the next look.
    pub(super) fn room(&self) -> usize {
        let rests = self.rests_until.is_some_and(|until| until > Instant::now());
        if self.call.is_none() || !self.dead.is_empty() || rests && !self.sent.is_empty() {
            return 0;
        }
        let messages = MAX_MESSAGES.saturating_sub(self.sent.len()).min(MAX_RECEIVED);
        let bytes = MAX_BYTES.saturating_sub(self.bytes);
        // one at least, where there is any room
        messages.min(bytes.div_ceil(self.largest))
    }

    /// Sends the messages' events.
    pub(super) fn take(&mut self, messages: Vec<Message>, most: usize) {
        self.is_empty = messages.is_empty();
        // the next look may take a second, in which nothing can be acknowledged
        self.rests_until = (messages.len() < most).then(|| Instant::now() + REST);
        if messages.is_empty() {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        self.metrics.batch.observe(messages.len() as f64);
        let (first_at, since) = (self.parts.clock.now(), Instant::now());
        self.largest =
            messages.iter().map(|message| message.body.bytes()).max().unwrap_or(0).max(1);
        for message in messages {
            self.bytes += message.body.bytes();
            self.send(InFlight { tries: message.deliveries.max(1), message, first_at, since });
        }
    }

    fn send(&mut self, message: InFlight) {
        let Some(call) = &self.call else {
            return self.again.push_back(message);
        };
        match self.decoder.event(&message.message) {
            Ok(event) => {
                call.send(event);
                self.sent.push_back(message);
            }
            Err(problem) => self.bury(message, &problem),
        }
    }

    /// It becomes a dead letter.
    fn bury(&mut self, message: InFlight, problem: &Problem) {
        let InFlight { message, tries, first_at, .. } = message;
        self.bytes -= message.body.bytes();
        tracing::debug!(source = self.config.name, place = ?message.place, error = %problem, "dead letter");
        let letter = NewDeadLetter {
            place: DeadLetterPlace::Message(stored::place_text(&message.place)),
            state: DeadLetterState::Dead,
            message: stored::bytes(&message.body),
            error: problem.detail.clone().into_owned(),
            tries,
            first_at,
            last_at: self.parts.clock.now(),
        };
        self.dead.push((letter, message.place));
    }

    /// Opens a call where there is none and it is time, and sends what waits for it.
    pub(super) fn open_call(&mut self) {
        if self.call.is_some() || !self.opening.is_due() {
            return;
        }
        match Call::open(&self.parts.ingest) {
            Ok(call) => {
                self.call = Some(call);
                std::mem::take(&mut self.again).into_iter().for_each(|message| self.send(message));
            }
            Err(problem) => {
                self.opening.failed(problem.retry_after());
                self.failed(problem.detail);
            }
        }
    }

    /// Takes what became of the first message that was sent; `None`: the call is broken, and what has no outcome
    /// is sent to the next one.
    fn note(&mut self, outcome: Option<Outcome>) {
        let Some(outcome) = outcome else {
            self.call = None;
            self.again.append(&mut self.sent);
            return self.opening.failed(None);
        };
        let Some(mut message) = self.sent.pop_front() else { return };
        match outcome {
            Ok(_) => {
                self.opening.succeeded();
                self.metrics.delivered.inc();
                self.metrics.seconds.observe(message.since.elapsed().as_secs_f64());
                self.bytes -= message.message.body.bytes();
                self.settled.push(message.message.place);
            }
            Err(problem) if problem.kind.is_retryable() => {
                self.metrics.retried.inc();
                self.failed(problem.detail);
                message.tries = message.tries.saturating_add(1);
                self.again.push_back(message);
            }
            Err(problem) => self.bury(message, &problem),
        }
    }

    /// Takes all outcomes that are known by now.
    pub(super) fn note_known(&mut self) {
        while let Some(outcome) = self.call.as_mut().and_then(Call::try_next) {
            self.note(outcome);
        }
    }

    /// Waits until `receive` returns something, or something else is to be done.
    pub(super) async fn wait<T>(&mut self, receive: Option<impl Future<Output = T>>) -> Option<T> {
        let is_receiving = receive.is_some();
        let mut receive = pin!(OptionFuture::from(receive));
        let (shutdown, lost) = (self.shutdown.clone(), self.held.lost().clone());
        let mut control = self.control.clone();
        let mut paused = pin!(async move {
            if control.wait_for(|control| control.paused).await.is_err() {
                pending::<()>().await;
            }
        });
        let wake_at = self.wake_at();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return None,
                () = lost.cancelled() => return None,
                () = &mut paused => return None,
                outcome = next_outcome(&mut self.call) => {
                    self.note(outcome);
                    self.note_known();
                    // what is settled is acknowledged now, or when the reader is free
                    if !is_receiving {
                        return None;
                    }
                }
                replayed = next_replayed(&mut self.replay) => self.note_replayed(replayed),
                received = &mut receive, if is_receiving => return received,
                () = sleep_until(wake_at), if !is_receiving => return None,
            }
        }
    }

    fn wake_at(&self) -> Instant {
        let backoffs = [&self.opening, &self.storing, &self.replaying];
        let now = Instant::now();
        let rest = self.rests_until.filter(|until| *until > now);
        let next = backoffs.into_iter().filter_map(Backoff::until).chain(rest).min();
        next.map_or(now + LOOK_EVERY, |next| next.min(now + LOOK_EVERY))
    }

    /// Waits until all that was sent has its outcome, up to a moment.
    pub(super) async fn wait_for_sent(&mut self, until: Instant) {
        while !self.sent.is_empty() && self.call.is_some() {
            match timeout_at(until, next_outcome(&mut self.call)).await {
                Ok(outcome) => self.note(outcome),
                Err(_elapsed) => return,
            }
        }
    }

    /// Stores dead letters. False where the lease is lost.
    pub(super) async fn store_dead_letters(&mut self) -> bool {
        if self.dead.is_empty() || !self.storing.is_due() {
            return true;
        }
        let letters: Vec<_> = self.dead.iter().map(|(letter, _)| letter.clone()).collect();
        let connector = (Role::Source, self.config.name.as_str());
        let stored =
            self.parts.store.add_dead_letters(connector, self.lease.as_ref(), &letters).await;
        match stored {
            Ok(Some(count)) => {
                self.storing.succeeded();
                self.metrics.dead.inc_by(letters.len() as u64);
                tracing::warn!(
                    source = self.config.name,
                    count = letters.len(),
                    place = self.dead.first().map(|(_, place)| stored::place_text(place)),
                    "messages became dead letters"
                );
                self.settled.extend(self.dead.drain(..).map(|(_, place)| place));
                if count > MAX_DEAD_LETTERS {
                    self.pause_itself().await;
                }
                true
            }
            Ok(None) => false,
            Err(error) => {
                self.storing.failed(None);
                self.failed(error.problem().detail);
                true
            }
        }
    }

    /// With more dead letters than anybody reads something is wrong with the messages or the map.
    async fn pause_itself(&mut self) {
        let detail = format!("the source has more than {MAX_DEAD_LETTERS} dead letters");
        tracing::warn!(source = self.config.name, detail, "the source pauses itself");
        self.last_error = Some(LastError::new(self.parts.clock.now(), detail));
        if let Err(error) = self.parts.store.set_paused(Role::Source, &self.config.name, true).await
        {
            tracing::debug!(%error, "the source can't be paused now");
        }
    }

    /// Begins to try dead letters again that somebody asked for, at the beginning too.
    pub(super) fn begin_replay(&mut self) {
        let generation = self.control.borrow().letters_generation;
        let is_asked = self.letters_generation != Some(generation) || self.replaying.is_failing();
        if self.replay.is_some() || !is_asked || !self.replaying.is_due() {
            return;
        }
        self.letters_generation = Some(generation);
        let replay = Replay {
            config: Arc::clone(&self.config),
            store: self.parts.store.clone(),
            ingest: self.parts.ingest.clone(),
            decoder: self.decoder.clone(),
            clock: self.parts.clock.clone(),
            lease: self.lease.clone(),
        };
        self.replay = Some(Box::pin(replay.run()));
    }

    fn note_replayed(&mut self, replayed: Result<(), String>) {
        self.replay = None;
        match replayed {
            Ok(()) => self.replaying.succeeded(),
            Err(detail) => {
                self.replaying.failed(None);
                self.failed(detail);
            }
        }
    }

    pub(super) fn set_lag(&mut self, lag: Option<SourceLag>) {
        self.lag = lag;
    }

    /// Says how the source is.
    pub(super) fn report(&self, reading: &Backoff) {
        let backoffs = [&self.opening, &self.storing, reading];
        let retrying = !self.again.is_empty() || backoffs.into_iter().any(Backoff::is_failing);
        let age = self.lag.and_then(|lag| lag.age);
        self.held.report(Report {
            retrying,
            caught_up: self.is_empty && self.sent.is_empty() && !retrying,
            current: self.current(),
            last_error: self.last_error.clone(),
            settings: Some(self.settings.clone()),
            waiting: self.lag.map(|lag| lag.messages),
            waiting_seconds: age.map(|age| age.as_secs_f64()),
            ..Report::default()
        });
    }

    /// The first message that is sent again and again.
    fn current(&self) -> Option<Current> {
        let first =
            self.again.front().or_else(|| self.sent.front().filter(|first| first.tries > 1))?;
        let event = self.decoder.event(&first.message).ok();
        let key = event
            .as_ref()
            .and_then(|event: &Event| event.updates().first())
            .map(|update| update.key());
        Some(Current {
            token: stored::place_text(&first.message.place),
            entity_type: key.map_or_else(String::new, |key| key.entity_type().to_owned()),
            entity_id: key.map_or_else(String::new, |key| key.entity_id().to_owned()),
            tries: first.tries,
        })
    }

    /// Notes that the source could not be read or acknowledged.
    pub(super) fn note_failure(&mut self, failure: Failure, backoff: &mut Backoff) {
        backoff.failed(failure.retry_after);
        self.failed(failure.detail);
    }
}

async fn next_outcome(call: &mut Option<Call>) -> Option<Outcome> {
    match call {
        Some(call) => call.next().await,
        None => pending().await,
    }
}

async fn next_replayed(
    replay: &mut Option<BoxFuture<'static, Result<(), String>>>,
) -> Result<(), String> {
    match replay {
        Some(replay) => replay.await,
        None => pending().await,
    }
}
