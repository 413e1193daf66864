//! Reading connectors and dead letters.

use chrono::{DateTime, Utc};

use crate::model::EntityKey;
use crate::store::numbers::to_bigint;
use crate::store::postgres::read_pool::ReadPool;
use crate::store::postgres::time::from_pg;
use crate::store::worker::{ConnectorRow, DUE, HELD_ENTITIES, LETTER, LetterRow};
use crate::worker::{Connector, DeadLetter, DeadLetterQuery, MAX_DEAD_LETTERS, Role};

/// Behind the floor there are no rows but changes. Of dead letters no more than $3 are looked at.
const CONNECTORS: &str = r"
SELECT c.name, c.kind, c.paused, CASE WHEN c.lease_until > now() THEN c.worker END AS worker, c.token,
       c.position, c.report,
       CASE WHEN c.position IS NOT NULL THEN
           (SELECT position FROM event_log ORDER BY position DESC LIMIT 1) END AS last,
       CASE WHEN c.position IS NOT NULL THEN
           (SELECT (extract(epoch FROM now() - CASE WHEN l.kind = 1 THEN coalesce(l.saved_at, l.committed_at)
                                                    ELSE l.committed_at END) * 1000000)::int8
            FROM event_log l
            WHERE l.position > greatest(c.position, (SELECT floor FROM event_log_epoch WHERE only_row))
            ORDER BY l.position LIMIT 1) END AS age,
       (SELECT count(*) FROM (
           SELECT FROM dead_letters d WHERE d.role = c.role AND d.connector = c.name LIMIT $3) AS counted)
           AS letters
FROM connectors c
WHERE c.role = $1 AND ($2::text IS NULL OR c.name = $2)
ORDER BY c.name";

macro_rules! without_messages {
    ($which:literal, $order:literal) => {
        concat!(
            "SELECT id, role, connector, state, place, position, entity_type, entity_id, version,
                    ''::bytea AS message, error, tries, first_at, last_at
             FROM dead_letters WHERE ",
            $which,
            " ORDER BY ",
            $order,
            " LIMIT $2"
        )
    };
}

const LETTERS: &str = without_messages!("id < $1", "id DESC");

/// By an order that only the connector's own index has: else a cached plan may walk the ids of all connectors.
const LETTERS_OF: &str = without_messages!(
    "role = $3 AND (connector, id) < ($4, $1) AND connector >= $4",
    "connector DESC, id DESC"
);

/// All connectors of a role, or one.
pub(in crate::store::postgres) async fn connectors(
    read_pool: &ReadPool,
    role: Role,
    name: Option<&str>,
) -> Result<Vec<Connector>, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let rows: Vec<ConnectorRow> = sqlx::query_as(CONNECTORS)
        .bind(role.code())
        .bind(name)
        .bind(to_bigint(MAX_DEAD_LETTERS + 1))
        .persistent(read_pool.caches_statements())
        .fetch_all(&mut *connection.connection)
        .await?;
    connection.release().await?;
    Ok(rows.into_iter().map(|row| row.into_connector(role)).collect())
}

/// Dead letters, newest first, without their messages.
pub(in crate::store::postgres) async fn dead_letters(
    read_pool: &ReadPool,
    query: DeadLetterQuery<'_>,
) -> Result<Vec<DeadLetter>, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let before = query.before.map_or(i64::MAX, to_bigint);
    let statement = match query.connector {
        None => sqlx::query_as(LETTERS).bind(before).bind(i64::from(query.rows)),
        Some((role, name)) => sqlx::query_as(LETTERS_OF)
            .bind(before)
            .bind(i64::from(query.rows))
            .bind(role.code())
            .bind(name),
    };
    let rows: Vec<LetterRow<DateTime<Utc>>> = statement
        .persistent(read_pool.caches_statements())
        .fetch_all(&mut *connection.connection)
        .await?;
    connection.release().await?;
    Ok(rows.into_iter().map(|row| row.into_letter(from_pg)).collect())
}

/// A dead letter.
pub(in crate::store::postgres) async fn dead_letter(
    read_pool: &ReadPool,
    id: u64,
) -> Result<Option<DeadLetter>, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let row: Option<LetterRow<DateTime<Utc>>> = sqlx::query_as(LETTER)
        .bind(to_bigint(id))
        .persistent(read_pool.caches_statements())
        .fetch_optional(&mut *connection.connection)
        .await?;
    connection.release().await?;
    Ok(row.map(|row| row.into_letter(from_pg)))
}

/// What is to be delivered again.
pub(in crate::store::postgres) async fn due_dead_letters(
    read_pool: &ReadPool,
    (role, name): (Role, &str),
    most: u32,
) -> Result<Vec<DeadLetter>, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let rows: Vec<LetterRow<DateTime<Utc>>> = sqlx::query_as(DUE)
        .bind(role.code())
        .bind(name)
        .bind(i64::from(most))
        .persistent(read_pool.caches_statements())
        .fetch_all(&mut *connection.connection)
        .await?;
    connection.release().await?;
    Ok(rows.into_iter().map(|row| row.into_letter(from_pg)).collect())
}

/// The entities of a sink's dead letters.
pub(in crate::store::postgres) async fn held_entities(
    read_pool: &ReadPool,
    sink: &str,
) -> Result<Vec<EntityKey>, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let rows: Vec<(String, String)> = sqlx::query_as(HELD_ENTITIES)
        .bind(sink)
        .persistent(read_pool.caches_statements())
        .fetch_all(&mut *connection.connection)
        .await?;
    connection.release().await?;
    Ok(rows
        .into_iter()
        .map(|(entity_type, id)| EntityKey::new_unchecked(entity_type, id))
        .collect())
}
