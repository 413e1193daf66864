//! Two workers: one is frozen or stops, and the other goes on.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use producer_e2e::{
    Binary, Database, Load, RedisTarget, SLACK, Service, StreamLog, Worker, eventually,
};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Executor};
use tokio::time::sleep;

use super::{
    PAUSE, cache_equals_state, cache_sink, last_versions, position, stream_has_all, stream_sink,
    taken_over,
};
use crate::macros::on_both_databases;

on_both_databases!(
    a_frozen_worker_is_replaced_and_takes_nothing_back,
    another_goes_on_after_an_orderly_stop,
);

/// A lease ends so long after its worker's death.
const LEASE_ENDS: Duration = Duration::from_secs(15);
/// Another worker goes on so long after an orderly stop.
const HANDED_OVER: Duration = Duration::from_secs(1);

/// For so long others may write.
const PATIENCE: Duration = Duration::from_secs(1);

const SINKS: [&str; 2] = ["sinks/events", "sinks/cache"];

fn config(redis: &RedisTarget) -> String {
    format!("{}\n{}", stream_sink("events", redis), cache_sink("cache", redis))
}

async fn a_frozen_worker_is_replaced_and_takes_nothing_back(database: &Database) {
    let redis = RedisTarget::start().await;
    let rest = Service::start(Binary::Rest, &database.settings()).await;
    let client = rest.rest();
    let config = config(&redis);
    let first = Worker::start(&database.settings(), &config).await;
    first.runs(&["events", "cache"]).await;
    let second = Worker::start(&database.settings(), &config).await;
    let positions = Positions::watch(database).await;
    let load = Load::with_pause(&[client.clone().into()], 4, 5, PAUSE);
    load.history().more_done(100).await;

    freeze(&first, database).await;
    let frozen_at = Instant::now();
    taken_over(&client, &SINKS, &first.name()).await;
    let took = frozen_at.elapsed();
    assert!(took <= LEASE_ENDS + SLACK, "taken over after {took:?}");
    println!("FIGURES a frozen worker: taken over after {took:.1?}");
    load.history().more_done(100).await;
    let versions = last_versions(load.history());
    let mut log = StreamLog::new("events");
    eventually("the second worker delivers", async || {
        log.read(&redis).await.unwrap();
        log.has(&versions)
    })
    .await;

    first.thaw();
    eventually("the first worker knows that it lost its leases", async || {
        first.process.logged("another worker may run this connector now").len() == SINKS.len()
    })
    .await;
    load.history().more_done(100).await;
    let history = load.stop().await;
    // a worker that was frozen with the file's lock kept others from writing for a moment
    history.check(&client).await;
    stream_has_all(&mut log, &redis, &history).await;
    cache_equals_state(&redis, &client, &history).await;
    assert_eq!(positions.steps_back().await, Vec::<String>::new());
    for sink in SINKS {
        assert_eq!(client.connector(sink).await["worker"], second.name());
    }
    second.stop().await;
    first.stop().await;
    rest.stop().await;
}

/// Freezes a worker at a moment in which it has no transaction: another one would wait for the lock of a file
/// until it goes on, whatever its lease.
pub(super) async fn freeze(worker: &Worker, database: &Database) {
    worker.freeze().await;
    while is_locked(database).await {
        worker.thaw();
        worker.freeze().await;
    }
}

/// Whether nobody can write to the file for a while: by SQLite's lock, or those that writers take before it.
async fn is_locked(database: &Database) -> bool {
    let Database::Sqlite(_, url) = database else { return false };
    let path = url.trim_start_matches("sqlite://");
    for file in ["-turn", "-write"].map(|suffix| format!("{path}{suffix}")) {
        if !is_free(&file).await {
            return true;
        }
    }
    let options: SqliteConnectOptions = url.parse().unwrap();
    let mut file = options.busy_timeout(PATIENCE).connect().await.unwrap();
    let locked = file.execute("BEGIN IMMEDIATE").await.is_err();
    if !locked {
        file.execute("ROLLBACK").await.unwrap();
    }
    locked
}

/// Whether a lock file is free at some moment.
async fn is_free(path: &str) -> bool {
    let file = File::open(path).unwrap();
    let start = Instant::now();
    while file.try_lock().is_err() {
        if start.elapsed() > PATIENCE {
            return false;
        }
        sleep(Duration::from_millis(1)).await;
    }
    true
}

async fn another_goes_on_after_an_orderly_stop(database: &Database) {
    let redis = RedisTarget::start().await;
    let rest = Service::start(Binary::Rest, &database.settings()).await;
    let client = rest.rest();
    let config = config(&redis);
    let load = Load::with_pause(&[client.clone().into()], 2, 5, PAUSE);
    let mut running = Worker::start(&database.settings(), &config).await;
    running.runs(&["events", "cache"]).await;
    for _ in 0..2 {
        let next = Worker::start(&database.settings(), &config).await;
        load.history().more_done(50).await;
        let name = running.name();
        running.stop().await;
        let stopped_at = Instant::now();
        taken_over(&client, &SINKS, &name).await;
        let took = stopped_at.elapsed();
        assert!(took <= HANDED_OVER + SLACK, "taken over after {took:?}");
        println!("FIGURES an orderly stop: taken over after {took:.1?}");
        running = next;
    }
    load.history().more_done(50).await;
    let history = load.stop().await;
    let mut log = StreamLog::new("events");
    stream_has_all(&mut log, &redis, &history).await;
    cache_equals_state(&redis, &client, &history).await;
    assert_eq!(log.duplicates(), 0, "an orderly stop repeats nothing");
}

/// Watches the positions of both sinks.
struct Positions {
    stop: Arc<AtomicBool>,
    watching: tokio::task::JoinHandle<Vec<String>>,
}

impl Positions {
    async fn watch(database: &Database) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let url = database.url().to_owned();
        let stopped = Arc::clone(&stop);
        let watching = tokio::spawn(async move {
            let mut last = [0; 2];
            let mut steps_back = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                for (sink, last) in ["events", "cache"].into_iter().zip(&mut last) {
                    let now = position(&url, sink).await;
                    if now < *last {
                        steps_back.push(format!("{sink} from {last} to {now}"));
                    }
                    *last = now;
                }
                sleep(Duration::from_millis(50)).await;
            }
            assert!(last.iter().all(|&position| position > 0), "{last:?}");
            steps_back
        });
        Self { stop, watching }
    }

    async fn steps_back(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.watching.await.unwrap()
    }
}
