//! The change feed on every store.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

#[macro_use]
mod support;

use std::sync::Arc;
use std::time::Duration;

use producer_core::feed::{
    Feed, FeedSettings, Item, PageRequest, Reader, ReaderKind, Start, Types, WatchRequest,
};
use producer_core::store::Store;
use producer_core::{Problem, ProblemKind};
use serde_json::Value;
use support::{Db, car, event};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

on_all!(
    a_stream_has_every_change_in_order_and_goes_on_from_each_token,
    a_snapshot_is_followed_by_what_comes,
    pages_end_where_the_log_ends,
    a_feed_that_is_draining_ends_its_readers_and_refuses_others,
);

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// The feed of one process.
fn feed(store: &Arc<dyn Store>) -> Feed {
    let settings = FeedSettings { max_readers: 100 };
    Feed::new(store.clone(), settings, Arc::new(Notify::new()), CancellationToken::new())
}

fn from(start: Start) -> WatchRequest {
    WatchRequest {
        kind: ReaderKind::Ndjson,
        start,
        until_now: false,
        types: Types::all(),
        include_data: false,
    }
}

fn page(start: Start) -> PageRequest {
    PageRequest {
        start,
        types: Types::all(),
        include_data: false,
        size: 100,
        bytes: 1 << 20,
        wait: Duration::ZERO,
    }
}

/// The items up to and with the first that is `last`.
async fn items_to(reader: &mut Reader, last: impl Fn(&Item) -> bool) -> Vec<Item> {
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

async fn caught_up(reader: &mut Reader) -> Vec<Item> {
    items_to(reader, |item| matches!(item, Item::Bookmark { caught_up: true, .. })).await
}

/// Entity and version of each change.
fn changes(items: &[Item]) -> Vec<(String, u64)> {
    let change = |item: &Item| match item {
        Item::Change(change) => Some((change.key.entity_id().to_owned(), change.entry.version)),
        _ => None,
    };
    items.iter().filter_map(change).collect()
}

fn pairs(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected.iter().map(|(id, version)| ((*id).to_owned(), *version)).collect()
}

fn kinds(items: &[Item]) -> Vec<&str> {
    items.iter().map(Item::kind).collect()
}

fn json(item: &Item, with_data: bool) -> Value {
    let mut text = String::new();
    item.write_json(with_data, &mut text);
    assert!(!text.contains('\n'), "{text}");
    serde_json::from_str(&text).unwrap()
}

async fn a_stream_has_every_change_in_order_and_goes_on_from_each_token(db: Db) {
    let feed = feed(&db.store);
    db.apply(&[car(1, "a", r#"{"n":1}"#), car(2, "b", "{\n\"n\":1}"), car(3, "a", r#"{"n":2}"#)])
        .await;
    let mut reader = feed.watch(from(Start::Oldest)).await.unwrap();
    let first = caught_up(&mut reader).await;
    let expected = pairs(&[("a", 1), ("b", 1), ("a", 2)]);
    assert_eq!(changes(&first), expected);
    db.apply(&[event(4, &[("Loan", "l", "{}"), ("Car", "a", r#"{"n":3}"#)])]).await;
    let then =
        items_to(&mut reader, |item| matches!(item, Item::Change(c) if c.entry.version == 3)).await;
    assert_eq!(then.len(), 2, "{then:?}");
    let all: Vec<_> = changes(&first).into_iter().chain(changes(&then)).collect();

    for (index, item) in first.iter().filter(|item| matches!(item, Item::Change(_))).enumerate() {
        let start = Start::parse(&item.token().unwrap().to_string()).unwrap();
        let mut again = feed.watch(from(start)).await.unwrap();
        assert_eq!(changes(&caught_up(&mut again).await), all[index + 1..]);
    }
    let cars =
        WatchRequest { types: Types::new(vec!["Car".into()]).unwrap(), ..from(Start::Oldest) };
    let mut cars = feed.watch(WatchRequest { include_data: true, ..cars }).await.unwrap();
    let cars = caught_up(&mut cars).await;
    assert_eq!(changes(&cars), pairs(&[("a", 1), ("b", 1), ("a", 2), ("a", 3)]));
    let shown = json(&cars[0], true);
    assert_eq!((&shown["data"]["n"], &shown["dataVersion"]), (&Value::from(3), &Value::from(3)));
    assert_eq!(json(&cars[0], false).get("data"), None);
}

async fn a_snapshot_is_followed_by_what_comes(db: Db) {
    let feed = feed(&db.store);
    db.apply(&[car(1, "a", r#"{"n":1}"#), car(2, "b", "{}"), event(3, &[("Loan", "a", "{}")])])
        .await;
    let mut reader = feed.watch(from(Start::Snapshot)).await.unwrap();
    let items = caught_up(&mut reader).await;
    assert_eq!(kinds(&items), ["snapshot", "snapshot", "snapshot", "snapshotEnd", "bookmark"]);
    db.apply(&[car(4, "a", r#"{"n":2}"#)]).await;
    let then = items_to(&mut reader, |item| matches!(item, Item::Change(_))).await;
    assert_eq!(changes(&then), pairs(&[("a", 2)]));
    // a snapshot that breaks off goes on
    let second = Start::Token(items[1].token().unwrap().clone());
    let mut again = feed.watch(from(second)).await.unwrap();
    let items = caught_up(&mut again).await;
    assert_eq!(kinds(&items), ["snapshot", "snapshotEnd", "change", "bookmark"]);
    assert_eq!(json(&items[0], false)["entityType"], "Loan");
}

async fn pages_end_where_the_log_ends(db: Db) {
    let feed = feed(&db.store);
    let empty = feed.page(page(Start::Oldest)).await.unwrap();
    assert!(empty.items.is_empty() && empty.caught_up, "{empty:?}");
    for n in 0..5 {
        db.apply(&[car(n, "a", "{}")]).await;
    }
    let first = feed.page(PageRequest { size: 3, ..page(Start::Token(empty.next)) }).await.unwrap();
    assert_eq!(changes(&first.items), pairs(&[("a", 1), ("a", 2), ("a", 3)]));
    assert!(!first.caught_up);
    let second = feed.page(page(Start::Token(first.next))).await.unwrap();
    assert_eq!(changes(&second.items), pairs(&[("a", 4), ("a", 5)]));
    assert!(second.caught_up);
    let waiting = PageRequest { wait: LONG, ..page(Start::Token(second.next)) };
    let (page, _) =
        tokio::join!(feed.page(waiting), async { db.apply(&[car(9, "b", "{}")]).await });
    assert_eq!(changes(&page.unwrap().items), pairs(&[("b", 1)]));
}

async fn a_feed_that_is_draining_ends_its_readers_and_refuses_others(db: Db) {
    let shutdown = CancellationToken::new();
    let settings = FeedSettings { max_readers: 100 };
    let feed = Feed::new(db.store.clone(), settings, Arc::default(), shutdown.clone());
    let mut reader = feed.watch(from(Start::Now)).await.unwrap();
    caught_up(&mut reader).await;
    let waiting = PageRequest { wait: 10 * LONG, ..page(Start::Now) };
    let waiting = tokio::spawn({
        let feed = feed.clone();
        async move { feed.page(waiting).await }
    });
    shutdown.cancel();
    let last = timeout(LONG, reader.next()).await.unwrap().unwrap();
    assert_eq!(kinds(&last), ["unavailable"]);
    assert!(reader.next().await.is_none());
    // whether it had begun to wait or not
    let waited = timeout(LONG, waiting).await.unwrap().unwrap();
    assert!(waited.map_or_else(|problem| is_draining(&problem), |page| page.items.is_empty()));
    let refused = timeout(LONG, feed.watch(from(Start::Now))).await.unwrap();
    assert!(is_draining(&refused.err().unwrap()));
    let refused = timeout(LONG, feed.page(page(Start::Oldest))).await.unwrap();
    assert!(is_draining(&refused.unwrap_err()));
}

fn is_draining(problem: &Problem) -> bool {
    problem.kind == ProblemKind::Unavailable && problem.detail.contains("draining")
}
