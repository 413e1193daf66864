//! Entities as they were, on every store.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

#[macro_use]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use producer_core::json::Path;
use producer_core::model::{AsOf, Operation};
use producer_core::query::{History, HistoryError, HistoryQuery, ReadStore, Scans};
use producer_core::store::DatabaseUrl;
use producer_core::{Clock, ProblemKind, Timestamp};
use producer_maintenance::prune;
use serde_json::{Value, json};
use support::{Db, START, event_of, key, uuid};

on_all!(
    an_entity_is_read_at_each_version_and_time,
    updates_are_listed_in_pages_in_both_orders,
    a_page_of_large_updates_ends_early_and_goes_on,
    two_versions_are_compared,
    each_leaf_names_the_update_that_wrote_it,
    what_pruning_left_can_be_read_and_what_it_deleted_is_gone,
    pages_end_with_an_error_where_the_entity_was_pruned_meanwhile,
    too_many_updates_are_too_expensive,
    answers_that_would_be_far_larger_than_the_document_are_too_expensive,
);

const SECOND: i64 = 1_000_000;

fn moment(second: i64) -> Timestamp {
    Timestamp::from_micros(START + second * SECOND)
}

fn item(operation: Operation, attributes: Value) -> Value {
    json!({
        "entityType": "Car", "entityId": "a", "operation": operation.as_str(),
        "updatedAttributes": attributes,
    })
}

/// Applies one update a second, the first in second 1, and returns the state after each.
async fn lived(db: &Db, updates: &[(Operation, Value)]) -> Vec<Option<Value>> {
    let now = Arc::new(AtomicI64::new(0));
    let clock = Arc::clone(&now);
    let clock = Clock::from_fn(move || moment(clock.load(Ordering::Relaxed)));
    let store = support::open(&db.settings, clock).await;
    let mut writer = store.writer();
    let mut states = Vec::new();
    for (number, (operation, attributes)) in (1..).zip(updates) {
        now.store(number, Ordering::Relaxed);
        let event = event_of(number as u128, &[item(*operation, attributes.clone())]);
        let verdicts = support::apply(&mut *writer, &[event]).await;
        assert!(verdicts[0].is_stored(), "{verdicts:?}");
        let entity = store.entity(&key("Car", "a")).await.unwrap();
        states.push(entity.map(|entity| serde_json::from_str(&entity.data).unwrap()));
    }
    drop(writer);
    store.close().await;
    states
}

fn life() -> Vec<(Operation, Value)> {
    use Operation::{Delete, Merge, Replace};
    vec![
        (Merge, json!({"a": 1, "b": {"c": 1}})),
        (Merge, json!({"b": {"c": null, "d": [1]}})),
        (Replace, json!({"e": {"f": 1, "g": {}}})),
        (Merge, json!({"a": 2, "e": {"f": 1}})),
        (Delete, json!({})),
        (Merge, json!({"h": 1})),
        (Merge, json!({"a": {"x": 1}})),
    ]
}

fn history(db: &Db) -> History {
    let store: Arc<dyn ReadStore> = db.store.clone();
    History::new(store, Arc::new(Scans::new(4)))
}

fn refused<T: std::fmt::Debug>(result: Result<T, HistoryError>) -> (ProblemKind, String) {
    match result {
        Err(HistoryError::Refused(problem)) => (problem.kind, problem.detail.into_owned()),
        other => panic!("{other:?}"),
    }
}

async fn an_entity_is_read_at_each_version_and_time(db: Db) {
    let (states, history, car) = (lived(&db, &life()).await, history(&db), key("Car", "a"));
    for (number, state) in (1..).zip(&states) {
        let times = [moment(number), Timestamp::from_micros(moment(number).micros() + 999_999)];
        let moments = [AsOf::Version(number.unsigned_abs())].into_iter();
        for as_of in moments.chain(times.map(AsOf::Time)) {
            let entity = history.entity(&car, as_of).await;
            let Some(state) = state else {
                assert_eq!(refused(entity).0, ProblemKind::NotFound, "{as_of:?}");
                continue;
            };
            let entity = entity.unwrap();
            assert_eq!(serde_json::from_str::<Value>(&entity.data).unwrap(), *state, "{as_of:?}");
            let made = if number < 6 { 1 } else { 6 };
            let expected = (number.unsigned_abs(), moment(made), moment(number));
            assert_eq!((entity.version, entity.created_at, entity.updated_at), expected);
        }
    }
    for (as_of, detail) in [
        (AsOf::Version(8), "the entity has no such version yet"),
        (AsOf::Time(moment(0)), "the entity did not exist then"),
    ] {
        let expected = (ProblemKind::NotFound, detail.to_owned());
        assert_eq!(refused(history.entity(&car, as_of).await), expected);
    }
    let never = history.entity(&key("Car", "never"), AsOf::Version(1)).await;
    assert_eq!(refused(never), (ProblemKind::NotFound, "no such entity".to_owned()));
}

async fn updates_are_listed_in_pages_in_both_orders(db: Db) {
    lived(&db, &life()).await;
    let (history, car) = (history(&db), key("Car", "a"));
    for descending in [false, true] {
        for size in [1, 2, 3, 6, 7, 8] {
            let (mut listed, mut after) = (Vec::new(), None);
            loop {
                let query = HistoryQuery { descending, after, size };
                let page = history.updates(&car, query).await.unwrap();
                assert!(page.updates.len() <= size as usize);
                listed.extend(page.updates);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            if descending {
                listed.reverse();
            }
            let found: Vec<_> = listed
                .iter()
                .map(|entry| (entry.version, entry.operation, entry.created, entry.event_id()))
                .collect();
            let expected: Vec<_> = (1..)
                .zip(life())
                .map(|(version, (operation, _))| {
                    (version, operation, version == 1 || version == 6, Some(uuid(version.into())))
                })
                .collect();
            assert_eq!(found, expected, "{descending} {size}");
            let patch: Value = serde_json::from_str(&listed[1].patch).unwrap();
            assert_eq!((patch, listed[1].committed), (life()[1].1.clone(), moment(2)));
        }
    }
    let query = HistoryQuery { size: 5, ..HistoryQuery::default() };
    let never = history.updates(&key("Car", "never"), query).await;
    assert_eq!(refused(never).0, ProblemKind::NotFound);
}

async fn a_page_of_large_updates_ends_early_and_goes_on(db: Db) {
    let patch = |number: usize| json!({"a": (number % 10).to_string().repeat(900 << 10)});
    let updates: Vec<_> = (0..12).map(|number| (Operation::Replace, patch(number))).collect();
    lived(&db, &updates).await;
    let (history, car) = (history(&db), key("Car", "a"));
    for descending in [false, true] {
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let query = HistoryQuery { descending, after, size: 100 };
            let page = history.updates(&car, query).await.unwrap();
            pages.push(page.updates.iter().map(|update| update.version).collect::<Vec<_>>());
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [10, 2]);
        let mut listed = pages.concat();
        if descending {
            listed.reverse();
        }
        assert_eq!(listed, (1..=12).collect::<Vec<_>>());
    }
}

async fn two_versions_are_compared(db: Db) {
    lived(&db, &life()).await;
    let (history, car) = (history(&db), key("Car", "a"));
    let compare = async |from, to| {
        let found = history.compare(&car, from, to).await.unwrap();
        let patch: Value = serde_json::from_str(&found.patch).unwrap();
        let change = |(path, from, to): (Path, Option<String>, Option<String>)| {
            format!("{path} {} {}", from.unwrap_or_default(), to.unwrap_or_default())
        };
        (found.to, patch, found.changes.into_iter().map(change).collect::<Vec<_>>())
    };
    let forwards = (2, json!({"b": {"c": null, "d": [1]}}), vec!["data.b.c 1 ", "data.b.d  [1]"]);
    let (to, patch, changes) = compare(1, Some(2)).await;
    assert_eq!((to, patch), (forwards.0, forwards.1));
    assert_eq!(changes, forwards.2);
    let (_, patch, changes) = compare(2, Some(1)).await;
    assert_eq!((patch, changes.len()), (json!({"b": {"c": 1, "d": null}}), 2));
    let (to, patch, _) = compare(4, None).await;
    assert_eq!((to, patch), (7, json!({"a": {"x": 1}, "e": null, "h": 1})));
    assert_eq!(compare(3, Some(3)).await, (3, json!({}), vec![]));
    assert_eq!(refused(history.compare(&car, 1, Some(5)).await).0, ProblemKind::NotFound);
}

async fn each_leaf_names_the_update_that_wrote_it(db: Db) {
    lived(&db, &life()[..4]).await;
    let (history, car) = (history(&db), key("Car", "a"));
    let origins = async |path: &str| {
        let found = history.provenance(&car, &Path::parse(path).unwrap()).await.unwrap();
        let origin = |origin: &producer_core::query::Origin| {
            let update = origin.update.as_ref().map(|update| update.version);
            format!("{} {update:?}", origin.path)
        };
        found.iter().map(origin).collect::<Vec<_>>()
    };
    let all = ["data.a Some(4)", "data.e.f Some(4)", "data.e.g Some(3)"];
    assert_eq!(origins("data").await, all);
    assert_eq!(origins("data.e").await, all[1..]);
    assert_eq!(origins("data.a").await, all[..1]);
    assert_eq!(origins("data.never").await, Vec::<String>::new());
    let found = history.provenance(&car, &Path::root()).await.unwrap();
    let update = found[2].update.as_ref().unwrap();
    assert_eq!((update.event_id(), update.committed), (Some(uuid(3)), moment(3)));
}

async fn what_pruning_left_can_be_read_and_what_it_deleted_is_gone(db: Db) {
    let states = lived(&db, &life()[..4]).await;
    let clock = support::clock(moment(6).micros());
    let database = DatabaseUrl::parse(Some(db.direct_url())).unwrap().into();
    // what was committed in the seconds 1 to 3
    prune::prune(&database, Duration::from_millis(2500), &clock, &mut |_| {}).await.unwrap();
    let (history, car) = (history(&db), key("Car", "a"));
    for version in [1, 2] {
        let (kind, detail) = refused(history.entity(&car, AsOf::Version(version)).await);
        assert_eq!(kind, ProblemKind::Gone);
        assert!(detail.contains("from version 3 on"), "{detail}");
    }
    assert_eq!(refused(history.entity(&car, AsOf::Time(moment(2))).await).0, ProblemKind::Gone);
    for version in [3, 4] {
        let entity = history.entity(&car, AsOf::Version(version)).await.unwrap();
        let state = states[usize::try_from(version).unwrap() - 1].clone();
        assert_eq!(Some(serde_json::from_str::<Value>(&entity.data).unwrap()), state);
        assert_eq!(entity.created_at, moment(1));
    }
    let query = HistoryQuery { size: 10, ..HistoryQuery::default() };
    let page = history.updates(&car, query).await.unwrap();
    assert_eq!(page.updates.iter().map(|update| update.version).collect::<Vec<_>>(), [4]);
    // also where the checkpoint has just the version that would follow
    for after in [1, 2] {
        let follows = HistoryQuery { after: Some(after), ..query };
        assert_eq!(refused(history.updates(&car, follows).await).0, ProblemKind::Gone);
    }
    let origins = history.provenance(&car, &Path::root()).await.unwrap();
    let versions: Vec<_> =
        origins.iter().map(|origin| origin.update.as_ref().map(|update| update.version)).collect();
    assert_eq!(versions, [Some(4), Some(4), None]);
}

async fn pages_end_with_an_error_where_the_entity_was_pruned_meanwhile(db: Db) {
    lived(&db, &life()[..5]).await;
    let (history, car) = (history(&db), key("Car", "a"));
    let follows = |after| HistoryQuery { after: Some(after), size: 10, ..HistoryQuery::default() };
    assert_eq!(history.updates(&car, follows(5)).await.unwrap().updates, []);
    let clock = support::clock(moment(9).micros());
    let database = DatabaseUrl::parse(Some(db.direct_url())).unwrap().into();
    // the end of the log is not removed
    db.apply(&[support::car(900, "last", "{}")]).await;
    prune::prune(&database, Duration::ZERO, &clock, &mut |_| {}).await.unwrap();
    assert_eq!(refused(history.updates(&car, follows(3)).await).0, ProblemKind::NotFound);
    // made anew, its versions begin again
    lived(&db, &life()[..1]).await;
    let (kind, detail) = refused(history.updates(&car, follows(3)).await);
    assert_eq!(kind, ProblemKind::Gone);
    assert!(detail.contains("from version 1 on"), "{detail}");
    assert_eq!(history.updates(&car, follows(1)).await.unwrap().updates, []);
}

async fn too_many_updates_are_too_expensive(db: Db) {
    const UPDATES: u64 = 100_001;
    let update = json!({"entityType": "Car", "entityId": "a", "updatedAttributes": {"a": 1}});
    let updates = vec![update; 1000];
    let mut writer = db.store.writer();
    for n in 0..UPDATES / 1000 {
        support::apply(&mut *writer, &[event_of(n.into(), &updates)]).await;
    }
    let history = history(&db);
    let car = key("Car", "a");
    let last = event_of(1_000, &[item(Operation::Merge, json!({"last": 1}))]);
    support::apply(&mut *writer, &[last]).await;
    let (kind, _) = refused(history.entity(&car, AsOf::Version(UPDATES)).await);
    assert_eq!(kind, ProblemKind::TooExpensive);
    let page = HistoryQuery { descending: true, after: None, size: 100 };
    assert_eq!(history.updates(&car, page).await.unwrap().updates.len(), 100);
    let replaced = event_of(2_000, &[item(Operation::Replace, json!({"b": 1}))]);
    let later = db.again(moment(1).micros()).await;
    support::apply(&mut *later.writer(), &[replaced]).await;
    let entity = history.entity(&car, AsOf::Time(moment(1))).await.unwrap();
    assert_eq!(entity.version, UPDATES + 1);
    assert_eq!(support::without_spaces(&entity.data), r#"{"b":1}"#);
    assert_eq!(entity.created_at, moment(0), "though that is more entries ago");
}

async fn answers_that_would_be_far_larger_than_the_document_are_too_expensive(db: Db) {
    let leaves = |value: u64| {
        let leaves = (0..1000).map(|leaf| (leaf.to_string(), value.into()));
        json!({"x".repeat(100 << 10): leaves.collect::<serde_json::Map<_, _>>(), "a": value})
    };
    let updates = [(Operation::Merge, leaves(1)), (Operation::Merge, leaves(2))];
    lived(&db, &updates).await;
    let (history, car) = (history(&db), key("Car", "a"));
    let origins = history.provenance(&car, &Path::root()).await;
    assert_eq!(refused(origins).0, ProblemKind::TooExpensive);
    let part = Path::parse("data.a").unwrap();
    assert_eq!(history.provenance(&car, &part).await.unwrap().len(), 1);
    assert_eq!(refused(history.compare(&car, 1, Some(2)).await).0, ProblemKind::TooExpensive);
    assert_eq!(history.compare(&car, 2, None).await.unwrap().changes, []);
}
