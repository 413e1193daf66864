//! The types that have entities.

use std::time::Duration;

use super::count::{COUNTED_ROWS, FIRST_ROWS, of_type};
use crate::model::EntityKey;
use crate::query::key_range::KeyRange;
use crate::query::list_port::{CountedPart, Estimates, ListStore};
use crate::query::list_request::TypeEntry;
use crate::query::port::ReadError;
use crate::query::scans::Scan;

/// How long a page looks at types.
const LOOKING: Duration = Duration::from_millis(500);
/// Types that are read at once.
const TYPES: u32 = 100;

/// A page of types that is being filled.
#[derive(Debug)]
pub(super) struct TypeList {
    pub(super) types: Vec<TypeEntry>,
    /// Where the next page goes on, if there may be one: behind this key. Types whose first entities are
    /// deleted may need more than one page to be looked through.
    pub(super) next: Option<EntityKey>,
    size: usize,
}

impl TypeList {
    pub(super) fn new(size: u32) -> Self {
        Self { types: Vec::new(), next: None, size: usize::try_from(size).unwrap_or(usize::MAX) }
    }

    /// Fills the page with what follows on a key.
    ///
    /// # Errors
    /// The database.
    pub(super) async fn fill(
        &mut self,
        store: &dyn ListStore,
        after: Option<EntityKey>,
        scan: &mut Scan<'_>,
    ) -> Result<(), ReadError> {
        let estimates = store.estimates().await?;
        self.next = after;
        if let Some(key) = self.next.clone().filter(|key| !key.entity_id().is_empty()) {
            let range = KeyRange::of_type(key.entity_type()).after(&key);
            if !self.look(store, key.entity_type(), range, &estimates, scan).await? {
                return Ok(());
            }
        }
        loop {
            let after = self.next.as_ref().map_or("", EntityKey::entity_type).to_owned();
            // one more shows whether others follow
            let most = u32::try_from(self.size - self.types.len())
                .map_or(TYPES, |left| TYPES.min(left.saturating_add(1)));
            let names = store.types(&after, most).await?;
            for name in &names {
                if self.types.len() == self.size {
                    return Ok(());
                }
                let range = KeyRange::of_type(name);
                if !self.look(store, name, range, &estimates, scan).await? {
                    return Ok(());
                }
            }
            if names.len() < most as usize {
                self.next = None;
                return Ok(());
            }
        }
    }

    /// Looks for entities of a type in a range, and adds the type if it has any; `false` where the time is
    /// over.
    async fn look(
        &mut self,
        store: &dyn ListStore,
        entity_type: &str,
        mut range: KeyRange,
        estimates: &Estimates,
        scan: &mut Scan<'_>,
    ) -> Result<bool, ReadError> {
        let mut rows = FIRST_ROWS;
        loop {
            let part = store.count(&range, rows).await?;
            let is_done = part.entities > 0 || part.next.is_none();
            match part.next.clone().filter(|_| !is_done) {
                Some(last) => {
                    range = range.after(&last);
                    rows = COUNTED_ROWS;
                    self.next = Some(last);
                }
                None => self.next = Some(EntityKey::new_unchecked(entity_type, "")),
            }
            if part.entities > 0 {
                let entities = size(store, entity_type, part, estimates).await?;
                let entity_type = entity_type.to_owned();
                self.types.push(TypeEntry { entity_type, entities, defined: false });
            }
            let is_over = scan.elapsed() >= LOOKING || scan.rest(LOOKING).await.is_err();
            if is_done || is_over {
                return Ok(!is_over);
            }
        }
    }
}

/// How many entities a type has, about, of which the first were counted.
async fn size(
    store: &dyn ListStore,
    entity_type: &str,
    first: CountedPart,
    estimates: &Estimates,
) -> Result<u64, ReadError> {
    if first.next.is_none() {
        return Ok(first.entities);
    }
    if let Some(estimate) = of_type(entity_type, &first, estimates) {
        return Ok(estimate);
    }
    let more = store.count(&KeyRange::of_type(entity_type), COUNTED_ROWS).await?;
    Ok(more.entities.max(first.entities))
}
