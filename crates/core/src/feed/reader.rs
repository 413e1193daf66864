//! A reader: a snapshot where it asked for one, then pages of the log, then what comes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::item::{Item, Page};
use super::metrics::{FeedMetrics, ReaderKind};
use super::pages::Pages;
use super::port::FeedStore;
use super::problems;
use super::ring::{Found, Place, Wanted};
use super::snapshot::Snapshot;
use super::tailer::{Tail, TailUse};
use super::token::Token;
use super::types::Types;
use crate::model::{Problem, Timestamp};
use crate::query::ReadError;

/// A stream has a bookmark at least this often.
const BOOKMARK_EVERY: Duration = Duration::from_secs(15);
/// The pause after a read that failed: first and longest.
const RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(2);
/// How long a page may take.
const PAGE_TIME: Duration = Duration::from_secs(1);
/// What a stream returns at once, about.
const BATCH_ITEMS: usize = 1024;
const BATCH_BYTES: usize = 256 << 10;

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
    /// The generation of the log in which the place was reached.
    pub(super) generation: u64,
    pub(super) place: Place,
    pub(super) snapshot: Option<Snapshot>,
    /// The last position to read.
    pub(super) until: Option<u64>,
    /// Passes over what was committed earlier, up to this position.
    pub(super) not_before: Option<(Timestamp, u64)>,
    pub(super) types: Types,
    pub(super) include_data: bool,
}

impl Plan {
    fn wanted(&self, up_to: u64, items: usize, bytes: usize) -> Wanted<'_> {
        Wanted {
            types: &self.types,
            not_before: self.not_before,
            with_data: self.include_data,
            up_to,
            items,
            bytes,
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
            Self::Database(error) => problems::unreachable(&error),
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
        if self.plan.include_data {
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
        if plan.include_data {
            shared.tail.data_readers.fetch_add(1, Ordering::Relaxed);
        }
        let pages = Pages::new(
            Arc::clone(&shared.store),
            Arc::clone(&shared.page_permits),
            plan.types.clone(),
            plan.include_data,
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

    /// Whether the reader asked for the states.
    pub fn includes_data(&self) -> bool {
        self.plan.include_data
    }

    /// The token that goes on behind what was returned so far.
    pub fn token(&self) -> Token {
        match &self.plan.snapshot {
            Some(snapshot) => snapshot.token(self.plan.epoch),
            None => Token::in_log(self.plan.epoch, self.plan.place.token),
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
        let is_data = |item: &&Item| matches!(item, Item::Change(_) | Item::Snapshot(..));
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
            match self.read(BATCH_ITEMS, BATCH_BYTES).await {
                Ok(Batch { items, is_end }) => {
                    self.retry = RETRY;
                    let items = self.with_bookmark(items, is_end);
                    if !items.is_empty() {
                        return items;
                    }
                    if is_end {
                        self.wait_until_added().await;
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
            // the sender lives as long as the tail, which this reader holds
            _ = self.added.changed() => {}
            () = sleep_until(self.bookmark_at) => {}
        }
    }

    /// Adds a bookmark where one is due.
    fn with_bookmark(&mut self, mut items: Vec<Item>, is_end: bool) -> Vec<Item> {
        let is_complete =
            is_end && self.plan.until.is_some_and(|until| self.plan.place.seen >= until);
        let has_caught_up = is_end && !self.said_caught_up;
        if is_complete || has_caught_up || self.bookmark_at <= Instant::now() {
            self.said_caught_up |= is_end;
            items.push(self.bookmark(is_end));
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
        let (mut items, mut room, mut caught_up) = (Vec::new(), bytes, false);
        self.added.mark_unchanged();
        while items.len() < size && room > 0 && !caught_up && Instant::now() < deadline {
            let wanted = size - items.len();
            let batch = self.read(wanted, room).await?;
            room = room.saturating_sub(batch.items.iter().map(Item::bytes).sum());
            caught_up = batch.is_end;
            items.extend(batch.items);
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
    pub(super) async fn read(&mut self, items: usize, bytes: usize) -> Result<Batch, ReadFailure> {
        if let Some(snapshot) = &mut self.plan.snapshot {
            let items = snapshot.next(&*self.shared.store, self.plan.epoch, items, bytes).await?;
            if let Some(Item::SnapshotEnd(_)) = items.last() {
                self.plan.snapshot = None;
            }
            return Ok(Batch { items, is_end: false });
        }
        let up_to = self.plan.until.unwrap_or(u64::MAX);
        let found = self.shared.tail.ring().as_ref().map(|ring| {
            if self.plan.generation != ring.generation() {
                self.plan.generation = ring.generation();
                self.plan.place = self.plan.place.rewound();
            }
            let wanted = self.plan.wanted(up_to, items, bytes);
            (ring.after(self.plan.epoch, self.plan.place, &wanted), ring.end(), ring.last())
        });
        let Some((found, end, last)) = found else {
            // the tailer begins again
            self.wait_until_added().await;
            return Ok(Batch { items: Vec::new(), is_end: false });
        };
        match found {
            Found::OtherLog => Err(ReadFailure::Gone(problems::of_another_log())),
            Found::Next(items, place) => {
                self.plan.place = place;
                Ok(Batch { items, is_end: place.seen >= end.min(up_to) })
            }
            // not behind the last committed row: what is drawn again there may be open now
            Found::Behind => self.read_page(last.min(up_to), end.min(up_to), items, bytes).await,
        }
    }

    /// A page of the log up to its last row, behind which it is empty up to `end`. Streams return all of
    /// it, whose size [`Pages`] chooses.
    async fn read_page(
        &mut self,
        up_to: u64,
        end: u64,
        items: usize,
        bytes: usize,
    ) -> Result<Batch, ReadFailure> {
        let place = self.plan.place;
        let page = self.pages.next(place.seen, up_to).await?;
        if page.epoch != self.plan.epoch {
            return Err(ReadFailure::Gone(problems::of_another_log()));
        }
        if page.floor > place.seen {
            return Err(ReadFailure::Gone(problems::pruned()));
        }
        let is_limited = self.plan.kind == ReaderKind::Page;
        let (items, bytes) = if is_limited { (items, bytes) } else { (usize::MAX, usize::MAX) };
        let wanted = self.plan.wanted(up_to, items, bytes);
        let last = page.last.unwrap_or(place.token);
        let end =
            Place { seen: if page.is_last { end } else { last.max(place.seen) }, token: last };
        let (items, place) = wanted.take(page.changes.into_iter().map(Arc::new), place, end);
        self.plan.place = place;
        Ok(Batch { items, is_end: false })
    }
}
