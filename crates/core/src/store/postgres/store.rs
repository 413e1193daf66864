//! The store: one connection for each writer, a pool for the reads.

mod worker;

use std::future::Future;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::postgres::PgConnectOptions;
use uuid::Uuid;

use super::error::StatementError;
use super::generation::Generations;
use super::query;
use super::read_pool::ReadPool;
use super::session::{self, SLACK, Transactions};
use super::types::PgTypes;
use super::worker::PgWorker;
use super::write::{ConnectionLifetime, Marks, OpenError, PgWriter, Session, WriterSettings, open};
use crate::feed::{ChangesQuery, FeedStore, LogBounds, LogHead, LogPage, OpenWriter};
use crate::ingest::{WriteStore, Writer};
use crate::model::{
    AsOf, Clock, Entity, EntityKey, LogEntry, LogPoint, LogRange, LoggedEvent, Timestamp,
    UnavailableKind,
};
use crate::query::{
    CountedPart, CountedType, EntitiesPart, EntitiesQuery, Estimates, IndexPart, IndexQuery,
    KeyRange, ListStore, ReadError, ReadStore,
};
use crate::search::{
    Engine, MatchQuery, Matched, SearchEngine, SearchPart, SearchParts, Stems, StemsQuery,
};
use crate::store::pool::PoolUse;
use crate::store::port::{ConnectError, Store};
use crate::store::schema::SchemaCheck;
use crate::store::settings::DatabaseSettings;
use crate::types::index_key::Range;
use crate::types::{ChangeOutcome, Job, StepOutcome, StoredType, TypeChange, TypeStore};

/// How many writers pay off: a second one gives bulk calls and streams 25 to 75 % more throughput, a
/// third none.
const WRITERS: u32 = 2;

/// A PostgreSQL database.
pub struct PostgresStore {
    read_pool: ReadPool,
    writers: u32,
    writer_settings: WriterSettings,
    marks: Marks,
    generations: Arc<Generations>,
    types: PgTypes,
    worker: PgWorker,
    read_deadline: Duration,
    schema: SchemaCheck,
}

impl PostgresStore {
    /// Opens nothing yet: the first read or batch does.
    pub fn new(base: PgConnectOptions, settings: &DatabaseSettings, clock: Clock) -> Self {
        let options = session::options(base, settings);
        let transactions = Transactions::new(settings);
        let most = settings.max_connections;
        let writers = (most / 2).clamp(1, WRITERS);
        let readers = most.saturating_sub(writers).max(1);
        let read_pool = ReadPool::new(options.clone(), settings, readers, transactions.clone());
        let writer_settings = WriterSettings {
            options,
            pooler: settings.pooler,
            transactions,
            lifetime: ConnectionLifetime {
                idle: settings.idle_timeout,
                max: settings.max_lifetime,
            },
            connect_deadline: settings.acquire_timeout,
            statement_deadline: settings.statement_timeout + SLACK,
            max_entity_bytes: settings.max_entity_bytes,
            clock,
            kept_parts: Arc::default(),
        };
        let slower = settings.acquire_timeout.max(settings.statement_timeout);
        let read_deadline = slower + SLACK;
        let generations = Arc::<Generations>::default();
        Self {
            read_pool,
            writers,
            types: PgTypes::new(writer_settings.clone()),
            worker: PgWorker::new(writer_settings.clone()),
            writer_settings,
            marks: Marks::new(Arc::clone(&generations)),
            generations,
            read_deadline,
            schema: SchemaCheck::default(),
        }
    }

    /// Runs a read, and again where its pooled connection is broken.
    async fn read<T, F>(&self, read: impl Fn() -> F) -> Result<T, ReadError>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        query::with_retry(self.read_deadline, self.read_pool.usage().max, read).await
    }

    /// Checks the server once. One that can't be reached is no error: the service starts and answers
    /// 503 until it can.
    ///
    /// # Errors
    /// The server is too old, or is a pooler that the settings do not name.
    pub async fn check(&self) -> Result<(), ConnectError> {
        match open(&self.writer_settings).await {
            Err(OpenError::Unfit(message)) => Err(ConnectError(message)),
            // readiness says so, for as long as it lasts
            Err(OpenError::Unavailable(..)) | Ok(_) => Ok(()),
        }
    }

    /// The pool only says that it has no connection; a new one says why.
    async fn why_unreachable(&self, error: ReadError) -> ReadError {
        match tokio::time::timeout(SLACK, open(&self.writer_settings)).await {
            Ok(Err(OpenError::Unavailable(kind, text))) => ReadError { kind, text },
            Ok(Err(OpenError::Unfit(text))) => ReadError { kind: error.kind, text },
            Ok(Ok(_)) | Err(_) => error,
        }
    }
}

impl WriteStore for PostgresStore {
    fn writer(&self) -> Box<dyn Writer> {
        Box::new(PgWriter::new(self.writer_settings.clone(), self.marks.clone()))
    }

    fn max_writers(&self) -> usize {
        self.writers as usize
    }
}

impl ReadStore for PostgresStore {
    fn entity<'a>(
        &'a self,
        key: &'a EntityKey,
    ) -> BoxFuture<'a, Result<Option<Entity>, ReadError>> {
        Box::pin(self.read(move || query::entity(&self.read_pool, key)))
    }

    fn event(&self, uuid: Uuid) -> BoxFuture<'_, Result<Option<LoggedEvent>, ReadError>> {
        Box::pin(self.read(move || query::event(&self.read_pool, uuid)))
    }

    fn log<'a>(
        &'a self,
        key: &'a EntityKey,
        range: LogRange,
    ) -> BoxFuture<'a, Result<Vec<LogEntry>, ReadError>> {
        Box::pin(self.read(move || query::log(&self.read_pool, key, range)))
    }

    fn log_point<'a>(
        &'a self,
        key: &'a EntityKey,
        as_of: AsOf,
        within: u64,
    ) -> BoxFuture<'a, Result<Option<LogPoint>, ReadError>> {
        Box::pin(self.read(move || query::log_point(&self.read_pool, key, as_of, within)))
    }
}

impl FeedStore for PostgresStore {
    fn head(&self) -> BoxFuture<'_, Result<LogHead, ReadError>> {
        Box::pin(async move {
            let head = self.read(move || query::head(&self.read_pool, &self.generations)).await?;
            head.ok_or_else(|| ReadError {
                kind: UnavailableKind::Unreachable,
                text: "the server is a standby; changes are read from the primary".to_owned(),
            })
        })
    }

    fn generation(&self) -> BoxFuture<'_, Result<u64, ReadError>> {
        Box::pin(self.read(move || query::generation(&self.read_pool, &self.generations)))
    }

    fn describe<'a>(&'a self, writer: &'a OpenWriter) -> BoxFuture<'a, Result<String, ReadError>> {
        Box::pin(self.read(move || query::describe(&self.read_pool, writer)))
    }

    fn bounds(&self, up_to: u64) -> BoxFuture<'_, Result<LogBounds, ReadError>> {
        Box::pin(self.read(move || query::bounds(&self.read_pool, up_to)))
    }

    fn position_before(
        &self,
        time: Option<Timestamp>,
    ) -> BoxFuture<'_, Result<Option<u64>, ReadError>> {
        Box::pin(self.read(move || query::position_before(&self.read_pool, time)))
    }

    fn changes<'a>(&'a self, query: ChangesQuery<'a>) -> BoxFuture<'a, Result<LogPage, ReadError>> {
        Box::pin(self.read(move || query::changes(&self.read_pool, query)))
    }
}

impl ListStore for PostgresStore {
    fn states<'a>(
        &'a self,
        keys: &'a [&'a EntityKey],
        bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Option<Entity>>, ReadError>> {
        Box::pin(self.read(move || query::states(&self.read_pool, keys, bytes)))
    }

    fn entities<'a>(
        &'a self,
        query: EntitiesQuery<'a>,
    ) -> BoxFuture<'a, Result<EntitiesPart, ReadError>> {
        Box::pin(self.read(move || query::entities(&self.read_pool, query)))
    }

    fn indexed<'a>(
        &'a self,
        query: IndexQuery<'a>,
    ) -> BoxFuture<'a, Result<Option<IndexPart>, ReadError>> {
        Box::pin(self.read(move || query::indexed(&self.read_pool, query)))
    }

    fn indexed_ids<'a>(
        &'a self,
        index_id: i32,
        ranges: &'a [Range],
        rows: u32,
    ) -> BoxFuture<'a, Result<Option<Vec<String>>, ReadError>> {
        Box::pin(self.read(move || query::indexed_ids(&self.read_pool, index_id, ranges, rows)))
    }

    fn count<'a>(
        &'a self,
        range: &'a KeyRange,
        rows: u32,
    ) -> BoxFuture<'a, Result<CountedPart, ReadError>> {
        Box::pin(self.read(move || query::count(&self.read_pool, range, rows)))
    }

    fn types<'a>(
        &'a self,
        after: &'a str,
        types: u32,
        rows: u32,
    ) -> BoxFuture<'a, Result<Vec<CountedType>, ReadError>> {
        Box::pin(self.read(move || query::types(&self.read_pool, after, types, rows)))
    }

    fn estimates(&self) -> BoxFuture<'_, Result<Estimates, ReadError>> {
        Box::pin(self.read(move || query::estimates(&self.read_pool)))
    }
}

impl TypeStore for PostgresStore {
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
        Box::pin(self.read(move || query::type_definition(&self.read_pool, entity_type)))
    }

    fn type_definitions<'a>(
        &'a self,
        after: &'a str,
        most: u32,
    ) -> BoxFuture<'a, Result<Vec<StoredType>, ReadError>> {
        Box::pin(self.read(move || query::type_definitions(&self.read_pool, after, most)))
    }

    fn knows_language<'a>(&'a self, language: &'a str) -> BoxFuture<'a, Result<bool, ReadError>> {
        Box::pin(self.read(move || query::knows_language(&self.read_pool, language)))
    }

    fn take_job(&self, lease: Duration) -> BoxFuture<'_, Result<Option<Job>, ReadError>> {
        Box::pin(self.types.take_job(lease))
    }

    fn writers_of_entities(&self) -> BoxFuture<'_, Result<Vec<OpenWriter>, ReadError>> {
        Box::pin(self.read(move || query::writers_of_entities(&self.read_pool)))
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
        Box::pin(self.types.renew(job, lease))
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

impl SearchParts for PostgresStore {
    fn search_parts(&self) -> BoxFuture<'_, Result<Vec<SearchPart>, ReadError>> {
        Box::pin(self.read(move || query::search_parts(&self.read_pool)))
    }
}

impl SearchEngine for PostgresStore {
    fn engine(&self) -> Engine {
        Engine::PostgreSql
    }

    fn matches<'a>(
        &'a self,
        query: MatchQuery<'a>,
        each: &'a mut (dyn FnMut(Matched) -> ControlFlow<()> + Send),
    ) -> BoxFuture<'a, Result<bool, ReadError>> {
        Box::pin(async move {
            let search = self.read(move || query::open_search(&self.read_pool, query)).await?;
            // not again: what was found would be found twice
            let found = Session::with_timeout(self.read_deadline, search.run(query, each));
            found.await.map_err(StatementError::into_read_error)
        })
    }

    fn stems<'a>(&'a self, query: StemsQuery<'a>) -> BoxFuture<'a, Result<Stems, ReadError>> {
        Box::pin(self.read(move || query::stems(&self.read_pool, query)))
    }
}

impl Store for PostgresStore {
    fn pool(&self) -> Option<PoolUse> {
        Some(self.read_pool.usage())
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(async move {
            match self.read(move || query::ping(&self.read_pool)).await {
                Ok(is_migrated) => self.schema.check(is_migrated),
                Err(error) if error.kind == UnavailableKind::Unreachable => {
                    Err(self.why_unreachable(error).await)
                }
                Err(error) => Err(error),
            }
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.read_pool.close())
    }
}
