//! Rows of indexes.

use sqlx::sqlite::SqliteConnection;

use super::insert;
use super::statements::INDEX;
use crate::types::IndexRow;

/// Upserts rows, with their entities' ids.
pub(in crate::store::sqlite) async fn write_index_rows(
    connection: &mut SqliteConnection,
    rows: &[(&str, IndexRow)],
) -> Result<(), sqlx::Error> {
    for rows in rows.chunks(insert::MOST) {
        let insert =
            rows.iter().fold(sqlx::query(INDEX.taking(rows.len())), |insert, (id, row)| {
                insert.bind(row.index_id).bind(*id).bind(row.key.as_deref())
            });
        insert.execute(&mut *connection).await?;
    }
    Ok(())
}
