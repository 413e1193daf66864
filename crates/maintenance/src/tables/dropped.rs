//! Rows of parts that are gone. Whoever drops a part deletes its rows first, so there should be none.

use super::transaction::Access;
use crate::connection::Connection;
use crate::error::MaintenanceError;

/// So many rows are deleted at a time.
const STEP_ROWS: i64 = 1000;

/// A table of rows of parts.
pub(crate) struct PartTable {
    next: &'static str,
    count: &'static str,
    /// The tables behind it on SQLite first, which have the words.
    delete: [&'static [&'static str]; 2],
}

const DELETE_INDEX: &str = "DELETE FROM entity_index WHERE index_id = $1 AND entity_id IN (
    SELECT entity_id FROM entity_index WHERE index_id = $1 ORDER BY entity_id LIMIT $2)";

const DELETE_SEARCH: &str = "DELETE FROM entity_search WHERE part_id = $1 AND entity_id IN (
    SELECT entity_id FROM entity_search WHERE part_id = $1 ORDER BY entity_id LIMIT $2)";

/// The table of indexes, and that of search.
pub(crate) const PART_TABLES: [PartTable; 2] = [
    PartTable {
        next: "SELECT min(index_id) FROM entity_index WHERE index_id > $1",
        count: "SELECT count(*) FROM entity_index WHERE index_id = $1
                    AND NOT EXISTS (SELECT 1 FROM type_parts WHERE part_id = $1 AND kind = 0)",
        delete: [&[DELETE_INDEX], &[DELETE_INDEX]],
    },
    PartTable {
        next: "SELECT min(part_id) FROM entity_search WHERE part_id > $1",
        count: "SELECT count(*) FROM entity_search WHERE part_id = $1
                    AND NOT EXISTS (SELECT 1 FROM type_parts WHERE part_id = $1 AND kind = 1)",
        delete: [
            &[DELETE_SEARCH],
            &[
                "DELETE FROM entity_search_simple WHERE rowid IN (
                     SELECT id FROM entity_search WHERE part_id = $1 ORDER BY entity_id LIMIT $2)",
                "DELETE FROM entity_search_english WHERE rowid IN (
                     SELECT id FROM entity_search WHERE part_id = $1 ORDER BY entity_id LIMIT $2)",
                DELETE_SEARCH,
            ],
        ],
    },
];

impl Connection {
    /// The parts that are gone and have rows in a table, with the numbers of these.
    pub(crate) async fn dropped_parts(
        &mut self,
        table: &PartTable,
    ) -> Result<Vec<(i32, i64)>, MaintenanceError> {
        let (mut dropped, mut after) = (Vec::new(), i32::MIN);
        while let Some(part_id) = self.part_number::<Option<i32>>(table.next, after).await? {
            // in one statement: a part may be dropped in this moment
            let rows: i64 = self.part_number(table.count, part_id).await?;
            if rows > 0 {
                dropped.push((part_id, rows));
            }
            after = part_id;
        }
        Ok(dropped)
    }

    async fn part_number<T>(
        &mut self,
        query: &'static str,
        part_id: i32,
    ) -> Result<T, MaintenanceError>
    where
        T: Send
            + Unpin
            + for<'r> sqlx::Decode<'r, sqlx::Postgres>
            + sqlx::Type<sqlx::Postgres>
            + for<'r> sqlx::Decode<'r, sqlx::Sqlite>
            + sqlx::Type<sqlx::Sqlite>,
    {
        Ok(match self {
            Self::Postgres(c) => sqlx::query_scalar(query).bind(part_id).fetch_one(c).await?,
            Self::Sqlite(c) => sqlx::query_scalar(query).bind(part_id).fetch_one(c).await?,
        })
    }

    /// Deletes the rows of a part that is gone, in short transactions. No id of a part is used again.
    pub(crate) async fn delete_dropped_part(
        &mut self,
        table: &PartTable,
        part_id: i32,
    ) -> Result<(), MaintenanceError> {
        let [of_postgres, of_sqlite] = table.delete;
        loop {
            let mut deleted = 0;
            self.begin(Access::Write).await?;
            match self {
                Self::Postgres(c) => {
                    for statement in of_postgres {
                        let delete = sqlx::query(*statement).bind(part_id).bind(STEP_ROWS);
                        deleted = delete.execute(&mut *c).await?.rows_affected();
                    }
                }
                Self::Sqlite(c) => {
                    for statement in of_sqlite {
                        let delete = sqlx::query(*statement).bind(part_id).bind(STEP_ROWS);
                        deleted = delete.execute(&mut *c).await?.rows_affected();
                    }
                }
            }
            self.commit().await?;
            if deleted == 0 {
                return Ok(());
            }
        }
    }
}
