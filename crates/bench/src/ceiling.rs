//! The ceilings of the transports: the real routes over a store that keeps nothing, and hyper alone.

mod hyper;

use std::future::ready;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use futures_util::future::BoxFuture;
use producer_core::feed::{ChangesQuery, FeedStore, LogBounds, LogHead, LogPage, OpenWriter};
use producer_core::ingest::{ApplyError, ApplyMode, Verdict, WriteStore, Writer};
use producer_core::model::{AsOf, Entity, LogEntry, LogPoint, LogRange, LoggedEvent, NewVersion};
use producer_core::query::{
    CountedPart, CountedType, EntitiesPart, EntitiesQuery, Estimates, IndexPart, IndexQuery,
    KeyRange, ListStore, ReadError, ReadStore,
};
use producer_core::search::{
    Engine, MatchQuery, Matched, SearchEngine, SearchPart, SearchParts, Stems, StemsQuery,
};
use producer_core::store::Store;
use producer_core::types::index_key::Range;
use producer_core::types::{ChangeOutcome, Job, StepOutcome, StoredType, TypeChange, TypeStore};
use producer_core::worker::{
    Connector, Control, DeadLetter, DeadLetterQuery, DeadLetterState, Deleted, Lease,
    NewDeadLetter, Registered, Report, Role, WorkerStore,
};
use producer_core::{Clock, EntityKey, Event, Timestamp};
use producer_grpc::Grpc;
use producer_rest::Rest;
use producer_server::settings::Settings;
use producer_server::{Api, App};
use producer_telemetry::log::{self, Filter};
use uuid::Uuid;

use crate::Result;

/// One of the services.
#[derive(Debug, Subcommand)]
pub(crate) enum Ceiling {
    /// The routes of producer-rest
    Rest(ServiceArgs<producer_rest::RestArgs>),
    /// The rpcs of producer-grpc
    Grpc(ServiceArgs<producer_grpc::Args>),
    /// hyper alone, which answers every request with the same receipt
    Hyper(hyper::Args),
}

/// The settings of a service.
#[derive(Debug, Args)]
pub(crate) struct ServiceArgs<A: Args> {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    args: A,
}

/// Serves until SIGTERM.
pub(crate) async fn serve(ceiling: Ceiling) -> Result<()> {
    match ceiling {
        Ceiling::Rest(args) => serve_api::<Rest>(args).await,
        Ceiling::Grpc(args) => serve_api::<Grpc>(args).await,
        Ceiling::Hyper(args) => hyper::serve(&args).await,
    }
}

async fn serve_api<A: Api>(args: ServiceArgs<A::Args>) -> Result<()> {
    log::init(Filter::new(args.settings.common.log_level, None)?)?;
    let address = SocketAddr::new(args.settings.bind_address, A::port(&args.args));
    let listener = producer_server::serve::bind(address)?;
    let store: Arc<dyn Store> = Arc::new(NullStore);
    let writers = producer_server::writers_runtime()?;
    let ServiceArgs { settings, args } = args;
    let app = App::new(A::API, settings, args, store, Clock::system(), writers.handle());
    let shutdown = app.shutdown.clone();
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let stop = async {
        terminated.recv().await;
        shutdown.cancel();
        std::future::pending::<()>().await;
    };
    let served = tokio::select! {
        served = A::serve(app, listener.into()) => served,
        () = stop => Ok(()),
    };
    writers.shutdown_background();
    Ok(served?)
}

/// What a read of the store returns.
type Read<T> = std::result::Result<T, ReadError>;

/// A store that keeps nothing.
struct NullStore;

impl WriteStore for NullStore {
    fn writer(&self) -> Box<dyn Writer> {
        Box::new(NullStore)
    }

    fn max_writers(&self) -> usize {
        2
    }
}

impl ReadStore for NullStore {
    fn entity<'a>(&'a self, _key: &'a EntityKey) -> BoxFuture<'a, Read<Option<Entity>>> {
        Box::pin(ready(Ok(None)))
    }

    fn event(&self, _uuid: Uuid) -> BoxFuture<'_, Read<Option<LoggedEvent>>> {
        Box::pin(ready(Ok(None)))
    }

    fn log<'a>(
        &'a self,
        _key: &'a EntityKey,
        _range: LogRange,
    ) -> BoxFuture<'a, Read<Vec<LogEntry>>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn log_point<'a>(
        &'a self,
        _key: &'a EntityKey,
        _as_of: AsOf,
        _within: u64,
    ) -> BoxFuture<'a, Read<Option<LogPoint>>> {
        Box::pin(ready(Ok(None)))
    }
}

impl ListStore for NullStore {
    fn states<'a>(
        &'a self,
        keys: &'a [&'a EntityKey],
        _bytes: usize,
    ) -> BoxFuture<'a, Read<Vec<Option<Entity>>>> {
        Box::pin(ready(Ok(vec![None; keys.len()])))
    }

    fn entities<'a>(&'a self, _query: EntitiesQuery<'a>) -> BoxFuture<'a, Read<EntitiesPart>> {
        Box::pin(ready(Ok(EntitiesPart { is_last: true, ..EntitiesPart::default() })))
    }

    fn indexed<'a>(&'a self, _query: IndexQuery<'a>) -> BoxFuture<'a, Read<Option<IndexPart>>> {
        Box::pin(ready(Ok(None)))
    }

    fn indexed_ids<'a>(
        &'a self,
        _index_id: i32,
        _ranges: &'a [Range],
        _rows: u32,
    ) -> BoxFuture<'a, Read<Option<Vec<String>>>> {
        Box::pin(ready(Ok(None)))
    }

    fn count<'a>(&'a self, _range: &'a KeyRange, _rows: u32) -> BoxFuture<'a, Read<CountedPart>> {
        Box::pin(ready(Ok(CountedPart::default())))
    }

    fn types<'a>(
        &'a self,
        _after: &'a str,
        _types: u32,
        _rows: u32,
    ) -> BoxFuture<'a, Read<Vec<CountedType>>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn estimates(&self) -> BoxFuture<'_, Read<Estimates>> {
        Box::pin(ready(Ok(Estimates::default())))
    }
}

impl FeedStore for NullStore {
    fn head(&self) -> BoxFuture<'_, Read<LogHead>> {
        Box::pin(ready(Ok(LogHead {
            epoch: Uuid::nil(),
            drawn: 0,
            writers: Vec::new(),
            generation: 0,
        })))
    }

    fn generation(&self) -> BoxFuture<'_, Read<u64>> {
        Box::pin(ready(Ok(0)))
    }

    fn describe<'a>(&'a self, writer: &'a OpenWriter) -> BoxFuture<'a, Read<String>> {
        Box::pin(ready(Ok(writer.transaction.clone())))
    }

    fn bounds(&self, _up_to: u64) -> BoxFuture<'_, Read<LogBounds>> {
        Box::pin(ready(Ok(LogBounds { epoch: Uuid::nil(), floor: 0, last: 0 })))
    }

    fn position_before(&self, _time: Option<Timestamp>) -> BoxFuture<'_, Read<Option<u64>>> {
        Box::pin(ready(Ok(None)))
    }

    fn changes<'a>(&'a self, _query: ChangesQuery<'a>) -> BoxFuture<'a, Read<LogPage>> {
        let (epoch, changes) = (Uuid::nil(), Vec::new());
        Box::pin(ready(Ok(LogPage { epoch, floor: 0, changes, last: None, is_last: true })))
    }
}

impl TypeStore for NullStore {
    fn change_type<'a>(&'a self, _change: TypeChange<'a>) -> BoxFuture<'a, Read<ChangeOutcome>> {
        Box::pin(ready(Ok(ChangeOutcome::Unchanged)))
    }

    fn type_definition<'a>(
        &'a self,
        _entity_type: &'a str,
    ) -> BoxFuture<'a, Read<Option<StoredType>>> {
        Box::pin(ready(Ok(None)))
    }

    fn type_definitions<'a>(
        &'a self,
        _after: &'a str,
        _most: u32,
    ) -> BoxFuture<'a, Read<Vec<StoredType>>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn knows_language<'a>(&'a self, _language: &'a str) -> BoxFuture<'a, Read<bool>> {
        Box::pin(ready(Ok(true)))
    }

    fn take_job(&self, _lease: Duration) -> BoxFuture<'_, Read<Option<Job>>> {
        Box::pin(ready(Ok(None)))
    }

    fn writers_of_entities(&self) -> BoxFuture<'_, Read<Vec<OpenWriter>>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn describe_writer<'a>(&'a self, _writer: &'a OpenWriter) -> BoxFuture<'a, Read<String>> {
        Box::pin(ready(Ok(String::new())))
    }

    fn renew<'a>(&'a self, _job: &'a mut Job, _lease: Duration) -> BoxFuture<'a, Read<bool>> {
        Box::pin(ready(Ok(false)))
    }

    fn step<'a>(&'a self, _job: &'a mut Job, _lease: Duration) -> BoxFuture<'a, Read<StepOutcome>> {
        Box::pin(ready(Ok(StepOutcome::Lost)))
    }

    fn release<'a>(&'a self, _job: &'a Job) -> BoxFuture<'a, Read<()>> {
        Box::pin(ready(Ok(())))
    }
}

impl SearchParts for NullStore {
    fn search_parts(&self) -> BoxFuture<'_, Read<Vec<SearchPart>>> {
        Box::pin(ready(Ok(Vec::new())))
    }
}

impl SearchEngine for NullStore {
    fn engine(&self) -> Engine {
        Engine::Sqlite
    }

    fn matches<'a>(
        &'a self,
        _query: MatchQuery<'a>,
        _each: &'a mut (dyn FnMut(Matched) -> ControlFlow<()> + Send),
    ) -> BoxFuture<'a, Read<bool>> {
        Box::pin(ready(Ok(true)))
    }

    fn stems<'a>(&'a self, _query: StemsQuery<'a>) -> BoxFuture<'a, Read<Stems>> {
        Box::pin(ready(Ok(Stems::default())))
    }
}

impl WorkerStore for NullStore {
    fn register<'a>(
        &'a self,
        _role: Role,
        _name: &'a str,
        _kind: &'a str,
        _start: Option<(&'a str, u64)>,
    ) -> BoxFuture<'a, Read<Registered>> {
        Box::pin(ready(Ok(Registered::Known)))
    }

    fn take<'a>(
        &'a self,
        _role: Role,
        _name: &'a str,
        _worker: &'a str,
        _duration: Duration,
    ) -> BoxFuture<'a, Read<Option<Lease>>> {
        Box::pin(ready(Ok(None)))
    }

    fn renew<'a>(
        &'a self,
        _lease: &'a Lease,
        _duration: Duration,
        _report: &'a Report,
    ) -> BoxFuture<'a, Read<Option<Control>>> {
        Box::pin(ready(Ok(None)))
    }

    fn advance<'a>(
        &'a self,
        _lease: &'a Lease,
        _token: &'a str,
        _position: u64,
    ) -> BoxFuture<'a, Read<bool>> {
        Box::pin(ready(Ok(false)))
    }

    fn release<'a>(&'a self, _lease: &'a Lease) -> BoxFuture<'a, Read<()>> {
        Box::pin(ready(Ok(())))
    }

    fn report_shared<'a>(
        &'a self,
        _role: Role,
        _name: &'a str,
        _worker: &'a str,
        _duration: Duration,
        _report: &'a Report,
    ) -> BoxFuture<'a, Read<Option<Control>>> {
        Box::pin(ready(Ok(None)))
    }

    fn add_dead_letters<'a>(
        &'a self,
        _connector: (Role, &'a str),
        _lease: Option<&'a Lease>,
        _letters: &'a [NewDeadLetter],
    ) -> BoxFuture<'a, Read<Option<u64>>> {
        Box::pin(ready(Ok(None)))
    }

    fn held_entities<'a>(&'a self, _sink: &'a str) -> BoxFuture<'a, Read<Vec<EntityKey>>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn due_dead_letters<'a>(
        &'a self,
        _connector: (Role, &'a str),
        _most: u32,
    ) -> BoxFuture<'a, Read<Vec<DeadLetter>>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn settle_dead_letter<'a>(
        &'a self,
        _lease: Option<&'a Lease>,
        _id: u64,
    ) -> BoxFuture<'a, Read<()>> {
        Box::pin(ready(Ok(())))
    }

    fn fail_dead_letter<'a>(
        &'a self,
        _lease: Option<&'a Lease>,
        _id: u64,
        _letter: &'a NewDeadLetter,
    ) -> BoxFuture<'a, Read<()>> {
        Box::pin(ready(Ok(())))
    }

    fn settle_entity<'a>(
        &'a self,
        _lease: &'a Lease,
        _key: &'a EntityKey,
    ) -> BoxFuture<'a, Read<()>> {
        Box::pin(ready(Ok(())))
    }

    fn connectors<'a>(
        &'a self,
        _role: Role,
        _name: Option<&'a str>,
    ) -> BoxFuture<'a, Read<Vec<Connector>>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn set_paused<'a>(
        &'a self,
        _role: Role,
        _name: &'a str,
        _paused: bool,
    ) -> BoxFuture<'a, Read<bool>> {
        Box::pin(ready(Ok(false)))
    }

    fn skip<'a>(&'a self, _sink: &'a str, _token: &'a str) -> BoxFuture<'a, Read<bool>> {
        Box::pin(ready(Ok(false)))
    }

    fn reset<'a>(
        &'a self,
        _sink: &'a str,
        _token: &'a str,
        _position: u64,
    ) -> BoxFuture<'a, Read<bool>> {
        Box::pin(ready(Ok(false)))
    }

    fn delete_connector<'a>(&'a self, _role: Role, _name: &'a str) -> BoxFuture<'a, Read<Deleted>> {
        Box::pin(ready(Ok(Deleted::NotFound)))
    }

    fn dead_letters<'a>(
        &'a self,
        _query: DeadLetterQuery<'a>,
    ) -> BoxFuture<'a, Read<Vec<DeadLetter>>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn dead_letter(&self, _id: u64) -> BoxFuture<'_, Read<Option<DeadLetter>>> {
        Box::pin(ready(Ok(None)))
    }

    fn replay_dead_letter(&self, _id: u64) -> BoxFuture<'_, Read<Option<DeadLetterState>>> {
        Box::pin(ready(Ok(None)))
    }

    fn delete_dead_letter(&self, _id: u64) -> BoxFuture<'_, Read<bool>> {
        Box::pin(ready(Ok(false)))
    }

    fn replay_dead_letters<'a>(
        &'a self,
        _connector: (Role, &'a str),
        _limit: u32,
    ) -> BoxFuture<'a, Read<u64>> {
        Box::pin(ready(Ok(0)))
    }

    fn delete_dead_letters<'a>(
        &'a self,
        _connector: (Role, &'a str),
        _limit: u32,
    ) -> BoxFuture<'a, Read<u64>> {
        Box::pin(ready(Ok(0)))
    }
}

impl Store for NullStore {
    fn ping(&self) -> BoxFuture<'_, Read<()>> {
        Box::pin(ready(Ok(())))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }
}

impl Writer for NullStore {
    fn apply<'a>(
        &'a mut self,
        batch: &'a [Event],
        _mode: ApplyMode,
    ) -> BoxFuture<'a, std::result::Result<Vec<Verdict>, ApplyError>> {
        let verdict = |event: &Event| {
            Verdict::Applied(vec![NewVersion { version: 1, created: true }; event.updates().len()])
        };
        Box::pin(ready(Ok(batch.iter().map(verdict).collect())))
    }
}
