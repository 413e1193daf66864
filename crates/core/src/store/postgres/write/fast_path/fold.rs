//! The updates of a batch, folded for each entity.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use crate::json::{Patch, fold_flat};
use crate::model::{EntityKey, EntityUpdate, Event, NewVersion, Operation, Precondition};
use crate::store::numbers::{from_bigint, to_bigint};
use crate::store::postgres::write::columns::SIZE_OF_DELETED;

/// The updates of a batch, folded for each entity, in the order in which rows are locked.
pub(in crate::store::postgres::write) struct Folded<'a> {
    pub(super) groups: BTreeMap<&'a EntityKey, Group<'a>>,
    /// Whether there are merges without conditions only, as in most batches.
    pub(super) is_plain: bool,
}

/// The updates of one entity.
#[derive(Default)]
pub(super) struct Group<'a> {
    /// How many there are.
    pub(super) updates: usize,
    /// What makes the document: from the last replace on.
    patches: Vec<&'a Patch>,
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
    let mut uuids = HashSet::with_capacity(batch.len());
    let mut folded = Folded { groups: BTreeMap::new(), is_plain: true };
    for event in batch {
        if !uuids.insert(event.uuid()) {
            return None;
        }
        for update in event.updates() {
            if update.condition().is_some() {
                return None;
            }
            folded.is_plain &= update.operation() == Operation::Merge && update.is_unconditional();
            folded.groups.entry(update.key()).or_default().add(update, max_entity_bytes)?;
        }
    }
    Some(folded)
}

impl<'a> Group<'a> {
    fn add(&mut self, update: &'a EntityUpdate, max_entity_bytes: usize) -> Option<()> {
        let patch = update.patch();
        let is_exact = match update.operation() {
            Operation::Merge => patch.is_flat(),
            Operation::Replace | Operation::Delete => patch.is_document(),
        };
        demanded_version(update)?;
        if self.deletes || !is_exact {
            return None;
        }
        if update.operation() != Operation::Merge {
            // the merges before it may exceed the limit together with what is stored
            if self.updates > 0 && !self.replaces {
                return None;
            }
            (self.patches, self.size, self.replaces) = (Vec::new(), 0, true);
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
