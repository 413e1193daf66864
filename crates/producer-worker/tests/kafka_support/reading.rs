//! Sources, messages and committed offsets for the tests of the Kafka source.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use producer_core::Clock;
use producer_test_support::Kafka;
use producer_worker::config::{Secret, SourceConfig, SourceKind, SourceStart};
use producer_worker::source::{Body, Message, Place, Source};
use producer_worker::sources;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::{PATIENCE, properties};

pub(crate) fn source(
    url: &str,
    topic: &str,
    group: &str,
    from: SourceStart,
    set: &[(&str, &str)],
) -> Box<dyn Source> {
    let kind = SourceKind::Kafka {
        url: Secret::from(url.to_owned()),
        topic: topic.into(),
        group: group.into(),
        from,
        properties: properties(set),
    };
    let config = SourceConfig { name: "kafka".into(), kind, map: None };
    sources::open(&config, "worker", &Clock::system()).expect("settings that can work")
}

/// Sends texts to a partition, and waits until they are acknowledged.
pub(crate) async fn send(kafka: &Kafka, topic: &str, partition: i32, texts: &[String]) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.url())
        .set("enable.idempotence", "true")
        .create()
        .expect("a producer");
    let sent = texts.iter().map(|text| {
        let record = FutureRecord::<(), _>::to(topic).partition(partition);
        producer.send_result(record.payload(text)).map_err(|(error, _)| error).expect("queued")
    });
    for acknowledged in sent.collect::<Vec<_>>() {
        acknowledged.await.expect("not cancelled").map_err(|(error, _)| error).expect("sent");
    }
}

/// `count` texts that begin with a word.
pub(crate) fn texts(word: &str, count: usize) -> Vec<String> {
    (0..count).map(|at| format!("{word}-{at}")).collect()
}

/// Receives so many messages.
pub(crate) async fn receive(source: &mut Box<dyn Source>, count: usize) -> Vec<Message> {
    let deadline = Instant::now() + PATIENCE;
    let mut messages = Vec::new();
    while messages.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} messages", messages.len());
        // a broker that has just started refuses members of groups for a moment
        if let Ok(received) = source.receive(count - messages.len()).await {
            messages.extend(received);
        }
    }
    messages
}

pub(crate) fn text(message: &Message) -> String {
    let bytes = match &message.body {
        Body::Bytes(bytes) => Some(bytes.clone()),
        Body::Fields(_) | Body::Gone => None,
    };
    String::from_utf8(bytes.expect("one text")).expect("UTF-8")
}

pub(crate) fn places(messages: &[Message]) -> Vec<Place> {
    messages.iter().map(|message| message.place.clone()).collect()
}

/// Partition and offset of a message.
pub(crate) fn at(place: &Place) -> (i32, i64) {
    let (_, partition) = place.stream.rsplit_once('/').expect("a partition");
    (partition.parse().expect("a number"), place.id.parse().expect("an offset"))
}

/// Sees what a group has committed.
pub(crate) struct Group {
    consumer: BaseConsumer,
    topic: String,
    partitions: i32,
}

impl Group {
    pub(crate) fn new(kafka: &Kafka, topic: &str, group: &str, partitions: i32) -> Self {
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", kafka.url())
            .set("group.id", group)
            .create()
            .expect("a consumer");
        Self { consumer, topic: topic.into(), partitions }
    }

    /// The committed offset of each partition that has one. Blocks.
    pub(crate) fn committed(&self) -> BTreeMap<i32, i64> {
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            list.add_partition(&self.topic, partition);
        }
        // a broker that has just started has no coordinator of the group for a moment
        let deadline = Instant::now() + PATIENCE;
        let committed = loop {
            match self.consumer.committed_offsets(list.clone(), PATIENCE) {
                Ok(committed) => break committed,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        };
        let elements = committed.elements();
        let offset =
            |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element
                .offset()
            {
                Offset::Offset(offset) => Some((element.partition(), offset)),
                _ => None,
            };
        elements.iter().filter_map(offset).collect()
    }

    /// Waits until the group has committed this.
    pub(crate) async fn reaches(&self, expected: &[(i32, i64)]) {
        let expected = BTreeMap::from_iter(expected.iter().copied());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let committed = tokio::task::block_in_place(|| self.committed());
            if committed == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{committed:?} instead of {expected:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
