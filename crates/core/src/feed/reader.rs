//! A reader: a snapshot where it asked for one, then pages of the log, then what comes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::item::{Item, Page};
use super::metrics::{FeedMetrics, ReaderKind};
use super::pages::Pages;
use super::port::FeedStore;
use super::problems;
use super::ring::{Found, Part, Room, Wanted};
use super::snapshot::Snapshot;
use super::tailer::{Tail, TailUse};
use super::token::Token;
use super::types::Types;
use crate::filter::Filter;
use crate::model::{Problem, Timestamp};
use crate::query::ReadError;

/// A stream has a bookmark at least this often.
const BOOKMARK_EVERY: Duration = Duration::from_secs(15);
/// The pause after a read that failed: first and longest.
const RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(2);
/// How long a page may take.
const PAGE_TIME: Duration = Duration::from_secs(1);
/// What a stream returns at once, where it does not read pages.
const BATCH: Room = Room { items: 1024, bytes: 256 << 10, at_least_one: true };

/// What every reader of a process works with.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) store: Arc<dyn FeedStore>,
    pub(super) tail: Arc<Tail>,
    pub(super) page_permits: Arc<Semaphore>,
    pub(super) metrics: Arc<FeedMetrics>,
    pub(super) shutdown: CancellationToken,
}

/// What a reader reads.
pub(super) struct Plan {
    pub(super) kind: ReaderKind,
    pub(super) epoch: Uuid,
    /// It has read the log up to here.
    pub(super) position: u64,
    pub(super) snapshot: Option<Snapshot>,
    /// The last position to read.
    pub(super) until: Option<u64>,
    /// Passes over what was committed earlier, up to this position.
    pub(super) not_before: Option<(Timestamp, u64)>,
    pub(super) types: Types,
    pub(super) filter: Option<Filter>,
    pub(super) include_data: bool,
}

impl Plan {
    fn needs_states(&self) -> bool {
        self.include_data || self.filter.as_ref().is_some_and(Filter::reads_state)
    }

    fn wanted(&self, up_to: u64, room: Room) -> Wanted<'_> {
        Wanted {
            types: &self.types,
            filter: self.filter.as_ref(),
            not_before: self.not_before,
            with_data: self.needs_states(),
            sends_data: self.include_data,
            up_to,
            room,
        }
    }
}

/// A reader of the feed. Dropping it ends it.
pub struct Reader {
    shared: Shared,
    plan: Plan,
    pages: Pages,
    added: watch::Receiver<u64>,
    bookmark_at: Instant,
    /// Whether it has said that it caught up.
    said_caught_up: bool,
    retry: Duration,
    has_ended: bool,
    _tail: TailUse,
    _permit: OwnedSemaphorePermit,
}

/// What a read returned.
pub(super) struct Batch {
    pub(super) items: Vec<Item>,
    /// Whether nothing more is there now.
    pub(super) is_end: bool,
    /// Whether nothing more is wanted.
    pub(super) is_complete: bool,
    /// Whether more is there than fits.
    pub(super) is_full: bool,
}

impl Batch {
    /// Items that others follow on.
    fn of(items: Vec<Item>) -> Self {
        Self { items, is_end: false, is_complete: false, is_full: false }
    }
}

/// Why a reader can't read.
pub(super) enum ReadFailure {
    Gone(Problem),
    Database(ReadError),
}

impl ReadFailure {
    pub(super) fn into_problem(self) -> Problem {
        match self {
            Self::Gone(problem) => problem,
            Self::Database(error) => error.problem(),
        }
    }
}

impl From<ReadError> for ReadFailure {
    fn from(error: ReadError) -> Self {
        Self::Database(error)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.metrics.of(self.plan.kind).readers.dec();
        if self.plan.needs_states() {
            self.shared.tail.data_readers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Reader {
    pub(super) fn new(
        shared: Shared,
        plan: Plan,
        tail: TailUse,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        shared.metrics.of(plan.kind).readers.inc();
        if plan.needs_states() {
            shared.tail.data_readers.fetch_add(1, Ordering::Relaxed);
        }
        let pages = Pages::new(
            Arc::clone(&shared.store),
            Arc::clone(&shared.page_permits),
            plan.types.clone(),
            plan.filter.clone(),
            plan.needs_states(),
        );
        Self {
            added: shared.tail.added.subscribe(),
            shared,
            plan,
            pages,
            bookmark_at: Instant::now() + BOOKMARK_EVERY,
            said_caught_up: false,
            retry: RETRY,
            has_ended: false,
            _tail: tail,
            _permit: permit,
        }
    }

    /// Whether the states are sent.
    pub fn includes_data(&self) -> bool {
        self.plan.include_data
    }

    /// The token that goes on behind what was returned so far.
    pub fn token(&self) -> Token {
        match &self.plan.snapshot {
            Some(snapshot) => snapshot.token(self.plan.epoch),
            None => Token::in_log(self.plan.epoch, self.plan.position),
        }
    }

    /// The next items, at least one, as soon as there are some; `None` at the end. May be dropped at any
    /// moment without a loss.
    pub async fn next(&mut self) -> Option<Vec<Item>> {
        if self.has_ended {
            return None;
        }
        let shutdown = self.shared.shutdown.clone();
        let items = tokio::select! {
            biased;
            () = shutdown.cancelled() => self.end_with(Item::Unavailable(problems::draining().into())),
            items = self.wait_for_items() => items,
        };
        self.count(&items);
        Some(items)
    }

    fn count(&self, items: &[Item]) {
        let is_data =
            |item: &&Item| matches!(item, Item::Change(_) | Item::Left(_) | Item::Snapshot(..));
        let sent = items.iter().filter(is_data).count();
        self.shared.metrics.of(self.plan.kind).sent.inc_by(sent as u64);
    }

    fn end_with(&mut self, item: Item) -> Vec<Item> {
        self.has_ended = true;
        vec![item]
    }

    async fn wait_for_items(&mut self) -> Vec<Item> {
        loop {
            self.added.mark_unchanged();
            match self.read(BATCH).await {
                Ok(batch) => {
                    self.retry = RETRY;
                    let is_end = batch.is_end;
                    let items = self.with_bookmark(batch);
                    if !items.is_empty() {
                        return items;
                    }
                    if is_end {
                        self.wait_until_added().await;
                    } else {
                        // a filter that finds little must not keep a thread for itself
                        yield_now().await;
                    }
                }
                Err(ReadFailure::Gone(problem)) => {
                    return self.end_with(Item::Gone(problem.into()));
                }
                Err(ReadFailure::Database(error)) => {
                    tracing::debug!(%error, "a reader of changes waits for the database");
                    sleep_until(self.bookmark_at.min(Instant::now() + self.retry)).await;
                    self.retry = LONGEST_RETRY.min(self.retry * 2);
                    if self.bookmark_at <= Instant::now() {
                        return vec![self.bookmark(false)];
                    }
                }
            }
        }
    }

    async fn wait_until_added(&mut self) {
        tokio::select! {
            () = sleep_until(self.bookmark_at) => {}
            () = self.added() => {}
        }
    }

    /// Adds a bookmark where one is due.
    fn with_bookmark(&mut self, batch: Batch) -> Vec<Item> {
        let Batch { mut items, is_end, is_complete, .. } = batch;
        // a stream with an end has caught up only there: a writer may hold back what comes before it
        let is_caught_up = if self.plan.until.is_some() { is_complete } else { is_end };
        let is_first = is_caught_up && !self.said_caught_up;
        if is_first || self.bookmark_at <= Instant::now() {
            self.said_caught_up |= is_caught_up;
            items.push(self.bookmark(is_caught_up));
        }
        self.has_ended |= is_complete;
        items
    }

    fn bookmark(&mut self, caught_up: bool) -> Item {
        self.bookmark_at = Instant::now() + BOOKMARK_EVERY;
        Item::Bookmark { token: self.token(), caught_up }
    }

    /// A page of what is there: it ends early where it takes long to find that many.
    pub(super) async fn page(&mut self, size: usize, bytes: usize) -> Result<Page, ReadFailure> {
        let deadline = Instant::now() + PAGE_TIME;
        let (mut items, mut caught_up) = (Vec::new(), false);
        let mut room = Room { items: size, bytes, at_least_one: true };
        self.added.mark_unchanged();
        while room.items > 0 && !caught_up && Instant::now() < deadline {
            let batch = self.read(room).await?;
            room.items -= batch.items.len();
            let bytes = batch.items.iter().map(|item| item.bytes(self.plan.include_data)).sum();
            room.bytes = room.bytes.saturating_sub(bytes);
            room.at_least_one &= batch.items.is_empty();
            caught_up = batch.is_end;
            let has_nothing = batch.items.is_empty();
            items.extend(batch.items);
            if batch.is_full {
                break;
            }
            if has_nothing {
                yield_now().await;
            }
        }
        self.count(&items);
        Ok(Page { items, next: self.token(), caught_up })
    }

    /// Waits until the log has more than when the last page was read.
    pub(super) async fn added(&mut self) {
        // the sender lives as long as the tail, which this reader holds
        let _ = self.added.changed().await;
    }

    /// What is there, which may be nothing; waits only for the database.
    async fn read(&mut self, room: Room) -> Result<Batch, ReadFailure> {
        if let Some(snapshot) = &mut self.plan.snapshot {
            let Shared { store, page_permits, .. } = &self.shared;
            let part = snapshot.next(store, page_permits, self.plan.epoch, room).await?;
            if let Some(Item::SnapshotEnd(_)) = part.items.last() {
                self.plan.snapshot = None;
            }
            return Ok(Batch { is_full: part.is_full, ..Batch::of(part.items) });
        }
        let up_to = self.plan.until.unwrap_or(u64::MAX);
        let wanted = self.plan.wanted(up_to, room);
        let (position, until) = (self.plan.position, self.plan.until);
        let found = self.shared.tail.ring().as_ref().map(|ring| {
            let found = ring.after(self.plan.epoch, position, &wanted);
            (found, ring.last(), until.is_some_and(|until| ring.has_decided(until)))
        });
        let Some((found, last, is_decided)) = found else {
            // the tailer begins again
            self.wait_until_added().await;
            return Ok(Batch::of(Vec::new()));
        };
        match found {
            Found::OtherLog => Err(ReadFailure::Gone(problems::of_another_log())),
            Found::Next(candidates) => {
                let Part { items, position, is_complete: is_end, is_full } =
                    wanted.judge(candidates, position);
                self.plan.position = position;
                Ok(Batch { items, is_end, is_complete: is_end && is_decided, is_full })
            }
            Found::Behind => self.read_page(last, room).await,
        }
    }

    /// A page of the log, up to the row `last`. Streams return all of it, whose size [`Pages`] chooses.
    async fn read_page(&mut self, last: u64, room: Room) -> Result<Batch, ReadFailure> {
        let position = self.plan.position;
        let up_to = self.plan.until.unwrap_or(u64::MAX);
        let page = self.pages.next(position, last.min(up_to)).await?;
        if page.epoch != self.plan.epoch {
            return Err(ReadFailure::Gone(problems::of_another_log()));
        }
        if page.floor > position {
            return Err(ReadFailure::Gone(problems::pruned()));
        }
        let is_limited = self.plan.kind == ReaderKind::Page;
        let room = if is_limited { room } else { Room::UNLIMITED };
        let wanted = self.plan.wanted(up_to, room);
        let part = wanted.take(page.changes.into_iter().map(Arc::new), position);
        self.plan.position = match page.last {
            _ if !part.is_complete => part.position,
            // the last row of the ring, which may be pruned by now
            _ if page.is_last && last <= up_to => last,
            looked_at => looked_at.unwrap_or(position),
        };
        let is_complete = part.is_complete && page.is_last && up_to < last;
        Ok(Batch { items: part.items, is_end: is_complete, is_complete, is_full: part.is_full })
    }
}
