//! Lists of entities and of types, on every store.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

#[macro_use]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use producer_core::model::Precondition;
use producer_core::query::{Count, CountKind, ListRequest, TypesRequest};
use producer_core::{Clock, ProblemKind, Timestamp};
use serde_json::json;
use support::lists::{
    Asked, all_types, everything, ids, keys, lists, lists_at, of_type, pages, refused, shown,
};
use support::types::{build, declare, indexes};
use support::{Db, START, car, event, event_of, key, open};

on_all!(
    all_entities_are_listed_once_in_pages_of_every_size,
    deleted_entities_are_in_no_list,
    a_page_ends_where_its_bytes_do,
    documents_of_every_size_are_listed,
    keys_narrow_a_list,
    entities_are_read_by_their_keys_in_the_order_that_is_asked_for,
    lists_are_ordered_with_and_without_an_index,
    what_is_too_much_to_sort_names_the_index_to_declare,
    a_token_is_of_one_list_alone,
    a_list_by_an_index_that_was_dropped_is_to_begin_again,
    now_is_the_time_of_the_first_page,
    lists_are_counted,
    types_are_listed_with_their_sizes,
    many_types_take_few_pages,
);

/// Statistics are PostgreSQL's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_entities_are_estimated_by_the_statistics() {
    let db = Db::postgres(support::unhurried).await;
    cars(&db, 0..16_000).await;
    delete(&db, "Car", (0..16_000).filter(|n| n % 4 == 0)).await;
    let small: Vec<_> = (0..30).map(|n| format!("Small {n}")).collect();
    let updates: Vec<_> = small.iter().map(|name| (name.as_str(), "x", "{}")).collect();
    db.apply(&[event(1, &updates)]).await;
    let is_near = |value: u64, expected: u64| value.abs_diff(expected) * 10 < expected;
    for is_analyzed in [false, true] {
        if is_analyzed {
            db.texts("ANALYZE entities").await;
        }
        let types = all_types(&lists(&db), 100).await;
        assert_eq!(types.len(), 31);
        assert!(is_near(types[0].entities, 12_000), "{types:?}");
        assert!(types[1..].iter().all(|small| small.entities == 1), "{types:?}");
        for request in [everything(), of_type("Car")] {
            let request = ListRequest { count: Some(CountKind::Estimated), ..request };
            let count = lists(&db).page(request).await.unwrap().count.unwrap();
            assert!(is_near(count.value, 12_000) && count.exact != is_analyzed, "{count:?}");
        }
    }
}

/// Cars of these ids, with the id's number at `n`.
async fn cars(db: &Db, ids: impl Iterator<Item = usize>) {
    let ids: Vec<(String, String)> =
        ids.map(|n| (format!("{n:05}"), json!({"n": n, "odd": n % 2 == 1}).to_string())).collect();
    for (number, chunk) in (1..).zip(ids.chunks(200)) {
        let updates: Vec<_> =
            chunk.iter().map(|(id, data)| ("Car", id.as_str(), data.as_str())).collect();
        let verdicts = db.apply(&[event(1_000_000 + number, &updates)]).await;
        assert!(verdicts[0].is_stored(), "{verdicts:?}");
    }
}

async fn delete(db: &Db, entity_type: &str, ids: impl Iterator<Item = usize>) {
    let item = |n| json!({"entityType": entity_type, "entityId": format!("{n:05}"), "operation": "delete"});
    let items: Vec<_> = ids.map(item).collect();
    static EVENTS: AtomicU64 = AtomicU64::new(2_000_000);
    for chunk in items.chunks(200) {
        let number = EVENTS.fetch_add(1, Ordering::Relaxed);
        let verdicts = db.apply(&[event_of(number.into(), chunk)]).await;
        assert!(verdicts[0].is_stored(), "{verdicts:?}");
    }
}

async fn all_entities_are_listed_once_in_pages_of_every_size(db: Db) {
    cars(&db, 0..25).await;
    db.apply(&[event(2, &[("Bike", "x", "{}"), ("Cars", "y", "{}")])]).await;
    let lists = lists(&db);
    let expected: Vec<_> = (0..25).map(|n| format!("Car/{n:05}")).collect();
    for size in [1, 2, 24, 25, 26, 1000] {
        assert_eq!(keys(&lists, of_type("Car").sized(size)).await, expected, "{size}");
        let mut reversed = keys(&lists, of_type("Car").sized(size).ordered("id desc")).await;
        reversed.reverse();
        assert_eq!(reversed, expected, "{size} descending");
        let all = keys(&lists, everything().sized(size)).await;
        assert_eq!(all.len(), 27);
        assert!(all.is_sorted());
    }
    let page = lists.page(of_type("Car").sized(25)).await.unwrap();
    assert_eq!((page.entities.len(), page.next), (25, None), "no empty page follows");
    assert!(keys(&lists, of_type("Never")).await.is_empty());
}

async fn deleted_entities_are_in_no_list(db: Db) {
    cars(&db, 0..1500).await;
    delete(&db, "Car", (0..1500).filter(|n| n % 500 != 7)).await;
    let lists = lists(&db);
    for size in [1, 2, 3, 100] {
        assert_eq!(ids(&lists, of_type("Car").sized(size)).await, ["00007", "00507", "01007"]);
        let some = of_type("Car").sized(size).filtered("data.n > 7");
        assert_eq!(ids(&lists, some).await, ["00507", "01007"]);
    }
    db.apply(&[car(1, "00000", r#"{"n":-1}"#)]).await;
    assert_eq!(ids(&lists, of_type("Car").ordered("data.n").sized(2)).await.len(), 4);
    delete(&db, "Car", [0, 7, 507, 1007].into_iter()).await;
    let page = lists.page(of_type("Car")).await.unwrap();
    assert!(page.entities.is_empty() && page.next.is_none());
}

async fn a_page_ends_where_its_bytes_do(db: Db) {
    for n in 0..6 {
        let large = json!({"n": n, "text": "x".repeat(100_000)}).to_string();
        db.apply(&[car(n, &format!("{n}"), &large)]).await;
    }
    let lists = lists(&db);
    for order in [None, Some("id desc"), Some("data.n"), Some("data.n desc")] {
        let of = |bytes| {
            let request = ListRequest { bytes, ..of_type("Car") };
            order.map_or_else(|| request.clone(), |order| request.clone().ordered(order))
        };
        for (bytes, expected) in [(1, 1), (201_000, 2), (250_000, 2), (1 << 20, 6)] {
            let pages = pages(&lists, of(bytes)).await;
            let sizes: Vec<_> = pages.iter().map(|page| page.entities.len()).collect();
            assert_eq!(sizes.iter().sum::<usize>(), 6, "{order:?} {sizes:?}");
            assert!(sizes.iter().all(|size| *size <= expected), "{order:?} {bytes} {sizes:?}");
            assert_eq!(sizes[0], expected);
        }
    }
}

/// PostgreSQL first reads those that are not larger than their share of the page's bytes.
async fn documents_of_every_size_are_listed(db: Db) {
    declare(&db.store, r#""data.n""#).await;
    build(&db).await;
    let large = "x".repeat(60_000);
    for (number, are_large) in (1_u32..).zip(["0010", "1000", "0001", "1111", "0000"]) {
        for (place, is_large) in (number * 10..).zip(are_large.bytes()) {
            let text = if is_large == b'1' { large.as_str() } else { "" };
            let data = json!({"n": place, "text": text}).to_string();
            db.apply(&[event(u128::from(place), &[("Car", &place.to_string(), &data)])]).await;
        }
    }
    let lists = lists(&db);
    for order in [None, Some("data.n"), Some("data.n desc")] {
        for size in [1, 3, 4, 100] {
            let request = of_type("Car").sized(size);
            let request = order.map_or(request.clone(), |order| request.ordered(order));
            let pages = pages(&lists, ListRequest { bytes: 4 << 20, ..request }).await;
            let found: Vec<_> = pages.iter().flat_map(|page| &page.entities).collect();
            let mut ids: Vec<_> = found.iter().map(|entity| entity.key.entity_id()).collect();
            if order == Some("data.n desc") {
                ids.reverse();
            }
            assert!(ids.len() == 20 && ids.is_sorted(), "{order:?} {size} {ids:?}");
            let large = found.iter().filter(|entity| entity.data.len() > 60_000).count();
            assert_eq!(large, 7, "{order:?} {size}");
            assert_eq!(pages.len(), 20usize.div_ceil(size as usize), "{order:?} {size}");
        }
    }
}

async fn keys_narrow_a_list(db: Db) {
    cars(&db, 0..20).await;
    db.apply(&[event(1, &[("Bike", "00003", r#"{"n":3}"#), ("Van", "00003", r#"{"n":3}"#)])]).await;
    let lists = lists(&db);
    for (filter, expected) in [
        ("id == '00003'", &["Bike/00003", "Car/00003", "Van/00003"][..]),
        ("type == 'Car' && id in ['00003', 'x', '00001']", &["Car/00001", "Car/00003"]),
        ("type in ['Van', 'Bike', 'Never']", &["Bike/00003", "Van/00003"]),
        ("type in ['Van', 'Car'] && id == '00003' && data.n == 4", &[]),
        ("type.startsWith('Ca') && id < '00002'", &["Car/00000", "Car/00001"]),
        ("type > 'Car'", &["Van/00003"]),
        ("type == 'Car' && type == 'Van'", &[]),
        ("id >= '00018' && id <= '00019' && data.odd", &["Car/00019"]),
    ]
    .map(|(filter, expected)| (filter.replace("data.odd", "data.odd == true"), expected))
    {
        for size in [1, 2, 100] {
            let found = keys(&lists, everything().sized(size).filtered(&filter)).await;
            assert_eq!(found, expected, "{filter} {size}");
        }
    }
    for (filter, expected) in [
        ("type == 'Bike'", &[][..]),
        ("id.startsWith('0001') && data.n < 12", &["00010", "00011"]),
        ("id in ['00007', '00005'] && data.n > 5", &["00007"]),
    ] {
        assert_eq!(ids(&lists, of_type("Car").filtered(filter)).await, expected, "{filter}");
    }
    let reversed = of_type("Car").filtered("id in ['00007', '00005', '00006']").ordered("id desc");
    assert_eq!(ids(&lists, reversed.sized(2)).await, ["00007", "00006", "00005"]);
    let reversed = of_type("Car").filtered("id > '00017'").ordered("data.n desc");
    assert_eq!(ids(&lists, reversed.sized(1)).await, ["00019", "00018"]);
}

async fn entities_are_read_by_their_keys_in_the_order_that_is_asked_for(db: Db) {
    cars(&db, 0..5).await;
    delete(&db, "Car", [2].into_iter()).await;
    let lists = lists(&db);
    let wanted = ["00003", "never", "00001", "00002", "00003"].map(|id| key("Car", id));
    let found = lists.entities(&wanted, 1 << 20).await.unwrap();
    let found: Vec<_> = found.iter().map(|one| one.as_ref().map(|one| shown(&one.key))).collect();
    let there = |id: &str| Some(format!("Car/{id}"));
    assert_eq!(found, [there("00003"), None, there("00001"), None, there("00003")]);
    assert_eq!(lists.entities(&[], 1).await.unwrap(), []);
    assert_eq!(lists.entities(&[key("Car", "00001")], 1).await.unwrap().len(), 1);
    let two = [key("Car", "00001"), key("Car", "00003")];
    let problem = refused(lists.entities(&two, 300).await);
    assert_eq!(problem.kind, ProblemKind::TooExpensive);
    assert!(problem.detail.contains("only the first 1 of"), "{}", problem.detail);
    let many = vec![key("Car", "00001"); 101];
    assert_eq!(refused(lists.entities(&many, 1 << 20).await).kind, ProblemKind::Malformed);
    assert_eq!(lists.entities(&many[..100], 1 << 20).await.unwrap().len(), 100);
}

/// Documents whose values at `v` are of every kind, in their order; those of equal values by their ids.
const MIXED: [(&str, &str); 12] = [
    ("f", "false"),
    ("t", "true"),
    ("n1", "-1e3"),
    ("n2", "-2.5"),
    ("n3", "0"),
    ("n4", "200"),
    ("n5", "200.0"),
    ("n6", "12345678901234567890.5"),
    ("s1", "\"\""),
    ("s2", "\"A\""),
    ("s3", "\"a\""),
    ("s4", "\"é\""),
];

async fn lists_are_ordered_with_and_without_an_index(db: Db) {
    for (n, (id, value)) in (1..).zip(MIXED) {
        db.apply(&[car(n, id, &format!(r#"{{"v":{value},"w":"x"}}"#))]).await;
    }
    for (n, value) in (50..).zip(["[1]", "{}", "null"]) {
        db.apply(&[car(n, &format!("absent {n}"), &format!(r#"{{"v":{value}}}"#))]).await;
    }
    let expected: Vec<_> = MIXED.iter().map(|(id, _)| *id).collect();
    let reversed: Vec<_> = expected.iter().rev().copied().collect();
    for indexes in ["", r#""data.v""#, r#"["data.w", "data.v"]"#] {
        declare(&db.store, indexes).await;
        build(&db).await;
        // each time as a process that knows nothing yet
        let lists = lists(&db);
        for size in [1, 3, 100] {
            let ascending = of_type("Car").sized(size).ordered("data.v");
            assert_eq!(ids(&lists, ascending.clone()).await, expected, "{indexes} {size}");
            let descending = of_type("Car").sized(size).ordered("data.v desc");
            assert_eq!(ids(&lists, descending).await, reversed, "{indexes} {size}");
            let some = ascending.filtered("data.w == 'x' && data.v >= 0");
            assert_eq!(ids(&lists, some).await, ["n3", "n4", "n5", "n6"], "{indexes} {size}");
        }
    }
    let lists = lists(&db);
    db.apply(&[car(90, "t", r#"{"x":1}"#)]).await;
    let by_version = ids(&lists, of_type("Car").ordered("version desc")).await;
    assert_eq!((&*by_version[0], &*by_version[1], by_version.len()), ("t", "s4", 15));
    let by_time = ids(&lists, of_type("Car").ordered("createdAt")).await;
    assert_eq!(by_time, ids(&lists, of_type("Car").ordered("id")).await, "all at one time");
}

async fn what_is_too_much_to_sort_names_the_index_to_declare(db: Db) {
    cars(&db, 0..10_001).await;
    let lists = lists(&db);
    let ordered = of_type("Car").ordered("data.n desc").sized(2);
    let problem = refused(lists.page(ordered.clone()).await);
    assert_eq!(problem.kind, ProblemKind::TooExpensive);
    let index = r#"add "data.n" to the indexes in the definition of the type Car"#;
    assert!(problem.detail.ends_with(index), "{}", problem.detail);
    assert!(!problem.detail.contains("/api/"), "both APIs say it: {}", problem.detail);
    let problem = refused(lists.page(of_type("Car").ordered("version")).await);
    assert_eq!(problem.kind, ProblemKind::TooExpensive);
    let few = ordered.clone().filtered("id < '00010'");
    assert_eq!(lists.page(few).await.unwrap().entities.len(), 2);

    declare(&db.store, r#""data.n""#).await;
    let problem = refused(lists.page(ordered.clone()).await);
    assert_eq!(problem.kind, ProblemKind::Malformed);
    assert!(problem.detail.contains("is being built"), "{}", problem.detail);
    assert_eq!(problem.violations.first().unwrap().location.pointer(), "/orderBy");
    build(&db).await;
    let page = lists.page(ordered).await.unwrap();
    let found: Vec<_> = page.entities.iter().map(|entity| entity.key.entity_id()).collect();
    assert_eq!(found, ["10000", "09999"]);
    let over_all = refused(lists.page(everything().ordered("id")).await);
    assert_eq!(over_all.kind, ProblemKind::Malformed);
}

async fn a_token_is_of_one_list_alone(db: Db) {
    cars(&db, 0..5).await;
    let lists = lists(&db);
    let list = || of_type("Car").sized(2).filtered("data.n >= 0").ordered("data.n");
    let token = lists.page(list()).await.unwrap().next.unwrap();
    let with = |request: ListRequest| ListRequest { token: Some(token.clone()), ..request };
    assert_eq!(lists.page(with(list().sized(1))).await.unwrap().entities.len(), 1);
    for other in [
        of_type("Car").sized(2).filtered("data.n >= 0"),
        of_type("Car").sized(2).ordered("data.n"),
        list().ordered("data.n desc"),
        list().filtered("data.n >=  0"),
        ListRequest { entity_type: Some("Cars".into()), ..list() },
        everything(),
    ] {
        let problem = refused(lists.page(with(other)).await);
        assert_eq!(problem.kind, ProblemKind::Malformed);
        assert_eq!(problem.violations.first().unwrap().location.pointer(), "/pageToken");
    }
    for forged in ["", "x", &token[1..], &token[..token.len() - 1], &format!("{token}A")] {
        let forged = ListRequest { token: Some(forged.into()), ..list() };
        assert_eq!(refused(lists.page(forged).await).kind, ProblemKind::Malformed);
    }
    // whose entity was deleted meanwhile
    delete(&db, "Car", [1].into_iter()).await;
    let page = lists.page(with(list())).await.unwrap();
    let found: Vec<_> = page.entities.iter().map(|entity| entity.key.entity_id()).collect();
    assert_eq!(found, ["00002", "00003"]);
}

async fn a_list_by_an_index_that_was_dropped_is_to_begin_again(db: Db) {
    cars(&db, 0..5).await;
    declare(&db.store, r#""data.n""#).await;
    build(&db).await;
    let lists = lists(&db);
    for request in [of_type("Car").ordered("data.n"), of_type("Car").filtered("data.n > 1")] {
        let token = lists.page(request.clone().sized(2)).await.unwrap().next;
        declare(&db.store, "").await;
        let problem = refused(lists.page(ListRequest { token, ..request.clone() }).await);
        assert_eq!(problem.kind, ProblemKind::Malformed);
        assert!(problem.detail.contains("begin again"), "{}", problem.detail);
        // without the token it works by other means
        assert!(!lists.page(request).await.unwrap().entities.is_empty());
        declare(&db.store, r#""data.n""#).await;
        build(&db).await;
    }
}

async fn now_is_the_time_of_the_first_page(db: Db) {
    for (n, created) in (1..).zip([0, 1, 2, 3].map(|second| START + second * 1_000_000)) {
        let store = open(&db.settings, support::clock(created)).await;
        support::apply(&mut *store.writer(), &[car(n, &format!("{n}"), "{}")]).await;
    }
    let time = Arc::new(AtomicI64::new(START + 3_000_000));
    let now = Arc::clone(&time);
    let clock = Clock::from_fn(move || Timestamp::from_micros(now.load(Ordering::Relaxed)));
    let lists = lists_at(&db, clock);
    let request = of_type("Car").filtered("createdAt > now - duration('3s')").sized(1);
    let first = lists.page(request.clone()).await.unwrap();
    assert_eq!(first.entities[0].key.entity_id(), "2");
    time.store(START + 60_000_000, Ordering::Relaxed);
    let rest = ids(&lists, ListRequest { token: first.next, ..request.clone() }).await;
    assert_eq!(rest, ["3", "4"]);
    assert!(ids(&lists, request).await.is_empty());
}

async fn lists_are_counted(db: Db) {
    cars(&db, 0..300).await;
    delete(&db, "Car", 0..100).await;
    db.apply(&[event(1, &[("Bike", "x", "{}")])]).await;
    let counted = |request: ListRequest, kind| {
        let lists = lists(&db);
        async move {
            let request = ListRequest { count: Some(kind), size: 1, ..request };
            lists.page(request).await.unwrap().count.unwrap()
        }
    };
    for indexes in ["", r#""data.n""#] {
        declare(&db.store, indexes).await;
        build(&db).await;
        for kind in [CountKind::Exact, CountKind::Estimated] {
            for (request, value) in [
                (everything(), 201),
                (of_type("Car"), 200),
                (of_type("Car").ordered("data.n"), 200),
                (of_type("Car").ordered("data.never"), 0),
                (of_type("Car").filtered("data.n >= 250"), 50),
                (
                    of_type("Car").filtered("data.n >= 250 && data.odd == true").ordered("data.n"),
                    25,
                ),
                (everything().filtered("type == 'Bike' || id == '00200'"), 2),
                (of_type("Car").filtered("id in ['00200', '00300', '00001']"), 1),
                (of_type("Never"), 0),
            ] {
                let count = counted(request.clone(), kind).await;
                assert_eq!(count, Count { value, exact: true }, "{request:?} {kind:?}");
            }
        }
    }
    assert_eq!(lists(&db).page(of_type("Car")).await.unwrap().count, None);
}

async fn types_are_listed_with_their_sizes(db: Db) {
    cars(&db, 0..1200).await;
    delete(&db, "Car", 0..1100).await;
    let others: Vec<_> = (0..30).map(|n| format!("Other {n:02}")).collect();
    let updates: Vec<_> = others.iter().map(|name| (name.as_str(), "a", "{}")).collect();
    db.apply(&[event(1, &updates), event(2, &[("Gone", "00000", "{}")])]).await;
    delete(&db, "Gone", 0..1).await;
    for name in ["Car", "Empty", "Other 12", "Z"] {
        let types = support::types::types(&db.store);
        types.replace(name, &indexes(""), &Precondition::None).await.unwrap();
    }
    let mut expected = vec![("Car".to_owned(), 100, true), ("Empty".to_owned(), 0, true)];
    expected.extend(others.iter().map(|name| (name.clone(), 1, name == "Other 12")));
    expected.push(("Z".to_owned(), 0, true));
    for size in [1, 2, 7, 33, 1000] {
        let types = all_types(&lists(&db), size).await;
        let found = types.into_iter().map(|t| (t.entity_type, t.entities, t.defined));
        assert_eq!(found.collect::<Vec<_>>(), expected, "{size}");
    }
}

/// Each page has half a second: it must not need a statement for each type.
async fn many_types_take_few_pages(db: Db) {
    let names: Vec<_> = (0..3000).map(|n| format!("Type {n:04}")).collect();
    for (number, chunk) in (1..).zip(names.chunks(200)) {
        let updates: Vec<_> = chunk.iter().map(|name| (name.as_str(), "a", "{}")).collect();
        db.apply(&[event(number, &updates)]).await;
    }
    let (lists, mut found, mut pages, mut token) = (lists(&db), Vec::new(), 0, None);
    loop {
        let page = lists.types(TypesRequest { size: 1000, token }).await.unwrap();
        pages += 1;
        found.extend(page.types.into_iter().map(|entry| (entry.entity_type, entry.entities)));
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(found, names.into_iter().map(|name| (name, 1)).collect::<Vec<_>>());
    assert!(pages <= 9, "{pages} pages, where 3 would do");
}
