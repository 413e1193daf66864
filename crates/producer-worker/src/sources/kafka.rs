//! `kafka`: a consumer of a group that all workers are members of.
//!
//! A thread of its own polls librdkafka all the time, so that the group sees a member that lives, however
//! slow the runner is, and rebalances go on ([`reader`]). It puts messages into a small buffer and pauses its
//! partitions while that is full. What is settled is noted for each partition; the thread commits it up to
//! the first message that is not ([`progress`]).

mod origin;
mod progress;
mod reader;
mod shared;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::BoxFuture;
use producer_core::Clock;
use rdkafka::consumer::Consumer;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

pub(super) use self::origin::Origin;
use self::reader::Reader;
use self::shared::Shared;
use crate::config::Secrets;
use crate::kafka::{
    Role, check_properties, code_of, code_text, creation_error, secrets_of, topic_failure,
};
use crate::sink::Failure;
use crate::sinks::OpenError;
use crate::source::{Message, Place, Source, SourceLag};

/// How long a call waits for messages.
const WAIT: Duration = Duration::from_secs(1);
/// How long a broker is asked about a topic.
const METADATA: Duration = Duration::from_secs(5);
/// How long leaving the group may take.
const LEAVE: Duration = Duration::from_secs(10);
/// How often it is seen whether the thread has ended.
const LOOK: Duration = Duration::from_millis(10);

/// A topic, read as a member of a group.
pub(super) struct Kafka {
    origin: Arc<Origin>,
    secrets: Secrets,
    clock: Clock,
    reading: Option<Reading>,
}

/// The thread that polls, and what it shares.
struct Reading {
    shared: Arc<Shared>,
    consumer: reader::Handle,
    thread: JoinHandle<()>,
}

impl Kafka {
    /// It connects when messages are first received.
    pub(super) fn open(origin: Origin, clock: Clock) -> Result<Self, OpenError> {
        check_properties(Role::Consumer, &origin.properties).map_err(OpenError)?;
        let secrets = secrets_of(&origin.properties);
        let taken = reader::settings(&origin).create_native_config();
        taken.map_err(|error| OpenError(creation_error(&error, &secrets)))?;
        if !is_topic(&origin.topic) {
            return Err(OpenError(format!("{:?} can't be a topic of Kafka", origin.topic)));
        }
        Ok(Self { origin: Arc::new(origin), secrets, clock, reading: None })
    }

    /// What the running thread shares; begins one where none runs.
    fn shared(&mut self) -> Result<Arc<Shared>, Failure> {
        if let Some(reading) = &self.reading
            && !reading.thread.is_finished()
        {
            return Ok(Arc::clone(&reading.shared));
        }
        // a thread that has ended by itself may have said why
        if let Some(failure) = self.reading.take().and_then(|ended| ended.shared.take_failure()) {
            return Err(failure);
        }
        let shared = Arc::new(Shared::new());
        let reader = Reader::new(&self.origin, &self.secrets, &shared);
        let consumer = reader.handle();
        let thread = std::thread::Builder::new().name("kafka-source".into());
        let thread = thread.spawn(move || reader.run());
        let thread =
            thread.map_err(|error| Failure::new(format!("no thread for Kafka: {error}")))?;
        self.reading = Some(Reading { shared: Arc::clone(&shared), consumer, thread });
        Ok(shared)
    }

    async fn receive_some(&mut self, most: usize) -> Result<Vec<Message>, Failure> {
        let shared = self.shared()?;
        let topic = &self.origin.topic;
        let received = timeout(WAIT, shared.receive(most, topic)).await;
        received.unwrap_or_else(|_elapsed| Ok(Vec::new()))
    }

    fn settle(&self, places: &[Place]) -> Result<(), Failure> {
        let Some(reading) = &self.reading else { return Ok(()) };
        let offsets = places.iter().filter_map(|place| {
            let (_, partition) = place.stream.rsplit_once('/')?;
            Some((partition.parse().ok()?, place.id.parse().ok()?))
        });
        reading.shared.settle(offsets)
    }

    async fn measure(&self) -> Option<SourceLag> {
        let reading = self.reading.as_ref()?;
        let (shared, consumer) = (Arc::clone(&reading.shared), reading.consumer.clone());
        let (origin, now) = (Arc::clone(&self.origin), self.clock.now());
        let now_ms = now.micros().div_euclid(1000);
        spawn_blocking(move || consumer.lag(&origin.topic, &shared, now_ms)).await.ok()?
    }

    async fn look(&self) -> Result<(), Failure> {
        let (origin, secrets) = (Arc::clone(&self.origin), self.secrets.clone());
        let looked = spawn_blocking(move || {
            let consumer = reader::consumer(&origin, &secrets, &Arc::new(Shared::new()))?;
            let metadata = consumer.fetch_metadata(Some(&origin.topic), METADATA);
            let metadata = metadata.map_err(|error| {
                Failure::new(format!("Kafka does not answer: {}", code_text(code_of(&error))))
            })?;
            let error = metadata.topics().first().and_then(|topic| topic.error());
            error.map_or(Ok(()), |error| Err(topic_failure(&origin.topic, error.into())))
        });
        looked.await.unwrap_or_else(|panic| Err(Failure::new(format!("Kafka: {panic}"))))
    }

    async fn leave(&mut self) {
        let Some(reading) = self.reading.take() else { return };
        reading.shared.stop();
        let left = async {
            while !reading.thread.is_finished() {
                sleep(LOOK).await;
            }
        };
        if timeout(LEAVE, left).await.is_err() {
            tracing::warn!(topic = self.origin.topic, "a consumer did not leave its group in time");
        }
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.shared.stop();
        }
    }
}

impl Source for Kafka {
    fn receive(&mut self, most: usize) -> BoxFuture<'_, Result<Vec<Message>, Failure>> {
        Box::pin(self.receive_some(most))
    }

    fn acknowledge<'a>(&'a mut self, places: &'a [Place]) -> BoxFuture<'a, Result<(), Failure>> {
        let settled = self.settle(places);
        Box::pin(async { settled })
    }

    fn lag(&mut self) -> BoxFuture<'_, Option<SourceLag>> {
        Box::pin(self.measure())
    }

    fn check(&mut self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(self.look())
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.leave())
    }
}

/// A text that begins with `^` would be a pattern for librdkafka.
fn is_topic(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=249).contains(&name.len()) && name.chars().all(allowed)
}
