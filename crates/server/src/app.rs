//! What an API serves from.

use std::sync::Arc;

use producer_core::feed::{Feed, FeedSettings};
use producer_core::query::{History, Lists, Scans};
use producer_core::search::Search;
use producer_core::store::Store;
use producer_core::types::Types;
use producer_core::worker::Connectors;
use producer_core::{Clock, Ingest};
use producer_opensearch::{Engine, Target};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::budget::Budget;
use crate::metrics::ServiceMetrics;
use crate::readiness::Readiness;
use crate::settings::Settings;

/// What an [`Api`](crate::Api) serves from. Cheap to clone, but for the settings.
#[derive(Clone)]
pub struct App<A> {
    /// The settings of both binaries.
    pub settings: Settings,
    /// The settings of this binary.
    pub args: A,
    /// For reads; writes go through `ingest`.
    pub store: Arc<dyn Store>,
    /// Where reads over many rows go, if not to `store`.
    pub replica: Option<Arc<dyn Store>>,
    /// For reads of entities as they were.
    pub history: Arc<History>,
    /// For lists of entities and types.
    pub lists: Arc<Lists>,
    /// For full-text search.
    pub search: Arc<Search>,
    /// For reads of what changes.
    pub feed: Feed,
    /// For sinks, sources and dead letters.
    pub connectors: Connectors,
    /// For definitions of types.
    pub types: Types,
    /// For writes.
    pub ingest: Ingest,
    /// Time and ids.
    pub clock: Clock,
    /// The bytes that requests may hold before they are queued.
    pub budget: Budget,
    /// The number of requests in flight.
    pub request_slots: Budget,
    /// What is counted.
    pub metrics: ServiceMetrics,
    /// Whether events can be accepted.
    pub readiness: Readiness,
    /// Cancelled when the service has to stop: readiness fails immediately, no new work is taken.
    pub shutdown: CancellationToken,
}

impl<A> App<A> {
    /// Serves from `store`, under the name `api` (`rest`, `grpc`) in the metrics. The writers run on
    /// `writers`.
    pub fn new(
        api: &'static str,
        settings: Settings,
        args: A,
        store: Arc<dyn Store>,
        clock: Clock,
        writers: &Handle,
    ) -> Self {
        let ingest = Ingest::start(store.clone(), settings.common.limits(), writers);
        let shutdown = CancellationToken::new();
        let timeout = settings.common.request_timeout;
        let (history, lists, search) = reads_of(&store, &clock);
        let feed_settings = FeedSettings { max_readers: settings.max_change_readers };
        let feed = Feed::new(store.clone(), feed_settings, ingest.commits(), shutdown.clone());
        Self {
            metrics: ServiceMetrics::new(api, &store, &ingest, &feed),
            readiness: Readiness::new(&store, &ingest, shutdown.clone(), timeout),
            budget: Budget::new(settings.body_buffer_bytes),
            request_slots: Budget::new(settings.max_concurrent_requests),
            settings,
            args,
            history,
            lists,
            search,
            replica: None,
            connectors: Connectors::new(store.clone(), feed.clone()),
            types: Types::new(store.clone(), clock.clone()),
            store,
            feed,
            ingest,
            clock,
            shutdown,
        }
    }

    /// Reads over many rows (lists, searches, the history) go to a replica.
    #[must_use]
    pub fn reading_from(mut self, replica: Arc<dyn Store>) -> Self {
        (self.history, self.lists, self.search) = reads_of(&replica, &self.clock);
        self.replica = Some(replica);
        self
    }

    /// Searches go to the indexes of a sink.
    #[must_use]
    pub fn searching_in(mut self, target: Target) -> Self {
        let (store, clock) = (&self.store, self.clock.clone());
        let engine = Arc::new(Engine::new(target, store.clone(), store.clone()));
        let scans = scans(store);
        self.search = Arc::new(Search::new(engine.clone(), engine, store.clone(), scans, clock));
        self
    }
}

/// What goes over many rows of a database. All of it takes turns.
fn reads_of(store: &Arc<dyn Store>, clock: &Clock) -> (Arc<History>, Arc<Lists>, Arc<Search>) {
    let scans = scans(store);
    let history = History::new(store.clone(), Arc::clone(&scans));
    let lists = Lists::new(store.clone(), store.clone(), Arc::clone(&scans), clock.clone());
    let (engine, parts) = (store.clone(), store.clone());
    let search = Search::new(engine, parts, store.clone(), scans, clock.clone());
    (Arc::new(history), Arc::new(lists), Arc::new(search))
}

fn scans(store: &Arc<dyn Store>) -> Arc<Scans> {
    Arc::new(Scans::new(store.pool().map_or(1, |pool| pool.max as usize)))
}
