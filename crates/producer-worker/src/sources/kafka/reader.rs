//! The thread that polls librdkafka, and what it does when partitions come and go.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientContext, Message as _};

use super::origin::Origin;
use super::shared::{At, Shared};
use crate::config::{Secrets, SourceStart};
use crate::kafka::{client_config, code_of, code_text, creation_error, log, topic_failure};
use crate::sink::Failure;
use crate::source::SourceLag;

/// How long one poll waits.
const POLL: Duration = Duration::from_millis(100);
/// The same while partitions are paused: the buffer may get room at any moment.
const POLL_PAUSED: Duration = Duration::from_millis(10);
/// How long a full buffer is waited for before partitions are paused: pausing throws away what was fetched.
const WAIT_FOR_ROOM: Duration = Duration::from_millis(200);
/// How often what is settled is committed.
const COMMIT_EVERY: Duration = Duration::from_millis(250);
/// How long partitions that are revoked wait for what the runner has of them. The group waits meanwhile.
const SETTLE_REVOKED: Duration = Duration::from_secs(3);
/// How long a broker is asked about offsets.
const OFFSETS: Duration = Duration::from_secs(5);
/// How long all watermarks together may take.
const WATERMARKS: Duration = Duration::from_secs(5);
/// Pause before it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The settings of a source's consumer.
pub(super) fn settings(origin: &Origin) -> ClientConfig {
    let ours = [
        ("group.id", origin.group.as_str()),
        // a dead member's partitions go to another one after this and a heartbeat
        ("session.timeout.ms", "15000"),
        ("heartbeat.interval.ms", "3000"),
        // only the partitions that move stop
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        // `now` is a commit of our own, since librdkafka's `latest` would also skip what came while a group
        // without commits was away, and all that is left where a committed offset was deleted
        ("auto.offset.reset", "earliest"),
        ("isolation.level", "read_committed"),
        ("allow.auto.create.topics", "false"),
        ("queued.max.messages.kbytes", "8192"),
        ("queued.min.messages", "2000"),
        // how long an empty partition that was full waits for its next fetch
        ("fetch.queue.backoff.ms", "50"),
        ("topic.metadata.refresh.interval.ms", "10000"),
    ];
    client_config(&origin.servers, &ours, &origin.properties)
}

/// A consumer that has not joined its group yet.
pub(super) fn consumer(
    origin: &Arc<Origin>,
    secrets: &Secrets,
    shared: &Arc<Shared>,
) -> Result<BaseConsumer<Context>, Failure> {
    let context = Context {
        origin: Arc::clone(origin),
        secrets: secrets.clone(),
        shared: Arc::clone(shared),
    };
    let made = settings(origin).create_with_context(context);
    made.map_err(|error| Failure::new(creation_error(&error, secrets)))
}

/// The consumer, for as long as its thread has it.
#[derive(Clone, Default)]
pub(super) struct Handle(Arc<OnceLock<Weak<BaseConsumer<Context>>>>);

impl Handle {
    /// What waits in the assigned partitions at `now`, in milliseconds since 1970. Blocks.
    pub(super) fn lag(&self, topic: &str, shared: &Shared, now: i64) -> Option<SourceLag> {
        let consumer = self.0.get()?.upgrade()?;
        let (positions, oldest) = shared.positions();
        let end = Instant::now() + WATERMARKS;
        let mut messages = 0;
        for (partition, position) in positions {
            let left = end.saturating_duration_since(Instant::now());
            let (low, high) = consumer.fetch_watermarks(topic, partition, left).ok()?;
            // what was deleted before it was read does not wait
            let position = position.unwrap_or(low).max(low);
            messages += u64::try_from(high.saturating_sub(position)).unwrap_or(0);
        }
        let age = oldest.map(|oldest| u64::try_from(now.saturating_sub(oldest)).unwrap_or(0));
        Some(SourceLag { messages, age: age.map(Duration::from_millis) })
    }
}

/// The thread that polls.
pub(super) struct Reader {
    origin: Arc<Origin>,
    secrets: Secrets,
    shared: Arc<Shared>,
    handle: Handle,
}

impl Reader {
    pub(super) fn new(origin: &Arc<Origin>, secrets: &Secrets, shared: &Arc<Shared>) -> Self {
        let (origin, shared) = (Arc::clone(origin), Arc::clone(shared));
        Self { origin, secrets: secrets.clone(), shared, handle: Handle::default() }
    }

    /// The consumer, once it is made.
    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Reads until it is stopped or fails for good. Then it commits what is settled and leaves the group.
    pub(super) fn run(self) {
        if let Err(failure) = self.read() {
            self.shared.fail(failure);
        }
    }

    fn read(&self) -> Result<(), Failure> {
        let consumer = Arc::new(consumer(&self.origin, &self.secrets, &self.shared)?);
        // a reader runs once
        let _ = self.handle.0.set(Arc::downgrade(&consumer));
        let topic = self.origin.topic.as_str();
        consumer.subscribe(&[topic]).map_err(|error| failure(topic, &error))?;
        let (mut is_paused, mut commit_at) = (false, Instant::now() + COMMIT_EVERY);
        while !self.shared.is_stopping() {
            match consumer.poll(if is_paused { POLL_PAUSED } else { POLL }) {
                Some(Ok(message)) => self.push(&message),
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                    return Err(failure(topic, &error));
                }
                Some(Err(error)) => self.report(&error),
                None => {}
            }
            if Instant::now() >= commit_at {
                consumer.client().context().commit(&consumer);
                commit_at = Instant::now() + COMMIT_EVERY;
            }
            is_paused = self.make_room(&consumer, is_paused);
        }
        // the consumer leaves the group as it is dropped, which revokes and so commits
        Ok(())
    }

    fn push(&self, message: &BorrowedMessage<'_>) {
        let at = (message.partition(), message.offset());
        // a tombstone is an empty message: the map decides what that is
        let body = message.payload().unwrap_or_default().to_vec();
        self.shared.push(at, message.timestamp().to_millis(), body);
    }

    /// What a user should know of. Single connections come and go.
    fn report(&self, error: &KafkaError) {
        match code_of(error) {
            RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve => {}
            _ => self.shared.fail(failure(&self.origin.topic, error)),
        }
    }

    /// Pauses all partitions where the buffer stays full, also those that have just been assigned, until half
    /// of it is free. Whether they are paused.
    fn make_room(&self, consumer: &BaseConsumer<Context>, is_paused: bool) -> bool {
        let pause = if is_paused {
            !self.shared.wait_for_half(WAIT_FOR_ROOM)
        } else {
            !self.shared.wait_for_room(WAIT_FOR_ROOM)
        };
        if !pause && !is_paused {
            return false;
        }
        let changed = consumer.assignment().and_then(|assigned| {
            if pause { consumer.pause(&assigned) } else { consumer.resume(&assigned) }
        });
        if let Err(error) = changed {
            tracing::warn!(topic = self.origin.topic, %error, "partitions can't be paused or resumed");
        }
        pause
    }
}

/// What librdkafka calls while the thread polls.
pub(super) struct Context {
    origin: Arc<Origin>,
    secrets: Secrets,
    shared: Arc<Shared>,
}

impl Context {
    /// Commits what is settled. It waits for the answer: of a commit that goes on by itself the crate does not
    /// say what became of it.
    fn commit(&self, consumer: &BaseConsumer<Self>) {
        let uncommitted = self.shared.uncommitted();
        if uncommitted.is_empty() {
            return;
        }
        let list = self.list(&uncommitted);
        match list.and_then(|list| consumer.commit(&list, CommitMode::Sync)) {
            Ok(()) => self.shared.committed(&uncommitted),
            // it is tried again, or a rebalance takes the partitions
            Err(error) if is_of_rebalance(&error) => {}
            Err(error) => self.shared.commit_failed(failure(&self.origin.topic, &error)),
        }
    }

    /// Partitions are about to be assigned.
    fn assigned(&self, consumer: &BaseConsumer<Self>, partitions: &[i32]) {
        loop {
            let starts = match self.origin.from {
                SourceStart::Start => self.committed(consumer, partitions),
                SourceStart::Now => self.begin_now(consumer),
            };
            match starts {
                Ok(starts) => {
                    let starts: HashMap<_, _> = starts.into_iter().collect();
                    let start = |id: &i32| (*id, starts.get(id).copied());
                    return self.shared.assign(partitions.iter().map(start));
                }
                // where it begins is only needed for the lag: librdkafka asks by itself
                Err(_) if self.origin.from == SourceStart::Start => {
                    return self.shared.assign(partitions.iter().map(|id| (*id, None)));
                }
                Err(error) => self.shared.fail(failure(&self.origin.topic, &error)),
            }
            if consumer.assignment_lost() || !self.shared.wait_unless_stopping(ASK_AGAIN) {
                return;
            }
        }
    }

    /// What the group has committed of these partitions, of those of which it has.
    fn committed(&self, consumer: &BaseConsumer<Self>, partitions: &[i32]) -> KafkaResult<Vec<At>> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(&self.origin.topic, *partition);
        }
        let committed = consumer.committed_offsets(list, OFFSETS)?;
        let mut offsets = Vec::with_capacity(partitions.len());
        for element in committed.elements() {
            element.error()?;
            if let Offset::Offset(offset) = element.offset() {
                offsets.push((element.partition(), offset));
            }
        }
        Ok(offsets)
    }

    /// Commits the end of every partition for a group that has committed nothing yet, and returns what the
    /// group has. A partition that is added later has nothing, and is read from its beginning.
    fn begin_now(&self, consumer: &BaseConsumer<Self>) -> KafkaResult<Vec<At>> {
        let topic = &self.origin.topic;
        let metadata = consumer.fetch_metadata(Some(topic), OFFSETS)?;
        let topics = metadata.topics().iter();
        let partitions: Vec<_> =
            topics.flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect();
        let committed = self.committed(consumer, &partitions)?;
        if !committed.is_empty() {
            return Ok(committed);
        }
        let mut ends = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let (_, end) = consumer.fetch_watermarks(topic, partition, OFFSETS)?;
            ends.push((partition, end));
        }
        consumer.commit(&self.list(&ends)?, CommitMode::Sync)?;
        Ok(ends)
    }

    /// Partitions are about to go to another member.
    fn revoked(&self, consumer: &BaseConsumer<Self>, partitions: &[i32]) {
        // another member may have them already
        let is_lost = consumer.assignment_lost();
        self.shared.drain(partitions, if is_lost { Duration::ZERO } else { SETTLE_REVOKED });
        let uncommitted = self.shared.revoke(partitions);
        if is_lost || uncommitted.is_empty() {
            return;
        }
        let list = self.list(&uncommitted);
        if let Err(error) = list.and_then(|list| consumer.commit(&list, CommitMode::Sync)) {
            let error = code_text(code_of(&error));
            tracing::warn!(
                topic = self.origin.topic,
                error,
                "what was settled of revoked partitions can't be committed and comes again"
            );
        }
    }

    fn list(&self, offsets: &[At]) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (partition, offset) in offsets {
            list.add_partition_offset(&self.origin.topic, *partition, Offset::Offset(*offset))?;
        }
        Ok(list)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line, &self.secrets);
    }

    fn error(&self, _error: KafkaError, reason: &str) {
        let reason = self.secrets.removed_from(reason);
        tracing::debug!(reason, "a consumer reports an error");
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let ids = |list: &TopicPartitionList| -> Vec<i32> {
            list.elements().iter().map(|element| element.partition()).collect()
        };
        match rebalance {
            Rebalance::Assign(list) => self.assigned(consumer, &ids(list)),
            Rebalance::Revoke(list) => self.revoked(consumer, &ids(list)),
            Rebalance::Error(error) => self.shared.fail(failure(&self.origin.topic, error)),
        }
    }
}

fn is_of_rebalance(error: &KafkaError) -> bool {
    matches!(
        code_of(error),
        RDKafkaErrorCode::RebalanceInProgress
            | RDKafkaErrorCode::IllegalGeneration
            | RDKafkaErrorCode::UnknownMemberId
            | RDKafkaErrorCode::NoOffset
    )
}

fn failure(topic: &str, error: &KafkaError) -> Failure {
    topic_failure(topic, code_of(error))
}
