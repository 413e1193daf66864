//! Senders of every kind, who send again, now and then, what they have sent before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::{ANSWER_DEADLINE, Grpc, Outcome, Rest, SentEvent};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Builder;

use crate::calls::{Bulk, over_grpc, over_rest, through_stream};
use crate::ledger::{Ledger, Side};
use crate::random::Random;

/// How the ids of entities begin that many events are for.
pub(crate) const HOT: &str = "hot-";
const HOT_ENTITIES: u64 = 5;
const ENTITIES: u64 = 300;
/// Senders of single events to each service.
const SINGLES: usize = 4;
/// Between two calls.
const REST: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(30));

/// On top, as a client with manners waits.
const AFTER_A_FAILURE: Duration = Duration::from_millis(100);

/// Clients of both services.
#[derive(Clone)]
pub(crate) struct Peers {
    pub(crate) rest: Rest,
    pub(crate) grpc: Grpc,
}

/// How a sender sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Single(Side),
    Bulk(Bulk),
    Calls { atomic: bool },
    Stream,
}

/// Senders at work.
pub(crate) struct Senders {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Senders {
    pub(crate) fn start(peers: &Peers, entity_type: &str, seed: u64, ledger: &Arc<Ledger>) -> Self {
        let singles = [Side::Rest, Side::Grpc].map(Way::Single);
        let ways = singles.into_iter().cycle().take(2 * SINGLES).chain([
            Way::Bulk(Bulk::Array),
            Way::Bulk(Bulk::Atomic),
            Way::Bulk(Bulk::Lines),
            Way::Calls { atomic: false },
            Way::Calls { atomic: true },
            Way::Stream,
        ]);
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for (number, way) in ways.enumerate() {
            let random = Random::new(seed.wrapping_mul(1000) + number as u64);
            let (peers, ledger) = (peers.clone(), Arc::clone(ledger));
            let sender = Sender { peers, way, random, entity_type: entity_type.into(), ledger };
            tasks.spawn(sender.send_until(Arc::clone(&stop)));
        }
        Self { stop, tasks }
    }

    /// Lets every sender hear its last answer and go.
    pub(crate) async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a sender doesn't panic");
        }
    }
}

struct Sender {
    peers: Peers,
    way: Way,
    random: Random,
    entity_type: String,
    ledger: Arc<Ledger>,
}

impl Sender {
    async fn send_until(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            let done = match self.way {
                Way::Single(side) => self.single(side).await,
                way => self.many(way).await,
            };
            let rest = self.random.between(REST.0, REST.1);
            sleep(if done { rest } else { rest + AFTER_A_FAILURE }).await;
        }
    }

    /// One event, and again where its sender doesn't know, or doesn't care.
    async fn single(&mut self, side: Side) -> bool {
        let event = self.event();
        let outcome = self.send_one(side, &event).await;
        let done = matches!(outcome, Outcome::Done { .. });
        if self.random.percent(if done { 5 } else { 60 }) {
            let side = self.random.of(&[Side::Rest, Side::Grpc]);
            self.send_one(side, &event).await;
        }
        if done && self.random.percent(2) {
            self.contradict(&event).await;
        }
        done
    }

    async fn send_one(&self, side: Side, event: &SentEvent) -> Outcome {
        let start = Instant::now();
        let outcome = match side {
            Side::Rest => self.peers.rest.send(event).await,
            Side::Grpc => self.peers.grpc.send(event).await,
        };
        let took = start.elapsed();
        self.ledger.heard(side, event, outcome.clone());
        // who hears nothing has perhaps asked one that was dead or frozen
        if !matches!(outcome, Outcome::Silent(_) | Outcome::NotConnected) {
            self.ledger.took(took);
            if took > 2 * ANSWER_DEADLINE {
                self.ledger.find(format!("an answer took {took:.2?}: {outcome:?}"));
            }
        }
        outcome
    }

    /// The uuid of an event that is stored, with other content: must never be taken.
    async fn contradict(&mut self, stored: &SentEvent) {
        let mut other = stored.clone();
        other.updates[0].2 = json!({"contradiction": true});
        let outcome = self.peers.rest.send(&other).await;
        let conflict = matches!(&outcome, Outcome::Unexpected(text) if text.starts_with("409"));
        if !conflict && matches!(outcome, Outcome::Done { .. } | Outcome::Unexpected(_)) {
            self.ledger.find(format!("other content under {}: {outcome:?}", stored.uuid));
        }
    }

    /// A call of many events, and the whole again where some of it failed, or by chance.
    async fn many(&mut self, way: Way) -> bool {
        let is_atomic = matches!(way, Way::Calls { atomic: true } | Way::Bulk(Bulk::Atomic));
        let count = 1 + self.random.below(if is_atomic { 10 } else { 60 });
        let events: Vec<_> = (0..count).map(|_| self.event()).collect();
        self.ledger.called(format!("{way:?}"), &events, is_atomic);
        let done = self.call(way, &events).await;
        if self.random.percent(if done { 5 } else { 60 }) {
            self.call(way, &events).await;
        }
        done
    }

    /// Whether every event is acknowledged.
    async fn call(&self, way: Way, events: &[SentEvent]) -> bool {
        let Peers { rest, grpc } = &self.peers;
        let (side, outcomes) = match way {
            Way::Bulk(bulk) => (Side::Rest, over_rest(rest, events, bulk).await),
            Way::Calls { atomic } => (Side::Grpc, over_grpc(grpc, events, atomic).await),
            Way::Stream => (Side::Grpc, through_stream(grpc, events).await),
            Way::Single(side) => (side, Vec::new()),
        };
        let done = outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done { .. }));
        for (event, outcome) in events.iter().zip(outcomes) {
            self.ledger.heard(side, event, outcome);
        }
        done
    }

    /// For one entity mostly, now and then for some, one of them perhaps twice.
    fn event(&mut self) -> SentEvent {
        let entities = if self.random.percent(80) { 1 } else { 1 + self.random.below(3) };
        let uuid = u128::from(self.random.next()) << 64 | u128::from(self.random.next());
        let uuid = Builder::from_random_bytes(uuid.to_be_bytes()).into_uuid();
        let updates = (0..entities)
            .map(|_| (self.entity_type.clone(), self.entity_id(), self.attributes()))
            .collect();
        SentEvent { uuid, updates }
    }

    fn entity_id(&mut self) -> String {
        match self.random.percent(30) {
            true => format!("{HOT}{}", self.random.below(HOT_ENTITIES)),
            false => format!("one-{}", self.random.below(ENTITIES)),
        }
    }

    /// Flat patches, deep ones, ones that remove or replace, large ones.
    fn attributes(&mut self) -> Value {
        let number = self.random.below(1_000_000);
        let (field, inner) =
            (format!("a{}", self.random.below(8)), format!("k{}", self.random.below(4)));
        match self.random.below(12) {
            0..=4 => json!({field: number, "text": format!("t{number}"), "flag": number % 2 == 0}),
            5 => json!({field: [number, {"x": null}, "y"]}),
            6 | 7 => json!({"deep": {inner: {"v": number}}, field: number}),
            8 => json!({"deep": {inner: null}, field: null}),
            9 => json!({"deep": number}),
            10 => json!({"large": "x".repeat(4000 + number as usize % 100)}),
            _ => json!({}),
        }
    }
}
