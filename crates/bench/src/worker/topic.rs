//! A topic, and how many records it has.

use std::time::Duration;

use producer_test_support::Kafka;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::time::{Instant, sleep};

use crate::Result;

const PARTITIONS: i32 = 8;
const TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// A new topic.
pub(super) struct Topic {
    name: String,
    consumer: BaseConsumer,
}

impl Topic {
    /// Makes it.
    pub(super) async fn new(kafka: &Kafka, name: &str) -> Result<Self> {
        kafka.create_topic(name, PARTITIONS, &[]).await;
        let consumer = ClientConfig::new().set("bootstrap.servers", kafka.url()).create()?;
        let topic = Self { name: name.to_owned(), consumer };
        let deadline = Instant::now() + TIMEOUT;
        // the partitions of a topic that was just made have no leader yet
        while let Err(error) = topic.records() {
            if Instant::now() > deadline {
                return Err(error);
            }
            sleep(POLL).await;
        }
        Ok(topic)
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its records, by the ends of its partitions: no record is read.
    pub(super) fn records(&self) -> Result<u64> {
        let mut records = 0;
        for partition in 0..PARTITIONS {
            let (_, end) = self.consumer.fetch_watermarks(&self.name, partition, TIMEOUT)?;
            records += u64::try_from(end)?;
        }
        Ok(records)
    }
}
