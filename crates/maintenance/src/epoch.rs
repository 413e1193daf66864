//! The identity of a log. A token holds the epoch of the log that it is of: where a log gets another one,
//! readers learn that what they have read may not be what it holds.

use crate::connection::{BEGIN, Connection};
use crate::database::Database;
use crate::error::MaintenanceError;

/// Gives the log a new epoch: tokens from before are gone. Services may run meanwhile: they notice.
///
/// # Errors
/// The database can't be reached, or is not migrated.
pub async fn renew(database: &Database) -> Result<(), MaintenanceError> {
    let mut connection = database.connect_for_transaction().await?;
    let (begin, renew) = match connection {
        Connection::Postgres(_) => (BEGIN, "UPDATE event_log_epoch SET epoch = gen_random_uuid()"),
        Connection::Sqlite(_) => {
            ("BEGIN IMMEDIATE", "UPDATE event_log_epoch SET epoch = randomblob(16)")
        }
    };
    connection.run(begin).await?;
    connection.run(renew).await?;
    connection.commit().await?;
    connection.close().await
}
