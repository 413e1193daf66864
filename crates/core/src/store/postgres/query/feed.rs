//! Reading the log in the order of positions.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::feed::{ChangesQuery, LogBounds, LogHead, LogPage, OpenWriter};
use crate::model::Timestamp;
use crate::store::changes::{BOUNDS, BoundsRow, LAST_MARK, MARK_BEFORE, into_page};
use crate::store::numbers::{from_bigint, to_bigint};
use crate::store::postgres::generation::Generations;
use crate::store::postgres::read_pool::ReadPool;
use crate::store::postgres::time::{from_pg, to_pg};

/// An expression that differs between the server's sessions.
macro_rules! session {
    () => {
        "format('%s %s', pg_backend_pid(), (
             SELECT backend_start FROM pg_stat_get_activity(pg_backend_pid())))"
    };
}

/// A standby shows no locks of writers.
const DRAWN: &str = concat!(
    "SELECT epoch, CASE WHEN is_called THEN last_value ELSE last_value - 1 END, pg_is_in_recovery(), ",
    session!(),
    " FROM event_log_position, event_log_epoch",
);

const SESSION: &str = concat!("SELECT ", session!());

/// Who writes to a table: such a transaction has this lock until it ends, also a prepared one.
macro_rules! writers_of {
    ($table:literal) => {
        concat!(
            "SELECT virtualtransaction, pid FROM pg_locks
             WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted
                 AND relation = '",
            $table,
            "'::regclass
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
    };
}
pub(super) use writers_of;

const WRITERS: &str = writers_of!("event_log");

/// Of the sessions of other roles the server shows only some columns. A prepared transaction may have kept
/// the virtual id of its session; its lock on its transaction id says which one it is.
const DESCRIBE: &str = r"
SELECT format('session %s of %s (%s); end it with: SELECT pg_terminate_backend(%s)',
              pid, coalesce(usename, 'unknown'), coalesce(nullif(application_name, ''), 'unnamed'), pid)
FROM pg_stat_activity WHERE pid = $2
UNION ALL
SELECT format('prepared transaction %L of %s; end it with: COMMIT PREPARED or ROLLBACK PREPARED',
              gid, owner)
FROM pg_prepared_xacts WHERE $2 IS NULL AND transaction IN (
    SELECT transactionid FROM pg_locks
    WHERE locktype = 'transactionid' AND granted AND virtualtransaction = $1 AND pid IS NULL)
LIMIT 1";

/// One scan. What is passed over is not returned, but for the last row that was looked at, without its
/// patch. The first change comes whatever its size. The rows come in no promised order.
const CHANGES: &str = r"
WITH log AS (
    SELECT *, kind IN (0, 1) AND ($4::text[] IS NULL OR entity_type = ANY($4)) AS wanted
    FROM event_log WHERE position > $1 AND position <= $2
    ORDER BY position LIMIT $3
), sized AS (
    SELECT *, CASE WHEN wanted THEN octet_length(patch::text) ELSE 0 END AS size,
           row_number() OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) AS number
    FROM log
), page AS (
    SELECT *, sum(size) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) AS bytes FROM sized
)
SELECT epoch, floor, position, kind, event_uuid, ordinal, version, operation, created, entity_type,
       entity_id, event_name, event_type, event_source, event_actor, created_at, committed_at,
       CASE WHEN wanted THEN patch::text ELSE '' END AS patch
FROM event_log_epoch
LEFT JOIN page ON (bytes <= $5 OR bytes = size) AND (wanted OR number = $3)";

/// Where the log ends. `None` of a standby.
pub(in crate::store::postgres) async fn head(
    read_pool: &ReadPool,
    generations: &Generations,
) -> Result<Option<LogHead>, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let head =
        head_on(&mut connection.connection, read_pool.caches_statements(), generations).await?;
    connection.release().await?;
    Ok(head)
}

/// The last position that was drawn, then who may still commit one. Two statements, in this order. `None` of
/// a standby.
pub(in crate::store::postgres) async fn head_on(
    connection: &mut PgConnection,
    caches_statements: bool,
    generations: &Generations,
) -> Result<Option<LogHead>, sqlx::Error> {
    let drawn = sqlx::query_as(DRAWN).persistent(caches_statements);
    let (epoch, drawn, is_standby, session): (Uuid, i64, bool, String) =
        drawn.fetch_one(&mut *connection).await?;
    let writers = sqlx::query_as(WRITERS).persistent(caches_statements);
    let writers: Vec<(String, Option<i32>)> = writers.fetch_all(connection).await?;
    let writer = |(transaction, pid)| OpenWriter { transaction, pid };
    let writers = writers.into_iter().map(writer).collect();
    let generation = generations.note(session);
    Ok((!is_standby).then(|| LogHead { epoch, drawn: from_bigint(drawn), writers, generation }))
}

/// The generation after a statement of now.
pub(in crate::store::postgres) async fn generation(
    read_pool: &ReadPool,
    generations: &Generations,
) -> Result<u64, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let session: String = sqlx::query_scalar(SESSION)
        .persistent(read_pool.caches_statements())
        .fetch_one(&mut *connection.connection)
        .await?;
    connection.release().await?;
    Ok(generations.note(session))
}

/// Who a writer is.
pub(in crate::store::postgres) async fn describe(
    read_pool: &ReadPool,
    writer: &OpenWriter,
) -> Result<String, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let described: Option<String> = sqlx::query_scalar(DESCRIBE)
        .bind(&writer.transaction)
        .bind(writer.pid)
        .persistent(read_pool.caches_statements())
        .fetch_optional(&mut *connection.connection)
        .await?;
    connection.release().await?;
    Ok(described.unwrap_or_else(|| format!("transaction {}", writer.transaction)))
}

/// What the log has.
pub(in crate::store::postgres) async fn bounds(
    read_pool: &ReadPool,
    up_to: u64,
) -> Result<LogBounds, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let bounds: BoundsRow = sqlx::query_as(BOUNDS)
        .bind(to_bigint(up_to))
        .persistent(read_pool.caches_statements())
        .fetch_one(&mut *connection.connection)
        .await?;
    connection.release().await?;
    Ok(bounds.into())
}

/// The last mark before a time, or of all.
pub(in crate::store::postgres) async fn position_before(
    read_pool: &ReadPool,
    time: Option<Timestamp>,
) -> Result<Option<u64>, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let query = match time {
        Some(time) => sqlx::query_scalar(MARK_BEFORE).bind(to_pg(time)),
        None => sqlx::query_scalar(LAST_MARK),
    };
    let position: Option<i64> = query
        .persistent(read_pool.caches_statements())
        .fetch_optional(&mut *connection.connection)
        .await?;
    connection.release().await?;
    Ok(position.map(from_bigint))
}

/// A part of the log.
pub(in crate::store::postgres) async fn changes(
    read_pool: &ReadPool,
    query: ChangesQuery<'_>,
) -> Result<LogPage, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let types = query.types.names();
    let types: Option<Vec<&str>> = types.map(|names| names.iter().map(|name| &**name).collect());
    let rows: Vec<PgRow> = sqlx::query(CHANGES)
        .bind(to_bigint(query.after))
        .bind(to_bigint(query.up_to))
        .bind(i64::from(query.rows))
        .bind(types)
        .bind(to_bigint(query.bytes as u64))
        .persistent(read_pool.caches_statements())
        .fetch_all(&mut *connection.connection)
        .await?;
    connection.release().await?;
    into_page::<_, DateTime<Utc>>(&rows, query, from_pg)
}
