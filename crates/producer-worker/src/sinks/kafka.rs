//! `kafka`: a record for each change, by an idempotent producer.
//!
//! Several changes of an entity may be in flight at once, so what matters is that none arrives behind one
//! that did not:
//! - A record that is too large for the producer is refused before anything behind it is sent.
//! - The broker refuses whole batches, and librdkafka would send the batches behind them again. The producer
//!   is set so that it fails for good instead (`enable.gapless.guarantee`) and is replaced. What the broker
//!   may have refused is then sent one record at a time, by a producer whose batches hold nothing else.
//! - Records of one delivery are sent within a moment and given up after the same time.

mod client;
mod delivery;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Duration, Instant, sleep, timeout};

use self::client::{Behind, ProducerClient, Record, Round, settings};
use self::delivery::{Delivery, Verdict, behind};
use crate::config::{Form, Format, Part, Secret, Secrets, Template};
use crate::format::Formatter;
use crate::kafka::{
    Role, check_properties, code_of, code_text, creation_error, secrets_of, topic_failure,
};
use crate::names::Values;
use crate::sink::{Failure, NotDelivered, Sink};
use crate::sinks::OpenError;
use crate::update::Update;

/// Within this time a delivery begins rounds. With the time of a round it ends well within
/// [`Sink::deadline`].
const ROUNDS: Duration = Duration::from_secs(10);
/// How long a broker is asked about topics.
const METADATA: Duration = Duration::from_secs(5);
/// Pause where librdkafka's queue is full of other deliveries' records.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(10);
/// How many producers may fail during one delivery: each because of a record of any delivery.
const FAILED_PRODUCERS: usize = 5;
/// Names of topics that are remembered, where each entity has one of its own.
const KNOWN_TOPICS: usize = 10_000;

/// Where a sink sends.
pub(super) struct Target {
    /// `host:port`, with commas between several.
    pub(super) servers: Secret,
    pub(super) topic: Template,
    pub(super) key: Template,
    pub(super) tombstones: bool,
    pub(super) properties: BTreeMap<String, Secret>,
}

/// A Kafka cluster.
pub(super) struct Kafka {
    target: Target,
    formatter: Formatter,
    secrets: Secrets,
    /// Made when it is first needed, and again after it has failed for good.
    producer: Mutex<Option<Arc<ProducerClient>>>,
    /// Topics that were there when they were last used.
    known: std::sync::Mutex<HashSet<String>>,
}

impl Kafka {
    pub(super) fn open(target: Target, format: &Format) -> Result<Self, OpenError> {
        check_properties(Role::Producer, &target.properties).map_err(OpenError)?;
        let secrets = secrets_of(&target.properties);
        let taken =
            settings(&target.servers, &target.properties, Behind::Stops).create_native_config();
        taken.map_err(|error| OpenError(creation_error(&error, &secrets)))?;
        let formatter = Formatter::new(format);
        let (producer, known) = Default::default();
        Ok(Self { target, formatter, secrets, producer, known })
    }

    async fn deliver_all(
        &self,
        updates: &[Update],
    ) -> Result<Vec<Result<(), NotDelivered>>, Failure> {
        let end = Instant::now() + ROUNDS;
        let topics = updates.iter().map(|update| self.target.topic.topic(update.into())).collect();
        let mut delivery = Delivery::new(updates, topics);
        if let Err(failure) = self.run(&mut delivery, end).await {
            delivery.fail_open(&failure);
        }
        delivery.into_result()
    }

    /// Sends rounds until everything has its result.
    ///
    /// # Errors
    /// What is still open fails for this reason.
    async fn run(&self, delivery: &mut Delivery<'_>, end: Instant) -> Result<(), Failure> {
        self.look_at_topics(delivery).await?;
        let mut failed_producers = 0;
        loop {
            let suspects = delivery.suspects();
            if !suspects.is_empty() {
                self.one_by_one(delivery, &suspects, end).await?;
            }
            let open = delivery.open();
            if open.is_empty() {
                return Ok(());
            }
            let producer = self.producer().await?;
            if Instant::now() >= end {
                return Err(not_acknowledged(&producer));
            }
            self.together(delivery, &open, &producer).await;
            if let Some((code, reason)) = producer.fatal_error() {
                failed_producers += 1;
                let is_ours = code == RDKafkaErrorCode::GaplessGuarantee;
                if !is_ours || failed_producers == FAILED_PRODUCERS {
                    let reason = self.secrets.removed_from(&reason);
                    return Err(Failure::new(format!("Kafka: the producer has failed: {reason}")));
                }
            }
        }
    }

    /// Sends these items at once, and waits for all acknowledgements.
    async fn together(
        &self,
        delivery: &mut Delivery<'_>,
        items: &[usize],
        producer: &ProducerClient,
    ) {
        let round = Round::new(items.len());
        let mut sent = 0;
        for (place, &item) in items.iter().enumerate() {
            if delivery.is_behind(item) {
                continue;
            }
            match self.send(delivery, item, producer, &round, place) {
                Ok(()) => sent += 1,
                Err(RDKafkaErrorCode::QueueFull) => {
                    // later ones would be given up later than these
                    round.note(place, Err(RDKafkaErrorCode::QueueFull));
                    break;
                }
                // librdkafka refuses it by itself: so it is this very record
                Err(code) => self.settle(delivery, item, Verdict::alone(code), code, producer),
            }
        }
        let outcomes = producer.settled(&round).await;
        if sent == 0 {
            sleep(QUEUE_FULL_PAUSE).await;
        }
        let mut broken = HashSet::new();
        for (&item, outcome) in items.iter().zip(outcomes) {
            let key = delivery.item(item).0.key();
            match outcome {
                // one that arrived behind a failure after all is sent again behind that one
                Some(Ok(())) if !broken.contains(key) => delivery.delivered(item),
                Some(Err(code)) => {
                    broken.insert(key);
                    self.settle(delivery, item, Verdict::together(code), code, producer);
                }
                Some(Ok(())) | None => {}
            }
        }
    }

    /// Sends items of batches that the broker has refused, each by itself.
    async fn one_by_one(
        &self,
        delivery: &mut Delivery<'_>,
        items: &[usize],
        end: Instant,
    ) -> Result<(), Failure> {
        let producer = self.new_producer(Behind::GoesOn).await?;
        for &item in items {
            if Instant::now() >= end {
                return Err(not_acknowledged(&producer));
            }
            if delivery.is_behind(item) {
                delivery.not_delivered(item, behind().into());
                continue;
            }
            let round = Round::new(1);
            if let Err(code) = self.send(delivery, item, &producer, &round, 0) {
                round.note(0, Err(code));
            }
            match producer.settled(&round).await.pop().flatten() {
                Some(Ok(())) => delivery.delivered(item),
                Some(Err(code)) => {
                    let verdict = match Verdict::alone(code) {
                        Verdict::Refused => Verdict::Refused,
                        // nothing is beside it
                        _ => Verdict::Failed,
                    };
                    self.settle(delivery, item, verdict, code, &producer);
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Puts an item's records into the queue.
    fn send(
        &self,
        delivery: &Delivery<'_>,
        item: usize,
        producer: &ProducerClient,
        round: &Arc<Round>,
        place: usize,
    ) -> Result<(), RDKafkaErrorCode> {
        let (update, topic) = delivery.item(item);
        let key = self.target.key.raw(update.into());
        let value = self.value(update);
        let record =
            Record { topic, key: &key, value: Some(&value), headers: self.headers(update) };
        producer.send(record, round, place)?;
        if self.target.tombstones && update.is_delete() {
            let tombstone = Record { topic, key: &key, value: None, headers: None };
            producer.send(tombstone, round, place)?;
        }
        Ok(())
    }

    /// Gives an item the result that its failure means.
    fn settle(
        &self,
        delivery: &mut Delivery<'_>,
        item: usize,
        verdict: Verdict,
        code: RDKafkaErrorCode,
        producer: &ProducerClient,
    ) {
        let (update, topic) = delivery.item(item);
        match verdict {
            Verdict::Again => {}
            Verdict::Suspect => delivery.suspect(item),
            Verdict::Refused => {
                let detail = format!("Kafka refuses the record: {}", code_text(code));
                let message = self.value(update).into_bytes();
                delivery.not_delivered(item, NotDelivered::Refused { detail, message });
            }
            Verdict::Failed => {
                let failure = match code {
                    RDKafkaErrorCode::MessageTimedOut => not_acknowledged(producer),
                    code => topic_failure(topic, code),
                };
                self.forget(topic);
                delivery.not_delivered(item, failure.into());
            }
        }
    }

    fn value(&self, update: &Update) -> String {
        match self.formatter.form() {
            Form::CloudEvents => self.formatter.data(update),
            Form::Plain => self.formatter.structured(update),
        }
    }

    /// Of a CloudEvent in binary mode its attributes.
    fn headers(&self, update: &Update) -> Option<OwnedHeaders> {
        if self.formatter.form() == Form::Plain {
            return None;
        }
        let fields = self.formatter.attributes(update).into_fields();
        let headers = OwnedHeaders::new_with_capacity(fields.len());
        let headers = fields.iter().fold(headers, |headers, (name, value)| match *name {
            "datacontenttype" => {
                headers.insert(Header { key: "content-type", value: Some(value.as_bytes()) })
            }
            name => {
                let name = format!("ce_{name}");
                headers.insert(Header { key: &name, value: Some(value.as_bytes()) })
            }
        });
        Some(headers)
    }

    /// The items of topics that are not there fail at once. librdkafka would let them wait, and a topic
    /// that was made meanwhile would be found only minutes later.
    async fn look_at_topics(&self, delivery: &mut Delivery<'_>) -> Result<(), Failure> {
        let unknown = {
            let known = self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            delivery.topics_without(&known)
        };
        if unknown.is_empty() {
            return Ok(());
        }
        let producer = self.producer().await?;
        let looked = timeout(METADATA, look_at(&producer, unknown)).await;
        for (topic, code) in looked.unwrap_or_else(|_elapsed| Err(not_answered(&producer, None)))? {
            match code {
                None => self.remember(topic),
                Some(code) => delivery.fail_topic(&topic, &topic_failure(&topic, code)),
            }
        }
        Ok(())
    }

    fn remember(&self, topic: String) {
        let mut known = self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if known.len() >= KNOWN_TOPICS {
            known.clear();
        }
        known.insert(topic);
    }

    fn forget(&self, topic: &str) {
        let mut known = self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.remove(topic);
    }

    /// The producer of all deliveries.
    async fn producer(&self) -> Result<Arc<ProducerClient>, Failure> {
        let mut current = self.producer.lock().await;
        if let Some(producer) = &*current
            && !producer.has_failed()
        {
            return Ok(Arc::clone(producer));
        }
        let producer = Arc::new(self.new_producer(Behind::Stops).await?);
        *current = Some(Arc::clone(&producer));
        Ok(producer)
    }

    async fn new_producer(&self, behind: Behind) -> Result<ProducerClient, Failure> {
        let config = settings(&self.target.servers, &self.target.properties, behind);
        ProducerClient::new(config, self.secrets.clone()).await
    }

    /// Looks at the topic, where all have the same, else at the brokers.
    async fn look(&self) -> Result<(), Failure> {
        let producer = Arc::new(self.new_producer(Behind::Stops).await?);
        let is_fixed = self.target.topic.0.iter().all(|part| matches!(part, Part::Text(_)));
        if !is_fixed {
            return metadata(&producer, None).await.map(|_| ());
        }
        let topic = self.target.topic.topic(Values::of_type(""));
        match metadata(&producer, Some(topic.clone())).await? {
            None => Ok(()),
            Some(code) => Err(topic_failure(&topic, code)),
        }
    }
}

impl Sink for Kafka {
    fn deliver<'a>(
        &'a self,
        updates: &'a [Update],
    ) -> BoxFuture<'a, Result<Vec<Result<(), NotDelivered>>, Failure>> {
        Box::pin(self.deliver_all(updates))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(self.look())
    }
}

/// What is wrong with each of these topics, if something is. Stops where the brokers do not answer.
async fn look_at(
    producer: &Arc<ProducerClient>,
    topics: Vec<String>,
) -> Result<Vec<(String, Option<RDKafkaErrorCode>)>, Failure> {
    let mut looked = Vec::with_capacity(topics.len());
    for topic in topics {
        let code = metadata(producer, Some(topic.clone())).await?;
        looked.push((topic, code));
    }
    Ok(looked)
}

/// What is wrong with a topic, if something is.
///
/// # Errors
/// No broker answers.
async fn metadata(
    producer: &Arc<ProducerClient>,
    topic: Option<String>,
) -> Result<Option<RDKafkaErrorCode>, Failure> {
    let asked = Arc::clone(producer);
    let looked = spawn_blocking(move || {
        let client = asked.client().ok_or(KafkaError::Canceled)?;
        let metadata = client.fetch_metadata(topic.as_deref(), METADATA)?;
        let topic = metadata.topics().first().filter(|_| topic.is_some());
        Ok::<_, KafkaError>(topic.and_then(|topic| topic.error()).map(RDKafkaErrorCode::from))
    });
    match looked.await {
        Ok(Ok(code)) => Ok(code),
        Ok(Err(error)) => Err(not_answered(producer, Some(code_of(&error)))),
        Err(panic) => Err(Failure::new(format!("Kafka: {panic}"))),
    }
}

fn not_answered(producer: &ProducerClient, code: Option<RDKafkaErrorCode>) -> Failure {
    match producer.last_error().or_else(|| code.map(code_text)) {
        Some(reason) => Failure::new(format!("Kafka does not answer: {reason}")),
        None => Failure::new("Kafka does not answer"),
    }
}

fn not_acknowledged(producer: &ProducerClient) -> Failure {
    match producer.last_error() {
        Some(reason) => Failure::new(format!("Kafka does not acknowledge in time: {reason}")),
        None => Failure::new("Kafka does not acknowledge in time"),
    }
}
