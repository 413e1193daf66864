//! The backlog into Kafka, and into a Redis Stream.

use super::process::Worker;
use super::progress::until_carried;
use super::redis_server::RedisServer;
use super::setup::Setup;
use super::topic::Topic;
use crate::Result;
use crate::measure::Usage;
use crate::results::Measurement;

/// The stream of the sinks.
pub(super) const STREAM: &str = "orders";

/// A sink that begins with the oldest change.
pub(super) fn of_log(name: &str, kind: &str, options: &str) -> String {
    format!(
        "[[sink]]\nname = \"{name}\"\nkind = \"{kind}\"\nmode = \"log\"\nfrom = \"start\"\n{options}\n"
    )
}

/// A sink into Kafka.
pub(super) fn into_topic(name: &str, servers: &str, topic: &str) -> String {
    of_log(name, "kafka", &format!("url = \"{servers}\"\ntopic = \"{topic}\""))
}

/// A sink into a stream of Redis.
pub(super) fn into_stream(name: &str, url: &str) -> String {
    of_log(name, "redis-stream", &format!("url = \"{url}\"\nstream = \"{STREAM}\""))
}

/// From the start of the worker until Kafka has every change.
pub(super) async fn kafka(setup: &mut Setup) -> Result<Measurement> {
    let database = setup.backlog().await?.database;
    let name = format!("orders-{}", crate::next_seed());
    let kafka = setup.kafka();
    let topic = Topic::new(kafka, &name).await?;
    let file = into_topic(&name, &kafka.url(), topic.name());
    let before = setup.bench.usage(None)?;
    let mut worker = Worker::start(&database, &file)?;
    until_carried(&mut worker, setup.changes, async || topic.records()).await?;
    finish(setup, before, worker).await
}

/// From the start of the worker until Redis has every change.
pub(super) async fn redis(setup: &mut Setup) -> Result<Measurement> {
    let database = setup.backlog().await?.database;
    let mut redis = RedisServer::start().await?;
    let file = into_stream(&format!("stream-{}", crate::next_seed()), &redis.url());
    let before = setup.bench.usage(None)?;
    let mut worker = Worker::start(&database, &file)?;
    until_carried(&mut worker, setup.changes, async || redis.entries(STREAM).await).await?;
    finish(setup, before, worker).await
}

/// The measurement of a worker that has carried all changes.
pub(super) async fn finish(setup: &Setup, before: Usage, worker: Worker) -> Result<Measurement> {
    let process = worker.process()?;
    let before = before.before_start();
    let measurement = setup.bench.since(&before, setup.changes, Some(process))?;
    let peak_memory_bytes = Some(worker.peak_memory()?);
    worker.stop().await?;
    Ok(Measurement { peak_memory_bytes, ..measurement })
}
