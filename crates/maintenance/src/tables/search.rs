//! The words that are searched: kept up by maintenance as the rows of indexes are.

use producer_core::EntityKey;
use producer_core::store::{postgres, sqlite};
use producer_core::types::SearchRow;

use crate::connection::Connection;
use crate::error::MaintenanceError;

impl Connection {
    /// Writes the words of an entity that this transaction has written or locked.
    pub(crate) async fn write_search_row(
        &mut self,
        key: &EntityKey,
        row: SearchRow,
    ) -> Result<(), MaintenanceError> {
        let rows: Vec<(&str, SearchRow)> = vec![(key.entity_id(), row)];
        match self {
            Self::Postgres(c) => postgres::write_search_rows(c, rows).await?,
            Self::Sqlite(c) => sqlite::write_search_rows(c, rows).await?,
        }
        Ok(())
    }

    /// Deletes the words of entities that this transaction has deleted, given as arrays of types and ids. They
    /// have no words any more since they were deleted as entities, so only rows without words are left, and
    /// on PostgreSQL alone.
    pub(super) async fn delete_search_rows(
        &mut self,
        types: &[&str],
        ids: &[&str],
    ) -> Result<(), MaintenanceError> {
        if let Self::Postgres(c) = self {
            let query = sqlx::query(
                "DELETE FROM entity_search s
                 USING unnest($1::text[], $2::text[]) AS k (entity_type, entity_id), type_parts p
                 WHERE p.entity_type = k.entity_type
                     AND s.part_id = p.part_id AND s.entity_id = k.entity_id",
            );
            query.bind(types).bind(ids).execute(c).await?;
        }
        Ok(())
    }
}
