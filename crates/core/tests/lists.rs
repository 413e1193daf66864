//! Lists of entities and of types, on every store.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

#[macro_use]
mod support;

use std::sync::Arc;

use producer_core::EntityKey;
use producer_core::filter::{Filter, Scope};
use producer_core::query::{
    ListOrder, ListPage, ListRequest, ListStore, Lists, Scans, TypesRequest,
};
use support::{Db, START, clock, event, key};

on_all!(all_entities_are_listed_once_in_pages_of_every_size,);

fn lists(db: &Db) -> Lists {
    let store: Arc<dyn ListStore> = db.store.clone();
    Lists::new(store, Arc::new(Scans::new(8)), clock(START))
}

/// Of one type, without any condition.
fn of_type(entity_type: &str) -> ListRequest {
    ListRequest { entity_type: Some(entity_type.into()), ..everything() }
}

fn everything() -> ListRequest {
    ListRequest {
        entity_type: None,
        filter: None,
        order: None,
        size: 100,
        bytes: 16 << 20,
        token: None,
        count: None,
    }
}

fn filtered(request: ListRequest, filter: &str) -> ListRequest {
    ListRequest { filter: Some(Filter::parse(filter, Scope::Entity).unwrap()), ..request }
}

/// The pages of a list.
async fn pages(lists: &Lists, mut request: ListRequest) -> Vec<ListPage> {
    let mut pages = Vec::new();
    loop {
        let page = lists.page(request.clone()).await.unwrap();
        request.token.clone_from(&page.next);
        pages.push(page);
        if request.token.is_none() {
            return pages;
        }
    }
}

/// The keys of a list, `Type/id`.
async fn keys(lists: &Lists, request: ListRequest) -> Vec<String> {
    let pages = pages(lists, request).await;
    let entities = pages.iter().flat_map(|page| &page.entities);
    entities.map(|entity| shown(&entity.key)).collect()
}

fn shown(key: &EntityKey) -> String {
    format!("{}/{}", key.entity_type(), key.entity_id())
}

async fn all_entities_are_listed_once_in_pages_of_every_size(db: Db) {
    let ids: Vec<String> = (0..25).map(|n| format!("{n:02}")).collect();
    let updates: Vec<_> = ids.iter().map(|id| ("Car", id.as_str(), r#"{"a":1}"#)).collect();
    db.apply(&[event(1, &updates), event(2, &[("Bike", "x", "{}"), ("Cars", "y", "{}")])]).await;
    let lists = lists(&db);
    let cars: Vec<_> = ids.iter().map(|id| format!("Car/{id}")).collect();
    for size in [1, 2, 24, 25, 26, 1000] {
        assert_eq!(keys(&lists, ListRequest { size, ..of_type("Car") }).await, cars, "{size}");
        let order = Some(ListOrder::parse("id desc").unwrap());
        let mut listed = keys(&lists, ListRequest { size, order, ..of_type("Car") }).await;
        listed.reverse();
        assert_eq!(listed, cars, "{size} descending");
        let all = keys(&lists, ListRequest { size, ..everything() }).await;
        assert_eq!(all.len(), 27);
        let a = keys(&lists, filtered(everything(), "id == 'x' || id < '02'")).await;
        assert_eq!(a, ["Bike/x", "Car/00", "Car/01"]);
        assert!(all.is_sorted());
    }
    let types = lists.types(TypesRequest { size: 10, token: None }).await.unwrap();
    let types: Vec<_> = types.types.into_iter().map(|t| (t.entity_type, t.entities)).collect();
    assert_eq!(types, [("Bike".to_owned(), 1), ("Car".to_owned(), 25), ("Cars".to_owned(), 1)]);
    let found =
        lists.entities(&[key("Car", "03"), key("Car", "x"), key("Car", "01")], 1 << 20).await;
    let found: Vec<_> = found.unwrap().iter().map(|e| e.as_ref().map(|e| shown(&e.key))).collect();
    assert_eq!(found, [Some("Car/03".to_owned()), None, Some("Car/01".to_owned())]);
}
