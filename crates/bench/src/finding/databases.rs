//! Databases with many cars, filled by SQL.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Instant;

use fastrand::Rng;
use sqlx::{Connection, PgConnection};

use super::cars::{self, Cars};
use super::definition::define;
use super::steps::{Amount, Filled};
use crate::postgres::{self, Database, Postgres};
use crate::progress::Occasionally;
use crate::report::thousands;
use crate::service::{Api, Service};
use crate::{Result, prepare};

/// What an entity takes on disk: itself, its key, and its row of an index with two places in b-trees.
const BYTES_PER_ENTITY: u64 = 800;
/// The same with the rows of search, and the baseline's copy with its indexes.
const BYTES_PER_FOUND_ENTITY: u64 = 2500;
/// What PostgreSQL takes beside: mostly its write-ahead log, of `max_wal_size` and more.
const OTHER_BYTES: u64 = 7 << 30;
/// Rows that are sent at once.
const ROWS: u64 = 5000;
/// Types beside that of the cars, each with one entity.
const OTHER_TYPES: u64 = 1000;

/// The filled databases, each made when it is first needed.
pub(super) struct Databases {
    cars: Cars,
    large: Option<Cars>,
    filled: HashMap<Filled, Database>,
}

impl Databases {
    /// None is filled yet.
    ///
    /// # Errors
    /// The disk has no room for them.
    pub(super) fn new(entities: u64, large: Option<u64>) -> Result<Self> {
        let disk = rustix::fs::statvfs(std::env::temp_dir())?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        // the plain one, and a copy of it that is written to
        let base = entities * (2 * BYTES_PER_ENTITY + BYTES_PER_FOUND_ENTITY);
        let needed = base + large.unwrap_or(0) * BYTES_PER_ENTITY + OTHER_BYTES;
        if free < needed {
            let [free, needed] = [free, needed].map(|bytes| (bytes >> 30) + 1);
            return Err(format!(
                "{} has room for {free} GiB and {needed} GiB are needed: choose another TMPDIR or \
                 fewer entities",
                std::env::temp_dir().display()
            )
            .into());
        }
        let large = large.map(|count| Cars { count });
        Ok(Self { cars: Cars { count: entities }, large, filled: HashMap::new() })
    }

    /// The cars of that amount.
    pub(super) fn cars(&self, amount: Amount) -> Result<Cars> {
        match amount {
            Amount::Base => Ok(self.cars),
            Amount::Large => Ok(self.large.ok_or("--large says of how many entities")?),
        }
    }

    /// The database, which is filled first where it does not exist yet.
    pub(super) async fn get(&mut self, filled: Filled, postgres: &Postgres) -> Result<Database> {
        if let Some(database) = self.filled.get(&filled) {
            return Ok(database.clone());
        }
        let database = match filled {
            Filled::Plain | Filled::Large => empty(postgres).await?,
            Filled::Found => {
                let plain = Box::pin(self.get(Filled::Plain, postgres)).await?;
                postgres.copy(&plain).await?
            }
        };
        if let Err(error) = self.fill(filled, &database).await {
            postgres.drop_database(database).await?;
            return Err(error);
        }
        postgres.checkpoint().await?;
        self.filled.insert(filled, database.clone());
        Ok(database)
    }

    async fn fill(&self, filled: Filled, database: &Database) -> Result<()> {
        match filled {
            Filled::Plain => load(database, self.cars).await?,
            Filled::Found => {
                declare(database, cars::DEALER_AND_WORDS).await?;
                println!("copying the cars for pgbench");
                postgres::execute(&database.url, BASELINE).await?;
            }
            Filled::Large => {
                load(database, self.cars(Amount::Large)?).await?;
                declare(database, cars::DEALER).await?;
            }
        }
        postgres::execute(&database.url, "VACUUM (ANALYZE)").await
    }
}

/// What a team would make itself: the cars with their words in a table of their own, an index of an
/// expression, and one of the words.
const BASELINE: &str = "
CREATE TABLE cars AS
SELECT entity_id, version, created_at, updated_at, data,
       setweight(to_tsvector('simple', data ->> 'title'), 'A')
           || to_tsvector('simple', data ->> 'description') AS words
FROM entities WHERE entity_type = 'Car';
ALTER TABLE cars ADD PRIMARY KEY (entity_id);
CREATE INDEX ON cars ((data ->> 'dealer'), entity_id);
CREATE INDEX ON cars USING gin (words);
";

/// A database with the service's tables.
async fn empty(postgres: &Postgres) -> Result<Database> {
    let database = postgres.fresh_database().await?;
    prepare::migrate(Api::Rest.command()?, &database.url).await?;
    Ok(database)
}

/// Fills it with so many cars, and with entities of other types.
async fn load(database: &Database, cars: Cars) -> Result<()> {
    println!("loading {} entities", thousands(cars.count as f64));
    let start = Instant::now();
    copy(database, cars).await?;
    let others = format!(
        "INSERT INTO entities (entity_type, entity_id, version, size, data, created_at, updated_at)
         SELECT 'Type' || i, 'one', 1, 2, '{{}}', now(), now()
         FROM generate_series(1, {OTHER_TYPES}) AS i"
    );
    postgres::execute(&database.url, &others).await?;
    postgres::execute(&database.url, "ANALYZE entities").await?;
    println!("loaded in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Copies the cars into the table of entities, without a log.
async fn copy(database: &Database, cars: Cars) -> Result<()> {
    const COPY: &str = "COPY entities \
        (entity_type, entity_id, version, size, data, created_at, updated_at) FROM STDIN";
    let mut connection = PgConnection::connect(&database.url).await?;
    let mut copy = connection.copy_in_raw(COPY).await?;
    let (mut random, mut rows, mut document) = (Rng::with_seed(1), String::new(), String::new());
    let (kind, time) = (cars::TYPE, crate::events::CREATED);
    let mut progress = Occasionally::from_now();
    for first in (0..cars.count).step_by(ROWS as usize) {
        rows.clear();
        for place in first..(first + ROWS).min(cars.count) {
            let id = cars.id(place);
            document.clear();
            cars::write_document(&mut document, &id, place, &mut random);
            let size = document.len();
            // writing to a string can't fail
            let _ = writeln!(rows, "{kind}\t{id}\t1\t{size}\t{document}\t{time}\t{time}");
        }
        copy.send(rows.as_bytes()).await?;
        progress.print(|| format!("{} are sent", thousands((first + ROWS) as f64)));
    }
    copy.finish().await?;
    Ok(connection.close().await?)
}

/// Declares what finds the cars, and builds it by a service.
async fn declare(database: &Database, definition: &str) -> Result<()> {
    let start = Instant::now();
    println!("building {definition}");
    let service = Service::start(Api::Rest, &database.url, &[]).await?;
    define(service.address(), definition).await?;
    service.stop().await?;
    println!("built in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}
