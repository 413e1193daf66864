//! Which entities a sink is to have, by the database.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use producer_core::EntityKey;
use producer_core::feed::{Types, includes};
use producer_core::filter::Filter;
use producer_core::model::Entity;
use producer_core::query::{ListStore, ReadError};

use crate::sink::Present;

/// Bytes of documents that one statement reads, but for the first of them, which may be larger.
const BYTES: usize = 1 << 20;

/// The entities that a sink is to have.
#[derive(Clone)]
pub(super) struct Entities {
    pub(super) store: Arc<dyn ListStore>,
    pub(super) types: Types,
    pub(super) filter: Option<Filter>,
}

impl Entities {
    /// The states of those of these entities that exist, also where the sink is not to have them.
    pub(super) async fn states(
        &self,
        keys: impl Iterator<Item = &EntityKey>,
    ) -> Result<HashMap<EntityKey, Arc<Entity>>, ReadError> {
        let mut different: Vec<&EntityKey> = keys.collect();
        different.sort_unstable();
        different.dedup();
        let (mut found, mut rest) = (HashMap::new(), different.as_slice());
        while !rest.is_empty() {
            let states = self.store.states(rest, BYTES).await?;
            // at least one is returned; an adapter that returns none must not keep us here
            rest = rest.get(states.len().max(1)..).unwrap_or_default();
            let states = states.into_iter().flatten();
            found.extend(states.map(|entity| (entity.key.clone(), Arc::new(entity))));
        }
        Ok(found)
    }

    /// Whether the sink is to have an entity as it is.
    pub(super) fn include(&self, entity: &Entity) -> bool {
        includes(&self.types, self.filter.as_ref(), entity)
    }
}

impl Present for Entities {
    fn versions<'a>(
        &'a self,
        keys: &'a [EntityKey],
    ) -> BoxFuture<'a, Result<Vec<Option<u64>>, ReadError>> {
        Box::pin(async move {
            let states = self.states(keys.iter()).await?;
            let version = |key| {
                let state: &Arc<Entity> = states.get(key)?;
                self.include(state).then_some(state.version)
            };
            Ok(keys.iter().map(version).collect())
        })
    }
}
