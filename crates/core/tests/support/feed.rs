//! Readers of the feed in a few words.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use producer_core::feed::{
    Feed, FeedSettings, Item, PageRequest, Reader, ReaderKind, Start, Token, Types, WatchRequest,
};
use producer_core::store::Store;
use producer_core::{Clock, Timestamp};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::START;

/// Far longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A clock that a test sets.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<AtomicI64>);

impl TestClock {
    /// At [`START`].
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(START)))
    }

    /// Sets it to so many seconds after [`START`].
    pub(crate) fn set(&self, seconds: i64) {
        self.0.store(START + seconds * 1_000_000, Ordering::Relaxed);
    }

    /// As a process has it whose clock is off by so many seconds.
    pub(crate) fn clock(&self, off: i64) -> Clock {
        let now = Arc::clone(&self.0);
        Clock::from_fn(move || {
            Timestamp::from_micros(now.load(Ordering::Relaxed) + off * 1_000_000)
        })
    }
}

/// The feed of one process.
pub(crate) fn feed(store: &Arc<dyn Store>) -> Feed {
    let settings = FeedSettings { max_readers: 100 };
    Feed::new(store.clone(), settings, Arc::new(Notify::new()), CancellationToken::new())
}

pub(crate) fn from(start: Start) -> WatchRequest {
    WatchRequest {
        kind: ReaderKind::Ndjson,
        start,
        until_now: false,
        types: Types::all(),
        filter: None,
        include_data: false,
    }
}

pub(crate) fn page(start: Start) -> PageRequest {
    PageRequest {
        start,
        types: Types::all(),
        filter: None,
        include_data: false,
        size: 1000,
        bytes: 1 << 20,
        wait: Duration::ZERO,
    }
}

/// The items up to and with the first that is `last`.
pub(crate) async fn items_to(reader: &mut Reader, last: impl Fn(&Item) -> bool) -> Vec<Item> {
    let mut all = Vec::new();
    loop {
        let items = timeout(LONG, reader.next()).await.unwrap();
        for item in items.unwrap_or_else(|| panic!("it ended after {all:?}")) {
            let is_last = last(&item);
            all.push(item);
            if is_last {
                return all;
            }
        }
    }
}

/// What comes, up to so many changes.
pub(crate) async fn next_changes(reader: &mut Reader, count: usize) -> Vec<Item> {
    let mut all = Vec::new();
    let come = async {
        while changes(&all).len() < count {
            all.extend(reader.next().await.unwrap());
        }
    };
    let have_come = timeout(LONG, come).await.is_ok();
    assert!(have_come, "{count} changes: {all:?}");
    all
}

pub(crate) async fn caught_up(reader: &mut Reader) -> Vec<Item> {
    items_to(reader, |item| matches!(item, Item::Bookmark { caught_up: true, .. })).await
}

/// What a new reader gets until it has caught up.
pub(crate) async fn read(feed: &Feed, start: Start) -> Vec<Item> {
    caught_up(&mut feed.watch(from(start)).await.unwrap()).await
}

/// Entity and version of each change.
pub(crate) fn changes(items: &[Item]) -> Vec<(String, u64)> {
    let change = |item: &Item| match item {
        Item::Change(change) => Some((change.key.entity_id().to_owned(), change.entry.version)),
        _ => None,
    };
    items.iter().filter_map(change).collect()
}

pub(crate) fn pairs(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected.iter().map(|(id, version)| ((*id).to_owned(), *version)).collect()
}

/// The token of each item that has one.
pub(crate) fn tokens(items: &[Item]) -> Vec<Token> {
    items.iter().filter_map(|item| item.token().cloned()).collect()
}

/// Why a reader that begins there is refused.
pub(crate) async fn refusal(feed: &Feed, start: Start) -> String {
    match feed.page(page(start)).await {
        Err(problem) => format!("{}: {}", problem.kind.as_str(), problem.detail),
        Ok(page) => panic!("it is not refused: {page:?}"),
    }
}
