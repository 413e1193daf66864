//! Two workers with a sink to a Redis stream and one to a Redis cache, and the check of what these have got.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use producer_e2e::{Committed, EntityKey, RedisTarget, Rest, StreamLog, Worker};
use redis::cmd;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::environment::{END_TIMEOUT, signal_for};
use crate::faults::{Injection, RedisFault, ServiceFault, WorkerFault};

const STREAM: &str = "events";
const SINKS: [&str; 2] = ["events", "cache"];
/// How long the sinks may take to have everything when all faults are over.
const END_DEADLINE: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Failures are tried again sooner than by default.
const RETRY: &str =
    "{ initial = \"50ms\", max = \"1s\", breaker_failures = 5, breaker_pause = \"1s\" }";
/// How many differences of one target are named.
const MAX_NAMED: usize = 5;

/// The workers, and the targets of their sinks.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    /// Keeps what it acknowledges.
    stream: RedisTarget,
    /// Loses everything when it is killed.
    cache: RedisTarget,
    log: StreamLog,
    slowest: Duration,
}

impl Workers {
    pub(crate) async fn new(database_url: &str) -> Self {
        let (stream, cache) = (RedisTarget::durable().await, RedisTarget::start().await);
        let config = format!(
            "[[sink]]\nname = \"{STREAM}\"\nkind = \"redis-stream\"\nurl = \"{}\"\nstream = \"{STREAM}\"\n\
             from = \"start\"\nformat = \"plain\"\nretry = {RETRY}\n\
             [[sink]]\nname = \"cache\"\nkind = \"redis-cache\"\nurl = \"{}\"\nretry = {RETRY}\n",
            stream.url(),
            cache.url()
        );
        let mut workers = Vec::new();
        for _ in 0..2 {
            workers.push(Worker::start(&[("DATABASE_URL", database_url)], &config).await);
        }
        let (log, slowest) = (StreamLog::new(STREAM), Duration::ZERO);
        Self { workers, stream, cache, log, slowest }
    }

    /// Injects the faults, and restarts the worker if it has ended.
    pub(crate) async fn inject(&mut self, injection: &Injection) {
        let Self { workers, stream, cache, .. } = self;
        let worker = async {
            if let Some(fault) = injection.worker {
                sleep(injection.service_after).await;
                inject_worker_fault(&mut workers[fault.worker], fault).await;
            }
        };
        let redis = async {
            if let Some(fault) = injection.redis {
                inject_redis_fault(stream, cache, fault, injection.duration).await;
            }
        };
        tokio::join!(worker, redis);
    }

    /// Waits until both targets have what was committed; returns what they have not.
    pub(crate) async fn check(&mut self, committed: &Committed, client: &Rest) -> Vec<String> {
        let start = Instant::now();
        let versions = committed.last_versions();
        let mut problems = Vec::new();
        let expected = expected(committed);
        loop {
            let is_read = self.log.read(&self.stream).await;
            let has_all = is_read.is_ok() && self.log.has(&versions);
            let differences = match self.cache.cached().await {
                Ok(cached) => differences(&expected, &cached),
                Err(error) => vec![format!("the cache: {error}")],
            };
            let is_late = start.elapsed() > END_DEADLINE;
            if is_late || has_all && differences.is_empty() {
                problems.extend(differences.into_iter().take(MAX_NAMED));
                problems.extend(is_read.err().map(|error| format!("the stream: {error}")));
                problems.extend(self.log.problems(&versions).into_iter().take(MAX_NAMED));
                break;
            }
            sleep(POLL_INTERVAL).await;
        }
        self.slowest = self.slowest.max(start.elapsed());
        for sink in SINKS {
            let sink = client.connector(&format!("sinks/{sink}")).await;
            if sink["deadLetters"] != 0 || !problems.is_empty() {
                problems.push(format!("a sink that should have delivered all: {sink}"));
            }
        }
        // what was checked is not needed any more
        let _: () = self.stream.query(cmd("XTRIM").arg(STREAM).arg("MAXLEN").arg(0)).await.unwrap();
        problems
    }

    /// The counts in one line.
    pub(crate) fn summary(&self) -> String {
        format!(
            "in the stream {} changes, {} of them again, slowest to the end {:.1} s",
            self.log.entries(),
            self.log.duplicates(),
            self.slowest.as_secs_f64()
        )
    }

    /// Stops the workers.
    pub(crate) async fn end(self) {
        for worker in self.workers {
            worker.stop().await;
        }
    }
}

async fn inject_worker_fault(worker: &mut Worker, fault: WorkerFault) {
    worker.process.signal(signal_for(fault.fault));
    if fault.fault == ServiceFault::Frozen {
        sleep(fault.duration).await;
        worker.thaw();
        return;
    }
    let status = worker.process.exit(END_TIMEOUT).await;
    let expected = fault.fault == ServiceFault::Killed || status.success();
    assert!(expected, "{status} after SIGTERM:\n{}", worker.process.log_tail());
    worker.restart().await;
}

async fn inject_redis_fault(
    stream: &RedisTarget,
    cache: &RedisTarget,
    fault: RedisFault,
    duration: Duration,
) {
    match fault {
        RedisFault::StreamKilled => kill(stream, duration).await,
        RedisFault::StreamFrozen => freeze(stream, duration).await,
        RedisFault::CacheKilled => kill(cache, duration).await,
        RedisFault::CacheFrozen => freeze(cache, duration).await,
        RedisFault::CacheFlushed => cache.query::<()>(&cmd("FLUSHALL")).await.unwrap(),
    }
}

async fn kill(redis: &RedisTarget, duration: Duration) {
    redis.kill().await;
    sleep(duration).await;
    redis.restart().await;
}

async fn freeze(redis: &RedisTarget, duration: Duration) {
    redis.freeze().await;
    sleep(duration).await;
    redis.thaw().await;
}

/// Type, id, version and document of each entity that exists, by its key in the cache.
fn expected(committed: &Committed) -> BTreeMap<String, Value> {
    let entry = |(key, (version, data)): (&EntityKey, &(u64, Option<Value>))| {
        let EntityKey { entity_type, entity_id } = key;
        let data = data.as_ref()?;
        let members = json!({
            "entityType": entity_type, "entityId": entity_id, "version": version, "data": data,
        });
        Some((format!("entity:{entity_type}:{entity_id}"), members))
    };
    committed.entities.iter().filter_map(entry).collect()
}

/// What is missing, different, or not to be there.
fn differences(
    expected: &BTreeMap<String, Value>,
    cached: &BTreeMap<String, Value>,
) -> Vec<String> {
    let has = |found: &Value, members: &Value| {
        members.as_object().is_some_and(|all| all.iter().all(|(name, value)| &found[name] == value))
    };
    let differs = expected.iter().filter_map(|(key, members)| match cached.get(key) {
        Some(found) if has(found, members) => None,
        Some(found) => Some(format!("the cache has {key} as {found} instead of {members}")),
        None => Some(format!("the cache lacks {key}")),
    });
    let surplus = cached.keys().filter(|key| !expected.contains_key(*key));
    differs.chain(surplus.map(|key| format!("the cache has {key}, which does not exist"))).collect()
}
