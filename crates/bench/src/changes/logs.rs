//! Logs that are filled by SQL with rows as the service writes them.

use std::collections::HashMap;
use std::time::Instant;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::Result;
use crate::cells::{Interface, cell};
use crate::events::{self, Keys, Size};
use crate::postgres::{Database, Postgres};
use crate::prepare::{self, CellDatabase};
use crate::report::thousands;

/// What a row takes on disk: itself (370 bytes), its places in three indexes (130), and its share of
/// an entity.
const BYTES_PER_ROW: u64 = 600;
/// What PostgreSQL takes beside: mostly its write-ahead log, of `max_wal_size` and more.
const OTHER_BYTES: u64 = 7 << 30;
/// Versions of each entity.
const VERSIONS: u64 = 10;

/// A log that is filled beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Log {
    /// A hundredth of the large one.
    Small,
    /// A tenth of the large one. Nothing is written to it.
    Backlog,
    /// The large one.
    Large,
    /// As many updates as the small one has, all of one entity.
    OneEntity,
}

/// The filled logs, each made when it is first needed.
pub(super) struct Logs {
    /// Rows of the large one.
    rows: u64,
    filled: HashMap<Log, Database>,
}

impl Logs {
    /// None is filled yet. The large log will have `rows`, or as many as the disk has room for.
    pub(super) fn new(rows: u64) -> Result<Self> {
        let disk = rustix::fs::statvfs(std::env::temp_dir())?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(OTHER_BYTES);
        // the others have an eighth of its rows
        let room = free / BYTES_PER_ROW * 8 / 9;
        // whole parts: a hundredth is divided by the versions of an entity
        let unit = 100 * VERSIONS;
        Ok(Self { rows: (rows.min(room) / unit).max(1) * unit, filled: HashMap::new() })
    }

    /// The number of its rows.
    pub(super) fn rows(&self, log: Log) -> u64 {
        match log {
            Log::Small | Log::OneEntity => self.rows / 100,
            Log::Backlog => self.rows / 10,
            Log::Large => self.rows,
        }
    }

    /// The log, which is filled first where it does not exist yet.
    pub(super) async fn get(&mut self, log: Log, postgres: &Postgres) -> Result<Database> {
        if let Some(database) = self.filled.get(&log) {
            return Ok(database.clone());
        }
        let (start, rows) = (Instant::now(), self.rows(log));
        println!("filling a log of {} rows", thousands(rows as f64));
        let database = empty(postgres).await?;
        let entities = if log == Log::OneEntity { 1 } else { rows / VERSIONS };
        fill(&database, rows, entities).await?;
        postgres.checkpoint().await?;
        println!("filled in {:.0} s", start.elapsed().as_secs_f64());
        self.filled.insert(log, database.clone());
        Ok(database)
    }
}

/// A database with the service's tables.
pub(super) async fn empty(postgres: &Postgres) -> Result<Database> {
    match prepare::database(&cell(Interface::Single, 1), Some(postgres)).await? {
        CellDatabase::Postgres(database) => Ok(database),
        CellDatabase::Sqlite(_) | CellDatabase::Null => Err("the database isn't PostgreSQL".into()),
    }
}

/// The number in the key of the first entity.
pub(super) fn first_key() -> u64 {
    Keys::New.numbers().start
}

/// Statements that remove the log's indexes, and those that make them again: to build an index of all
/// rows is several times faster than to add them one by one.
const INDEXES: &str = "
SELECT format('ALTER TABLE event_log DROP CONSTRAINT %I', conname),
       format('ALTER TABLE event_log ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid))
FROM pg_constraint WHERE conrelid = 'event_log'::regclass AND contype IN ('p', 'u')
UNION ALL
SELECT format('DROP INDEX %I', indexname), indexdef
FROM pg_indexes WHERE tablename = 'event_log'
    AND indexname NOT IN (SELECT conname FROM pg_constraint)";

async fn fill(database: &Database, rows: u64, entities: u64) -> Result<()> {
    let mut connection = PgConnection::connect(&database.url).await?;
    let indexes: Vec<(String, String)> = sqlx::query_as(INDEXES).fetch_all(&mut connection).await?;
    let mut statements = vec!["SET maintenance_work_mem = '256MB'".to_owned()];
    statements.extend(indexes.iter().map(|(removal, _)| removal.clone()));
    statements.extend(inserts(rows, entities));
    statements.extend(indexes.into_iter().map(|(_, creation)| creation));
    statements.push("VACUUM (ANALYZE) event_log".to_owned());
    statements.push("VACUUM (ANALYZE) entities".to_owned());
    for statement in statements {
        connection.execute(AssertSqlSafe(statement)).await?;
    }
    Ok(connection.close().await?)
}

/// The entities come by turns.
fn inserts(rows: u64, entities: u64) -> [String; 2] {
    let (entity_type, prefix, first) = (events::ENTITY_TYPE, events::KEY_PREFIX, first_key());
    let (name, created, patch) = (events::NAME, events::CREATED, events::attributes(Size::Base));
    let (bytes, version) = (patch.len(), rows / entities);
    [
        format!(
            "INSERT INTO event_log
                 (event_uuid, ordinal, version, created_at, committed_at, created,
                  entity_type, entity_id, event_name, event_type, patch)
             SELECT gen_random_uuid(), 0, i / {entities} + 1, '{created}', now(), i < {entities},
                    '{entity_type}', '{prefix}' || ({first} + i % {entities}), '{name}', '{name}',
                    '{patch}'
             FROM generate_series(0::bigint, {rows} - 1) AS i"
        ),
        format!(
            "INSERT INTO entities
                 (entity_type, entity_id, version, size, data, created_at, updated_at)
             SELECT '{entity_type}', '{prefix}' || ({first} + i), {version}, {bytes}, '{patch}',
                    now(), now()
             FROM generate_series(0::bigint, {entities} - 1) AS i"
        ),
    ]
}
