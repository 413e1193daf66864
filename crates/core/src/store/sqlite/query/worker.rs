//! Reading connectors and dead letters.

use sqlx::Sqlite;

use super::error::unavailable;
use crate::model::{EntityKey, Timestamp};
use crate::query::ReadError;
use crate::store::numbers::to_bigint;
use crate::store::pool::MeasuredPool;
use crate::store::worker::{ConnectorRow, DUE, HELD_ENTITIES, LETTER, LetterRow};
use crate::worker::{Connector, DeadLetter, DeadLetterQuery, MAX_DEAD_LETTERS, Role};

/// As on PostgreSQL.
const CONNECTORS: &str = r"
WITH clock AS (SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER) AS now)
SELECT c.name, c.kind, c.paused, CASE WHEN c.lease_until > clock.now THEN c.worker END AS worker, c.token,
       c.position, c.report,
       CASE WHEN c.position IS NOT NULL THEN
           (SELECT position FROM event_log ORDER BY position DESC LIMIT 1) END AS last,
       CASE WHEN c.position IS NOT NULL THEN
           (SELECT clock.now - CASE WHEN l.kind = 1 THEN coalesce(l.saved_at, l.committed_at)
                                    ELSE l.committed_at END
            FROM event_log AS l
            WHERE l.position > max(c.position, (SELECT floor FROM event_log_epoch WHERE only_row = 1))
            ORDER BY l.position LIMIT 1) END AS age,
       (SELECT count(*) FROM (
           SELECT 1 FROM dead_letters AS d WHERE d.role = c.role AND d.connector = c.name LIMIT $3))
           AS letters
FROM connectors AS c CROSS JOIN clock
WHERE c.role = $1 AND ($2 IS NULL OR c.name = $2)
ORDER BY c.name";

macro_rules! without_messages {
    ($which:literal) => {
        concat!(
            "SELECT id, role, connector, state, place, position, entity_type, entity_id, version,
                    x'' AS message, error, tries, first_at, last_at
             FROM dead_letters WHERE ",
            $which,
            " ORDER BY id DESC LIMIT $2"
        )
    };
}

const LETTERS: &str = without_messages!("id < $1");

const LETTERS_OF: &str = without_messages!("id < $1 AND role = $3 AND connector = $4");

/// All connectors of a role, or one.
pub(in crate::store::sqlite) async fn connectors(
    pool: &MeasuredPool<Sqlite>,
    role: Role,
    name: Option<&str>,
) -> Result<Vec<Connector>, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let rows: Vec<ConnectorRow> = sqlx::query_as(CONNECTORS)
        .bind(role.code())
        .bind(name)
        .bind(to_bigint(MAX_DEAD_LETTERS + 1))
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
    Ok(rows.into_iter().map(|row| row.into_connector(role)).collect())
}

/// Dead letters, newest first, without their messages.
pub(in crate::store::sqlite) async fn dead_letters(
    pool: &MeasuredPool<Sqlite>,
    query: DeadLetterQuery<'_>,
) -> Result<Vec<DeadLetter>, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let before = query.before.map_or(i64::MAX, to_bigint);
    let statement = match query.connector {
        None => sqlx::query_as(LETTERS).bind(before).bind(i64::from(query.rows)),
        Some((role, name)) => sqlx::query_as(LETTERS_OF)
            .bind(before)
            .bind(i64::from(query.rows))
            .bind(role.code())
            .bind(name),
    };
    let rows: Vec<LetterRow<i64>> =
        statement.fetch_all(&mut *connection).await.map_err(unavailable)?;
    Ok(rows.into_iter().map(|row| row.into_letter(Timestamp::from_micros)).collect())
}

/// A dead letter.
pub(in crate::store::sqlite) async fn dead_letter(
    pool: &MeasuredPool<Sqlite>,
    id: u64,
) -> Result<Option<DeadLetter>, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let row: Option<LetterRow<i64>> = sqlx::query_as(LETTER)
        .bind(to_bigint(id))
        .fetch_optional(&mut *connection)
        .await
        .map_err(unavailable)?;
    Ok(row.map(|row| row.into_letter(Timestamp::from_micros)))
}

/// What is to be delivered again.
pub(in crate::store::sqlite) async fn due_dead_letters(
    pool: &MeasuredPool<Sqlite>,
    (role, name): (Role, &str),
    most: u32,
) -> Result<Vec<DeadLetter>, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let rows: Vec<LetterRow<i64>> = sqlx::query_as(DUE)
        .bind(role.code())
        .bind(name)
        .bind(i64::from(most))
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
    Ok(rows.into_iter().map(|row| row.into_letter(Timestamp::from_micros)).collect())
}

/// The entities of a sink's dead letters.
pub(in crate::store::sqlite) async fn held_entities(
    pool: &MeasuredPool<Sqlite>,
    sink: &str,
) -> Result<Vec<EntityKey>, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let rows: Vec<(String, String)> = sqlx::query_as(HELD_ENTITIES)
        .bind(sink)
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
    Ok(rows
        .into_iter()
        .map(|(entity_type, id)| EntityKey::new_unchecked(entity_type, id))
        .collect())
}
