//! A store that a test counts and breaks.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use clap::Parser;
use futures_util::future::BoxFuture;
use producer_core::feed::{ChangesQuery, FeedStore, LogBounds, LogHead, LogPage, OpenWriter};
use producer_core::ingest::{ApplyError, ApplyMode, Verdict, WriteStore, Writer};
use producer_core::model::{
    AsOf, Entity, LogEntry, LogPoint, LogRange, LoggedEvent, UnavailableKind,
};
use producer_core::query::{
    CountedPart, CountedType, EntitiesPart, EntitiesQuery, Estimates, IndexPart, IndexQuery,
    KeyRange, ListStore, ReadError, ReadStore,
};
use producer_core::search::{
    Engine, MatchQuery, Matched, SearchEngine, SearchPart, SearchParts, Stems, StemsQuery,
};
use producer_core::store::{PoolUse, Store};
use producer_core::types::index_key::Range;
use producer_core::types::{ChangeOutcome, Job, StepOutcome, StoredType, TypeChange, TypeStore};
use producer_core::worker::{
    Connector, Control, DeadLetter, DeadLetterQuery, DeadLetterState, Deleted, Lease,
    NewDeadLetter, Registered, Report, Role, WorkerStore,
};
use producer_core::{Clock, EntityKey, Event, Timestamp};
use producer_server::App;
use producer_server::settings::Settings;
use tokio::runtime::Handle;
use tokio::sync::watch;
use uuid::Uuid;

/// A store without a database behind it.
pub(crate) struct FakeStore {
    pub(crate) pings: AtomicUsize,
    /// What pings are answered with; none is answered while it is `None`.
    pub(crate) answer: watch::Sender<Option<Result<(), ReadError>>>,
    /// Whether asking for the pool's use panics.
    pub(crate) broken_pool: AtomicBool,
}

impl FakeStore {
    /// One whose pings succeed.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            pings: AtomicUsize::new(0),
            answer: watch::Sender::new(Some(Ok(()))),
            broken_pool: AtomicBool::new(false),
        })
    }

    /// An app on it, with settings as on the command line.
    pub(crate) fn app(self: &Arc<Self>, flags: &[&str]) -> App<()> {
        let cli = Cli::parse_from(["test"].iter().chain(flags));
        let store: Arc<dyn Store> = Arc::clone(self) as _;
        App::new("test", cli.settings, (), store, Clock::system(), &Handle::current())
    }
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
}

impl Store for FakeStore {
    fn pool(&self) -> Option<PoolUse> {
        assert!(!self.broken_pool.load(Ordering::Relaxed), "asked for on purpose");
        None
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), ReadError>> {
        self.pings.fetch_add(1, Ordering::Relaxed);
        let mut answer = self.answer.subscribe();
        Box::pin(async move {
            let answer = answer.wait_for(Option::is_some).await.expect("the store is there");
            answer.clone().expect("an answer")
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl ReadStore for FakeStore {
    fn entity<'a>(
        &'a self,
        _key: &'a EntityKey,
    ) -> BoxFuture<'a, Result<Option<Entity>, ReadError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn event(&self, _uuid: Uuid) -> BoxFuture<'_, Result<Option<LoggedEvent>, ReadError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn log<'a>(
        &'a self,
        _key: &'a EntityKey,
        _range: LogRange,
    ) -> BoxFuture<'a, Result<Vec<LogEntry>, ReadError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn log_point<'a>(
        &'a self,
        _key: &'a EntityKey,
        _as_of: AsOf,
        _within: u64,
    ) -> BoxFuture<'a, Result<Option<LogPoint>, ReadError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// What a read returns.
type Read<T> = Result<T, ReadError>;

fn no_database<T: Send + 'static>() -> BoxFuture<'static, Read<T>> {
    let text = "there is no database".into();
    Box::pin(std::future::ready(Err(ReadError { kind: UnavailableKind::Unreachable, text })))
}

impl ListStore for FakeStore {
    fn states<'a>(
        &'a self,
        _keys: &'a [&'a EntityKey],
        _bytes: usize,
    ) -> BoxFuture<'a, Read<Vec<Option<Entity>>>> {
        no_database()
    }

    fn entities<'a>(&'a self, _query: EntitiesQuery<'a>) -> BoxFuture<'a, Read<EntitiesPart>> {
        no_database()
    }

    fn indexed<'a>(&'a self, _query: IndexQuery<'a>) -> BoxFuture<'a, Read<Option<IndexPart>>> {
        no_database()
    }

    fn indexed_ids<'a>(
        &'a self,
        _index_id: i32,
        _ranges: &'a [Range],
        _rows: u32,
    ) -> BoxFuture<'a, Read<Option<Vec<String>>>> {
        no_database()
    }

    fn count<'a>(&'a self, _range: &'a KeyRange, _rows: u32) -> BoxFuture<'a, Read<CountedPart>> {
        no_database()
    }

    fn types<'a>(
        &'a self,
        _after: &'a str,
        _types: u32,
        _rows: u32,
    ) -> BoxFuture<'a, Read<Vec<CountedType>>> {
        no_database()
    }

    fn estimates(&self) -> BoxFuture<'_, Read<Estimates>> {
        no_database()
    }
}

impl FeedStore for FakeStore {
    fn head(&self) -> BoxFuture<'_, Read<LogHead>> {
        no_database()
    }

    fn generation(&self) -> BoxFuture<'_, Read<u64>> {
        no_database()
    }

    fn describe<'a>(&'a self, _writer: &'a OpenWriter) -> BoxFuture<'a, Read<String>> {
        no_database()
    }

    fn bounds(&self, _up_to: u64) -> BoxFuture<'_, Read<LogBounds>> {
        no_database()
    }

    fn position_before(&self, _time: Option<Timestamp>) -> BoxFuture<'_, Read<Option<u64>>> {
        no_database()
    }

    fn changes<'a>(&'a self, _query: ChangesQuery<'a>) -> BoxFuture<'a, Read<LogPage>> {
        no_database()
    }
}

impl TypeStore for FakeStore {
    fn change_type<'a>(&'a self, _change: TypeChange<'a>) -> BoxFuture<'a, Read<ChangeOutcome>> {
        no_database()
    }

    fn type_definition<'a>(
        &'a self,
        _entity_type: &'a str,
    ) -> BoxFuture<'a, Read<Option<StoredType>>> {
        no_database()
    }

    fn type_definitions<'a>(
        &'a self,
        _after: &'a str,
        _most: u32,
    ) -> BoxFuture<'a, Read<Vec<StoredType>>> {
        no_database()
    }

    fn knows_language<'a>(&'a self, _language: &'a str) -> BoxFuture<'a, Read<bool>> {
        no_database()
    }

    fn take_job(&self, _lease: Duration) -> BoxFuture<'_, Read<Option<Job>>> {
        no_database()
    }

    fn writers_of_entities(&self) -> BoxFuture<'_, Read<Vec<OpenWriter>>> {
        no_database()
    }

    fn describe_writer<'a>(&'a self, _writer: &'a OpenWriter) -> BoxFuture<'a, Read<String>> {
        no_database()
    }

    fn renew<'a>(&'a self, _job: &'a mut Job, _lease: Duration) -> BoxFuture<'a, Read<bool>> {
        no_database()
    }

    fn step<'a>(&'a self, _job: &'a mut Job, _lease: Duration) -> BoxFuture<'a, Read<StepOutcome>> {
        no_database()
    }

    fn release<'a>(&'a self, _job: &'a Job) -> BoxFuture<'a, Read<()>> {
        no_database()
    }
}

impl SearchParts for FakeStore {
    fn search_parts(&self) -> BoxFuture<'_, Read<Vec<SearchPart>>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

impl SearchEngine for FakeStore {
    fn engine(&self) -> Engine {
        Engine::Sqlite
    }

    fn matches<'a>(
        &'a self,
        _query: MatchQuery<'a>,
        _each: &'a mut (dyn FnMut(Matched) -> ControlFlow<()> + Send),
    ) -> BoxFuture<'a, Read<bool>> {
        Box::pin(std::future::ready(Ok(true)))
    }

    fn stems<'a>(&'a self, _query: StemsQuery<'a>) -> BoxFuture<'a, Read<Stems>> {
        Box::pin(std::future::ready(Ok(Stems::default())))
    }
}

impl WorkerStore for FakeStore {
    fn register<'a>(
        &'a self,
        _role: Role,
        _name: &'a str,
        _kind: &'a str,
        _start: Option<(&'a str, u64)>,
    ) -> BoxFuture<'a, Read<Registered>> {
        no_database()
    }

    fn take<'a>(
        &'a self,
        _role: Role,
        _name: &'a str,
        _worker: &'a str,
        _duration: Duration,
    ) -> BoxFuture<'a, Read<Option<Lease>>> {
        no_database()
    }

    fn renew<'a>(
        &'a self,
        _lease: &'a Lease,
        _duration: Duration,
        _report: &'a Report,
    ) -> BoxFuture<'a, Read<Option<Control>>> {
        no_database()
    }

    fn advance<'a>(
        &'a self,
        _lease: &'a Lease,
        _token: &'a str,
        _position: u64,
    ) -> BoxFuture<'a, Read<bool>> {
        no_database()
    }

    fn release<'a>(&'a self, _lease: &'a Lease) -> BoxFuture<'a, Read<()>> {
        no_database()
    }

    fn report_shared<'a>(
        &'a self,
        _role: Role,
        _name: &'a str,
        _worker: &'a str,
        _duration: Duration,
        _report: &'a Report,
    ) -> BoxFuture<'a, Read<Option<Control>>> {
        no_database()
    }

    fn add_dead_letters<'a>(
        &'a self,
        _connector: (Role, &'a str),
        _lease: Option<&'a Lease>,
        _letters: &'a [NewDeadLetter],
    ) -> BoxFuture<'a, Read<Option<u64>>> {
        no_database()
    }

    fn held_entities<'a>(&'a self, _sink: &'a str) -> BoxFuture<'a, Read<Vec<EntityKey>>> {
        no_database()
    }

    fn due_dead_letters<'a>(
        &'a self,
        _connector: (Role, &'a str),
        _most: u32,
    ) -> BoxFuture<'a, Read<Vec<DeadLetter>>> {
        no_database()
    }

    fn settle_dead_letter<'a>(
        &'a self,
        _lease: Option<&'a Lease>,
        _id: u64,
    ) -> BoxFuture<'a, Read<()>> {
        no_database()
    }

    fn fail_dead_letter<'a>(
        &'a self,
        _lease: Option<&'a Lease>,
        _id: u64,
        _letter: &'a NewDeadLetter,
    ) -> BoxFuture<'a, Read<()>> {
        no_database()
    }

    fn settle_entity<'a>(
        &'a self,
        _lease: &'a Lease,
        _key: &'a EntityKey,
    ) -> BoxFuture<'a, Read<()>> {
        no_database()
    }

    fn connectors<'a>(
        &'a self,
        _role: Role,
        _name: Option<&'a str>,
    ) -> BoxFuture<'a, Read<Vec<Connector>>> {
        no_database()
    }

    fn set_paused<'a>(
        &'a self,
        _role: Role,
        _name: &'a str,
        _paused: bool,
    ) -> BoxFuture<'a, Read<bool>> {
        no_database()
    }

    fn skip<'a>(&'a self, _sink: &'a str, _token: &'a str) -> BoxFuture<'a, Read<bool>> {
        no_database()
    }

    fn reset<'a>(
        &'a self,
        _sink: &'a str,
        _token: &'a str,
        _position: u64,
    ) -> BoxFuture<'a, Read<bool>> {
        no_database()
    }

    fn delete_connector<'a>(&'a self, _role: Role, _name: &'a str) -> BoxFuture<'a, Read<Deleted>> {
        no_database()
    }

    fn dead_letters<'a>(
        &'a self,
        _query: DeadLetterQuery<'a>,
    ) -> BoxFuture<'a, Read<Vec<DeadLetter>>> {
        no_database()
    }

    fn dead_letter(&self, _id: u64) -> BoxFuture<'_, Read<Option<DeadLetter>>> {
        no_database()
    }

    fn replay_dead_letter(&self, _id: u64) -> BoxFuture<'_, Read<Option<DeadLetterState>>> {
        no_database()
    }

    fn delete_dead_letter(&self, _id: u64) -> BoxFuture<'_, Read<bool>> {
        no_database()
    }

    fn replay_dead_letters<'a>(
        &'a self,
        _connector: (Role, &'a str),
        _limit: u32,
    ) -> BoxFuture<'a, Read<u64>> {
        no_database()
    }

    fn delete_dead_letters<'a>(
        &'a self,
        _connector: (Role, &'a str),
        _limit: u32,
    ) -> BoxFuture<'a, Read<u64>> {
        no_database()
    }
}

impl WriteStore for FakeStore {
    fn writer(&self) -> Box<dyn Writer> {
        Box::new(NoWriter)
    }

    fn max_writers(&self) -> usize {
        1
    }
}

struct NoWriter;

impl Writer for NoWriter {
    fn apply<'a>(
        &'a mut self,
        _batch: &'a [Event],
        _mode: ApplyMode,
    ) -> BoxFuture<'a, Result<Vec<Verdict>, ApplyError>> {
        let error = ApplyError::Unavailable {
            kind: UnavailableKind::Unreachable,
            reason: "there is no database".into(),
        };
        Box::pin(std::future::ready(Err(error)))
    }
}
