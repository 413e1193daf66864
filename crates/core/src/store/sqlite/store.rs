//! The store: one writer connection, a few for the reads, and a lock against other processes that
//! write the same file.

mod worker;

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Sqlite};
use uuid::Uuid;

use super::checkpoint::{self, Checkpointer};
use super::disk::{self, cannot_open};
use super::query;
use super::types::SqliteTypes;
use super::worker::SqliteWorker;
use super::write::{SqliteWriter, WriterSettings};
use super::write_lock::WriteLock;
use crate::feed::{ChangesQuery, FeedStore, LogBounds, LogHead, LogPage, OpenWriter};
use crate::ingest::{WriteStore, Writer};
use crate::model::{
    AsOf, Clock, Entity, EntityKey, LogEntry, LogPoint, LogRange, LoggedEvent, Timestamp,
};
use crate::query::{
    CountedPart, CountedType, EntitiesPart, EntitiesQuery, Estimates, IndexPart, IndexQuery,
    KeyRange, ListStore, ReadError, ReadStore,
};
use crate::search::{
    Engine, MatchQuery, Matched, SearchEngine, SearchPart, SearchParts, Stems, StemsQuery,
};
use crate::store::pool::{MeasuredPool, PoolUse};
use crate::store::port::{ConnectError, Store};
use crate::store::schema::SchemaCheck;
use crate::store::settings::DatabaseSettings;
use crate::types::index_key::Range;
use crate::types::{ChangeOutcome, Job, StepOutcome, StoredType, Task, TypeChange, TypeStore};

/// Connections for reads; each is a thread.
const READERS: u32 = 4;

/// How long SQLite itself waits for a lock; the fair write lock is taken first.
const BUSY: Duration = Duration::from_secs(2);

/// An SQLite file.
pub struct SqliteStore {
    readers: MeasuredPool<Sqlite>,
    writer_settings: WriterSettings,
    checkpointer: Arc<Checkpointer>,
    types: SqliteTypes,
    worker: SqliteWorker,
    schema: SchemaCheck,
}

/// How a connection that writes is set up, from its first statement on. Checkpoints run on another
/// connection: here they would be the slowest commits.
pub fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .locking_mode(SqliteLockingMode::Normal)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        .pragma("wal_autocheckpoint", "0")
        // copies of pages that a statement changes (to undo it alone) stay in memory
        .pragma("temp_store", "memory")
        .pragma("journal_size_limit", checkpoint::CHECKPOINT_BYTES.to_string())
        .disable_statement_logging()
}

impl SqliteStore {
    /// Opens the file; it and its folder are created if absent.
    ///
    /// # Errors
    /// One line: the folder can't be created, the file is no database, or is on a network file system.
    pub async fn open(
        file: &Path,
        settings: &DatabaseSettings,
        clock: Clock,
    ) -> Result<Self, ConnectError> {
        disk::prepare(file)?;
        let write_lock = WriteLock::beside(file);
        let options = options(file);
        {
            // the first connection makes the file a WAL database, for which it must be alone; if
            // another process holds the lock for long, the file is one already
            let _guard = match write_lock.acquire().await {
                Err(error) if error.kind() == ErrorKind::TimedOut => None,
                guard => Some(guard.map_err(|error| cannot_open(file, &error))?),
            };
            let first = options.connect().await.map_err(|error| cannot_open(file, &error))?;
            first.close().await.map_err(|error| cannot_open(file, &error))?;
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(settings.acquire_timeout)
            .test_before_acquire(false)
            .connect_lazy_with(options.clone().create_if_missing(false).read_only(true));
        let checkpointer = Arc::new(Checkpointer::start(file, options.clone(), write_lock.clone()));
        let writer_settings = WriterSettings {
            options: options.create_if_missing(false),
            write_lock,
            checkpointer: Arc::clone(&checkpointer),
            max_entity_bytes: settings.max_entity_bytes,
            clock,
            kept_parts: Arc::default(),
        };
        let readers = MeasuredPool::new(readers);
        let types = SqliteTypes::new(writer_settings.clone());
        let worker = SqliteWorker::new(writer_settings.clone());
        Ok(Self {
            readers,
            writer_settings,
            checkpointer,
            types,
            worker,
            schema: SchemaCheck::default(),
        })
    }
}

impl WriteStore for SqliteStore {
    fn writer(&self) -> Box<dyn Writer> {
        Box::new(SqliteWriter::new(self.writer_settings.clone()))
    }

    fn max_writers(&self) -> usize {
        1
    }
}

impl ReadStore for SqliteStore {
    fn entity<'a>(
        &'a self,
        key: &'a EntityKey,
    ) -> BoxFuture<'a, Result<Option<Entity>, ReadError>> {
        Box::pin(query::entity(&self.readers, key))
    }

    fn event(&self, uuid: Uuid) -> BoxFuture<'_, Result<Option<LoggedEvent>, ReadError>> {
        Box::pin(query::event(&self.readers, uuid))
    }

    fn log<'a>(
        &'a self,
        key: &'a EntityKey,
        range: LogRange,
    ) -> BoxFuture<'a, Result<Vec<LogEntry>, ReadError>> {
        Box::pin(query::log(&self.readers, key, range))
    }

    fn log_point<'a>(
        &'a self,
        key: &'a EntityKey,
        as_of: AsOf,
        within: u64,
    ) -> BoxFuture<'a, Result<Option<LogPoint>, ReadError>> {
        Box::pin(query::log_point(&self.readers, key, as_of, within))
    }
}

impl FeedStore for SqliteStore {
    fn head(&self) -> BoxFuture<'_, Result<LogHead, ReadError>> {
        Box::pin(query::head(&self.readers))
    }

    fn generation(&self) -> BoxFuture<'_, Result<u64, ReadError>> {
        Box::pin(std::future::ready(Ok(0)))
    }

    fn describe<'a>(&'a self, writer: &'a OpenWriter) -> BoxFuture<'a, Result<String, ReadError>> {
        Box::pin(std::future::ready(Ok(writer.transaction.clone())))
    }

    fn bounds(&self, up_to: u64) -> BoxFuture<'_, Result<LogBounds, ReadError>> {
        Box::pin(query::bounds(&self.readers, up_to))
    }

    fn position_before(
        &self,
        time: Option<Timestamp>,
    ) -> BoxFuture<'_, Result<Option<u64>, ReadError>> {
        Box::pin(query::position_before(&self.readers, time))
    }

    fn changes<'a>(&'a self, query: ChangesQuery<'a>) -> BoxFuture<'a, Result<LogPage, ReadError>> {
        Box::pin(query::changes(&self.readers, query))
    }
}

impl ListStore for SqliteStore {
    fn states<'a>(
        &'a self,
        keys: &'a [&'a EntityKey],
        bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Option<Entity>>, ReadError>> {
        Box::pin(query::states(&self.readers, keys, bytes))
    }

    fn entities<'a>(
        &'a self,
        query: EntitiesQuery<'a>,
    ) -> BoxFuture<'a, Result<EntitiesPart, ReadError>> {
        Box::pin(query::entities(&self.readers, query))
    }

    fn indexed<'a>(
        &'a self,
        query: IndexQuery<'a>,
    ) -> BoxFuture<'a, Result<Option<IndexPart>, ReadError>> {
        Box::pin(query::indexed(&self.readers, query))
    }

    fn indexed_ids<'a>(
        &'a self,
        index_id: i32,
        ranges: &'a [Range],
        rows: u32,
    ) -> BoxFuture<'a, Result<Option<Vec<String>>, ReadError>> {
        Box::pin(query::indexed_ids(&self.readers, index_id, ranges, rows))
    }

    fn count<'a>(
        &'a self,
        range: &'a KeyRange,
        rows: u32,
    ) -> BoxFuture<'a, Result<CountedPart, ReadError>> {
        Box::pin(query::count(&self.readers, range, rows))
    }

    fn types<'a>(
        &'a self,
        after: &'a str,
        types: u32,
        rows: u32,
    ) -> BoxFuture<'a, Result<Vec<CountedType>, ReadError>> {
        Box::pin(query::types(&self.readers, after, types, rows))
    }

    fn estimates(&self) -> BoxFuture<'_, Result<Estimates, ReadError>> {
        Box::pin(std::future::ready(Ok(Estimates::default())))
    }
}

/// The languages that words can be cut and reduced for.
const LANGUAGES: [&str; 2] = ["simple", "english"];

impl TypeStore for SqliteStore {
    fn change_type<'a>(
        &'a self,
        change: TypeChange<'a>,
    ) -> BoxFuture<'a, Result<ChangeOutcome, ReadError>> {
        Box::pin(self.types.change(change))
    }

    fn type_definition<'a>(
        &'a self,
        entity_type: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredType>, ReadError>> {
        Box::pin(query::type_definition(&self.readers, entity_type))
    }

    fn type_definitions<'a>(
        &'a self,
        after: &'a str,
        most: u32,
    ) -> BoxFuture<'a, Result<Vec<StoredType>, ReadError>> {
        Box::pin(query::type_definitions(&self.readers, after, most))
    }

    fn knows_language<'a>(&'a self, language: &'a str) -> BoxFuture<'a, Result<bool, ReadError>> {
        Box::pin(std::future::ready(Ok(LANGUAGES.contains(&language))))
    }

    fn take_job(&self, lease: Duration) -> BoxFuture<'_, Result<Option<Job>, ReadError>> {
        Box::pin(async move {
            // the write lock is taken only where there is something to do
            match query::has_unfinished_parts(&self.readers).await? {
                true => self.types.take_job(lease).await,
                false => Ok(None),
            }
        })
    }

    fn writers_of_entities(&self) -> BoxFuture<'_, Result<Vec<OpenWriter>, ReadError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn describe_writer<'a>(
        &'a self,
        writer: &'a OpenWriter,
    ) -> BoxFuture<'a, Result<String, ReadError>> {
        self.describe(writer)
    }

    fn renew<'a>(
        &'a self,
        job: &'a mut Job,
        lease: Duration,
    ) -> BoxFuture<'a, Result<bool, ReadError>> {
        Box::pin(async move {
            // before the transaction: counting millions takes seconds
            let total = match (job.task, job.total) {
                (Task::Build, None) => {
                    Some(query::count_entities(&self.readers, &job.entity_type).await?)
                }
                _ => None,
            };
            self.types.renew(job, total, lease).await
        })
    }

    fn step<'a>(
        &'a self,
        job: &'a mut Job,
        lease: Duration,
    ) -> BoxFuture<'a, Result<StepOutcome, ReadError>> {
        Box::pin(self.types.step(job, lease))
    }

    fn release<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<(), ReadError>> {
        Box::pin(self.types.release(job))
    }
}

impl SearchParts for SqliteStore {
    fn search_parts(&self) -> BoxFuture<'_, Result<Vec<SearchPart>, ReadError>> {
        Box::pin(query::search_parts(&self.readers))
    }
}

impl SearchEngine for SqliteStore {
    fn engine(&self) -> Engine {
        Engine::Sqlite
    }

    fn matches<'a>(
        &'a self,
        query: MatchQuery<'a>,
        each: &'a mut (dyn FnMut(Matched) -> ControlFlow<()> + Send),
    ) -> BoxFuture<'a, Result<bool, ReadError>> {
        Box::pin(query::matches(&self.readers, query, each))
    }

    fn stems<'a>(&'a self, query: StemsQuery<'a>) -> BoxFuture<'a, Result<Stems, ReadError>> {
        Box::pin(query::stems(&self.readers, query))
    }
}

impl Store for SqliteStore {
    fn pool(&self) -> Option<PoolUse> {
        Some(self.readers.usage())
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(async move { self.schema.check(query::ping(&self.readers).await?) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.readers.close().await;
            self.types.close().await;
            self.worker.close().await;
            self.checkpointer.finish().await;
        })
    }
}
