//! Who else uses the database.

use std::time::Duration;

use producer_core::store::SERVICE_PING;
use sqlx::{Connection as _, Executor};
use tokio::time::{Instant, sleep};

use crate::connection::{BEGIN, Connection};
use crate::database::Database;
use crate::error::MaintenanceError;

/// Sessions of this database by application and client. A pooler keeps sessions of clients that have
/// left, and lends one session to many: of those that come from its address (`$1`), only the ones count
/// that were used since our transaction began. One that ran no statement yet was opened in advance.
const OTHERS: &str = r#"
SELECT format('application "%s", client %s (%s)', coalesce(nullif(application_name, ''), 'unnamed'),
    coalesce(host(client_addr), 'local'),
    CASE count(*) WHEN 1 THEN 'one session' ELSE count(*) || ' sessions' END)
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND usesysid IS NOT NULL
    AND coalesce(backend_type, 'client backend') = 'client backend'
    AND NOT ($1 AND client_addr IS NOT DISTINCT FROM inet_client_addr()
        AND state = 'idle' AND (state_change < now() OR query = ''))
GROUP BY application_name, client_addr ORDER BY 1"#;

/// Within a transaction the server shows the sessions as they were when it was first asked.
const LOOK_ANEW: &str = "SELECT pg_stat_clear_snapshot()";

/// How long a session that has just been closed may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(1);

/// How long a pooler's sessions are watched: each service uses one in that time.
const USED_WITHIN: Duration = SERVICE_PING.saturating_add(Duration::from_secs(1));

const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Other sessions that use the database, a line for each client. SQLite doesn't know its clients: one
/// line where there are any.
///
/// # Errors
/// The database can't be reached.
pub(crate) async fn others(database: &Database) -> Result<Vec<String>, MaintenanceError> {
    match database {
        Database::Postgres { .. } => {
            let mut connection = database.connect_for_transaction().await?;
            connection.run(BEGIN).await?;
            let found = match database.is_pooled() {
                true => connection.used_through_pooler().await?,
                false => connection.still_open().await?,
            };
            connection.commit().await?;
            connection.close().await?;
            Ok(found)
        }
        Database::Sqlite(_) => match database.connect_alone().await {
            Ok(Connection::Sqlite(connection)) => {
                connection.close().await?;
                Ok(Vec::new())
            }
            Ok(Connection::Postgres(_)) => Ok(Vec::new()),
            Err(MaintenanceError::Locked(_)) => {
                Ok(vec!["another process has the file open".into()])
            }
            Err(error) => Err(error),
        },
    }
}

impl Connection {
    /// Sessions that stay open.
    async fn still_open(&mut self) -> Result<Vec<String>, MaintenanceError> {
        let deadline = Instant::now() + GONE_WITHIN;
        loop {
            let found = self.other_sessions(false).await?;
            if found.is_empty() || Instant::now() >= deadline {
                return Ok(found);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Sessions that are used while ours waits in its transaction.
    async fn used_through_pooler(&mut self) -> Result<Vec<String>, MaintenanceError> {
        let deadline = Instant::now() + USED_WITHIN;
        loop {
            let found = self.other_sessions(true).await?;
            if !found.is_empty() || Instant::now() >= deadline {
                return Ok(found);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn other_sessions(&mut self, pooled: bool) -> Result<Vec<String>, MaintenanceError> {
        let Self::Postgres(connection) = self else { return Ok(Vec::new()) };
        connection.execute(LOOK_ANEW).await?;
        let found = sqlx::query_scalar(OTHERS).bind(pooled).persistent(false);
        Ok(found.fetch_all(connection).await?)
    }
}
