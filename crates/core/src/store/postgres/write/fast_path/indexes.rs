//! The rows of indexes and of search that a batch writes.

use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryScalar;

use super::fold::{Folded, Group};
use crate::store::postgres::write::search::SearchColumns;
use crate::types::{IndexEffect, KeptParts, SearchEffect, TimelessRow, TypeIndexes, TypeSearch};

/// What a batch knows of the definitions of types.
pub(in crate::store::postgres::write) struct Fence<'a> {
    /// The statement writes nothing where the database has another one.
    pub(super) generation: i64,
    pub(super) rows: PartRows<'a>,
}

/// Rows of indexes and of search.
#[derive(Default)]
pub(in crate::store::postgres::write) struct PartRows<'a> {
    pub(super) indexes: TimelessColumns<'a>,
    pub(super) searches: SearchColumns<'a>,
}

/// Rows of indexes, in whose keys the statement writes the times.
#[derive(Default)]
pub(super) struct TimelessColumns<'a> {
    indexes: Vec<i32>,
    entities: Vec<&'a str>,
    keys: Vec<Option<Vec<u8>>>,
    /// The places of their entities among the groups, from 1.
    places: Vec<i32>,
    /// Where the times begin in their keys, from 1; 0 where there is none.
    created: Vec<i32>,
    updated: Vec<i32>,
    /// Whether the key is one for as long as the entity exists.
    of_creation: Vec<bool>,
}

impl PartRows<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.indexes.indexes.is_empty() && self.searches.is_empty()
    }
}

impl<'a> Fence<'a> {
    pub(in crate::store::postgres::write) fn new(generation: i64, rows: PartRows<'a>) -> Self {
        Self { generation, rows }
    }
}

/// The rows that the batch writes; `None` where they depend on documents or times that only the slow path
/// reads.
pub(in crate::store::postgres::write) fn part_rows<'a>(
    folded: &Folded<'a>,
    kept: &KeptParts,
) -> Option<PartRows<'a>> {
    let mut rows = PartRows::default();
    let mut of_indexes = Vec::new();
    for (place, group) in (1..).zip(&folded.groups) {
        let key = group.key;
        if let Some(indexes) = kept.of(key.entity_type()) {
            match effect(group, indexes) {
                IndexEffect::Rows(of_entity) => {
                    of_indexes
                        .extend(of_entity.into_iter().map(|row| (place, key.entity_id(), row)));
                }
                IndexEffect::Unknown => return None,
            }
        }
        if let Some(search) = kept.search_of(key.entity_type()) {
            match search_effect(group, search) {
                SearchEffect::None => {}
                SearchEffect::Row(row) => rows.searches.push(key.entity_id(), row),
                SearchEffect::Unknown => return None,
            }
        }
    }
    // in the order of the b-trees, where neighbours share pages
    of_indexes.sort_by_key(|(_, _, row)| row.index_id);
    rows.indexes = of_indexes.into_iter().collect();
    Some(rows)
}

impl<'a> TimelessColumns<'a> {
    /// Binds the columns to a statement that has [`insert`].
    pub(super) fn bind<O>(
        self,
        statement: QueryScalar<'a, Postgres, O, PgArguments>,
    ) -> QueryScalar<'a, Postgres, O, PgArguments> {
        let statement = statement.bind(self.indexes).bind(self.entities).bind(self.keys);
        let statement = statement.bind(self.places).bind(self.created).bind(self.updated);
        statement.bind(self.of_creation)
    }
}

impl<'a> FromIterator<(i32, &'a str, TimelessRow)> for TimelessColumns<'a> {
    fn from_iter<I: IntoIterator<Item = (i32, &'a str, TimelessRow)>>(rows: I) -> Self {
        let mut columns = Self::default();
        for (place, entity_id, TimelessRow { index_id, key, is_of_creation }) in rows {
            columns.indexes.push(index_id);
            columns.entities.push(entity_id);
            columns.places.push(place);
            columns.created.push(position(key.as_ref().and_then(|key| key.created_at)));
            columns.updated.push(position(key.as_ref().and_then(|key| key.updated_at)));
            columns.keys.push(key.map(|key| key.bytes));
            columns.of_creation.push(is_of_creation);
        }
        columns
    }
}

/// How many parameters [`insert`] takes.
pub(super) const INDEX_COLUMNS: usize = 7;

/// Writes rows, whose columns are parameters from `$first` on, when their entities are locked and `made` has what
/// came of them. Entities whose version is the number of their updates, $3, are new: they have no rows yet, and
/// a plain INSERT costs a third less than an upsert. (Should there be one, the statement fails, and the slow
/// path sets it right.) Rows of the others are upserted, also where there is no key: what another writer has just
/// committed is seen by ON CONFLICT alone. Where all entities are new, that part costs nothing.
pub(super) fn insert(first: usize) -> String {
    let [index, entity, key, place, created, updated, of_creation]: [usize; INDEX_COLUMNS] =
        std::array::from_fn(|column| first + column);
    let with_created = with_time("key", "created", "creations");
    let with_times = with_time(&with_created, "updated", "times");
    let rows = format!(
        r"SELECT index_id, entity_id, {with_times}
    FROM (SELECT unnest(${index}::int4[]) AS index_id, unnest(${entity}::text[]) AS entity_id,
                 unnest(${key}::bytea[]) AS key, unnest(${place}::int4[]) AS place,
                 unnest(${created}::int4[]) AS created, unnest(${updated}::int4[]) AS updated,
                 unnest(${of_creation}::bool[]) AS of_creation) AS r"
    );
    format!(
        r"new_keys AS (
    INSERT INTO entity_index (index_id, entity_id, key)
    {rows}
    WHERE key IS NOT NULL AND ((SELECT versions FROM made))[place] = ($3::int8[])[place]
), other_keys AS (
    INSERT INTO entity_index AS i (index_id, entity_id, key)
    {rows}
    WHERE (SELECT versions FROM made) <> $3::int8[]
        AND ((SELECT versions FROM made))[place] <> ($3::int8[])[place] AND NOT of_creation
    ON CONFLICT (index_id, entity_id) DO UPDATE SET key = excluded.key
    WHERE i.key IS DISTINCT FROM excluded.key
)"
    )
}

/// A key with the time that an array of `made` has for its entity, where one begins at `position`. Times in keys
/// count from year 1 (`types/index_key/encoding.rs`), those that PostgreSQL sends from 2000.
fn with_time(key: &str, position: &str, times: &str) -> String {
    format!(
        "CASE WHEN {position} > 0 THEN overlay({key} PLACING timestamptz_send(
            ((SELECT {times} FROM made))[place] + interval '63082281600 seconds') FROM {position})
        ELSE {key} END"
    )
}

/// As SQL counts.
fn position(offset: Option<usize>) -> i32 {
    offset.map_or(0, |offset| i32::try_from(offset + 1).unwrap_or(i32::MAX))
}

fn search_effect(group: &Group<'_>, search: &TypeSearch) -> SearchEffect {
    if group.deletes {
        search.of_delete()
    } else if group.replaces {
        search.of_replace(&group.data())
    } else {
        search.of_flat_merge(&group.data())
    }
}

fn effect(group: &Group<'_>, indexes: &TypeIndexes) -> IndexEffect {
    if group.deletes {
        indexes.of_delete()
    } else if group.replaces {
        indexes.of_replace(&group.data())
    } else {
        indexes.of_flat_merge(&group.data())
    }
}
