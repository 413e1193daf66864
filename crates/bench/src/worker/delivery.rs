//! From an event to its entry in a Redis Stream, at a constant rate.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::StreamReadReply;
use redis::{Value, cmd};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

use super::process::Worker;
use super::progress::until_carried;
use super::redis_server::RedisServer;
use super::setup::Setup;
use super::sinks::{STREAM, into_stream};
use crate::Result;
use crate::generator::{Sent, Writers};
use crate::measure::Times;
use crate::meter::Meter;
use crate::results::Measurement;
use crate::service::{Api, Service};

/// Events per second.
const RATE: f64 = 500.0;
/// How long Redis waits for an entry.
const BLOCK: Duration = Duration::from_secs(1);
/// Entries that are read at once.
const ENTRIES: usize = 1000;

/// Writes at the rate for the time of a cell, then waits until the stream has everything.
pub(super) async fn measure(setup: &mut Setup) -> Result<Measurement> {
    let database = setup.empty_database().await?;
    let redis = RedisServer::start().await?;
    let service = Service::start(Api::Rest, &database.url, &[]).await?;
    let mut worker = Worker::start(&database, &into_stream("delivery", &redis.url()))?;
    let (writes, deliveries, sent) = (Meter::new()?, Meter::new()?, Sent::default());
    let follower = Follower::start(redis.connect().await?, deliveries.clone(), sent.clone());
    let mut writers = Writers::start(service.address(), RATE, &writes, &sent).await?;
    let Times { warm_up, measured } = setup.bench.times;
    // the sink has begun when the first entry comes
    until_carried(&mut worker, 1, async || Ok(follower.received.get())).await?;
    sleep(warm_up).await;
    writes.open();
    deliveries.open();
    let process = worker.process()?;
    let before = setup.bench.usage(Some(process))?;
    sleep(measured).await;
    writers.stop().await?;
    let all = writes.acknowledged();
    until_carried(&mut worker, all, async || Ok(follower.received.get())).await?;
    let measurement = setup.bench.since(&before, deliveries.events(), Some(process))?;
    let peak_memory_bytes = Some(worker.peak_memory()?);
    drop(follower);
    worker.stop().await?;
    service.stop().await?;
    setup.drop_database(database).await?;
    Ok(Measurement {
        latency_us: deliveries.latency(),
        offered_per_second: Some(RATE),
        admission: Some(writes.admission()),
        peak_memory_bytes,
        error: writes.error(),
        ..measurement
    })
}

/// Reads the stream as it grows. Needs a `LocalSet`.
struct Follower {
    received: Rc<Cell<u64>>,
    task: JoinHandle<()>,
}

impl Follower {
    fn start(connection: MultiplexedConnection, deliveries: Meter, sent: Sent) -> Self {
        let received = Rc::new(Cell::new(0));
        let task = spawn_local(follow(connection, Rc::clone(&received), deliveries, sent));
        Self { received, task }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends with an error of the connection; then the count does not rise any more.
async fn follow(
    mut connection: MultiplexedConnection,
    received: Rc<Cell<u64>>,
    deliveries: Meter,
    sent: Sent,
) {
    connection.set_response_timeout(2 * BLOCK);
    let mut last = "0-0".to_owned();
    loop {
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(ENTRIES).arg("BLOCK").arg(BLOCK.as_millis() as u64);
        read.arg("STREAMS").arg(STREAM).arg(&last);
        let entries: Option<StreamReadReply> = match read.query_async(&mut connection).await {
            Ok(entries) => entries,
            Err(error) => return deliveries.record_error(|| format!("Redis: {error}")),
        };
        for entry in entries.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids) {
            if let Some(Value::BulkString(change)) = entry.map.get("data") {
                sent.note_delivery(change, &deliveries);
            }
            received.set(received.get() + 1);
            last = entry.id;
        }
    }
}
