//! The rows of indexes and of search that a plan changes.

use super::plan::{Change, Known, Stored};
use crate::types::{IndexRow, KeptParts, SearchRow};

/// Those that differ from before, with their entities' ids. An index that is being built may have no row of
/// an entity yet: then its builder has not come to it.
pub(crate) fn index_changes<'c>(
    changes: &[Change<'c>],
    known: &Known,
    kept: &KeptParts,
) -> Vec<(&'c str, IndexRow)> {
    let mut rows = Vec::new();
    for change in changes {
        if let Some(indexes) = kept.of(change.key.entity_type()) {
            let before = known.entities.get(change.key).and_then(Stored::facts);
            let changed = indexes.changes(before, change.facts());
            rows.extend(changed.into_iter().map(|row| (change.key.entity_id(), row)));
        }
    }
    rows
}

/// The words that differ from before, with their entities' ids.
pub(crate) fn search_changes<'c>(
    changes: &[Change<'c>],
    known: &Known,
    kept: &KeptParts,
) -> Vec<(&'c str, SearchRow)> {
    let mut rows = Vec::new();
    for change in changes {
        if let Some(search) = kept.search_of(change.key.entity_type()) {
            let before = known.entities.get(change.key).and_then(Stored::facts);
            let (before, after) = (before.map(|facts| facts.data), change.facts());
            let changed = search.change(before, after.map(|facts| facts.data));
            rows.extend(changed.map(|row| (change.key.entity_id(), row)));
        }
    }
    rows
}
