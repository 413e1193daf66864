//! `producer-bench statement`: PostgreSQL's CPU per event without HTTP and queue. The store's writer
//! applies batches one after the other, and the CPU of its backend is read from `/proc`.
//!
//! To compare two builds, run them alternately. `TMPDIR=/dev/shm` puts the server's data on a RAM
//! disk, so that the disk doesn't limit the rate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use producer_core::ingest::{ApplyMode, Verdict, Writer};
use producer_core::model::Precondition;
use producer_core::store::{self, DatabaseSettings, Store};
use producer_core::types::{BuilderSettings, Definition, PartState, Types};
use producer_core::{Clock, Event, decode};
use sqlx::{Connection, PgConnection};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::cells::{Cell, Interface, cell};
use crate::events::{self, Keys, Size, Template};
use crate::postgres::Postgres;
use crate::prepare::{self, CellDatabase};
use crate::results::median;
use crate::{Result, procfs};

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Events per batch
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Which entities are updated
    #[arg(long, value_name = "KEYS", default_value = "new")]
    keys: Keys,
    /// Seconds per round, after one second of warm-up
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Number of rounds, each on a new database
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Indexes that the entities' type has, as in a definition, for instance
    /// '["data.balance",["data.lastPaidDate","createdAt"]]'
    #[arg(long, value_name = "JSON")]
    indexes: Option<String>,
}

const WARM_UP: Duration = Duration::from_secs(1);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Measures the rounds, and prints each and the medians.
pub(crate) async fn run(args: &Args) -> Result<()> {
    let postgres = Postgres::start()?;
    println!("PostgreSQL {}, batches of {} events", postgres.version().await?, args.batch);
    let (mut cpu, mut rates) = (Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        let (cpu_us, rate) = measure(args, &postgres).await?;
        println!("round {round}: {cpu_us:.1} µs of CPU per event, {rate:.0} events/s");
        cpu.push(cpu_us);
        rates.push(rate);
    }
    let (cpu, rate) = (median(cpu).unwrap_or_default(), median(rates).unwrap_or_default());
    println!("median:  {cpu:.1} µs of CPU per event, {rate:.0} events/s");
    Ok(())
}

/// The backend's CPU microseconds per event, and events per second.
async fn measure(args: &Args, postgres: &Postgres) -> Result<(f64, f64)> {
    let cell = Cell { keys: args.keys, ..cell(Interface::Single, 1) };
    let CellDatabase::Postgres(database) = prepare::database(&cell, Some(postgres)).await? else {
        return Err("the database isn't PostgreSQL".into());
    };
    let settings = DatabaseSettings { url: Some(database.url.clone()), ..Default::default() };
    let store = store::connect(&settings).await?;
    if let Some(indexes) = &args.indexes {
        define(&store, indexes).await?;
    }
    let mut writer = store.writer();
    let json = events::json(args.keys, Size::Base).into_bytes();
    let mut template = Template::new(json, args.keys, crate::next_seed());
    let mut batches = || batch(&mut template, args.batch);
    apply(&mut *writer, &mut batches, WARM_UP).await?;
    let backends = backends(&database.url).await?;
    let cpu = || backends.iter().map(|&id| procfs::cpu_seconds(id)).sum::<Result<f64>>();
    let (start, before) = (Instant::now(), cpu()?);
    let count = apply(&mut *writer, &mut batches, Duration::from_secs(args.seconds)).await? as f64;
    let (seconds, used) = (start.elapsed().as_secs_f64(), cpu()? - before);
    drop(writer);
    store.close().await;
    postgres.drop_database(database).await?;
    Ok((used * 1e6 / count, count / seconds))
}

/// Declares the indexes, and builds them.
async fn define(store: &Arc<dyn Store>, indexes: &str) -> Result<()> {
    let definition = Definition::parse(&format!(r#"{{"indexes":{indexes}}}"#));
    let definition = definition.map_err(|violations| format!("{violations:?}"))?;
    let types = Types::new(store.clone(), Clock::system());
    let declared = types.replace(events::ENTITY_TYPE, &definition, &Precondition::None).await;
    declared.map_err(|error| format!("{error:?}"))?;
    let shutdown = CancellationToken::new();
    let settings = BuilderSettings { pause_factor: 0.0, ..BuilderSettings::default() };
    let builder = tokio::spawn(types.builder(settings, shutdown.clone()).run());
    loop {
        let stored = types.get(events::ENTITY_TYPE).await.map_err(|error| format!("{error:?}"))?;
        let parts = stored.ok_or("the definition is gone")?.parts;
        if parts.iter().all(|part| part.state == PartState::Ready) {
            break;
        }
        sleep(POLL_INTERVAL).await;
    }
    shutdown.cancel();
    Ok(builder.await?)
}

fn batch(template: &mut Template, size: u16) -> Result<Vec<Event>> {
    let clock = Clock::system();
    let event = |_| decode::event(template.next(), &clock).map_err(|e| format!("{e:?}").into());
    (0..size).map(event).collect()
}

/// Applies batches for this long, and returns the number of events.
async fn apply(
    writer: &mut dyn Writer,
    batches: &mut impl FnMut() -> Result<Vec<Event>>,
    duration: Duration,
) -> Result<usize> {
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < duration {
        let batch = batches()?;
        let verdicts = writer.apply(&batch, ApplyMode::Normal).await;
        let verdicts = verdicts.map_err(|error| format!("{error:?}"))?;
        if let Some(other) = verdicts.iter().find(|one| !matches!(one, Verdict::Applied(..))) {
            return Err(format!("an event was not applied: {other:?}").into());
        }
        count += batch.len();
    }
    Ok(count)
}

/// The process ids of the store's backends.
async fn backends(url: &str) -> Result<Vec<u32>> {
    const SQL: &str = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
                       AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
    let mut connection = PgConnection::connect(url).await?;
    let ids: Vec<i32> = sqlx::query_scalar(SQL).fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(ids.into_iter().map(i32::cast_unsigned).collect())
}
