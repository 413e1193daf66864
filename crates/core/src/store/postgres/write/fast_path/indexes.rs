//! The rows of indexes that a batch writes.

use super::fold::{Folded, Group};
use crate::store::postgres::write::columns::IndexColumns;
use crate::types::{IndexEffect, KeptParts, TypeIndexes};

/// What a batch knows of the definitions of types.
pub(in crate::store::postgres::write) struct Fence<'a> {
    /// The statement writes nothing where the database has another one.
    pub(super) generation: i64,
    pub(super) indexes: IndexColumns<'a>,
}

impl<'a> Fence<'a> {
    pub(in crate::store::postgres::write) fn new(
        generation: i64,
        indexes: IndexColumns<'a>,
    ) -> Self {
        Self { generation, indexes }
    }
}

/// The rows that the batch writes; `None` where they depend on documents or times that only the slow path
/// reads.
pub(in crate::store::postgres::write) fn index_rows<'a>(
    folded: &Folded<'a>,
    kept: &KeptParts,
) -> Option<IndexColumns<'a>> {
    let mut columns = IndexColumns::default();
    for (key, group) in &folded.groups {
        let Some(indexes) = kept.of(key.entity_type()) else { continue };
        match effect(group, indexes) {
            IndexEffect::Rows(rows) => columns.extend(key.entity_id(), rows),
            IndexEffect::Unknown => return None,
        }
    }
    Some(columns)
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
