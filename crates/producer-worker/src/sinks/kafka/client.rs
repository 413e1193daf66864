//! A producer of librdkafka, and rounds of records whose acknowledgements are awaited together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::{Secret, Secrets};
use crate::kafka::{client_config, code_of, creation_error, log};
use crate::sink::Failure;

/// How long a record waits for its acknowledgement. All records of a round wait equally long from within
/// the same moment: else a later one of an entity could arrive after an earlier one was given up.
const ACKNOWLEDGEMENT: Duration = Duration::from_secs(10);
/// How long past that the end of a round is awaited: librdkafka looks at the time once a second.
const GRACE: Duration = Duration::from_secs(5);
/// How often a round looks whether its producer has failed for good.
const LOOK: Duration = Duration::from_millis(50);
/// How long records wait for others, to be sent with them.
const LINGER_MS: &str = "2";
/// Bytes of records that librdkafka holds at most, in KiB; more where one record may be larger.
const QUEUE_KIB: u64 = 8 * 1024;
const BYTES_PER_KIB: u64 = 1024;
/// librdkafka's own limit of a record, in bytes.
const MESSAGE_MAX_BYTES: u64 = 1_000_000;

/// What becomes of what is sent behind records that the broker refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    /// Nothing of it is sent: the producer fails for good, and is replaced.
    Stops,
    /// It is sent. For one record at a time.
    GoesOn,
}

/// The settings of a sink's producers.
pub(super) fn settings(
    servers: &Secret,
    properties: &BTreeMap<String, Secret>,
    behind: Behind,
) -> ClientConfig {
    let acknowledgement = ACKNOWLEDGEMENT.as_millis().to_string();
    let queue = queue_kib(properties).to_string();
    let gapless = match behind {
        // without it librdkafka would send the batches behind a refused one again by itself
        Behind::Stops => "true",
        Behind::GoesOn => "false",
    };
    let ours = [
        ("acks", "all"),
        ("enable.idempotence", "true"),
        ("enable.gapless.guarantee", gapless),
        ("message.timeout.ms", acknowledgement.as_str()),
        ("linger.ms", LINGER_MS),
        ("queue.buffering.max.kbytes", queue.as_str()),
        // as Java's clients place keys, so that others can join topics
        ("partitioner", "murmur2_random"),
        // topics are looked at before they are used; this is for those that are deleted later
        ("topic.metadata.propagation.max.ms", "1000"),
    ];
    client_config(servers, &ours, properties)
}

/// One record has to fit, however large the user lets it be.
fn queue_kib(properties: &BTreeMap<String, Secret>) -> u64 {
    let names = ["message.max.bytes"];
    let largest = names.iter().find_map(|name| properties.get(*name)?.expose().parse().ok());
    let largest: u64 = largest.unwrap_or(MESSAGE_MAX_BYTES);
    QUEUE_KIB.max(2 * largest.div_ceil(BYTES_PER_KIB))
}

/// A record.
pub(super) struct Record<'a> {
    pub(super) topic: &'a str,
    pub(super) key: &'a str,
    /// `None` is a tombstone.
    pub(super) value: Option<&'a str>,
    pub(super) headers: Option<OwnedHeaders>,
}

/// A producer. Dropping it gives up what it still has, on a thread of its own.
pub(super) struct ProducerClient {
    /// `None` while it is dropped.
    producer: Option<ThreadedProducer<Context>>,
}

impl ProducerClient {
    /// Makes a producer; it connects by itself.
    pub(super) async fn new(config: ClientConfig, secrets: Secrets) -> Result<Self, Failure> {
        let made = spawn_blocking(move || {
            let context =
                Context { secrets: secrets.clone(), last_error: std::sync::Mutex::default() };
            ThreadedProducer::from_config_and_context(&config, context)
                .map_err(|error| Failure::new(creation_error(&error, &secrets)))
        });
        match made.await {
            Ok(producer) => Ok(Self { producer: Some(producer?) }),
            Err(panic) => Err(Failure::new(format!("Kafka: {panic}"))),
        }
    }

    /// Whether it sends nothing any more.
    pub(super) fn has_failed(&self) -> bool {
        self.fatal_error().is_some()
    }

    /// What librdkafka has said about its connections lately.
    pub(super) fn last_error(&self) -> Option<String> {
        let last = self.client()?.context().last_error.lock().ok()?;
        let (at, reason) = last.as_ref()?;
        (at.elapsed() < ACKNOWLEDGEMENT + GRACE).then(|| reason.clone())
    }

    /// Why it sends nothing any more.
    pub(super) fn fatal_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.client()?.fatal_error()
    }

    pub(super) fn client(&self) -> Option<&Client<Context>> {
        self.producer.as_ref().map(Producer::client)
    }

    /// Puts a record into the queue, as one of the item `item` of a round.
    pub(super) fn send(
        &self,
        record: Record<'_>,
        round: &Arc<Round>,
        item: usize,
    ) -> Result<(), RDKafkaErrorCode> {
        let Some(producer) = &self.producer else { return Err(RDKafkaErrorCode::Fail) };
        let ticket = Box::new(Ticket { round: Arc::clone(round), item });
        let mut base = BaseRecord::with_opaque_to(record.topic, ticket).key(record.key);
        base.payload = record.value;
        base.headers = record.headers;
        round.unsettled.fetch_add(1, Ordering::Relaxed);
        producer.send(base).map_err(|(error, _record)| {
            round.unsettled.fetch_sub(1, Ordering::Relaxed);
            code_of(&error)
        })
    }

    /// Waits until each record of a round is acknowledged or given up, and returns what became of its items.
    pub(super) async fn settled(&self, round: &Round) -> Vec<Option<Outcome>> {
        round.end_of_sending();
        let end = Instant::now() + ACKNOWLEDGEMENT + GRACE;
        let settled = async {
            loop {
                tokio::select! {
                    () = round.settled.notified() => return,
                    () = sleep(LOOK) => self.give_up_queue_of_failed(),
                }
            }
        };
        // past the end what is still open counts as not acknowledged
        let _ = timeout_at(end, settled).await;
        round.take()
    }

    /// A producer that has failed keeps what it would have sent again until it is too old.
    fn give_up_queue_of_failed(&self) {
        if let Some(producer) = &self.producer
            && self.has_failed()
        {
            producer.purge(PurgeConfig::default().queue().non_blocking());
        }
    }
}

impl Drop for ProducerClient {
    fn drop(&mut self) {
        if let Some(producer) = self.producer.take() {
            // it joins its thread, and waits for half a second
            std::thread::spawn(move || drop(producer));
        }
    }
}

/// What became of a record: the code of its failure, if it failed.
pub(super) type Outcome = Result<(), RDKafkaErrorCode>;

/// Items, each of one or more records, whose acknowledgements are awaited together.
pub(super) struct Round {
    /// Records without an acknowledgement, and one while records are being sent.
    unsettled: AtomicUsize,
    /// Of each item the first failure, or success.
    outcomes: std::sync::Mutex<Vec<Option<Outcome>>>,
    settled: Notify,
}

impl Round {
    pub(super) fn new(items: usize) -> Arc<Self> {
        Arc::new(Self {
            unsettled: AtomicUsize::new(1),
            outcomes: std::sync::Mutex::new(vec![None; items]),
            settled: Notify::new(),
        })
    }

    /// Notes what became of one of an item's records.
    pub(super) fn note(&self, item: usize, outcome: Outcome) {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(noted) = outcomes.get_mut(item)
            && !matches!(noted, Some(Err(_)))
        {
            *noted = Some(outcome);
        }
    }

    fn end_of_sending(&self) {
        self.one_settled();
    }

    fn one_settled(&self) {
        if self.unsettled.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.settled.notify_one();
        }
    }

    fn take(&self) -> Vec<Option<Outcome>> {
        let open = self.unsettled.load(Ordering::Acquire) > 0;
        let mut outcomes = self.outcomes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut taken = std::mem::take(&mut *outcomes);
        if open {
            // an item of two records may look acknowledged with one of them
            taken.fill(Some(Err(RDKafkaErrorCode::MessageTimedOut)));
        }
        taken
    }
}

/// Goes with a record through librdkafka.
pub(super) struct Ticket {
    round: Arc<Round>,
    item: usize,
}

/// What librdkafka calls, on the producer's own thread.
pub(super) struct Context {
    secrets: Secrets,
    /// When, and what.
    last_error: std::sync::Mutex<Option<(Instant, String)>>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line, &self.secrets);
    }

    fn error(&self, _error: KafkaError, reason: &str) {
        let reason = self.secrets.removed_from(reason);
        tracing::debug!(reason, "a producer reports an error");
        if let Ok(mut last) = self.last_error.lock() {
            *last = Some((Instant::now(), reason));
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let outcome = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(code_of(error)),
        };
        ticket.round.note(ticket.item, outcome);
        ticket.round.one_settled();
    }
}
