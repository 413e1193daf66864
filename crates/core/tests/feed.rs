//! The change feed on every store.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

#[macro_use]
mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use producer_core::ProblemKind;
use producer_core::feed::{
    Feed, FeedSettings, Item, PageRequest, Reader, Start, Types, WatchRequest,
};
use serde_json::Value;
use support::feed::{LONG, caught_up, changes, feed, from, items_to, page, pairs};
use support::{Db, car, event};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

on_all!(
    a_stream_has_every_change_in_order_and_goes_on_from_each_token,
    a_snapshot_is_followed_by_what_comes,
    pages_end_where_the_log_ends,
    a_reader_that_falls_behind_the_memory_misses_nothing,
    waits_that_are_given_up_at_once_come_to_an_end,
    states_come_with_every_change_whoever_else_reads,
    an_end_that_is_now_ends_the_stream,
    readers_of_a_type_pass_over_the_others,
    large_changes_come_a_few_at_a_time,
    places_are_limited_and_free_again,
    draining_ends_streams_and_waiting_pages,
);

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

/// Whoever waits for other things too gives up one wait after the other: what is read goes on.
async fn waits_that_are_given_up_at_once_come_to_an_end(db: Db) {
    db.apply(&[car(1, "a", r#"{"n":1}"#), car(2, "b", "{}")]).await;
    let feed = feed(&db.store);
    for (start, expected) in [
        (Start::Oldest, vec!["change", "change", "bookmark"]),
        (Start::Snapshot, vec!["snapshot", "snapshot", "snapshotEnd", "bookmark"]),
    ] {
        let request = WatchRequest { include_data: true, ..from(start) };
        let mut reader = feed.watch(request).await.unwrap();
        let mut items = Vec::new();
        let all_come = async {
            while items.len() < expected.len() {
                match reader.next().now_or_never() {
                    Some(more) => items.extend(more.unwrap()),
                    None => sleep(Duration::from_millis(1)).await,
                }
            }
        };
        let all_come = timeout(LONG, all_come).await;
        assert!(all_come.is_ok(), "{:?}", kinds(&items));
        assert_eq!(kinds(&items), expected);
    }
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

/// Updates of one car, in batches.
async fn write(db: &Db, numbers: std::ops::Range<u128>) {
    write_patches(db, numbers, r#"{"n":1}"#).await;
}

async fn write_patches(db: &Db, numbers: std::ops::Range<u128>, patch: &str) {
    let mut writer = db.store.writer();
    let numbers: Vec<u128> = numbers.collect();
    for batch in numbers.chunks(500) {
        let batch: Vec<_> = batch.iter().map(|&n| car(n, "a", patch)).collect();
        support::apply(&mut *writer, &batch).await;
    }
}

/// The versions of the first `count` changes.
async fn versions(reader: &mut Reader, count: usize) -> Vec<u64> {
    let mut versions = Vec::new();
    while versions.len() < count {
        let items = timeout(LONG, reader.next()).await.unwrap().unwrap();
        versions.extend(changes(&items).into_iter().map(|(_, version)| version));
    }
    versions
}

async fn a_reader_that_falls_behind_the_memory_misses_nothing(db: Db) {
    const UPDATES: usize = 2000;
    // more than is kept
    let patch = format!(r#"{{"text":"{}"}}"#, "x".repeat(10_000));
    let feed = feed(&db.store);
    let mut slow = feed.watch(from(Start::Now)).await.unwrap();
    let mut quick = feed.watch(from(Start::Now)).await.unwrap();
    caught_up(&mut slow).await;
    write_patches(&db, 0..UPDATES as u128, &patch).await;
    let expected: Vec<u64> = (1..=UPDATES as u64).collect();
    assert_eq!(versions(&mut quick, UPDATES).await, expected);
    assert_eq!(versions(&mut slow, UPDATES).await, expected);
    let mut late = feed.watch(from(Start::Oldest)).await.unwrap();
    assert_eq!(versions(&mut late, UPDATES).await, expected);
}

async fn states_come_with_every_change_whoever_else_reads(db: Db) {
    let feed = feed(&db.store);
    let mut plain = feed.watch(from(Start::Now)).await.unwrap();
    caught_up(&mut plain).await;
    db.apply(&[car(1, "a", "{}"), car(2, "b", r#"{"n":1}"#)]).await;
    assert_eq!(versions(&mut plain, 2).await, [1, 1]);
    // what the memory has was read without states
    let with_data = WatchRequest { include_data: true, ..from(Start::Oldest) };
    let mut reader = feed.watch(with_data).await.unwrap();
    let mut items = caught_up(&mut reader).await;
    db.apply(&[car(3, "b", r#"{"n":2}"#)]).await;
    items.extend(items_to(&mut reader, |item| matches!(item, Item::Change(_))).await);
    let delete = serde_json::json!({"entityType": "Car", "entityId": "b", "operation": "delete"});
    db.apply(&[support::event_of(4, &[delete])]).await;
    items.extend(items_to(&mut reader, |item| matches!(item, Item::Change(_))).await);
    let shown = items.iter().filter(|item| matches!(item, Item::Change(_)));
    let shown: Vec<Value> = shown.map(|item| json(item, true)).collect();
    let versions = ["version", "dataVersion"].map(|name| {
        shown.iter().map(|item| item.get(name).and_then(Value::as_u64)).collect::<Vec<_>>()
    });
    assert_eq!(versions[0], [Some(1), Some(1), Some(2), Some(3)]);
    assert_eq!(versions[1], [Some(1), Some(1), Some(2), None]);
    assert_eq!(shown[2]["data"]["n"], 2);
    assert_eq!(shown[3].get("data"), None);
}

async fn an_end_that_is_now_ends_the_stream(db: Db) {
    let feed = feed(&db.store);
    let until_now = || WatchRequest { until_now: true, ..from(Start::Oldest) };
    let mut empty = feed.watch(until_now()).await.unwrap();
    assert_eq!(kinds(&timeout(LONG, empty.next()).await.unwrap().unwrap()), ["bookmark"]);
    assert!(timeout(LONG, empty.next()).await.unwrap().is_none());
    write(&db, 0..3000).await;
    let mut reader = feed.watch(until_now()).await.unwrap();
    write(&db, 3000..3100).await;
    let mut items = Vec::new();
    while let Some(more) = timeout(LONG, reader.next()).await.unwrap() {
        items.extend(more);
    }
    assert_eq!(changes(&items).len(), 3000);
    assert!(matches!(items.last(), Some(Item::Bookmark { caught_up: true, .. })));
    // the last token goes on behind the end
    let start = Start::Token(items.last().unwrap().token().unwrap().clone());
    let mut next = feed.watch(from(start)).await.unwrap();
    assert_eq!(versions(&mut next, 100).await.first(), Some(&3001));
}

async fn readers_of_a_type_pass_over_the_others(db: Db) {
    let feed = feed(&db.store);
    db.apply(&[event(1_000_000, &[("Loan", "l", "{}")])]).await;
    write(&db, 0..20_000).await;
    let types = Types::new(vec!["Loan".into()]).unwrap();
    let loans = || WatchRequest { types: types.clone(), ..from(Start::Oldest) };
    let mut reader = feed.watch(loans()).await.unwrap();
    let items = caught_up(&mut reader).await;
    assert_eq!(changes(&items), pairs(&[("l", 1)]));
    // the bookmark is behind what was passed over
    let token = items.last().unwrap().token().unwrap().clone();
    let mut again = feed.watch(from(Start::Token(token))).await.unwrap();
    assert_eq!(changes(&caught_up(&mut again).await), []);
    let page =
        feed.page(PageRequest { types: types.clone(), ..page(Start::Oldest) }).await.unwrap();
    assert_eq!(changes(&page.items), pairs(&[("l", 1)]));
    write(&db, 20_000..20_100).await;
    db.apply(&[event(1_000_001, &[("Loan", "l", "{}")])]).await;
    assert_eq!(versions(&mut reader, 1).await, [2]);
}

async fn large_changes_come_a_few_at_a_time(db: Db) {
    let feed = feed(&db.store);
    let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(900_000));
    for n in 0..20 {
        db.apply(&[car(n, "a", &large)]).await;
    }
    let request = PageRequest { size: 1000, ..page(Start::Oldest) };
    let first = feed.page(request).await.unwrap();
    assert_eq!((first.items.len(), first.caught_up), (1, false));
    let mut reader = feed.watch(from(Start::Oldest)).await.unwrap();
    let (mut all, mut most) = (0, 0);
    while all < 20 {
        let items = timeout(LONG, reader.next()).await.unwrap().unwrap();
        most = most.max(items.len());
        all += changes(&items).len();
    }
    assert!(most <= 3, "{most} changes at once");
    // states count too
    let with_data = WatchRequest { include_data: true, ..from(Start::Oldest) };
    let mut reader = feed.watch(with_data).await.unwrap();
    assert_eq!(versions(&mut reader, 20).await, (1..=20).collect::<Vec<_>>());
}

async fn places_are_limited_and_free_again(db: Db) {
    let settings = FeedSettings { max_readers: 2 };
    let feed = Feed::new(db.store.clone(), settings, Arc::default(), CancellationToken::new());
    let first = feed.watch(from(Start::Now)).await.unwrap();
    let second = feed.watch(from(Start::Oldest)).await.unwrap();
    let Err(problem) = feed.watch(from(Start::Now)).await else { panic!("it is a third") };
    assert_eq!(problem.kind, ProblemKind::Overloaded);
    assert!(problem.detail.contains("MAX_CHANGE_READERS"), "{}", problem.detail);
    assert!(feed.page(page(Start::Oldest)).await.is_err());
    drop(first);
    feed.page(page(Start::Oldest)).await.unwrap();
    drop(second);
}

async fn draining_ends_streams_and_waiting_pages(db: Db) {
    let shutdown = CancellationToken::new();
    let settings = FeedSettings { max_readers: 10 };
    let feed = Feed::new(db.store.clone(), settings, Arc::default(), shutdown.clone());
    let mut reader = feed.watch(from(Start::Now)).await.unwrap();
    caught_up(&mut reader).await;
    let waiting = feed.page(PageRequest { wait: LONG * 10, ..page(Start::Now) });
    let (page, items) = tokio::join!(timeout(LONG, waiting), async {
        shutdown.cancel();
        timeout(LONG, reader.next()).await.unwrap().unwrap()
    });
    // it may have begun too late
    match page.unwrap() {
        Ok(page) => assert!(page.items.is_empty(), "{page:?}"),
        Err(problem) => assert_eq!(problem.kind, ProblemKind::Unavailable),
    }
    assert_eq!(kinds(&items), ["unavailable"]);
    assert!(reader.next().await.is_none());
}
