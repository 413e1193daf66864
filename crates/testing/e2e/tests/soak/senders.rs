//! Senders of every kind, which repeat some of their events.

use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use producer_e2e::proto::Operation;
use producer_e2e::{ANSWER_DEADLINE, Grpc, Outcome, Rest, SentEvent, SentUpdate};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Builder;

use crate::calls::{Bulk, send_bulk, send_calls, send_stream};
use crate::outcomes::{ApiKind, OutcomeLog};
use crate::random::Random;

/// The prefix of the ids of entities with many events.
pub(crate) const HOT_PREFIX: &str = "hot-";
const HOT_ENTITIES: u64 = 5;
const ENTITIES: u64 = 300;
/// Senders of single events per service.
const SINGLE_SENDERS: usize = 4;
/// The pause between two requests: minimum and maximum.
const PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(30));

/// Added to the pause after a request that was not decided.
const BACKOFF: Duration = Duration::from_millis(100);

/// Clients of both services.
#[derive(Clone)]
pub(crate) struct Peers {
    pub(crate) rest: Rest,
    pub(crate) grpc: Grpc,
}

/// How a sender sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Single(ApiKind),
    Bulk(Bulk),
    Calls { atomic: bool },
    Stream,
}

/// Running senders.
pub(crate) struct Senders {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Senders {
    pub(crate) fn start(
        peers: &Peers,
        entity_type: &str,
        seed: u64,
        outcomes: &Arc<OutcomeLog>,
    ) -> Self {
        let singles = [ApiKind::Rest, ApiKind::Grpc].map(Method::Single);
        let ways = singles.into_iter().cycle().take(2 * SINGLE_SENDERS).chain([
            Method::Bulk(Bulk::Array),
            Method::Bulk(Bulk::Atomic),
            Method::Bulk(Bulk::Lines),
            Method::Calls { atomic: false },
            Method::Calls { atomic: true },
            Method::Stream,
        ]);
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for (number, method) in ways.enumerate() {
            let random = Random::new(seed.wrapping_mul(1000) + number as u64);
            let (peers, outcomes) = (peers.clone(), Arc::clone(outcomes));
            let sender =
                Sender { peers, method, random, entity_type: entity_type.into(), outcomes };
            tasks.spawn(sender.send_until(Arc::clone(&stop)));
        }
        Self { stop, tasks }
    }

    /// Stops every sender after its current request.
    pub(crate) async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a sender doesn't panic");
        }
    }
}

/// All or none of its events.
fn is_atomic(method: Method) -> bool {
    matches!(method, Method::Calls { atomic: true } | Method::Bulk(Bulk::Atomic))
}

/// Whether the answer says what became of the event, and the database decided it.
fn is_decided(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Done { .. } | Outcome::PreconditionFailed)
}

struct Sender {
    peers: Peers,
    method: Method,
    random: Random,
    entity_type: String,
    outcomes: Arc<OutcomeLog>,
}

impl Sender {
    async fn send_until(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            let decided = match self.method {
                Method::Single(api) => self.single(api).await,
                method => self.many(method).await,
            };
            let pause = self.random.between(PAUSE.0, PAUSE.1);
            sleep(if decided { pause } else { pause + BACKOFF }).await;
        }
    }

    /// Sends one event; again if the outcome is unknown, or at random.
    async fn single(&mut self, api: ApiKind) -> bool {
        let event = self.event();
        let outcome = self.send_one(api, &event).await;
        let decided = is_decided(&outcome);
        if self.random.percent(if decided { 5 } else { 60 }) {
            let api = self.random.choose(&[ApiKind::Rest, ApiKind::Grpc]);
            self.send_one(api, &event).await;
        }
        if matches!(outcome, Outcome::Done { .. }) && self.random.percent(2) {
            self.contradict(&event).await;
        }
        decided
    }

    async fn send_one(&self, api: ApiKind, event: &SentEvent) -> Outcome {
        let start = Instant::now();
        let outcome = match api {
            ApiKind::Rest => self.peers.rest.send(event).await,
            ApiKind::Grpc => self.peers.grpc.send(event).await,
        };
        let took = start.elapsed();
        self.outcomes.add(api, event, outcome.clone());
        self.check_refusal(event, &outcome, slice::from_ref(event));
        // without a response the service may have been stopped
        if !matches!(outcome, Outcome::NoResponse(_) | Outcome::NotConnected) {
            self.outcomes.add_response_time(took);
            if took > 2 * ANSWER_DEADLINE {
                self.outcomes.add_problem(format!("a response took {took:.2?}: {outcome:?}"));
            }
        }
        outcome
    }

    /// Sends the uuid of a stored event with other content, which must be a conflict.
    async fn contradict(&mut self, stored: &SentEvent) {
        let mut other = stored.clone();
        other.updates[0].operation = Operation::Merge;
        other.updates[0].attributes = json!({"contradiction": true});
        let outcome = self.peers.rest.send(&other).await;
        let conflict = matches!(&outcome, Outcome::Unexpected(text) if text.starts_with("409"));
        if !conflict && matches!(outcome, Outcome::Done { .. } | Outcome::Unexpected(_)) {
            self.outcomes.add_problem(format!("other content under {}: {outcome:?}", stored.uuid));
        }
    }

    /// Sends a request of many events; again if some failed, or at random.
    async fn many(&mut self, method: Method) -> bool {
        let is_atomic = is_atomic(method);
        let count = 1 + self.random.below(if is_atomic { 10 } else { 60 });
        let events: Vec<_> = (0..count).map(|_| self.event()).collect();
        self.outcomes.add_call(format!("{method:?}"), &events, is_atomic);
        let decided = self.call(method, &events).await;
        if self.random.percent(if decided { 5 } else { 60 }) {
            self.call(method, &events).await;
        }
        decided
    }

    /// Whether every event was decided.
    async fn call(&self, method: Method, events: &[SentEvent]) -> bool {
        let Peers { rest, grpc } = &self.peers;
        let (api, outcomes) = match method {
            Method::Bulk(bulk) => (ApiKind::Rest, send_bulk(rest, events, bulk).await),
            Method::Calls { atomic } => (ApiKind::Grpc, send_calls(grpc, events, atomic).await),
            Method::Stream => (ApiKind::Grpc, send_stream(grpc, events).await),
            Method::Single(api) => (api, Vec::new()),
        };
        let decided = outcomes.iter().all(is_decided);
        for (event, outcome) in events.iter().zip(outcomes) {
            let judged = if is_atomic(method) { events } else { slice::from_ref(event) };
            self.check_refusal(event, &outcome, judged);
            self.outcomes.add(api, event, outcome);
        }
        decided
    }

    /// Only a delete has a condition here: that its entity exists.
    fn check_refusal(&self, event: &SentEvent, outcome: &Outcome, judged: &[SentEvent]) {
        let mut updates = judged.iter().flat_map(|event| &event.updates);
        let may_fail = updates.any(|update| update.operation == Operation::Delete);
        if *outcome == Outcome::PreconditionFailed && !may_fail {
            let uuid = event.uuid;
            self.outcomes.add_problem(format!("{uuid}: a condition failed that it does not have"));
        }
    }

    /// An event for one entity mostly, sometimes for several, which may be the same.
    fn event(&mut self) -> SentEvent {
        let entities = if self.random.percent(80) { 1 } else { 1 + self.random.below(3) };
        let uuid = u128::from(self.random.next()) << 64 | u128::from(self.random.next());
        let uuid = Builder::from_random_bytes(uuid.to_be_bytes()).into_uuid();
        let updates = (0..entities).map(|_| self.update()).collect();
        SentEvent { uuid, updates }
    }

    /// Mostly a merge. Merges and replaces make entities anew that were deleted.
    fn update(&mut self) -> SentUpdate {
        let (id, attributes) = (self.entity_id(), self.attributes());
        let (operation, attributes) = match self.random.below(100) {
            0..7 => (Operation::Delete, json!({})),
            7..17 => (Operation::Replace, attributes),
            _ => (Operation::Merge, attributes),
        };
        SentUpdate { operation, ..SentUpdate::new(&self.entity_type, &id, attributes) }
    }

    fn entity_id(&mut self) -> String {
        match self.random.percent(30) {
            true => format!("{HOT_PREFIX}{}", self.random.below(HOT_ENTITIES)),
            false => format!("one-{}", self.random.below(ENTITIES)),
        }
    }

    /// Flat, nested, removing, replacing and large patches.
    fn attributes(&mut self) -> Value {
        let number = self.random.below(1_000_000);
        let (field, inner) =
            (format!("a{}", self.random.below(8)), format!("k{}", self.random.below(4)));
        match self.random.below(12) {
            0..=4 => {
                json!({field: number, "text": format!("t{number}"), "flag": number.is_multiple_of(2)})
            }
            5 => json!({field: [number, {"x": null}, "y"]}),
            6 | 7 => json!({"deep": {inner: {"v": number}}, field: number}),
            8 => json!({"deep": {inner: null}, field: null}),
            9 => json!({"deep": number}),
            10 => json!({"large": "x".repeat(4000 + number as usize % 100)}),
            _ => json!({}),
        }
    }
}
