//! The rows of the indexes and of the search that definitions of types declare. Maintenance writes entities beside the services,
//! so it keeps them up too: in the transaction that has written the entities, after that. Who builds an index
//! waits for such a transaction if it began before the index was declared.

use std::collections::HashMap;

use producer_core::EntityKey;
use producer_core::types::index_key::EntityFacts;
use producer_core::types::{IndexRow, PartKind, TypeIndexes, TypeSearch};
use serde::Serialize;

use super::entities::Stored;
use super::search::Searches;
use super::transaction::Access;
use crate::connection::Connection;
use crate::error::MaintenanceError;

type PartRow = (i32, String, i16, String);

impl Connection {
    /// Writes the rows of entities that this transaction has written.
    pub(crate) async fn write_index_rows(
        &mut self,
        keys: &[&EntityKey],
    ) -> Result<(), MaintenanceError> {
        let (indexes, searches) = self.parts_of_types(keys).await?;
        for key in keys {
            let indexes = indexes.get(key.entity_type());
            if indexes.is_none() && !searches.contains_key(key.entity_type()) {
                continue;
            }
            if let Some(stored) = self.entity(key, Access::Write).await? {
                if let Some(indexes) = indexes {
                    self.upsert_index_rows(key, indexes.rows(stored.facts())).await?;
                }
                self.write_search_row(&searches, key, &stored).await?;
            }
        }
        Ok(())
    }

    async fn parts_of_types(
        &mut self,
        keys: &[&EntityKey],
    ) -> Result<(HashMap<String, TypeIndexes>, Searches), MaintenanceError> {
        let mut types: Vec<&str> = keys.iter().map(|key| key.entity_type()).collect();
        types.sort_unstable();
        types.dedup();
        let parts: Vec<PartRow> = match self {
            Self::Postgres(c) => {
                let query = sqlx::query_as(
                    "SELECT part_id, entity_type, kind, spec FROM type_parts
                     WHERE entity_type = ANY($1) AND state <> 2",
                );
                query.bind(types).fetch_all(c).await?
            }
            Self::Sqlite(c) => {
                let query = sqlx::query_as(
                    "SELECT part_id, entity_type, kind, spec FROM type_parts
                     WHERE entity_type IN (SELECT value FROM json_each(?)) AND state <> 2",
                );
                query.bind(json(&types)?).fetch_all(c).await?
            }
        };
        let mut indexes: HashMap<String, Vec<_>> = HashMap::new();
        let mut searches = Searches::new();
        for (id, entity_type, kind, spec) in parts {
            let kind = PartKind::from_columns(kind, &spec).map_err(MaintenanceError::Statement)?;
            match kind {
                PartKind::Index(index) => {
                    indexes.entry(entity_type).or_default().push((id, index));
                }
                PartKind::Search(search) => {
                    searches.insert(entity_type, TypeSearch::new(id, &search));
                }
            }
        }
        let indexes = indexes.into_iter().map(|(name, indexes)| (name, TypeIndexes::new(indexes)));
        Ok((indexes.collect(), searches))
    }

    async fn upsert_index_rows(
        &mut self,
        key: &EntityKey,
        rows: Vec<IndexRow>,
    ) -> Result<(), MaintenanceError> {
        const QUERY: &str =
            "INSERT INTO entity_index (index_id, entity_id, key) VALUES ($1, $2, $3)
             ON CONFLICT (index_id, entity_id) DO UPDATE SET key = excluded.key";
        for IndexRow { index_id, key: value } in rows {
            let id = key.entity_id();
            match self {
                Self::Postgres(c) => {
                    sqlx::query(QUERY).bind(index_id).bind(id).bind(value).execute(c).await?;
                }
                Self::Sqlite(c) => {
                    sqlx::query(QUERY).bind(index_id).bind(id).bind(value).execute(c).await?;
                }
            }
        }
        Ok(())
    }

    /// Deletes the rows of entities that this transaction has deleted.
    pub(crate) async fn delete_index_rows(
        &mut self,
        keys: &[&EntityKey],
    ) -> Result<(), MaintenanceError> {
        let pairs: Vec<_> = keys.iter().map(|key| (key.entity_type(), key.entity_id())).collect();
        match self {
            Self::Postgres(c) => {
                let (types, ids): (Vec<&str>, Vec<&str>) = pairs.into_iter().unzip();
                let query = sqlx::query(
                    "DELETE FROM entity_index i
                     USING unnest($1::text[], $2::text[]) AS k (entity_type, entity_id), type_parts p
                     WHERE p.entity_type = k.entity_type
                         AND i.index_id = p.part_id AND i.entity_id = k.entity_id",
                );
                query.bind(&types).bind(&ids).execute(c).await.map(|_| ())?;
                self.delete_search_rows(&types, &ids).await?;
            }
            Self::Sqlite(c) => {
                let query = sqlx::query(
                    "DELETE FROM entity_index WHERE rowid IN (
                         SELECT i.rowid
                         FROM json_each(?) AS k
                         CROSS JOIN type_parts AS p ON p.entity_type = k.value->>0
                         CROSS JOIN entity_index AS i
                             ON i.index_id = p.part_id AND i.entity_id = k.value->>1)",
                );
                query.bind(json(&pairs)?).execute(c).await.map(|_| ())?;
            }
        }
        Ok(())
    }
}

impl Stored {
    /// What its indexes depend on; `None` where it is deleted.
    fn facts(&self) -> Option<EntityFacts<'_>> {
        let Self { created_at, updated_at, data, .. } = self;
        let facts = EntityFacts { created: *created_at, updated: *updated_at, data };
        (!self.deleted).then_some(facts)
    }
}

fn json(rows: &impl Serialize) -> Result<String, MaintenanceError> {
    serde_json::to_string(rows).map_err(|error| MaintenanceError::Statement(error.to_string()))
}
