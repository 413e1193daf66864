//! The rows of the indexes and of the search that definitions of types declare. Maintenance writes entities
//! beside the services, so it keeps them up too: in the transaction that has written the entities, after
//! that. Who builds a part waits for such a transaction if it began before the part was declared.

use producer_core::EntityKey;
use producer_core::types::IndexRow;
use producer_core::types::index_key::EntityFacts;

use super::entities::Stored;
use super::json::json;
use super::transaction::Access;
use crate::connection::Connection;
use crate::error::MaintenanceError;

impl Connection {
    /// Writes the rows of entities that this transaction has written.
    pub(crate) async fn write_index_rows(
        &mut self,
        keys: &[&EntityKey],
    ) -> Result<(), MaintenanceError> {
        let mut types: Vec<&str> = keys.iter().map(|key| key.entity_type()).collect();
        types.sort_unstable();
        types.dedup();
        let types = self.parts_of_types(&types).await?;
        for key in keys {
            let Some(parts) = types.get(key.entity_type()) else { continue };
            if let Some(stored) = self.entity(key, Access::Write).await? {
                if let Some(indexes) = &parts.indexes {
                    self.upsert_index_rows(key, indexes.rows(stored.facts())).await?;
                }
                if let Some(search) = &parts.search {
                    self.write_search_row(key, search.row(stored.document())).await?;
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn upsert_index_rows(
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
    pub(crate) fn facts(&self) -> Option<EntityFacts<'_>> {
        let Self { created_at, updated_at, data, .. } = self;
        let facts = EntityFacts { created: *created_at, updated: *updated_at, data };
        (!self.deleted).then_some(facts)
    }

    /// What its search depends on; `None` where it is deleted.
    pub(crate) fn document(&self) -> Option<&str> {
        (!self.deleted).then_some(&self.data)
    }
}
