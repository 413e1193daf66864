//! Whatever is written, declared, built, dropped and pruned in whatever order, by two processes: in the end each
//! index has the keys of all documents, and nothing else.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use producer_core::model::Precondition;
use producer_core::store::Store;
use producer_core::types::{Definition, Job, TypeStore};
use producer_maintenance::prune;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use support::types::{build, rows_are_right, types};
use support::{Db, START, apply_through, clock, default, event_of, open};

/// Paths of one or two keys over the members that patches have.
const PATHS: [&str; 7] =
    ["data.a", "data.b", "data.a.b", "data.b.a", "data.c", "createdAt", "updatedAt"];

#[derive(Debug, Clone)]
enum Step {
    /// A batch of one of the processes.
    Write(usize, Vec<Value>),
    Declare(Definition),
    Undeclare,
    /// One step of what one of the processes builds or drops.
    Build(usize),
    /// What is older than a second.
    Prune,
}

fn patch() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        2 => Just(Value::Null),
        3 => any::<i8>().prop_map(Value::from),
        2 => "[a-zé]{0,3}".prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(json!([1])),
    ];
    let value = leaf.clone().prop_recursive(2, 6, 2, |inner| {
        prop::collection::btree_map("[ab]", inner, 0..3).prop_map(|members| json!(members))
    });
    let flat = prop::collection::btree_map("[a-d]", any::<i8>(), 0..3).prop_map(|m| json!(m));
    let deep = prop::collection::btree_map("[a-d]", value, 0..3).prop_map(|m| json!(m));
    prop_oneof![flat, deep]
}

fn item() -> impl Strategy<Value = Value> {
    let operation = prop_oneof![5 => Just("merge"), 2 => Just("replace"), 2 => Just("delete")];
    (0..4_u8, operation, patch()).prop_map(|(car, operation, patch)| {
        let patch = if operation == "delete" { json!({}) } else { patch };
        json!({"entityType": "Car", "entityId": format!("car{car}"), "operation": operation,
            "updatedAttributes": patch})
    })
}

fn definition() -> impl Strategy<Value = Definition> {
    let index = prop::sample::subsequence(PATHS.to_vec(), 1..4).prop_shuffle();
    prop::collection::btree_set(index, 0..4).prop_map(|indexes| {
        let text = json!({ "indexes": indexes }).to_string();
        Definition::parse(&text).unwrap()
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..2_usize, prop::collection::vec(item(), 1..5)).prop_map(|(n, items)| Step::Write(n, items)),
        2 => definition().prop_map(Step::Declare),
        1 => Just(Step::Undeclare),
        5 => (0..2_usize).prop_map(Step::Build),
        1 => Just(Step::Prune),
    ];
    prop::collection::vec(step, 1..40)
}

/// Half a minute: no lease ends meanwhile.
const LEASE: Duration = Duration::from_secs(30);

struct Run<'d> {
    db: &'d Db,
    stores: [Arc<dyn Store>; 2],
    /// What each process has a lease on.
    jobs: [Option<Job>; 2],
    number: u128,
}

impl Run<'_> {
    async fn step(&mut self, step: &Step, now: i64) {
        match step {
            Step::Write(place, items) => {
                let events: Vec<_> = items
                    .iter()
                    .map(|item| {
                        self.number += 1;
                        event_of(self.number, std::slice::from_ref(item))
                    })
                    .collect();
                // deletes of what does not exist are refused
                let _verdicts = apply_through(&mut *self.stores[*place].writer(), &events).await;
            }
            Step::Declare(definition) => {
                let types = types(&self.db.store);
                types.replace("Car", definition, &Precondition::None).await.unwrap();
            }
            Step::Undeclare => {
                types(&self.db.store).delete("Car", &Precondition::None).await.unwrap();
            }
            Step::Build(place) => self.build(*place).await,
            Step::Prune => {
                let now = clock(now);
                let keep = Duration::from_secs(1);
                prune::prune(&self.db.database(), keep, &now, &mut |_| {}).await.unwrap();
            }
        }
    }

    /// Nobody is to be waited for: each step of the test has ended before the next one.
    async fn build(&mut self, place: usize) {
        let store = &self.stores[place];
        if self.jobs[place].is_none() {
            self.jobs[place] = store.take_job(LEASE).await.unwrap();
        }
        let Some(mut job) = self.jobs[place].take() else { return };
        let goes_on = TypeStore::renew(&**store, &mut job, LEASE).await.unwrap()
            && store.step(&mut job, LEASE).await.unwrap()
                == producer_core::types::StepOutcome::Went;
        self.jobs[place] = goes_on.then_some(job);
    }
}

async fn holds(db: &Db, steps: &[Step]) {
    let stores = [db.again(START).await, open(&db.settings, clock(START + 1)).await];
    let mut run = Run { db, stores, jobs: [None, None], number: 0 };
    for (second, step) in (1..).zip(steps) {
        let now = START + second * 1_000_000;
        if second % 10 == 0 {
            // processes start anew, and know nothing
            run.stores = [db.again(now).await, db.again(now + 1).await];
        }
        run.step(step, now).await;
        rows_are_right(db).await;
    }
    for place in 0..2 {
        if let Some(job) = run.jobs[place].take() {
            TypeStore::release(&*run.stores[place], &job).await.unwrap();
        }
    }
    build(db).await;
    rows_are_right(db).await;
    let orphans = "SELECT CAST(count(*) AS text) FROM entity_index
        WHERE index_id NOT IN (SELECT part_id FROM type_parts)";
    assert_eq!(db.texts(orphans).await, ["0"]);
}

fn cases(count: u32) -> Vec<Vec<Step>> {
    let mut runner = TestRunner::new(Config::default());
    (0..count).map(|_| steps().new_tree(&mut runner).unwrap().current()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_have_what_documents_have_on_sqlite() {
    for case in cases(25) {
        let db = Db::sqlite(default).await;
        eprintln!("{case:?}"); // shown where it fails
        holds(&db, &case).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_have_what_documents_have_on_postgres() {
    for case in cases(25) {
        let db = Db::postgres(default).await;
        eprintln!("{case:?}");
        holds(&db, &case).await;
    }
}
