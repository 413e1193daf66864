//! What an event costs between its sender and a writer: many senders wait at once, and a commit
//! takes no time. Everything runs on one thread, so that elapsed time is CPU time.

use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use producer_core::ingest::{ApplyError, ApplyMode, Limits, Verdict, WriteStore, Writer};
use producer_core::model::NewVersion;
use producer_core::{Clock, Event, Ingest, Timestamp, decode};

fn main() {
    divan::main();
}

/// Events in one run.
const EVENTS: usize = 60_000;

/// Senders that wait at once.
const WAITING: [usize; 3] = [64, 1000, 15_000];

#[divan::bench(args = WAITING, sample_count = 15, sample_size = 1)]
fn distinct_keys(bencher: Bencher<'_, '_>, waiting: usize) {
    run(bencher, waiting, EVENTS);
}

#[divan::bench(args = WAITING, sample_count = 15, sample_size = 1)]
fn ten_keys(bencher: Bencher<'_, '_>, waiting: usize) {
    run(bencher, waiting, 10);
}

#[divan::bench(args = WAITING, sample_count = 15, sample_size = 1)]
fn one_key(bencher: Bencher<'_, '_>, waiting: usize) {
    run(bencher, waiting, 1);
}

fn run(bencher: Bencher<'_, '_>, waiting: usize, keys: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    let _entered = runtime.enter();
    let ingest = Ingest::start(Arc::new(Nothing), limits(), runtime.handle());
    bencher.with_inputs(|| events(keys)).counter(ItemsCount::new(EVENTS)).bench_local_values(
        |events| {
            let submitted = futures_util::stream::iter(events)
                .map(|event| ingest.submit(event))
                .buffer_unordered(waiting);
            let stored = submitted.filter(|outcome| std::future::ready(outcome.is_ok())).count();
            // one task polls all senders, for which tokio's budget of a task is far too small
            assert_eq!(runtime.block_on(tokio::task::unconstrained(stored)), EVENTS);
        },
    );
}

fn limits() -> Limits {
    Limits {
        queue_events: 20_000,
        queue_bytes: 64 << 20,
        queue_age: Duration::from_secs(20),
        request_timeout: Duration::from_secs(30),
        log_progress_every: 0,
    }
}

fn events(keys: usize) -> Vec<Event> {
    let clock = Clock::from_fn(|| Timestamp::from_micros(0));
    let event = |index: usize| {
        let uuid = uuid::Uuid::from_u128(index as u128);
        let key = index % keys;
        let body = format!(
            r#"{{"eventHeader":{{"uuid":"{uuid}","eventName":"LoanPaymentSubmitted"}},"eventBody":{{"entities":[{{"entityType":"Loan","entityId":"{key}","updatedAttributes":{{"balance":1}}}}]}}}}"#
        );
        decode::event(body.as_bytes(), &clock).expect("an event")
    };
    (0..EVENTS).map(event).collect()
}

/// A store that keeps nothing.
struct Nothing;

impl WriteStore for Nothing {
    fn writer(&self) -> Box<dyn Writer> {
        Box::new(Nothing)
    }

    fn max_writers(&self) -> usize {
        2
    }
}

impl Writer for Nothing {
    fn apply<'a>(
        &'a mut self,
        batch: &'a [Event],
        _mode: ApplyMode,
    ) -> BoxFuture<'a, Result<Vec<Verdict>, ApplyError>> {
        Box::pin(async {
            // the senders and the other writer work meanwhile, as they do during a commit
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            Ok(batch
                .iter()
                .map(|event| {
                    Verdict::Applied(vec![
                        NewVersion { version: 1, created: true };
                        event.updates().len()
                    ])
                })
                .collect())
        })
    }
}
