//! Two workers with sinks to a Redis stream, a Redis cache, a topic of Kafka and OpenSearch, and the check of what
//! these have got.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use producer_e2e::{
    Committed, EntityKey, IndexTarget, RedisTarget, Rest, StreamLog, TopicTarget, VersionLog,
    Worker,
};
use redis::cmd;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::time::sleep;

use crate::environment::{END_TIMEOUT, signal_for};
use crate::faults::{Injection, ServiceFault, SinkFault, WorkerFault};

const STREAM: &str = "events";
const TOPIC: &str = "changes";
const SINKS: [&str; 4] = [STREAM, "cache", TOPIC, "index"];
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
    targets: Targets,
    log: StreamLog,
    slowest: Duration,
}

struct Targets {
    /// Keeps what it acknowledges.
    stream: RedisTarget,
    /// Loses everything when it is killed.
    cache: RedisTarget,
    /// Keeps what it acknowledges, as the index does.
    topic: TopicTarget,
    index: IndexTarget,
    /// Its index template.
    template: NamedTempFile,
}

impl Targets {
    async fn start() -> Self {
        Self {
            stream: RedisTarget::durable().await,
            cache: RedisTarget::start().await,
            topic: TopicTarget::start(TOPIC).await,
            index: IndexTarget::start().await,
            template: template(),
        }
    }

    /// What `worker.toml` says of them.
    fn config(&self) -> String {
        let log = |kind: &str, url: &str, name: &str, to: &str| {
            format!(
                "[[sink]]\nname = \"{name}\"\nkind = \"{kind}\"\nurl = \"{url}\"\n{to} = \"{name}\"\n\
                 from = \"start\"\nformat = \"plain\"\nretry = {RETRY}\n"
            )
        };
        let latest = |kind: &str, url: &str, name: &str, more: &str| {
            format!(
                "[[sink]]\nname = \"{name}\"\nkind = \"{kind}\"\nurl = \"{url}\"\nretry = {RETRY}\n{more}\n"
            )
        };
        let template = format!("template = \"{}\"", self.template.path().display());
        [
            log("redis-stream", &self.stream.url(), STREAM, "stream"),
            log("kafka", &self.topic.url(), TOPIC, "topic"),
            latest("redis-cache", &self.cache.url(), "cache", ""),
            latest("opensearch", &self.index.url(), "index", &template),
        ]
        .concat()
    }

    async fn inject(&self, fault: SinkFault, duration: Duration) {
        let Self { stream, cache, topic, index, .. } = self;
        match fault {
            SinkFault::StreamKilled => during(duration, stream.kill(), stream.restart()).await,
            SinkFault::StreamFrozen => during(duration, stream.freeze(), stream.thaw()).await,
            SinkFault::CacheKilled => during(duration, cache.kill(), cache.restart()).await,
            SinkFault::CacheFrozen => during(duration, cache.freeze(), cache.thaw()).await,
            SinkFault::CacheFlushed => cache.query::<()>(&cmd("FLUSHALL")).await.unwrap(),
            SinkFault::TopicKilled => during(duration, topic.kill(), topic.restart()).await,
            SinkFault::TopicFrozen => during(duration, topic.freeze(), topic.thaw()).await,
            SinkFault::IndexKilled => during(duration, index.kill(), index.restart()).await,
            SinkFault::IndexFrozen => during(duration, index.freeze(), index.thaw()).await,
            SinkFault::IndexDeleted => index.delete_indexes().await.unwrap(),
        }
    }

    /// What the cache and the index have otherwise than the database.
    async fn differences(&self, committed: &Committed) -> Vec<String> {
        let expected = expected(committed);
        let mut all = match self.cache.cached().await {
            Ok(cached) => differences("the cache", &expected, &cached),
            Err(error) => vec![format!("the cache: {error}")],
        };
        match self.index.documents().await {
            Ok(documents) => {
                let indexed = documents.into_iter().map(|document| (key_of(&document), document));
                all.extend(differences("the index", &expected, &indexed.collect()));
            }
            Err(error) => all.push(format!("the index: {error}")),
        }
        all
    }
}

impl Workers {
    pub(crate) async fn new(database_url: &str) -> Self {
        let targets = Targets::start().await;
        let config = targets.config();
        let mut workers = Vec::new();
        for _ in 0..2 {
            workers.push(Worker::start(&[("DATABASE_URL", database_url)], &config).await);
        }
        Self { workers, targets, log: StreamLog::new(STREAM), slowest: Duration::ZERO }
    }

    /// Injects the faults, and restarts the worker if it has ended.
    pub(crate) async fn inject(&mut self, injection: &Injection) {
        let Self { workers, targets, .. } = self;
        let worker = async {
            if let Some(fault) = injection.worker {
                sleep(injection.service_after).await;
                inject_worker_fault(&mut workers[fault.worker], fault).await;
            }
        };
        let sink = async {
            if let Some(fault) = injection.sink {
                targets.inject(fault, injection.duration).await;
            }
        };
        tokio::join!(worker, sink);
    }

    /// Waits until all targets have what was committed; returns what they have not.
    pub(crate) async fn check(&mut self, committed: &Committed, client: &Rest) -> Vec<String> {
        let start = Instant::now();
        let versions = committed.last_versions();
        let mut problems = loop {
            let problems = self.missing(committed, &versions).await;
            if problems.is_empty() || start.elapsed() > END_DEADLINE {
                break problems;
            }
            sleep(POLL_INTERVAL).await;
        };
        self.slowest = self.slowest.max(start.elapsed());
        for log in [&mut *self.log, self.targets.topic.log()] {
            problems.extend(log.problems(&versions).into_iter().take(MAX_NAMED));
        }
        for sink in SINKS {
            let sink = client.connector(&format!("sinks/{sink}")).await;
            if sink["deadLetters"] != 0 || !problems.is_empty() {
                problems.push(format!("a sink that should have delivered all: {sink}"));
            }
        }
        // what was checked is not needed any more
        let trim = cmd("XTRIM").arg(STREAM).arg("MAXLEN").arg(0).to_owned();
        let _: () = self.targets.stream.query(&trim).await.unwrap();
        problems
    }

    /// What is not there yet, or can't be read now.
    async fn missing(
        &mut self,
        committed: &Committed,
        versions: &HashMap<EntityKey, u64>,
    ) -> Vec<String> {
        let mut missing = Vec::new();
        let stream = self.log.read(&self.targets.stream).await;
        missing.extend(stream.err().map(|error| format!("the stream: {error}")));
        let topic = self.targets.topic.read().await;
        missing.extend(topic.err().map(|error| format!("the topic: {error}")));
        let logs: [(&str, &VersionLog); 2] =
            [("stream", &self.log), ("topic", self.targets.topic.log())];
        let lacking = logs.into_iter().filter(|(_, log)| !log.has(versions));
        missing.extend(lacking.map(|(what, _)| format!("the {what} lacks changes")));
        if missing.is_empty() {
            missing = self.targets.differences(committed).await;
            missing.truncate(MAX_NAMED);
        }
        missing
    }

    /// The counts in one line.
    pub(crate) fn summary(&mut self) -> String {
        let topic = self.targets.topic.log();
        format!(
            "in the stream {} changes, {} of them again, in the topic {}, {} of them again, slowest to the end {:.1} s",
            self.log.entries(),
            self.log.duplicates(),
            topic.entries(),
            topic.duplicates(),
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

async fn during(
    duration: Duration,
    begin: impl Future<Output = ()>,
    end: impl Future<Output = ()>,
) {
    begin.await;
    sleep(duration).await;
    end.await;
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

/// Attributes have values of several types, so no mapping fits all documents.
fn template() -> NamedTempFile {
    let template = json!({
        "composed_of": ["producer-entities"],
        "template": {"mappings": {"properties": {"data": {"type": "object", "enabled": false}}}},
    });
    let file = NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), template.to_string()).expect("it can be written");
    file
}

/// The key of an entity in the cache.
fn key_of(entity: &Value) -> String {
    let text = |name: &str| entity[name].as_str().unwrap_or_default();
    format!("entity:{}:{}", text("entityType"), text("entityId"))
}

/// Type, id, version and document of each entity that exists, by its key in the cache.
fn expected(committed: &Committed) -> BTreeMap<String, Value> {
    let entry = |(key, (version, data)): (&EntityKey, &(u64, Option<Value>))| {
        let EntityKey { entity_type, entity_id } = key;
        let data = data.as_ref()?;
        let members = json!({
            "entityType": entity_type, "entityId": entity_id, "version": version, "data": data,
        });
        Some((key_of(&members), members))
    };
    committed.entities.iter().filter_map(entry).collect()
}

/// What is missing, different, or not to be there.
fn differences(
    target: &str,
    expected: &BTreeMap<String, Value>,
    found: &BTreeMap<String, Value>,
) -> Vec<String> {
    let has = |found: &Value, members: &Value| {
        members.as_object().is_some_and(|all| all.iter().all(|(name, value)| &found[name] == value))
    };
    let differs = expected.iter().filter_map(|(key, members)| match found.get(key) {
        Some(found) if has(found, members) => None,
        Some(found) => Some(format!("{target} has {key} as {found} instead of {members}")),
        None => Some(format!("{target} lacks {key}")),
    });
    let surplus = found.keys().filter(|key| !expected.contains_key(*key));
    differs.chain(surplus.map(|key| format!("{target} has {key}, which does not exist"))).collect()
}
