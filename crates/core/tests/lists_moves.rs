//! Lists while entities move in the index that narrows them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

#[macro_use]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use producer_core::EntityKey;
use producer_core::model::Entity;
use producer_core::query::{
    CountedPart, CountedType, EntitiesPart, EntitiesQuery, Estimates, IndexPart, IndexQuery,
    KeyRange, ListStore, Lists, ReadError, Scans,
};
use producer_core::types::index_key::Range;
use serde_json::json;
use support::lists::{Asked, ids, of_type};
use support::types::{build, declare};
use support::{Db, START, car, clock, event};

on_all!(a_sorted_list_misses_nothing_that_moves_in_its_index);

const CARS: usize = 1300;

/// A database in which, after each read, the last car in an index moves before all others.
struct Moving {
    db: Db,
    moved: AtomicUsize,
}

impl Moving {
    async fn read<T>(&self, read: BoxFuture<'_, Result<T, ReadError>>) -> Result<T, ReadError> {
        let read = read.await;
        let moved = self.moved.fetch_add(1, Ordering::Relaxed) + 1;
        let data = json!({"n": 1.0 / moved as f64}).to_string();
        self.db.apply(&[car(5_000_000 + moved as u128, &id(CARS - moved), &data)]).await;
        read
    }
}

type Answer<'a, T> = BoxFuture<'a, Result<T, ReadError>>;

impl ListStore for Moving {
    fn states<'a>(
        &'a self,
        keys: &'a [&'a EntityKey],
        bytes: usize,
    ) -> Answer<'a, Vec<Option<Entity>>> {
        Box::pin(self.read(self.db.store.states(keys, bytes)))
    }

    fn entities<'a>(&'a self, query: EntitiesQuery<'a>) -> Answer<'a, EntitiesPart> {
        Box::pin(self.read(self.db.store.entities(query)))
    }

    fn indexed<'a>(&'a self, query: IndexQuery<'a>) -> Answer<'a, Option<IndexPart>> {
        Box::pin(self.read(self.db.store.indexed(query)))
    }

    fn indexed_ids<'a>(
        &'a self,
        index_id: i32,
        ranges: &'a [Range],
        rows: u32,
    ) -> Answer<'a, Option<Vec<String>>> {
        Box::pin(self.read(self.db.store.indexed_ids(index_id, ranges, rows)))
    }

    fn count<'a>(&'a self, range: &'a KeyRange, rows: u32) -> Answer<'a, CountedPart> {
        Box::pin(self.read(self.db.store.count(range, rows)))
    }

    fn types<'a>(&'a self, after: &'a str, types: u32, rows: u32) -> Answer<'a, Vec<CountedType>> {
        Box::pin(self.read(self.db.store.types(after, types, rows)))
    }

    fn estimates(&self) -> Answer<'_, Estimates> {
        Box::pin(self.read(self.db.store.estimates()))
    }
}

fn id(n: usize) -> String {
    format!("{n:05}")
}

/// All cars keep their places, since they are listed by the time at which they were created.
async fn a_sorted_list_misses_nothing_that_moves_in_its_index(db: Db) {
    let cars: Vec<_> = (0..CARS).map(|n| (id(n), json!({"n": n + 1}).to_string())).collect();
    for (number, chunk) in (1..).zip(cars.chunks(500)) {
        let updates: Vec<_> = chunk.iter().map(|(id, data)| ("Car", &**id, &**data)).collect();
        db.apply(&[event(number, &updates)]).await;
    }
    declare(&db.store, r#""data.n", "data.other""#).await;
    build(&db).await;

    let moving = Arc::new(Moving { db, moved: AtomicUsize::new(0) });
    let (store, types): (Arc<dyn ListStore>, _) = (moving.clone(), moving.db.store.clone());
    let lists = Lists::new(store, types, Arc::new(Scans::new(8)), clock(START));
    let expected: Vec<_> = (0..CARS).map(id).collect();
    for filter in ["data.n > 0", "data.n < 1200 && data.n > 0"] {
        let found =
            ids(&lists, of_type("Car").filtered(filter).ordered("createdAt").sized(1000)).await;
        let missing: Vec<_> = expected.iter().filter(|id| !found.contains(id)).collect();
        match filter {
            "data.n > 0" => assert_eq!(found, expected, "missing: {missing:?}"),
            // those that came into the range meanwhile may be there or not
            _ => assert!(found.is_sorted() && found[..1199] == expected[..1199], "{missing:?}"),
        }
    }
    assert!(moving.moved.load(Ordering::Relaxed) > 6, "each page took several reads");
}
