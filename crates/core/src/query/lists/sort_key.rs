//! What entities are sorted by in memory.

use crate::model::Entity;
use crate::query::list_order::{ListOrder, OrderBy};
use crate::types::index_key::{EntityFacts, KeyMaker};
use crate::types::{IndexDefinition, IndexPath};

/// What entities are sorted by: bytes that are ordered as the values are.
#[derive(Debug)]
pub(super) enum SortKey {
    Id,
    Version,
    Index(KeyMaker),
}

impl SortKey {
    pub(super) fn new(order: &ListOrder) -> Self {
        let path = match &order.by {
            OrderBy::Id => return Self::Id,
            OrderBy::Version => return Self::Version,
            OrderBy::CreatedAt => IndexPath::CreatedAt,
            OrderBy::UpdatedAt => IndexPath::UpdatedAt,
            OrderBy::Data(path) => IndexPath::Data(path.clone()),
        };
        Self::Index(KeyMaker::new([&IndexDefinition { paths: vec![path] }]))
    }

    /// `None` of an entity that has no such value.
    pub(super) fn of(&self, entity: &Entity) -> Option<Vec<u8>> {
        match self {
            // ties are ordered by ids
            Self::Id => Some(Vec::new()),
            Self::Version => Some(entity.version.to_be_bytes().into()),
            Self::Index(maker) => {
                let Entity { created_at, updated_at, ref data, .. } = *entity;
                let facts = EntityFacts { created: created_at, updated: updated_at, data };
                maker.keys(facts).pop().flatten()
            }
        }
    }
}
