//! The rows of indexes and of search that a batch writes.

use super::fold::{Folded, Group};
use crate::store::postgres::write::columns::IndexColumns;
use crate::store::postgres::write::search::SearchColumns;
use crate::types::{IndexEffect, KeptParts, SearchEffect, TypeIndexes, TypeSearch};

/// What a batch knows of the definitions of types.
pub(in crate::store::postgres::write) struct Fence<'a> {
    /// The statement writes nothing where the database has another one.
    pub(super) generation: i64,
    pub(super) rows: PartRows<'a>,
}

/// Rows of indexes and of search.
#[derive(Default)]
pub(in crate::store::postgres::write) struct PartRows<'a> {
    pub(super) indexes: IndexColumns<'a>,
    pub(super) searches: SearchColumns<'a>,
}

impl PartRows<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.indexes.is_empty() && self.searches.is_empty()
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
    for (key, group) in &folded.groups {
        if let Some(indexes) = kept.of(key.entity_type()) {
            match effect(group, indexes) {
                IndexEffect::Rows(of_entity) => rows.indexes.extend(key.entity_id(), of_entity),
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
    Some(rows)
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
