//! The port of lists: what they read of a database.

use std::collections::HashMap;

use futures_util::future::BoxFuture;

use super::key_range::KeyRange;
use super::port::ReadError;
use crate::model::{Entity, EntityKey};
use crate::types::index_key::Range;

/// A database whose entities are listed.
pub trait ListStore: Send + Sync + 'static {
    /// The states of the first of these entities, in their order, as many as fit into `bytes`, at least
    /// one; `None` for one that does not exist. The keys are all different.
    fn states<'a>(
        &'a self,
        keys: &'a [&'a EntityKey],
        bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Option<Entity>>, ReadError>>;

    /// Entities in the order of their keys (type, then id, bytewise), or in the reverse order.
    fn entities<'a>(
        &'a self,
        query: EntitiesQuery<'a>,
    ) -> BoxFuture<'a, Result<EntitiesPart, ReadError>>;

    /// Entities of one type in the order of an index, or in the reverse order; `None` where that index is not
    /// ready (any more).
    fn indexed<'a>(
        &'a self,
        query: IndexQuery<'a>,
    ) -> BoxFuture<'a, Result<Option<IndexPart>, ReadError>>;

    /// The ids in ranges of an index that do not overlap, at one moment, `rows` of them at most; `None` where that
    /// index is not ready (any more).
    fn indexed_ids<'a>(
        &'a self,
        index_id: i32,
        ranges: &'a [Range],
        rows: u32,
    ) -> BoxFuture<'a, Result<Option<Vec<String>>, ReadError>>;

    /// How many entities there are among the first `rows` of a range.
    fn count<'a>(
        &'a self,
        range: &'a KeyRange,
        rows: u32,
    ) -> BoxFuture<'a, Result<CountedPart, ReadError>>;

    /// The first types behind `after`, in bytewise order, also of those whose entities are all deleted; of each
    /// its first `rows` are counted.
    fn types<'a>(
        &'a self,
        after: &'a str,
        types: u32,
        rows: u32,
    ) -> BoxFuture<'a, Result<Vec<CountedType>, ReadError>>;

    /// What the database's statistics say about how many entities there are.
    fn estimates(&self) -> BoxFuture<'_, Result<Estimates, ReadError>>;
}

/// Which entities to read.
#[derive(Debug, Clone, Copy)]
pub struct EntitiesQuery<'a> {
    /// Entities of these keys.
    pub range: &'a KeyRange,
    /// Begins at the end of the range.
    pub descending: bool,
    /// Looks at so many at most, deleted ones included.
    pub rows: u32,
    /// Stops before the entity with which the documents would have more bytes, but for the first one.
    pub bytes: usize,
}

/// A part of the entities of a range.
#[derive(Debug, Default)]
pub struct EntitiesPart {
    /// Those that were looked at, in order; `None` for deleted ones.
    pub rows: Vec<(EntityKey, Option<Entity>)>,
    /// Whether nothing follows in the range.
    pub is_last: bool,
}

/// Which part of an index to read. Its rows are ordered by their keys, then by the ids of their entities.
#[derive(Debug, Clone, Copy)]
pub struct IndexQuery<'a> {
    /// The index.
    pub index_id: i32,
    /// Its type.
    pub entity_type: &'a str,
    /// The first row.
    pub from: (&'a [u8], &'a str),
    /// The first row behind the part.
    pub to: (&'a [u8], &'a str),
    /// Begins at the end of the part.
    pub descending: bool,
    /// Looks at so many rows at most.
    pub rows: u32,
    /// Stops before the entity with which the documents would have more bytes, but for the first one.
    pub bytes: usize,
}

/// A part of an index.
#[derive(Debug, Default)]
pub struct IndexPart {
    /// Those that were looked at, in order.
    pub rows: Vec<IndexedEntity>,
    /// Whether nothing follows in the part that was asked for.
    pub is_last: bool,
}

/// A row of an index, and its entity.
#[derive(Debug)]
pub struct IndexedEntity {
    /// The key in the index.
    pub key: Vec<u8>,
    /// The entity's id.
    pub id: String,
    /// `None` where it does not exist.
    pub entity: Option<Entity>,
}

/// What was counted of a range.
#[derive(Debug, Default)]
pub struct CountedPart {
    /// How many entities, without deleted ones.
    pub entities: u64,
    /// The key of the last one that was looked at, where others may follow.
    pub next: Option<EntityKey>,
}

/// A type, and what was counted of its first entities.
#[derive(Debug)]
pub struct CountedType {
    /// The type.
    pub name: String,
    /// Of its first rows.
    pub first: CountedPart,
}

/// What a database's statistics say.
#[derive(Debug, Default)]
pub struct Estimates {
    /// How many entities there are, without deleted ones; `None` where nothing is known.
    pub all: Option<u64>,
    /// How many there are of the types that have the most, deleted ones included.
    pub of_types: HashMap<String, u64>,
    /// How many there are of each of the others, on average.
    pub of_another_type: Option<u64>,
}
