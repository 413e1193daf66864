//! What a filter says about changes and entities.

use std::sync::Arc;

use super::change::Change;
use super::item::Item;
use super::types::Types;
use crate::filter::{Facts, Filter, JudgingTime};
use crate::model::{Entity, Operation, Timestamp};

/// What a change is to a reader with this filter; `None` where it is passed over.
pub(super) fn item_of(
    filter: &Filter,
    change: Arc<Change>,
    time: &mut JudgingTime,
) -> Option<Item> {
    let facts = facts(&change);
    if time.matches(filter, &facts) {
        return Some(Item::Change(change));
    }
    (may_have_matched(filter, &change) && !time.excludes(filter, &facts))
        .then(|| Item::Left(change))
}

/// Whether an entity that does not match may have matched before the change. Only a filter over the key and the
/// document alone says that of an entity, whatever the change was.
///
/// The state may be newer than the change. What a reader keeps is right in the end all the same: no change behind
/// the last one that touched what the filter reads alters the verdict, so that one comes as what it is for good.
fn may_have_matched(filter: &Filter, change: &Change) -> bool {
    let entry = &change.entry;
    filter.reads_key_and_data_only()
        && filter.reads_data()
        // one that did not exist has matched nothing; where it was deleted before, that was its end
        && !entry.created
        && (entry.operation != Operation::Merge || filter.is_touched_by(&entry.patch))
}

/// Whether a change may be sent, as far as that is known before its state is read.
pub(super) fn may_match(filter: &Filter, change: &Change, time: &mut JudgingTime) -> bool {
    !time.excludes(filter, &facts(change))
}

/// Whether a snapshot has this entity.
pub(super) fn matches_entity(filter: &Filter, entity: &Entity, time: &mut JudgingTime) -> bool {
    time.matches(filter, &entity.facts(NO_REQUEST))
}

/// Whether a reader with these types and this filter keeps an entity as it is.
pub fn includes(types: &Types, filter: Option<&Filter>, entity: &Entity) -> bool {
    let matches = |filter| matches_entity(filter, entity, &mut JudgingTime::default());
    types.include(entity.key.entity_type()) && filter.is_none_or(matches)
}

/// Filters of changes have no `now`.
const NO_REQUEST: Timestamp = Timestamp::from_micros(0);

fn facts(change: &Change) -> Facts<'_> {
    Facts {
        entity_type: change.key.entity_type(),
        entity_id: change.key.entity_id(),
        version: change.entry.version,
        state: change.state().map(Entity::state),
        change: Some(change.entry.facts()),
        now: NO_REQUEST,
    }
}
