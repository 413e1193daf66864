//! What the suites of lists share.

use std::sync::Arc;

use producer_core::filter::{Filter, Scope};
use producer_core::query::{
    ListOrder, ListPage, ListRequest, ListStore, Lists, QueryError, Scans, TypeEntry, TypesRequest,
};
use producer_core::types::TypeStore;
use producer_core::{Clock, EntityKey, Problem};

use super::{Db, START, clock};

/// The lists of a database, at one moment.
pub(crate) fn lists(db: &Db) -> Lists {
    lists_at(db, clock(START))
}

/// The lists of a database.
pub(crate) fn lists_at(db: &Db, clock: Clock) -> Lists {
    let (store, types): (Arc<dyn ListStore>, Arc<dyn TypeStore>) =
        (db.store.clone(), db.store.clone());
    Lists::new(store, types, Arc::new(Scans::new(8)), clock)
}

/// A list of all entities of all types.
pub(crate) fn everything() -> ListRequest {
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

/// A list of all entities of a type.
pub(crate) fn of_type(entity_type: &str) -> ListRequest {
    ListRequest { entity_type: Some(entity_type.into()), ..everything() }
}

/// In a few words.
pub(crate) trait Asked {
    fn filtered(self, filter: &str) -> Self;
    fn ordered(self, order: &str) -> Self;
    fn sized(self, size: u32) -> Self;
}

impl Asked for ListRequest {
    fn filtered(self, filter: &str) -> Self {
        Self { filter: Some(Filter::parse(filter, Scope::Entity).unwrap()), ..self }
    }

    fn ordered(self, order: &str) -> Self {
        Self { order: Some(ListOrder::parse(order).unwrap()), ..self }
    }

    fn sized(self, size: u32) -> Self {
        Self { size, ..self }
    }
}

/// The pages of a list, from the one that is asked for on.
pub(crate) async fn pages(lists: &Lists, mut request: ListRequest) -> Vec<ListPage> {
    let mut pages = Vec::new();
    loop {
        let page = lists.page(request.clone()).await.unwrap();
        assert!(page.entities.len() <= request.size as usize);
        request.token.clone_from(&page.next);
        pages.push(page);
        if request.token.is_none() {
            return pages;
        }
    }
}

/// The keys of a list, `Type/id`.
pub(crate) async fn keys(lists: &Lists, request: ListRequest) -> Vec<String> {
    let pages = pages(lists, request).await;
    let entities = pages.iter().flat_map(|page| &page.entities);
    entities.map(|entity| shown(&entity.key)).collect()
}

/// The ids of a list of one type.
pub(crate) async fn ids(lists: &Lists, request: ListRequest) -> Vec<String> {
    let pages = pages(lists, request).await;
    let entities = pages.into_iter().flat_map(|page| page.entities);
    entities.map(|entity| entity.key.entity_id().to_owned()).collect()
}

pub(crate) fn shown(key: &EntityKey) -> String {
    format!("{}/{}", key.entity_type(), key.entity_id())
}

/// All types, in pages of this size.
pub(crate) async fn all_types(lists: &Lists, size: u32) -> Vec<TypeEntry> {
    let (mut types, mut token) = (Vec::new(), None);
    loop {
        let page = lists.types(TypesRequest { size, token }).await.unwrap();
        assert!(page.types.len() <= size as usize);
        types.extend(page.types);
        token = page.next;
        if token.is_none() {
            return types;
        }
    }
}

/// The problem that a read is refused with.
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, QueryError>) -> Problem {
    match result {
        Err(QueryError::Refused(problem)) => problem,
        other => panic!("{other:?}"),
    }
}
