//! The types that have entities or a definition.

use std::collections::BTreeMap;
use std::time::Duration;

use super::count::{COUNTED_ROWS, FIRST_ROWS, of_type};
use crate::model::EntityKey;
use crate::query::key_range::KeyRange;
use crate::query::list_port::{CountedPart, CountedType, Estimates, ListStore};
use crate::query::list_request::TypeEntry;
use crate::query::port::ReadError;
use crate::query::scans::Scan;
use crate::types::TypeStore;

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
        read: Read<'_>,
        after: Option<EntityKey>,
        scan: &mut Scan<'_>,
    ) -> Result<(), ReadError> {
        let estimates = read.store.estimates().await?;
        if let Some(key) = after.as_ref().filter(|key| !key.entity_id().is_empty()) {
            let name = key.entity_type();
            let defined = read.definitions.type_definition(name).await?.is_some();
            let of = Type { name, defined };
            if !self.look_behind(read, of, key.clone(), &estimates, scan).await? {
                return Ok(());
            }
        }
        self.next = self.next.take().or(after);
        loop {
            let after = self.next.as_ref().map_or("", EntityKey::entity_type).to_owned();
            // one more shows whether others follow
            let left = u32::try_from(self.size - self.types.len()).unwrap_or(u32::MAX);
            let part = read.names(&after, left.saturating_add(1).min(TYPES)).await?;
            for (name, Named { defined, first }) in part.names {
                if self.types.len() == self.size {
                    return Ok(());
                }
                let of = Type { name: &name, defined };
                let goes_on = match first.next.clone().filter(|_| first.entities == 0) {
                    Some(last) => self.look_behind(read, of, last, &estimates, scan).await?,
                    None => {
                        self.add(read, of, first, &estimates).await?;
                        has_time(scan).await
                    }
                };
                if !goes_on {
                    return Ok(());
                }
            }
            if part.is_last {
                self.next = None;
                return Ok(());
            }
        }
    }

    /// Looks for entities of a type behind a key, since all up to there are deleted, and adds the type if it
    /// has any or is defined; `false` where the time is over.
    async fn look_behind(
        &mut self,
        read: Read<'_>,
        of: Type<'_>,
        mut last: EntityKey,
        estimates: &Estimates,
        scan: &mut Scan<'_>,
    ) -> Result<bool, ReadError> {
        loop {
            let range = KeyRange::of_type(of.name).after(&last);
            let part = read.store.count(&range, COUNTED_ROWS).await?;
            match part.next.clone().filter(|_| part.entities == 0) {
                Some(next) => last = next,
                None => {
                    self.add(read, of, part, estimates).await?;
                    return Ok(has_time(scan).await);
                }
            }
            self.next = Some(last.clone());
            if !has_time(scan).await {
                return Ok(false);
            }
        }
    }

    /// Adds a type of which the first entities were counted, if it has any or is defined.
    async fn add(
        &mut self,
        read: Read<'_>,
        Type { name, defined }: Type<'_>,
        first: CountedPart,
        estimates: &Estimates,
    ) -> Result<(), ReadError> {
        if first.entities > 0 || defined {
            let entities = size(read.store, name, first, estimates).await?;
            self.types.push(TypeEntry { entity_type: name.to_owned(), entities, defined });
        }
        self.next = Some(EntityKey::new_unchecked(name, ""));
        Ok(())
    }
}

/// Whether a page may look on; rests where it has to.
async fn has_time(scan: &mut Scan<'_>) -> bool {
    scan.rest(LOOKING).await.is_ok()
}

/// What types are read from.
#[derive(Clone, Copy)]
pub(super) struct Read<'s> {
    pub(super) store: &'s dyn ListStore,
    pub(super) definitions: &'s dyn TypeStore,
}

/// Types by their names.
struct Names {
    names: BTreeMap<String, Named>,
    /// Whether no others follow.
    is_last: bool,
}

/// What was read of a type at first.
#[derive(Default)]
struct Named {
    defined: bool,
    first: CountedPart,
}

/// A type that is looked at.
#[derive(Clone, Copy)]
struct Type<'n> {
    name: &'n str,
    defined: bool,
}

impl Read<'_> {
    /// The first types behind one.
    async fn names(self, after: &str, most: u32) -> Result<Names, ReadError> {
        let used = self.store.types(after, most, FIRST_ROWS).await?;
        let defined = self.definitions.type_definitions(after, most).await?;
        // behind the last one of a list that was cut nothing is known of it
        let is_cut = |names: usize| names >= most as usize;
        let last_used = used.last().filter(|_| is_cut(used.len())).map(|last| last.name.clone());
        let last_defined = defined.last().filter(|_| is_cut(defined.len()));
        let last_defined = last_defined.map(|last| last.entity_type.clone());
        let end = [last_used, last_defined].into_iter().flatten().min();
        let mut names = BTreeMap::<String, Named>::new();
        for CountedType { name, first } in used {
            names.insert(name, Named { defined: false, first });
        }
        for stored in defined {
            names.entry(stored.entity_type).or_default().defined = true;
        }
        names.retain(|name, _| end.as_ref().is_none_or(|end| name <= end));
        Ok(Names { names, is_last: end.is_none() })
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
