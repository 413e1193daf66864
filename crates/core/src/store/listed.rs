//! Reading entities in the order of their keys: what both adapters share. `T` is how a database has times.

use sqlx::FromRow;

use super::numbers::from_bigint;
use crate::model::{Entity, EntityKey, Timestamp};
use crate::query::{
    CountedPart, CountedType, EntitiesPart, IndexPart, IndexQuery, IndexedEntity, KeyRange,
};

/// How many of the first $5 rows from one key up to another exist, how many were looked at, and the last of them.
pub(crate) const COUNT: &str = r"
SELECT entity_type, entity_id, entities, looked_at
FROM (SELECT entity_type, entity_id, count(*) FILTER (WHERE NOT deleted) OVER listed AS entities,
             row_number() OVER listed AS looked_at
      FROM (SELECT entity_type, entity_id, deleted FROM entities
            WHERE (entity_type, entity_id) >= ($1, $2) AND (entity_type, entity_id) < ($3, $4)
            ORDER BY entity_type, entity_id LIMIT $5) AS range
      WINDOW listed AS (ORDER BY entity_type, entity_id ROWS UNBOUNDED PRECEDING)) AS counted
ORDER BY looked_at DESC LIMIT 1";

/// The first type or id of a range, and the first one behind it.
pub(crate) type Bounds<'a> = ((&'a str, &'a str), (String, &'a str));

/// The bounds of a range, for a statement.
pub(crate) fn bounds(range: &KeyRange) -> Bounds<'_> {
    let from = (&*range.from.0, &*range.from.1);
    let to = range.to.as_ref().map(|(entity_type, id)| (entity_type.clone(), &**id));
    (from, to.unwrap_or_else(|| (behind_every_type(), "")))
}

/// Longer than any type, and behind all of them.
fn behind_every_type() -> String {
    "\u{10FFFF}".repeat(256)
}

/// A row of the states of entities; null where an entity does not exist.
#[derive(FromRow)]
pub(crate) struct StateRow<T> {
    version: Option<i64>,
    created_at: Option<T>,
    updated_at: Option<T>,
    data: Option<String>,
}

impl<T> StateRow<T> {
    pub(crate) fn into_entity(
        self,
        key: &EntityKey,
        moment: impl Fn(T) -> Timestamp,
    ) -> Option<Entity> {
        Some(Entity {
            key: key.clone(),
            version: from_bigint(self.version?),
            created_at: moment(self.created_at?),
            updated_at: moment(self.updated_at?),
            data: self.data?,
        })
    }
}

/// A row of the entities in the order of their keys; without a document where it is deleted.
#[derive(FromRow)]
pub(crate) struct EntityRow<T> {
    entity_type: String,
    entity_id: String,
    version: i64,
    created_at: T,
    updated_at: T,
    data: Option<String>,
    /// Whether there is another row, unless the statement looked at as many as it may.
    has_next: bool,
    /// Whether the document is missing because it is larger than its share.
    is_large: bool,
}

impl<T> EntityRow<T> {
    fn into_row(self, moment: impl Fn(T) -> Timestamp) -> (EntityKey, Option<Entity>) {
        let key = EntityKey::new_unchecked(self.entity_type, self.entity_id);
        let entity = self.data.map(|data| Entity {
            key: key.clone(),
            version: from_bigint(self.version),
            created_at: moment(self.created_at),
            updated_at: moment(self.updated_at),
            data,
        });
        (key, entity)
    }
}

/// The part of a range that a statement returned which looks at so many rows at most.
pub(crate) fn into_part<T>(
    rows: Vec<EntityRow<T>>,
    most: u32,
    moment: impl Fn(T) -> Timestamp + Copy,
) -> EntitiesPart {
    let is_last = rows.len() < most as usize && rows.last().is_none_or(|row| !row.has_next);
    EntitiesPart { rows: rows.into_iter().map(|row| row.into_row(moment)).collect(), is_last }
}

/// The same of a statement that gives each document the same share of the bytes: up to the first one that is
/// larger. `None` where that is the first row: then the other statement has to read.
pub(crate) fn into_even_part<T>(
    mut rows: Vec<EntityRow<T>>,
    most: u32,
    moment: impl Fn(T) -> Timestamp + Copy,
) -> Option<EntitiesPart> {
    let fit = rows.iter().take_while(|row| !row.is_large).count();
    let is_last = fit == rows.len() && fit < most as usize;
    if fit == 0 && !is_last {
        return None;
    }
    rows.truncate(fit);
    Some(EntitiesPart { rows: rows.into_iter().map(|row| row.into_row(moment)).collect(), is_last })
}

/// A row of an index with its entity; nulls where there is none.
#[derive(FromRow)]
pub(crate) struct IndexRow<T> {
    is_ready: bool,
    key: Option<Vec<u8>>,
    entity_id: Option<String>,
    version: Option<i64>,
    created_at: Option<T>,
    updated_at: Option<T>,
    data: Option<String>,
    /// Whether there is another row, unless the statement looked at as many as it may.
    has_next: Option<bool>,
    /// Whether the document is missing because it is larger than its share.
    is_large: Option<bool>,
}

impl<T> IndexRow<T> {
    fn into_indexed(
        self,
        entity_type: &str,
        moment: impl Fn(T) -> Timestamp,
    ) -> Option<IndexedEntity> {
        let (key, id) = (self.key?, self.entity_id?);
        let entity = self.data.zip(self.version).zip(self.created_at.zip(self.updated_at));
        let entity = entity.map(|((data, version), (created, updated))| Entity {
            key: EntityKey::new_unchecked(entity_type, &*id),
            version: from_bigint(version),
            created_at: moment(created),
            updated_at: moment(updated),
            data,
        });
        Some(IndexedEntity { key, id, entity })
    }
}

/// The part of an index that a statement returned: at least one row, unless the index is unknown.
pub(crate) fn into_index_part<T>(
    rows: Vec<IndexRow<T>>,
    query: IndexQuery<'_>,
    moment: impl Fn(T) -> Timestamp + Copy,
) -> Option<IndexPart> {
    if !rows.first()?.is_ready {
        return None;
    }
    let is_cut = rows.last().is_some_and(|row| row.has_next == Some(true));
    let is_last = rows.len() < query.rows as usize && !is_cut;
    let rows = rows.into_iter().filter_map(|row| row.into_indexed(query.entity_type, moment));
    Some(IndexPart { rows: rows.collect(), is_last })
}

/// The same of a statement that gives each document the same share of the bytes: up to the first one that is
/// larger. `None` where there is no row before that, and also where the index may not be ready: then the other
/// statement has to read.
pub(crate) fn into_even_index_part<T>(
    mut rows: Vec<IndexRow<T>>,
    query: IndexQuery<'_>,
    moment: impl Fn(T) -> Timestamp + Copy,
) -> Option<IndexPart> {
    let fit = rows.iter().take_while(|row| row.is_large != Some(true)).count();
    if fit == 0 {
        return None;
    }
    let is_last = fit == rows.len() && fit < query.rows as usize;
    rows.truncate(fit);
    let rows = rows.into_iter().filter_map(|row| row.into_indexed(query.entity_type, moment));
    Some(IndexPart { rows: rows.collect(), is_last })
}

/// The ids of an index that a statement returned: at least one row, unless the index is unknown; `None` where it is
/// not ready.
pub(crate) fn into_ids(rows: Vec<(bool, Option<String>)>) -> Option<Vec<String>> {
    let is_ready = rows.first()?.0;
    is_ready.then(|| rows.into_iter().filter_map(|(_, id)| id).collect())
}

/// What a statement counted: the last row that it looked at.
#[derive(FromRow)]
pub(crate) struct CountRow {
    entity_type: String,
    entity_id: String,
    entities: i64,
    looked_at: i64,
}

/// What was counted by a statement that looks at so many rows at most.
pub(crate) fn into_counted(row: Option<CountRow>, most: u32) -> CountedPart {
    let Some(row) = row else { return CountedPart::default() };
    let is_last = row.looked_at < i64::from(most);
    let last = EntityKey::new_unchecked(row.entity_type, row.entity_id);
    CountedPart { entities: from_bigint(row.entities), next: (!is_last).then_some(last) }
}

/// A type of which a statement counted so many rows at most.
pub(crate) fn into_counted_type(row: CountRow, most: u32) -> CountedType {
    CountedType { name: row.entity_type.clone(), first: into_counted(Some(row), most) }
}
