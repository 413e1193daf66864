//! Which words of documents are searched, as the types declare it.

use std::collections::BTreeMap;
use std::sync::Arc;

use producer_core::model::Entity;
use producer_core::query::ReadError;
use producer_core::search::{SearchPart, SearchParts};
use producer_core::types::{SearchRow, TypeSearch};
use tokio::sync::Mutex;

/// The searches by their types.
pub(super) type TypeSearches = BTreeMap<String, DeclaredSearch>;

/// A type's search.
#[derive(Debug)]
pub(super) struct DeclaredSearch {
    /// Another one where anything of it is other.
    pub(super) part_id: i32,
    search: TypeSearch,
}

/// The searches, as they were when the last checkpoint was made: what is written between two checkpoints has
/// the same words.
pub(super) struct Searches {
    parts: Arc<dyn SearchParts>,
    known: Mutex<Option<Arc<TypeSearches>>>,
}

impl Searches {
    pub(super) fn new(parts: Arc<dyn SearchParts>) -> Self {
        Self { parts, known: Mutex::default() }
    }

    /// As they were read last.
    pub(super) async fn current(&self) -> Result<Arc<TypeSearches>, ReadError> {
        let mut known = self.known.lock().await;
        if let Some(known) = &*known {
            return Ok(Arc::clone(known));
        }
        let searches = Arc::new(searches(self.parts.search_parts().await?));
        *known = Some(Arc::clone(&searches));
        Ok(searches)
    }

    /// Reads them, and says whether others were known before.
    pub(super) async fn read(&self) -> Result<(Arc<TypeSearches>, bool), ReadError> {
        let mut known = self.known.lock().await;
        let parts = self.parts.search_parts().await?;
        if let Some(before) = &*known
            && parts.len() == before.len()
            && parts.iter().all(|part| {
                before.get(&part.entity_type).is_some_and(|search| search.part_id == part.id)
            })
        {
            return Ok((Arc::clone(before), false));
        }
        let have_changed = known.is_some();
        let searches = Arc::new(searches(parts));
        *known = Some(Arc::clone(&searches));
        Ok((searches, have_changed))
    }
}

fn searches(parts: Vec<SearchPart>) -> TypeSearches {
    let search = |part: SearchPart| {
        let search = TypeSearch::new(part.id, &part.definition);
        (part.entity_type, DeclaredSearch { part_id: part.id, search })
    };
    parts.into_iter().map(search).collect()
}

/// The words of an entity, where its type declares search.
pub(super) fn words(searches: &TypeSearches, entity: &Entity) -> Option<SearchRow> {
    let declared = searches.get(entity.key.entity_type())?;
    Some(declared.search.row(Some(&entity.data)))
}
