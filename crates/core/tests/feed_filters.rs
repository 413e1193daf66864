//! Filters of the change feed on every store.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

#[macro_use]
mod support;

use std::collections::BTreeSet;

use producer_core::feed::{Feed, Item, PageRequest, Reader, Start, WatchRequest};
use producer_core::filter::{Filter, Scope};
use producer_core::{Event, Operation};
use serde_json::{Value, json};
use support::feed::{LONG, caught_up, changes, feed, from, items_to, next_changes, page, pairs};
use support::{Db, car, event, event_of};

on_all!(
    what_matches_comes_and_what_matches_no_more_has_left,
    only_a_filter_over_the_state_says_what_has_left,
    a_snapshot_has_what_matches,
    a_snapshot_goes_on_with_its_filter,
    pages_and_streams_pass_over_what_does_not_match,
    a_page_counts_what_it_sends,
);

fn filter(text: &str) -> Option<Filter> {
    Some(Filter::parse(text, Scope::Change).unwrap_or_else(|error| panic!("{text}: {error}")))
}

fn with(text: &str, start: Start) -> WatchRequest {
    WatchRequest { filter: filter(text), ..from(start) }
}

fn operation(number: u128, id: &str, operation: Operation, patch: &Value) -> Event {
    let item = match operation {
        Operation::Delete => json!({"entityType": "Car", "entityId": id, "operation": "delete"}),
        _ => json!({
            "entityType": "Car", "entityId": id, "operation": operation.as_str(),
            "updatedAttributes": patch,
        }),
    };
    event_of(number, &[item])
}

/// Kind, id and version of each item but bookmarks.
fn shown(items: &[Item]) -> Vec<(&'static str, String, u64)> {
    let shown = |item: &Item| match item {
        Item::Change(change) | Item::Left(change) => {
            Some((item.kind(), change.key.entity_id().to_owned(), change.entry.version))
        }
        Item::Snapshot(_, entity) => {
            Some((item.kind(), entity.key.entity_id().to_owned(), entity.version))
        }
        Item::SnapshotEnd(_) => Some((item.kind(), String::new(), 0)),
        _ => None,
    };
    items.iter().filter_map(shown).collect()
}

fn kinds(items: &[Item]) -> Vec<&'static str> {
    shown(items).into_iter().map(|(kind, ..)| kind).collect()
}

/// Applies one event after the other, each as soon as the memory of the feed has the one before with its state.
async fn apply_one_by_one(db: &Db, feed: &Feed, events: Vec<Event>) {
    let witness = WatchRequest { include_data: true, ..from(Start::Now) };
    let mut witness = feed.watch(witness).await.unwrap();
    caught_up(&mut witness).await;
    for event in events {
        let updates = event.updates().len();
        db.apply(&[event]).await;
        next_changes(&mut witness, updates).await;
    }
}

/// What a reader gets up to and with the change of this entity.
async fn up_to(reader: &mut Reader, id: &str) -> Vec<Item> {
    items_to(reader, |item| matches!(item, Item::Change(c) if c.key.entity_id() == id)).await
}

async fn what_matches_comes_and_what_matches_no_more_has_left(db: Db) {
    use Operation::{Delete, Merge, Replace};
    let feed = feed(&db.store);
    let request = with("type == 'Car' && data.n > 1", Start::Now);
    let mut streams = Vec::new();
    for include_data in [false, true] {
        let request = WatchRequest { include_data, ..request.clone() };
        let mut reader = feed.watch(request).await.unwrap();
        caught_up(&mut reader).await;
        streams.push(reader);
    }
    let steps = [
        ("a", Merge, json!({"n": 1}), None),
        ("a", Merge, json!({"n": 2}), Some("change")),
        ("a", Merge, json!({"m": 1}), Some("change")),
        ("a", Merge, json!({"n": 0}), Some("left")),
        // it does not say anything about n
        ("a", Merge, json!({"m": 2}), None),
        ("a", Replace, json!({"m": 2}), Some("left")),
        ("a", Replace, json!({"n": 2.5}), Some("change")),
        ("a", Delete, json!({}), Some("left")),
        // it did not exist before
        ("a", Merge, json!({"n": 1}), None),
        ("a", Merge, json!({"n": {"of": 2}}), Some("left")),
        ("end", Merge, json!({"n": 2}), Some("change")),
    ];
    let events =
        steps.iter().zip(1..).map(|((id, kind, patch, _), n)| operation(n, id, *kind, patch));
    let mut events: Vec<_> = events.collect();
    // of another type, which has never matched
    events.insert(3, event_of(99, &[json!({
        "entityType": "Loan", "entityId": "l", "operation": "replace", "updatedAttributes": {"n": 3},
    })]));
    apply_one_by_one(&db, &feed, events).await;
    let mut version = 0;
    let expected: Vec<_> = steps
        .iter()
        .filter_map(|(id, _, _, kind)| {
            version = if *id == "a" { version + 1 } else { 1 };
            kind.map(|kind| (kind, (*id).to_owned(), version))
        })
        .collect();
    for mut reader in streams {
        let items = up_to(&mut reader, "end").await;
        assert_eq!(shown(&items), expected, "from memory");
        for item in items.iter().filter(|item| matches!(item, Item::Left(_))) {
            let mut text = String::new();
            item.write_json(true, &mut text);
            let json: Value = serde_json::from_str(&text).unwrap();
            let token = item.token().unwrap().to_string();
            assert_eq!((&json["kind"], &json["token"]), (&json!("left"), &json!(token)));
            assert_eq!((json.get("data"), json.get("dataVersion")), (None, None));
            let mut after =
                feed.watch(with("type == 'Car'", Start::parse(&token).unwrap())).await.unwrap();
            let Item::Left(change) = item else { continue };
            let next = next_changes(&mut after, 1).await;
            assert_ne!(
                changes(&next)[0].1,
                change.entry.version,
                "a token goes on behind its item"
            );
        }
    }
    // by now the states are the last ones
    let another = support::feed::feed(&db.store);
    let mut late = another.watch(with("type == 'Car' && data.n > 1", Start::Oldest)).await.unwrap();
    let items = up_to(&mut late, "end").await;
    let left = |version| ("left", "a".to_owned(), version);
    let expected =
        [left(2), left(4), left(6), left(7), left(8), left(10), ("change", "end".to_owned(), 1)];
    assert_eq!(shown(&items), expected, "from the log");
}

async fn only_a_filter_over_the_state_says_what_has_left(db: Db) {
    use Operation::{Delete, Merge, Replace};
    let feed = feed(&db.store);
    let events = [
        operation(1, "a", Merge, &json!({"n": 1, "o": {"x": 1}})),
        operation(2, "b", Replace, &json!({"n": 2})),
        operation(3, "a", Merge, &json!({"o": {"x": 2}})),
        event(4, &[("Loan", "a", r#"{"n":1}"#)]),
        operation(5, "b", Delete, &json!({})),
    ];
    for (event, reads_in_memory) in events.into_iter().zip([true, false].into_iter().cycle()) {
        db.apply(&[event]).await;
        if reads_in_memory {
            caught_up(&mut feed.watch(from(Start::Now)).await.unwrap()).await;
        }
    }
    for (text, expected) in [
        ("type == 'Loan'", &[("a", 1)][..]),
        ("type != 'Car' || id == 'b'", &[("b", 1), ("a", 1), ("b", 2)]),
        ("operation == 'delete'", &[("b", 2)]),
        ("created == false && version == 2", &[("a", 2), ("b", 2)]),
        ("patch.n == 1", &[("a", 1), ("a", 1)]),
        ("has(patch.o) && type == 'Car'", &[("a", 1), ("a", 2)]),
        ("touches('data.o.x')", &[("a", 1), ("b", 1), ("a", 2), ("b", 2)]),
        ("eventName == 'Tested' && eventType == 'Test'", &[("a", 1)]),
        (
            "!has(eventSource) && committedAt > timestamp('2024-01-15T10:30:00Z') && id == 'b'",
            &[("b", 1), ("b", 2)],
        ),
        // a deleted entity matches none that names data, but others
        ("data.n != 1", &[]),
        ("!has(data.n)", &[]),
        ("data.n == 1 && version >= 1", &[("a", 1), ("a", 2), ("a", 1)]),
        ("data.o.x == 2 && operation == 'merge'", &[("a", 1), ("a", 2)]),
        ("updatedAt >= createdAt", &[("a", 1), ("a", 2), ("a", 1)]),
        ("createdAt != updatedAt || id == 'b'", &[("b", 1), ("b", 2)]),
    ] {
        for include_data in [false, true] {
            let request = WatchRequest { include_data, ..with(text, Start::Oldest) };
            let mut reader = feed.watch(request).await.unwrap();
            let items = caught_up(&mut reader).await;
            let kinds: BTreeSet<_> = kinds(&items).into_iter().collect();
            if text.starts_with("data.n != 1") || text.starts_with("!has(data.n)") {
                // what the delete ended
                assert!(!kinds.contains("change"), "{text}: {items:?}");
                continue;
            }
            assert!(!kinds.contains("left"), "{text}: {items:?}");
            assert_eq!(changes(&items), pairs(expected), "{text}");
        }
    }
}

async fn a_snapshot_has_what_matches(db: Db) {
    let feed = feed(&db.store);
    let cars = (0..50).map(|n| car(n, &format!("{n:02}"), &format!(r#"{{"n":{n}}}"#)));
    db.apply(&cars.collect::<Vec<_>>()).await;
    db.apply(&[event(100, &[("Bus", "b", r#"{"n":7}"#), ("Loan", "l", r#"{"n":7}"#)])]).await;
    for (text, ids) in [
        ("data.n in [7, 48]", &["b", "07", "48", "l"][..]),
        ("data.n == 7 && type in ['Loan', 'Bus']", &["b", "l"]),
        ("type == 'Car' && id >= '48'", &["48", "49"]),
        ("data.n < 0", &[]),
        ("version == 1 && data.n == 7 && createdAt == updatedAt", &["b", "07", "l"]),
        // no entity has an operation
        ("operation == 'merge'", &[]),
    ] {
        let mut reader = feed.watch(with(text, Start::Snapshot)).await.unwrap();
        let items = caught_up(&mut reader).await;
        let found = shown(&items);
        let (end, found) = found.split_last().unwrap();
        assert_eq!(end.0, "snapshotEnd", "{text}");
        assert!(found.iter().all(|(kind, ..)| *kind == "snapshot"), "{text}");
        assert_eq!(found.iter().map(|(_, id, _)| &**id).collect::<Vec<_>>(), ids, "{text}");
        // the same in pages
        let (mut start, mut paged) = (Start::Snapshot, Vec::new());
        loop {
            let request = PageRequest { filter: filter(text), size: 1, ..page(start) };
            let page = feed.page(request).await.unwrap();
            paged.extend(shown(&page.items));
            start = Start::Token(page.next);
            if page.caught_up {
                break;
            }
        }
        assert_eq!(paged, shown(&items), "{text}");
    }
}

async fn a_snapshot_goes_on_with_its_filter(db: Db) {
    let feed = feed(&db.store);
    db.apply(&["a", "b", "c", "d"].map(|id| car(u128::from(id.as_bytes()[0]), id, r#"{"n":1}"#)))
        .await;
    db.apply(&[event(1, &[("Loan", "l", r#"{"n":1}"#)]), car(2, "c", r#"{"n":0}"#)]).await;
    let mut reader =
        feed.watch(with("type == 'Car' && data.n == 1", Start::Snapshot)).await.unwrap();
    let items = caught_up(&mut reader).await;
    assert_eq!(kinds(&items), ["snapshot", "snapshot", "snapshot", "snapshotEnd"]);
    let token = items[0].token().unwrap().to_string();
    drop(reader);
    db.apply(&[event(3, &[("Loan", "l", r#"{"n":2}"#)]), car(4, "a", r#"{"n":0}"#)]).await;
    db.apply(&[car(5, "d", r#"{"n":1}"#)]).await;
    let rest = ["b", "d"].map(|id| ("snapshot", id.to_owned(), if id == "d" { 2 } else { 1 }));
    let end = ("snapshotEnd", String::new(), 0);
    let then = |items: &[(&'static str, &str, u64)]| {
        let items = items.iter().map(|(kind, id, version)| (*kind, (*id).to_owned(), *version));
        rest.iter().cloned().chain([end.clone()]).chain(items).collect::<Vec<_>>()
    };
    for (asked, expected) in [
        // what follows is as the snapshot where the request does not say otherwise
        (None, then(&[("left", "a", 2), ("change", "d", 2)])),
        (filter("type == 'Car' && data.n == 1"), then(&[("left", "a", 2), ("change", "d", 2)])),
        (filter("data.n == 2"), then(&[("change", "l", 2), ("left", "a", 2), ("left", "d", 2)])),
    ] {
        let request = WatchRequest { filter: asked.clone(), ..from(Start::parse(&token).unwrap()) };
        let items = caught_up(&mut feed.watch(request).await.unwrap()).await;
        assert_eq!(shown(&items), expected, "{asked:?}");
        // of the log every token is good with any filter, and has none of its own
        let end = items.iter().find(|item| matches!(item, Item::SnapshotEnd(_))).unwrap();
        let plain = from(Start::Token(end.token().unwrap().clone()));
        let items = caught_up(&mut feed.watch(plain).await.unwrap()).await;
        assert_eq!(changes(&items), pairs(&[("l", 2), ("a", 2), ("d", 2)]));
    }
}

/// Updates of one car, in batches.
async fn write(db: &Db, numbers: std::ops::Range<u128>) {
    let mut writer = db.store.writer();
    for batch in numbers.collect::<Vec<_>>().chunks(500) {
        let batch: Vec<_> = batch.iter().map(|&n| car(n, "a", r#"{"n":1}"#)).collect();
        support::apply(&mut *writer, &batch).await;
    }
}

async fn pages_and_streams_pass_over_what_does_not_match(db: Db) {
    const RARE: &str = "data.rare == true";
    let rare = |n| car(n, "rare", r#"{"rare":true}"#);
    let feed = feed(&db.store);
    db.apply(&[rare(1_000_000)]).await;
    write(&db, 0..20_000).await;
    // from the log
    let mut reader = feed.watch(with(RARE, Start::Oldest)).await.unwrap();
    let items = caught_up(&mut reader).await;
    assert_eq!(shown(&items), [("change", "rare".to_owned(), 1)]);
    let behind = items.last().unwrap().token().unwrap().clone();
    let rest = caught_up(&mut feed.watch(from(Start::Token(behind))).await.unwrap()).await;
    assert_eq!(changes(&rest), [], "the bookmark is behind what was passed over");
    // from memory
    write(&db, 20_000..25_000).await;
    db.apply(&[rare(1_000_001)]).await;
    assert_eq!(changes(&next_changes(&mut reader, 1).await), pairs(&[("rare", 2)]));
    let (mut start, mut found) = (Start::Oldest, Vec::new());
    loop {
        let request = PageRequest { filter: filter(RARE), ..page(start) };
        let page = feed.page(request).await.unwrap();
        found.extend(changes(&page.items));
        start = Start::Token(page.next);
        if page.caught_up {
            break;
        }
    }
    assert_eq!(found, pairs(&[("rare", 1), ("rare", 2)]));
    // a page that waits is not ended by what does not match
    let waiting = PageRequest { filter: filter(RARE), wait: LONG, ..page(start) };
    let (page, ()) = tokio::join!(feed.page(waiting), async {
        write(&db, 25_000..25_100).await;
        db.apply(&[rare(1_000_002)]).await;
    });
    assert_eq!(changes(&page.unwrap().items), pairs(&[("rare", 3)]));
}

async fn a_page_counts_what_it_sends(db: Db) {
    const COUNT: usize = 10;
    const SMALL: &str = "data.n == 1 && !has(patch.text)";
    let feed = feed(&db.store);
    let mut keeps = feed.watch(with(SMALL, Start::Now)).await.unwrap();
    caught_up(&mut keeps).await;
    let start = keeps.token();
    let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(100_000));
    for n in 0..COUNT {
        db.apply(&[car(n as u128, &n.to_string(), &large)]).await;
        db.apply(&[car(100 + n as u128, &n.to_string(), r#"{"n":1}"#)]).await;
    }
    assert_eq!(next_changes(&mut keeps, COUNT).await.len(), COUNT);
    let read = async |start: Start, include_data| {
        let page =
            PageRequest { filter: filter(SMALL), include_data, bytes: 50_000, ..page(start) };
        changes(&feed.page(page).await.unwrap().items).len()
    };
    for start in [Start::Oldest, Start::Token(start)] {
        assert_eq!(read(start.clone(), false).await, COUNT, "the states are read, not sent");
        assert_eq!(read(start, true).await, 1);
    }
}
