//! The types that have entities or a definition.

use std::collections::BTreeMap;
use std::time::Duration;

use super::count::{COUNTED_ROWS, FIRST_ROWS, of_type};
use crate::model::EntityKey;
use crate::query::key_range::KeyRange;
use crate::query::list_port::{CountedPart, Estimates, ListStore};
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
            let range = KeyRange::of_type(name).after(key);
            let defined = read.definitions.type_definition(name).await?.is_some();
            let of = Type { name, defined, range };
            if !self.look(read, of, &estimates, scan).await? {
                return Ok(());
            }
        }
        self.next = self.next.take().or(after);
        loop {
            let after = self.next.as_ref().map_or("", EntityKey::entity_type).to_owned();
            // one more shows whether others follow
            let left = u32::try_from(self.size - self.types.len()).unwrap_or(u32::MAX);
            let part = read.names(&after, left.saturating_add(1).min(TYPES)).await?;
            for (name, defined) in &part.names {
                if self.types.len() == self.size {
                    return Ok(());
                }
                let of = Type { name, defined: *defined, range: KeyRange::of_type(name) };
                if !self.look(read, of, &estimates, scan).await? {
                    return Ok(());
                }
            }
            if part.is_last {
                self.next = None;
                return Ok(());
            }
        }
    }

    /// Looks for entities of a type in a range, and adds the type if it has any or is defined; `false` where
    /// the time is over.
    async fn look(
        &mut self,
        read: Read<'_>,
        Type { name, defined, mut range }: Type<'_>,
        estimates: &Estimates,
        scan: &mut Scan<'_>,
    ) -> Result<bool, ReadError> {
        let mut rows = FIRST_ROWS;
        loop {
            let part = read.store.count(&range, rows).await?;
            let is_done = part.entities > 0 || part.next.is_none();
            match part.next.clone().filter(|_| !is_done) {
                Some(last) => {
                    range = range.after(&last);
                    rows = COUNTED_ROWS;
                    self.next = Some(last);
                }
                None => self.next = Some(EntityKey::new_unchecked(name, "")),
            }
            if is_done && (part.entities > 0 || defined) {
                let entities = size(read.store, name, part, estimates).await?;
                self.types.push(TypeEntry { entity_type: name.to_owned(), entities, defined });
            }
            let is_over = scan.rest(LOOKING).await.is_err();
            if is_done || is_over {
                return Ok(!is_over);
            }
        }
    }
}

/// What types are read from.
#[derive(Clone, Copy)]
pub(super) struct Read<'s> {
    pub(super) store: &'s dyn ListStore,
    pub(super) definitions: &'s dyn TypeStore,
}

/// The names of types, and whether they are defined.
struct Names {
    names: BTreeMap<String, bool>,
    /// Whether no others follow.
    is_last: bool,
}

/// A type that is looked at.
struct Type<'n> {
    name: &'n str,
    defined: bool,
    /// The keys to look at.
    range: KeyRange,
}

impl Read<'_> {
    /// The first names behind one.
    async fn names(self, after: &str, most: u32) -> Result<Names, ReadError> {
        let used = self.store.types(after, most).await?;
        let defined = self.definitions.type_definitions(after, most).await?;
        let defined: Vec<String> = defined.into_iter().map(|stored| stored.entity_type).collect();
        // behind the last one of a list that was cut nothing is known of it
        let end = |names: &[String]| {
            if names.len() < most as usize { None } else { names.last().cloned() }
        };
        let end = [end(&used), end(&defined)].into_iter().flatten().min();
        let mut names: BTreeMap<String, bool> =
            used.into_iter().map(|name| (name, false)).collect();
        names.extend(defined.into_iter().map(|name| (name, true)));
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
