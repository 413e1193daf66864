//! Who holds the lock that a session of ours waits for.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use sqlx::Connection as _;

use crate::connection::{BEGIN, Connection};
use crate::database::Database;
use crate::error::MaintenanceError;

/// How often the blockers are looked up. Less than a lock timeout.
const LOOK_UP_EVERY: Duration = Duration::from_millis(300);

/// Those that wait in the same queue block a session too; only those that hold the lock are named.
const BLOCKERS: &str = r#"
SELECT string_agg(
    CASE
        WHEN pid = 0 THEN 'a prepared transaction'
        ELSE format('pid %s, application "%s", client %s, %s since %s', pid, application_name,
            coalesce(host(client_addr), 'local'), coalesce(state, 'in an unknown state'),
            coalesce(to_char(coalesce(xact_start, state_change) AT TIME ZONE 'UTC',
                             'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'an unknown time'))
    END, '; ')
FROM unnest(pg_blocking_pids($1)) AS blocking (pid) LEFT JOIN pg_stat_activity USING (pid)
WHERE wait_event_type IS DISTINCT FROM 'Lock'"#;

/// Does `work` in PostgreSQL's session `pid`. Where it fails for a lock, the error names the sessions
/// that hold it. They are looked up over a second connection while `work` waits: afterwards the server
/// no longer knows who was in the way.
pub(crate) async fn naming_blockers<T>(
    database: &Database,
    pid: i32,
    work: impl Future<Output = Result<T, MaintenanceError>>,
) -> Result<T, MaintenanceError> {
    let mut blockers = None;
    let result = tokio::select! {
        result = work => result,
        never = watch(database, pid, &mut blockers) => match never {},
    };
    match (result, blockers) {
        (Err(MaintenanceError::Locked(_)), Some(blockers)) => {
            Err(MaintenanceError::Locked(blockers))
        }
        (result, _) => result,
    }
}

/// Keeps `blockers` at those that were seen last. Where they can't be looked up, the error only lacks
/// their names.
async fn watch(database: &Database, pid: i32, blockers: &mut Option<String>) -> Infallible {
    loop {
        tokio::time::sleep(LOOK_UP_EVERY).await;
        let Err(_unreachable) = look_up(database, pid, blockers).await;
    }
}

/// Returns only where the database can't be asked.
async fn look_up(
    database: &Database,
    pid: i32,
    blockers: &mut Option<String>,
) -> Result<Infallible, MaintenanceError> {
    let Connection::Postgres(mut connection) = database.connect_for_transaction().await? else {
        return std::future::pending().await;
    };
    loop {
        let mut transaction = connection.begin_with(BEGIN).await?;
        let found = sqlx::query_scalar(BLOCKERS).bind(pid).persistent(false);
        let found: Option<String> = found.fetch_one(&mut *transaction).await?;
        transaction.commit().await?;
        if found.is_some() {
            *blockers = found;
        }
        tokio::time::sleep(LOOK_UP_EVERY).await;
    }
}
