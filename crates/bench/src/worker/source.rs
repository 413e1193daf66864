//! Events from a Redis Stream, and the same events as NDJSON.

use futures_util::future::try_join_all;
use redis::streams::StreamInfoGroupsReply;
use redis::{cmd, pipe};
use sqlx::{Connection, PgConnection};

use super::process::Worker;
use super::progress::until_carried;
use super::redis_server::RedisServer;
use super::setup::Setup;
use super::sinks;
use crate::events::{self, Keys, Size, Template};
use crate::generator::{Connection as Http, connect, is_success, to_text};
use crate::postgres::Database;
use crate::results::Measurement;
use crate::service::{Api, Service};
use crate::{Result, procfs};

const STREAM: &str = "events";
/// Lines of a request, and messages that are written to Redis at once.
const LINES: u64 = 1000;
/// Connections of the NDJSON client.
const CONNECTIONS: usize = 8;
/// Entities, of which each event updates a random one.
const KEYS: Keys = Keys::Set;

/// From the start of the worker until all messages are acknowledged.
pub(super) async fn redis(setup: &mut Setup) -> Result<Measurement> {
    let database = setup.empty_database().await?;
    let mut redis = RedisServer::start().await?;
    fill(&mut redis, setup.changes).await?;
    let file = format!(
        "[[source]]\nname = \"events\"\nkind = \"redis-stream\"\nurl = \"{}\"\nstream = \"{STREAM}\"\n",
        redis.url()
    );
    let before = setup.bench.usage(None)?;
    let mut worker = Worker::start(&database, &file)?;
    let (messages, mut connection) = (setup.changes, redis.connect().await?);
    let acknowledged = async || {
        let groups = cmd("XINFO").arg("GROUPS").arg(STREAM).query_async(&mut connection).await;
        let groups: StreamInfoGroupsReply = groups?;
        let group = groups.groups.first();
        let read = group.and_then(|group| Some((group.entries_read?, group.pending)));
        let (read, pending) = read.unwrap_or_default();
        Ok((read - pending) as u64)
    };
    until_carried(&mut worker, messages, acknowledged).await?;
    let measurement = sinks::finish(setup, before, worker).await?;
    check_log(&database, messages).await?;
    setup.drop_database(database).await?;
    Ok(measurement)
}

/// From the first request to the last answer.
pub(super) async fn ndjson(setup: &mut Setup) -> Result<Measurement> {
    let database = setup.empty_database().await?;
    let service = Service::start(Api::Rest, &database.url, &[]).await?;
    let process = service.process()?;
    let connections = connect(service.address(), CONNECTIONS).await?;
    let requests = setup.changes / LINES;
    let before = setup.bench.usage(Some(process))?;
    let clients = connections.into_iter().zip(0..).map(|(connection, client)| {
        // what is left over goes to the first ones
        let more = u64::from(client < requests % CONNECTIONS as u64);
        send(connection, requests / CONNECTIONS as u64 + more)
    });
    try_join_all(clients).await?;
    let measurement = setup.bench.since(&before, setup.changes, Some(process))?;
    let peak_memory_bytes = Some(procfs::peak_memory(process)?);
    service.stop().await?;
    check_log(&database, setup.changes).await?;
    setup.drop_database(database).await?;
    Ok(Measurement { peak_memory_bytes, ..measurement })
}

async fn send(mut connection: Http, requests: u64) -> Result<()> {
    let lines = vec![events::json(KEYS, Size::Base); usize::try_from(LINES)?].join("\n");
    let request = events::request("/api/v1/events/bulk", "application/x-ndjson", &lines);
    let mut template = Template::new(request, KEYS, crate::next_seed());
    for _ in 0..requests {
        let response = connection.call(template.next()).await?;
        if !is_success(&response) {
            return Err(to_text(&response).into());
        }
    }
    Ok(())
}

/// Writes the messages: each has an event.
async fn fill(redis: &mut RedisServer, messages: u64) -> Result<()> {
    let event = events::json(KEYS, Size::Base).into_bytes();
    let mut template = Template::new(event, KEYS, crate::next_seed());
    for _ in 0..messages / LINES {
        let mut commands = pipe();
        for _ in 0..LINES {
            let event = template.next();
            commands.cmd("XADD").arg(STREAM).arg("*").arg("data").arg(event).ignore();
        }
        let () = commands.query_async(&mut redis.connection).await?;
    }
    Ok(())
}

/// Every event took effect once.
async fn check_log(database: &Database, events: u64) -> Result<()> {
    let mut connection = PgConnection::connect(&database.url).await?;
    let query = sqlx::query_scalar("SELECT count(*) FROM event_log");
    let logged: i64 = query.fetch_one(&mut connection).await?;
    connection.close().await?;
    if u64::try_from(logged)? == events {
        return Ok(());
    }
    Err(format!("{logged} events are in the log instead of {events}").into())
}
