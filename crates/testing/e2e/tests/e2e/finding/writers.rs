//! Writers of cars, each of cars of its own, so that the end is known.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use producer_e2e::proto::Operation;
use producer_e2e::{Api, DEADLINE, Outcome, Rest, SentEvent, SentUpdate, eventually, merge_patch};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::questions;

/// Cars by id.
pub(super) type Documents = BTreeMap<String, Value>;

/// More than a list sorts in memory, and twenty steps of building.
const SEEDED: usize = 10_500;
/// Of these nobody writes the one in the middle.
pub(super) const HELD: &str = "seed-05250";
/// Writers of each process.
const WRITERS: usize = 2;
/// The pause of a writer after an event is shorter than this.
const PAUSE_MS: usize = 8;
/// The pause after an event that was not acknowledged.
const BACKOFF: Duration = Duration::from_millis(50);

const MAKES: [&str; 5] = ["Audi", "Fiat", "Opel", "Saab", "Skoda"];
const CITIES: [&str; 6] = ["Bern", "Bonn", "Köln", "Lille", "Rom", "Ulm"];
const WORDS: [&str; 28] = [
    "acacia", "alder", "ash", "aspen", "beech", "birch", "box", "cedar", "chestnut", "cork",
    "elder", "elm", "fig", "fir", "hazel", "holm", "larch", "lemon", "linden", "oak", "peach",
    "plum", "poplar", "rowan", "sumac", "walnut", "willow", "yew",
];

/// Sends cars in bulk, and returns them.
pub(super) async fn seed(rest: &Rest) -> Documents {
    let cars: Documents = (0..SEEDED).map(|place| (format!("seed-{place:05}"), car())).collect();
    let events: Vec<Value> =
        cars.iter().map(|(id, car)| SentEvent::new("Car", id, car.clone()).json()).collect();
    for events in events.chunks(2500) {
        let body = serde_json::to_string(events).unwrap();
        let path = "/api/v1/events/bulk?results=failed";
        let (status, answer) = rest.post(path, "application/json", body).await;
        assert_eq!((status, &answer["processedCount"]), (200, &json!(events.len())), "{answer}");
    }
    cars
}

/// A car with a value at each path of the definition.
fn car() -> Value {
    json!({
        "price": price(),
        "dealer": dealer(),
        "make": MAKES[random(MAKES.len())],
        "owner": {"city": city(), "cars": random(3)},
        "title": words(2),
        "notes": words(4),
    })
}

fn price() -> Value {
    match random(4) {
        0 => json!(random(200) as f64 / 2.0),
        _ => json!(random(100)),
    }
}

fn dealer() -> String {
    format!("dealer-{}", random(20))
}

fn city() -> &'static str {
    CITIES[random(CITIES.len())]
}

fn words(count: usize) -> String {
    let words: Vec<&str> = (0..count).map(|_| WORDS[random(WORDS.len())]).collect();
    words.join(" ")
}

fn random(below: usize) -> usize {
    // the lowest bits of a random uuid are random
    (Uuid::new_v4().as_u128() % (1 << 32)) as usize % below
}

/// Running writers.
pub(super) struct Writers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Documents>,
    /// The acknowledged events of each process.
    acknowledged: Vec<Arc<AtomicUsize>>,
    /// Cars that no writer has.
    others: Documents,
}

impl Writers {
    /// Starts writers of each process, which share these cars.
    pub(super) fn start(apis: &[Api], seeded: Documents) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged: Vec<_> = apis.iter().map(|_| Arc::new(AtomicUsize::new(0))).collect();
        let count = apis.len() * WRITERS;
        let mut shares = vec![Documents::new(); count];
        let mut others = Documents::new();
        for (place, (id, car)) in seeded.into_iter().enumerate() {
            let owner = if id == HELD { &mut others } else { &mut shares[place % count] };
            owner.insert(id, car);
        }
        let mut tasks = JoinSet::new();
        for (number, cars) in shares.into_iter().enumerate() {
            let api = apis[number % apis.len()].clone();
            let ids = cars.keys().cloned().collect();
            let writer = Writer { api, ids, cars };
            let acknowledged = Arc::clone(&acknowledged[number % apis.len()]);
            tasks.spawn(writer.write(Arc::clone(&stop), acknowledged));
        }
        Self { stop, tasks, acknowledged, others }
    }

    /// Waits until so many more events of each process are acknowledged.
    pub(super) async fn more_of_each(&self, count: usize) {
        let now = || self.acknowledged.iter().map(|count| count.load(Ordering::Relaxed));
        let before: Vec<usize> = now().collect();
        eventually("more events of each process", async || {
            now().zip(&before).all(|(now, before)| now >= before + count)
        })
        .await;
    }

    /// Makes a car in a process that has no writers.
    pub(super) async fn write_through(&mut self, api: &Api) {
        let mut writer = Writer::new(api);
        let event = writer.new_car();
        writer.send(event).await;
        self.others.append(&mut writer.cars);
    }

    /// What one process has just acknowledged, another one finds.
    pub(super) async fn what_is_answered_is_found(&mut self, api: &Api, other: &Rest) {
        let tag = format!("tag{}", Uuid::new_v4().simple());
        let mut writer = Writer::new(api);
        let (one, two) = (format!("{tag}-1"), format!("{tag}-2"));
        let replaced = SentEvent::new("Car", &one, json!({"make": "Opel", "notes": tag}));
        let deleted = SentEvent::new("Car", &two, json!({}));
        for event in [
            SentEvent::new("Car", &one, json!({"dealer": tag, "title": tag, "price": 1})),
            SentEvent::new("Car", &one, json!({"owner": {"city": tag}})),
            SentEvent::new("Car", &two, json!({"dealer": tag, "owner": {"city": tag}})).and(
                "Car",
                &one,
                json!({"dealer": "another"}),
            ),
            with_operation(Operation::Replace, replaced),
            with_operation(Operation::Delete, deleted),
        ] {
            writer.send(event).await;
            questions::finds_tagged(other, &tag, &writer.cars).await;
        }
        self.others.append(&mut writer.cars);
    }

    /// Stops every writer after its current event; returns all cars as they should be.
    pub(super) async fn stop(self) -> Documents {
        self.stop.store(true, Ordering::Relaxed);
        let shares = self.tasks.join_all().await;
        shares.into_iter().chain([self.others]).flatten().collect()
    }
}

/// Writes cars that nobody else writes.
struct Writer {
    api: Api,
    /// The ids of its cars, also of those that it has deleted.
    ids: Vec<String>,
    /// Its cars as they should be.
    cars: Documents,
}

impl Writer {
    fn new(api: &Api) -> Self {
        Self { api: api.clone(), ids: Vec::new(), cars: Documents::new() }
    }

    async fn write(mut self, stop: Arc<AtomicBool>, acknowledged: Arc<AtomicUsize>) -> Documents {
        while !stop.load(Ordering::Relaxed) {
            let event = self.event();
            self.send(event).await;
            acknowledged.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(random(PAUSE_MS) as u64)).await;
        }
        self.cars
    }

    /// Sends it until it is acknowledged: its process may be killed.
    async fn send(&mut self, event: SentEvent) {
        let start = Instant::now();
        loop {
            match self.api.send(&event).await {
                Outcome::Done { .. } => break,
                outcome @ (Outcome::PreconditionFailed | Outcome::Unexpected(_)) => {
                    panic!("{outcome:?}: {event:?}")
                }
                outcome => assert!(start.elapsed() < 2 * DEADLINE, "{outcome:?}: {event:?}"),
            }
            sleep(BACKOFF).await;
        }
        for update in event.updates {
            self.apply(update);
        }
    }

    fn apply(&mut self, SentUpdate { entity_id, operation, attributes, .. }: SentUpdate) {
        match operation {
            Operation::Delete => drop(self.cars.remove(&entity_id)),
            Operation::Replace => drop(self.cars.insert(entity_id, attributes)),
            Operation::Merge | Operation::Unspecified => {
                merge_patch(self.cars.entry(entity_id).or_insert_with(|| json!({})), &attributes);
            }
        }
    }

    /// One that touches all, some or none of an index's paths, in each of the ways that writers have.
    fn event(&mut self) -> SentEvent {
        let id = self.ids[random(self.ids.len())].clone();
        let merge = |attributes| SentEvent::new("Car", &id, attributes);
        match random(12) {
            0 => self.new_car(),
            1 => self.new_car().and("Car", &id, json!({"price": price()})),
            2 => merge(json!({"price": price()})),
            3 => merge(json!({"dealer": dealer()})),
            4 => merge(json!({"make": MAKES[random(MAKES.len())], "price": price()})),
            5 => merge(json!({"title": words(2)})),
            6 => merge(json!({"notes": words(4), "owner": {"city": city()}})),
            7 => merge(json!({"price": null, "owner": {"city": null}})),
            8 => merge(json!({"owner": words(1), "seen": random(1000)})),
            9 => merge(json!({"seen": random(1000)})),
            10 => with_operation(Operation::Replace, merge(car())),
            _ if self.cars.contains_key(&id) => with_operation(Operation::Delete, merge(json!({}))),
            _ => merge(car()),
        }
    }

    fn new_car(&mut self) -> SentEvent {
        let id = format!("new-{}", Uuid::new_v4().simple());
        self.ids.push(id.clone());
        SentEvent::new("Car", &id, car())
    }
}

/// The event with this operation for its first entity.
fn with_operation(operation: Operation, mut event: SentEvent) -> SentEvent {
    event.updates[0].operation = operation;
    event
}
