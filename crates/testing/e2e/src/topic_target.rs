//! A topic of Kafka where sinks write, and what it has got.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use producer_test_support::Kafka;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::{EntityKey, VersionLog};

/// The time limit of an answer.
const TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
const PARTITIONS: i32 = 4;

/// A broker with one topic. It ends when dropped.
pub struct TopicTarget {
    kafka: Arc<Kafka>,
    topic: String,
    consumer: Arc<BaseConsumer>,
    /// The offset behind what was read, of each partition.
    read: HashMap<i32, i64>,
    log: VersionLog,
}

/// A record of the format `plain`: where it stands, and what it is about.
struct Record {
    partition: i32,
    offset: i64,
    /// Entity and version; `None` of a tombstone.
    change: Option<(EntityKey, u64)>,
}

impl TopicTarget {
    /// Starts a broker with this topic.
    pub async fn start(topic: &str) -> Self {
        let kafka = Arc::new(spawn_blocking(Kafka::start).await.expect("a broker"));
        kafka.create_topic(topic, PARTITIONS, &[]).await;
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", kafka.url())
            .set("group.id", "checks")
            .set("enable.auto.commit", "false")
            .create()
            .expect("a consumer");
        let mut partitions = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            let begin = partitions.add_partition_offset(topic, partition, Offset::Beginning);
            begin.expect("a partition");
        }
        consumer.assign(&partitions).expect("an assignment");
        let read = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
        let (topic, log) = (topic.to_owned(), VersionLog::new(topic));
        Self { kafka, topic, consumer: Arc::new(consumer), read, log }
    }

    /// `host:port`
    pub fn url(&self) -> String {
        self.kafka.url()
    }

    /// What was read of it so far.
    pub fn log(&mut self) -> &mut VersionLog {
        &mut self.log
    }

    /// Kills the broker (SIGKILL).
    pub async fn kill(&self) {
        self.act(Kafka::kill).await;
    }

    /// Starts it again, with what it kept.
    pub async fn restart(&self) {
        self.act(Kafka::restart).await;
    }

    /// Stops it where it is (SIGSTOP).
    pub async fn freeze(&self) {
        self.act(Kafka::freeze).await;
    }

    /// Lets it go on (SIGCONT).
    pub async fn thaw(&self) {
        self.act(Kafka::thaw).await;
    }

    async fn act(&self, act: fn(&Kafka)) {
        let kafka = Arc::clone(&self.kafka);
        spawn_blocking(move || act(&kafka)).await.expect("the broker can be steered");
    }

    /// Reads what the topic has got since the last call.
    ///
    /// # Errors
    /// While the broker is away.
    ///
    /// # Panics
    /// If a record is not in the format `plain`.
    pub async fn read(&mut self) -> Result<(), KafkaError> {
        let (consumer, topic, read) =
            (Arc::clone(&self.consumer), self.topic.clone(), self.read.clone());
        let records = spawn_blocking(move || records(&consumer, &topic, read)).await;
        for Record { partition, offset, change } in records.expect("records")? {
            if let Some((key, version)) = change {
                self.log.add(key, version, &format!("{partition}/{offset}"));
            }
            self.read.insert(partition, offset + 1);
        }
        Ok(())
    }
}

/// The records behind these offsets, up to the ends that the partitions have now, as far as they come in time.
fn records(
    consumer: &BaseConsumer,
    topic: &str,
    mut read: HashMap<i32, i64>,
) -> Result<Vec<Record>, KafkaError> {
    let mut ends = HashMap::new();
    for partition in read.keys() {
        ends.insert(*partition, consumer.fetch_watermarks(topic, *partition, TIMEOUT)?.1);
    }
    let (mut records, begun) = (Vec::new(), Instant::now());
    let is_missing = |read: &HashMap<i32, i64>| {
        ends.iter().any(|(partition, end)| read.get(partition) < Some(end))
    };
    while is_missing(&read) && begun.elapsed() < TIMEOUT {
        // after an error it reads on by itself; what has come by then must not be dropped
        if let Some(Ok(message)) = consumer.poll(POLL) {
            let record = record(&message);
            read.insert(record.partition, record.offset + 1);
            records.push(record);
        }
    }
    Ok(records)
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let change = message.payload().map(change);
    Record { partition: message.partition(), offset: message.offset(), change }
}

fn change(payload: &[u8]) -> (EntityKey, u64) {
    let value: Value = serde_json::from_slice(payload).expect("a record is JSON");
    let text = |name: &str| match value[name].as_str() {
        Some(text) => text.to_owned(),
        None => panic!("a record has no {name}: {value}"),
    };
    let key = EntityKey { entity_type: text("entity_type"), entity_id: text("entity_id") };
    (key, value["version"].as_u64().expect("a version"))
}
