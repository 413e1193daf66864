//! The memory of a worker with six sinks, two of which hang.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::orders;
use super::process::Worker;
use super::progress::until_carried;
use super::receiver::Receiver;
use super::redis_server::RedisServer;
use super::setup::Setup;
use super::sinks::{self, STREAM, into_stream, into_topic};
use super::topic::Topic;
use super::webhooks::into_receiver;
use crate::Result;
use crate::results::Measurement;

/// From the start until the backlog is in Kafka, in a stream and in a cache. Meanwhile a receiver of webhooks gets
/// what it takes; another one, and another Redis, accept connections and never answer.
pub(super) async fn measure(setup: &mut Setup) -> Result<Measurement> {
    let database = setup.backlog().await?.database;
    let name = format!("memory-{}", crate::next_seed());
    let mut redis = RedisServer::start().await?;
    let kafka = setup.kafka();
    let (topic, servers) = (Topic::new(kafka, &name).await?, kafka.url());
    let (answers, hangs) = (Receiver::start(true).await?, Receiver::start(false).await?);
    let silent = Silent::start().await?;
    let file = [
        into_stream(&format!("{name}-stream"), &redis.url()),
        cache(&format!("{name}-cache"), &redis.url()),
        into_topic(&format!("{name}-topic"), &servers, topic.name()),
        into_receiver(&format!("{name}-webhook"), &answers),
        into_receiver(&format!("{name}-webhook-hangs"), &hangs),
        into_stream(&format!("{name}-stream-hangs"), &silent.url),
    ]
    .join("\n");
    let before = setup.bench.usage(None)?;
    let mut worker = Worker::start(&database, &file)?;
    until_carried(&mut worker, setup.changes, async || topic.records()).await?;
    until_carried(&mut worker, setup.changes, async || redis.entries(STREAM).await).await?;
    let entities = orders::entities(setup.changes);
    until_carried(&mut worker, entities, async || redis.keys().await).await?;
    // every sink is at work, those that hang too
    until_carried(&mut worker, 1, async || Ok(answers.received())).await?;
    until_carried(&mut worker, 1, async || Ok(hangs.received())).await?;
    until_carried(&mut worker, 1, async || Ok(silent.connections())).await?;
    sinks::finish(setup, before, worker).await
}

fn cache(name: &str, url: &str) -> String {
    format!("[[sink]]\nname = \"{name}\"\nkind = \"redis-cache\"\nurl = \"{url}\"\n")
}

/// Accepts connections, and never answers.
struct Silent {
    url: String,
    accepted: Arc<AtomicU64>,
    server: JoinHandle<()>,
}

impl Silent {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("redis://{}", listener.local_addr()?);
        let accepted = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&accepted);
        let server = tokio::spawn(async move {
            let mut connections = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                connections.push(connection);
            }
        });
        Ok(Self { url, accepted, server })
    }

    fn connections(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.server.abort();
    }
}
