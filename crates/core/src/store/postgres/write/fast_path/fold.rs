//! The updates of a batch, folded for each entity.

use std::borrow::Cow;

use smallvec::SmallVec;
use uuid::Uuid;

use crate::json::{Patch, fold_flat};
use crate::model::{EntityKey, EntityUpdate, Event, NewVersion, Operation, Precondition};
use crate::store::numbers::{from_bigint, to_bigint};
use crate::store::postgres::write::columns::SIZE_OF_DELETED;

/// The updates of a batch, folded for each entity.
pub(in crate::store::postgres::write) struct Folded<'a> {
    /// In the order in which rows are locked.
    pub(super) groups: Vec<Group<'a>>,
    pub(super) places: UpdatePlaces,
    /// Whether there are merges without conditions only, as in most batches.
    pub(super) is_plain: bool,
}

/// Where each update is folded into, in the order of the log's rows.
pub(super) struct UpdatePlaces {
    /// The place of its entity among the groups, from 1.
    pub(super) groups: Vec<i32>,
    /// How many updates of the same entity follow in the batch.
    pub(super) behind: Vec<i64>,
}

/// The updates of one entity.
pub(super) struct Group<'a> {
    pub(super) key: &'a EntityKey,
    /// How many there are.
    pub(super) updates: usize,
    /// What makes the document: from the last replace on.
    patches: SmallVec<[&'a Patch; 1]>,
    size: usize,
    /// Whether the document is made from nothing.
    pub(super) replaces: bool,
    /// Whether the last one deletes.
    pub(super) deletes: bool,
}

/// The batch folded for this path; `None` where folding is not exact: an update of an entity that the
/// batch deletes before, a replace or delete of one that it merges into before, a merge that isn't flat, a
/// replace with nulls, a uuid twice, an entity that may exceed the limit by this batch alone; and where an
/// update has a filter as its condition. Entities that are deleted in the database are refused by the
/// statements.
pub(in crate::store::postgres::write) fn fold(
    batch: &[Event],
    max_entity_bytes: usize,
) -> Option<Folded<'_>> {
    if has_uuid_twice(batch) {
        return None;
    }
    // each with its place among all updates, so that those of one entity keep their order
    let mut updates: Vec<(&EntityKey, usize, &EntityUpdate)> = batch
        .iter()
        .flat_map(Event::updates)
        .enumerate()
        .map(|(index, update)| (update.key(), index, update))
        .collect();
    updates.sort_unstable_by_key(|(key, index, _)| (*key, *index));

    let mut groups = Vec::with_capacity(updates.len());
    let mut places =
        UpdatePlaces { groups: vec![0; updates.len()], behind: vec![0; updates.len()] };
    let mut is_plain = true;
    for (place, of_entity) in (1..).zip(updates.chunk_by(|(one, ..), (other, ..)| one == other)) {
        let mut group = Group::new(of_entity.first()?.0);
        for (behind, (_, index, update)) in (0..of_entity.len()).rev().zip(of_entity) {
            is_plain &= update.operation() == Operation::Merge && update.is_unconditional();
            group.add(update, max_entity_bytes)?;
            places.groups[*index] = place;
            places.behind[*index] = to_bigint(behind as u64);
        }
        groups.push(group);
    }
    Some(Folded { groups, places, is_plain })
}

fn has_uuid_twice(batch: &[Event]) -> bool {
    let mut uuids: Vec<Uuid> = batch.iter().map(Event::uuid).collect();
    uuids.sort_unstable();
    !uuids.is_sorted_by(|one, next| one < next)
}

impl<'a> Group<'a> {
    fn new(key: &'a EntityKey) -> Self {
        Self { key, updates: 0, patches: SmallVec::new(), size: 0, replaces: false, deletes: false }
    }

    fn add(&mut self, update: &'a EntityUpdate, max_entity_bytes: usize) -> Option<()> {
        let patch = update.patch();
        let is_exact = match update.operation() {
            Operation::Merge => patch.is_flat(),
            Operation::Replace | Operation::Delete => patch.is_document(),
        };
        demanded_version(update)?;
        if self.deletes || !is_exact || update.condition().is_some() {
            return None;
        }
        if update.operation() != Operation::Merge {
            // the merges before it may exceed the limit together with what is stored
            if self.updates > 0 && !self.replaces {
                return None;
            }
            (self.patches, self.size, self.replaces) = (SmallVec::new(), 0, true);
        }
        self.deletes = update.operation() == Operation::Delete;
        self.updates += 1;
        self.size += patch.size();
        self.patches.push(patch);
        (self.size <= max_entity_bytes).then_some(())
    }

    /// The document, or what is merged into the one that is there.
    pub(super) fn data(&self) -> Cow<'a, str> {
        match self.patches[..] {
            [only] => only.text().into(),
            _ => fold_flat(&self.patches).into(),
        }
    }

    /// Its size, or how much it adds at most.
    pub(super) fn size(&self) -> i32 {
        let size = if self.deletes { SIZE_OF_DELETED } else { self.size };
        i32::try_from(size).unwrap_or(i32::MAX)
    }
}

/// What the statements demand of the version before an update: its number (0: the entity must not exist),
/// [`ANY_VERSION`], or nothing. `None` where no number says it.
pub(super) fn demanded_version(update: &EntityUpdate) -> Option<Option<i64>> {
    Some(match update.precondition() {
        Precondition::Absent if update.operation() == Operation::Delete => return None,
        Precondition::Absent => Some(0),
        Precondition::Versions(versions) => match **versions {
            // no entity has it, and here it would mean none at all
            [0] => return None,
            [version] => Some(to_bigint(version)),
            _ => return None,
        },
        Precondition::Exists => Some(ANY_VERSION),
        Precondition::None if update.operation() == Operation::Delete => Some(ANY_VERSION),
        Precondition::None => None,
    })
}

/// The entity must exist.
pub(super) const ANY_VERSION: i64 = -1;

/// This path makes no deleted entity anew, so only the first version creates.
pub(super) fn new_version(version: i64) -> NewVersion {
    NewVersion { version: from_bigint(version), created: version == 1 }
}
