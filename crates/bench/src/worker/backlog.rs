//! A log that is filled by SQL with rows as the service writes them, and a place for a reader of PostgreSQL's
//! own log in front of them.

use super::orders::{self, DOCUMENT, ENTITY_TYPE};
use crate::Result;
use crate::postgres::{Database, execute};

/// Rows of a transaction: a few of the batches that the services' writers commit.
const ROWS: u64 = 1000;
/// The publication of the log's table.
pub(super) const PUBLICATION: &str = "event_log_rows";
/// The slot in front of all changes. Nobody reads from it, so that each reader begins at the same place with
/// a copy of it.
const SLOT: &str = "before_all_changes";

/// A database with changes.
#[derive(Debug, Clone)]
pub(super) struct Backlog {
    pub(super) database: Database,
}

impl Backlog {
    /// Makes the slot and the publication: before the changes are written.
    pub(super) async fn make_slot(&self) -> Result<()> {
        let publication = format!("CREATE PUBLICATION {PUBLICATION} FOR TABLE event_log");
        execute(&self.database.url, &publication).await?;
        let slot = format!("SELECT pg_create_logical_replication_slot('{SLOT}', 'pgoutput')");
        execute(&self.database.url, &slot).await
    }

    /// Another slot at the same place.
    pub(super) async fn copy_slot(&self, name: &str) -> Result<()> {
        let copy = format!("SELECT pg_copy_logical_replication_slot('{SLOT}', '{name}')");
        execute(&self.database.url, &copy).await
    }

    /// Drops a slot that nobody reads from any more.
    pub(super) async fn drop_slot(&self, name: &str) -> Result<()> {
        execute(&self.database.url, &format!("SELECT pg_drop_replication_slot('{name}')")).await
    }
}

/// Writes the entities as all changes leave them.
pub(super) async fn insert_entities(database: &Database, changes: u64) -> Result<()> {
    let (id, version, size) =
        (orders::id_in_sql("i"), orders::last_version(changes), DOCUMENT.len());
    let last = orders::entities(changes) - 1;
    let entities = format!(
        "INSERT INTO entities
             (entity_type, entity_id, version, size, data, created_at, updated_at)
         SELECT '{ENTITY_TYPE}', {id}, {version}, {size}, '{DOCUMENT}', now(), now()
         FROM generate_series(0::bigint, {last}) AS i"
    );
    execute(&database.url, &entities).await?;
    execute(&database.url, "VACUUM (ANALYZE) entities").await
}

/// Writes the changes: of all entities by turns, in many transactions.
pub(super) async fn insert_changes(database: &Database, changes: u64) -> Result<()> {
    let (entities, transactions) = (orders::entities(changes), changes / ROWS);
    let id = orders::id_in_sql(&format!("i % {entities}"));
    let fill = format!(
        "DO $$ BEGIN
         FOR batch IN 0..{transactions} - 1 LOOP
             INSERT INTO event_log
                 (event_uuid, ordinal, version, created_at, committed_at, created,
                  entity_type, entity_id, event_name, event_type, event_source, patch)
             SELECT gen_random_uuid(), 0, i / {entities} + 1, now(), now(), i < {entities},
                    '{ENTITY_TYPE}', {id}, 'OrderPaid', 'order.paid', 'shop', '{DOCUMENT}'
             FROM generate_series(batch::bigint * {ROWS}, batch::bigint * {ROWS} + {ROWS} - 1) AS i;
             COMMIT;
         END LOOP;
         END $$"
    );
    execute(&database.url, &fill).await?;
    execute(&database.url, "VACUUM (ANALYZE) event_log").await
}
