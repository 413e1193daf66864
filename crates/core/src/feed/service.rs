//! The feed of a process: pages, streams, and how many of them there may be.

use std::sync::Arc;
use std::time::Duration;

use producer_telemetry::metrics::MetricFamily;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::item::{Item, Page};
use super::metrics::{FeedMetrics, ReaderKind};
use super::pages::with_states;
use super::port::{ChangesQuery, FeedStore, LogBounds, PAGE_BYTES};
use super::problems;
use super::reader::{Plan, ReadFailure, Reader, Shared};
use super::request::{PageRequest, Start, WatchRequest};
use super::snapshot::Snapshot;
use super::tailer::{Look, Tail};
use super::token::{Cursor, SnapshotCursor, Token};
use super::types::Types;
use super::verdict::item_of;
use crate::filter::{Filter, JudgingTime};
use crate::model::{Problem, Timestamp};
use crate::query::ReadError;

/// How long a reader waits for the end of the log as it is now; after that it begins with what is known,
/// since a transaction may stay open for long.
const FRESH_END: Duration = Duration::from_millis(250);
/// How long a reader waits for the first look at the log.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// How far the clocks of the processes may differ that say when something was committed.
const CLOCK_SKEW_MICROS: i64 = 10_000_000;
/// Pages of the log that are read at once for readers that are behind.
const PAGES_AT_ONCE: usize = 2;

/// The limits of a feed.
#[derive(Debug, Clone, Copy)]
pub struct FeedSettings {
    /// `MAX_CHANGE_READERS`
    pub max_readers: usize,
}

/// What is at a position of the log.
#[derive(Debug, Clone)]
pub enum ChangeAt {
    /// This change.
    Item(Item),
    /// A change that the filter passes over.
    PassedOver,
    /// Nothing that a reader would get: the log was pruned.
    Gone,
}

/// The change feed of a process. Cheap to clone.
#[derive(Clone)]
pub struct Feed {
    shared: Shared,
    settings: FeedSettings,
    permits: Arc<Semaphore>,
}

impl Feed {
    /// A feed that reads nothing until the first reader comes. `commits` is notified of what this process
    /// commits; `shutdown` ends every reader.
    pub fn new(
        store: Arc<dyn FeedStore>,
        settings: FeedSettings,
        commits: Arc<Notify>,
        shutdown: CancellationToken,
    ) -> Self {
        let metrics = Arc::new(FeedMetrics::new());
        let tail = Tail::new(store.clone(), commits, metrics.clone(), shutdown.clone());
        let shared = Shared {
            store,
            tail: Arc::new(tail),
            page_permits: Arc::new(Semaphore::new(PAGES_AT_ONCE)),
            metrics,
            shutdown,
        };
        let permits = Arc::new(Semaphore::new(settings.max_readers.min(Semaphore::MAX_PERMITS)));
        Self { shared, settings, permits }
    }

    /// The values of its metrics.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        self.shared.metrics.gather()
    }

    /// A stream of changes.
    ///
    /// # Errors
    /// `Gone` where the token or time is not kept, `Overloaded` past `MAX_CHANGE_READERS`, `Unavailable`.
    pub async fn watch(&self, request: WatchRequest) -> Result<Reader, Problem> {
        self.open(request).await
    }

    /// A page of changes. It is empty where nothing comes within its time to wait.
    ///
    /// # Errors
    /// As [`Feed::watch`].
    pub async fn page(&self, request: PageRequest) -> Result<Page, Problem> {
        let PageRequest { start, types, filter, include_data, size, bytes, wait } = request;
        let kind = ReaderKind::Page;
        let request = WatchRequest { kind, start, until_now: false, types, filter, include_data };
        let mut reader = self.open(request).await?;
        let until = Instant::now() + wait;
        let items = usize::try_from(size).unwrap_or(usize::MAX);
        loop {
            let page = reader.page(items, bytes).await.map_err(ReadFailure::into_problem)?;
            if !page.items.is_empty() || !page.caught_up || until <= Instant::now() {
                return Ok(page);
            }
            tokio::select! {
                _ = timeout_at(until, reader.added()) => {}
                () = self.shared.shutdown.cancelled() => return Ok(page),
            }
        }
    }

    /// The change at a position, as a reader with this filter would get it now.
    ///
    /// # Errors
    /// The database can't be read now.
    pub async fn change_at(
        &self,
        position: u64,
        filter: Option<&Filter>,
    ) -> Result<ChangeAt, ReadError> {
        let (after, types) = (position.saturating_sub(1), Types::all());
        let query =
            ChangesQuery { after, up_to: position, types: &types, rows: 1, bytes: PAGE_BYTES };
        let store = &*self.shared.store;
        let page = with_states(store, store.changes(query).await?, None, PAGE_BYTES).await?;
        let Some(change) = page.changes.into_iter().next().map(Arc::new) else {
            return Ok(ChangeAt::Gone);
        };
        let item = match filter {
            None => Some(Item::Change(change)),
            Some(filter) => item_of(filter, change, &mut JudgingTime::default()),
        };
        Ok(item.map_or(ChangeAt::PassedOver, ChangeAt::Item))
    }

    /// The identity of the log, with which a position makes a token.
    ///
    /// # Errors
    /// `Unavailable`
    pub async fn epoch(&self) -> Result<Uuid, Problem> {
        Ok(self.bounds().await?.epoch)
    }

    async fn open(&self, request: WatchRequest) -> Result<Reader, Problem> {
        let WatchRequest { kind, start, until_now, types, filter, include_data } = request;
        let permit = self.permit()?;
        let began = Instant::now();
        let tail = self.shared.tail.start();
        // nothing looks at the log while the service drains
        let looked = self.shared.shutdown.run_until_cancelled(self.look_at_log(began)).await;
        let drawn = looked.ok_or_else(problems::draining)??;
        let (epoch, position) = self.end_of_log()?;
        let mut plan = Plan {
            kind,
            epoch,
            position,
            snapshot: None,
            until: until_now.then_some(drawn),
            not_before: None,
            types,
            filter,
            include_data,
        };
        self.place(&mut plan, &start, drawn).await?;
        plan.types = plan.types.narrowed(plan.filter.as_ref());
        Ok(Reader::new(self.shared.clone(), plan, tail, permit))
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        permit.map_err(|_| problems::too_many(self.settings.max_readers))
    }

    /// Waits for a look at the log that began after `began`, and returns the last position drawn then. Waits a
    /// little longer until all up to there is committed.
    async fn look_at_log(&self, began: Instant) -> Result<u64, Problem> {
        let mut looked = self.shared.tail.looked.subscribe();
        let mut failed = None;
        let look = looked.wait_for(|look| {
            failed = look.error.clone().filter(|(_, at)| *at >= began);
            failed.is_some() || drawn_since(look, began).is_some()
        });
        let look = timeout(FIRST_LOOK, look).await;
        let drawn = look.ok().and_then(Result::ok).and_then(|look| drawn_since(&look, began));
        if let Some((error, _)) = failed {
            return Err(error.problem());
        }
        let drawn = drawn.ok_or_else(problems::not_looked)?;
        let is_fresh = |look: &Look| look.end_of.is_some_and(|at| at >= began);
        let _elapsed = timeout_at(began + FRESH_END, looked.wait_for(is_fresh)).await;
        Ok(drawn)
    }

    /// Which log it is, and its last row as far as that is known.
    fn end_of_log(&self) -> Result<(Uuid, u64), Problem> {
        let ring = self.shared.tail.ring();
        ring.as_ref().map(|ring| (ring.epoch(), ring.last())).ok_or_else(problems::not_looked)
    }

    /// Puts the reader where it begins. The plan's position is the end of the log.
    async fn place(&self, plan: &mut Plan, start: &Start, drawn: u64) -> Result<(), Problem> {
        match start {
            Start::Now => {}
            Start::Oldest => plan.position = self.bounds().await?.floor,
            Start::Snapshot => {
                let (types, filter) = (plan.types.clone(), plan.filter.clone());
                let cursor = SnapshotCursor { position: plan.position, types, filter, after: None };
                plan.snapshot = Some(Snapshot::new(cursor));
            }
            Start::Time(time) => {
                let earliest =
                    Timestamp::from_micros(time.micros().saturating_sub(CLOCK_SKEW_MICROS));
                let before = self.shared.store.position_before(Some(earliest)).await;
                let before = before.map_err(|error| error.problem())?.unwrap_or(0);
                if before < self.bounds().await?.floor {
                    return Err(problems::time_pruned());
                }
                plan.position = before;
                plan.not_before = Some((earliest, drawn));
            }
            Start::Token(token) => self.place_at_token(plan, token).await?,
        }
        Ok(())
    }

    async fn place_at_token(&self, plan: &mut Plan, token: &Token) -> Result<(), Problem> {
        let LogBounds { epoch, floor, last } = self.bounds().await?;
        match token.position() {
            _ if token.epoch != epoch => return Err(problems::of_another_log()),
            position if position < floor => return Err(problems::pruned()),
            position if position > last => return Err(problems::ahead()),
            position => plan.position = position,
        }
        if let Cursor::Snapshot(cursor) = &token.cursor {
            // The rest of the snapshot is as its beginning. The request says which changes follow, where it says
            // anything: tokens are good with any types and filter.
            if plan.types.names().is_none() {
                plan.types = cursor.types.clone();
            }
            plan.filter = plan.filter.take().or_else(|| cursor.filter.clone());
            plan.snapshot = Some(Snapshot::new((**cursor).clone()));
        }
        Ok(())
    }

    async fn bounds(&self) -> Result<LogBounds, Problem> {
        let bounds = self.shared.store.bounds(u64::MAX).await;
        bounds.map_err(|error| error.problem())
    }
}

fn drawn_since(look: &Look, began: Instant) -> Option<u64> {
    look.drawn.filter(|(_, at)| *at >= began).map(|(drawn, _)| drawn)
}
