//! Dead letters: adding them, and what becomes of them.

use sqlx::sqlite::SqliteConnection;

use super::SqliteWorker;
use crate::model::EntityKey;
use crate::query::ReadError;
use crate::store::numbers::{from_bigint, to_bigint};
use crate::store::sqlite::query::unavailable;
use crate::store::worker::{PlaceColumns, SETTLE_ENTITY, STEP_LETTERS, storable};
use crate::worker::{DeadLetterState, Lease, MAX_DEAD_LETTERS, NewDeadLetter, Role};

/// Without an epoch for a connector that several workers run.
const HELD: &str = r"
SELECT EXISTS (SELECT 1 FROM connectors
               WHERE role = $1 AND name = $2 AND ($3 IS NULL OR lease_epoch = $3))";

const ADD: &str = r"
INSERT INTO dead_letters (role, connector, state, place, position, entity_type, entity_id, version,
                          message, error, tries, first_at, last_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (role, connector, place) DO NOTHING";

const COUNT: &str = r"
SELECT count(*) FROM (SELECT 1 FROM dead_letters WHERE role = $1 AND connector = $2 LIMIT $3)";

const SETTLE: &str = "DELETE FROM dead_letters WHERE id = $1";

const SETTLE_WITH_LEASE: &str = r"
DELETE FROM dead_letters
WHERE id = $1 AND role = $2 AND connector = $3
    AND EXISTS (SELECT 1 FROM connectors WHERE role = $2 AND name = $3 AND lease_epoch = $4)";

const FAIL: &str = r"
UPDATE dead_letters
SET state = 0, message = $2, error = $3, tries = $4, first_at = $5, last_at = $6
WHERE id = $1";

const FAIL_WITH_LEASE: &str = r"
UPDATE dead_letters
SET state = 0, message = $2, error = $3, tries = $4, first_at = $5, last_at = $6
WHERE id = $1 AND role = $7 AND connector = $8
    AND EXISTS (SELECT 1 FROM connectors WHERE role = $7 AND name = $8 AND lease_epoch = $9)";

const STATE: &str = "SELECT state FROM dead_letters WHERE id = $1";

const REPLAY: &str = "UPDATE dead_letters SET state = 2 WHERE id = $1 AND state = 0";

const DELETE: &str = "DELETE FROM dead_letters WHERE id = $1";

/// Before the dead letter is deleted.
const NOTE_CHANGE_OF: &str = r"
UPDATE connectors SET letters_generation = letters_generation + 1
WHERE (role, name) = (SELECT role, connector FROM dead_letters WHERE id = $1)";

const NOTE_CHANGE: &str = r"
UPDATE connectors SET letters_generation = letters_generation + 1 WHERE role = $1 AND name = $2";

const REPLAY_OLDEST: &str = r"
UPDATE dead_letters SET state = 2 WHERE id IN (
    SELECT id FROM dead_letters WHERE role = $1 AND connector = $2 AND state = 0
    ORDER BY id LIMIT $3)";

/// Up to so many of a connector.
pub(super) const DELETE_OLDEST: &str = r"
DELETE FROM dead_letters WHERE id IN (
    SELECT id FROM dead_letters WHERE role = $1 AND connector = $2 ORDER BY id LIMIT $3)";

impl SqliteWorker {
    pub(in crate::store::sqlite) async fn add(
        &self,
        connector: (Role, &str),
        lease: Option<&Lease>,
        letters: &[NewDeadLetter],
    ) -> Result<Option<u64>, ReadError> {
        let mut open = self.transactions.begin().await?;
        let added = add(open.connection(), connector, lease, letters).await;
        self.transactions.end(open, added).await.map_err(unavailable)
    }

    pub(in crate::store::sqlite) async fn settle(
        &self,
        lease: Option<&Lease>,
        id: u64,
    ) -> Result<(), ReadError> {
        let statement = match lease {
            None => sqlx::query(SETTLE).bind(to_bigint(id)),
            Some(lease) => sqlx::query(SETTLE_WITH_LEASE)
                .bind(to_bigint(id))
                .bind(lease.role.code())
                .bind(&lease.name)
                .bind(to_bigint(lease.epoch)),
        };
        self.execute(statement).await.map(drop)
    }

    pub(in crate::store::sqlite) async fn settle_entity(
        &self,
        lease: &Lease,
        key: &EntityKey,
    ) -> Result<(), ReadError> {
        let statement = sqlx::query(SETTLE_ENTITY)
            .bind(lease.role.code())
            .bind(&lease.name)
            .bind(to_bigint(lease.epoch))
            .bind(key.entity_type())
            .bind(key.entity_id());
        self.execute(statement).await.map(drop)
    }

    pub(in crate::store::sqlite) async fn fail(
        &self,
        lease: Option<&Lease>,
        id: u64,
        letter: &NewDeadLetter,
    ) -> Result<(), ReadError> {
        let statement = sqlx::query(if lease.is_some() { FAIL_WITH_LEASE } else { FAIL })
            .bind(to_bigint(id))
            .bind(&letter.message)
            .bind(storable(&letter.error))
            .bind(i64::from(letter.tries))
            .bind(letter.first_at.micros())
            .bind(letter.last_at.micros());
        let statement = match lease {
            None => statement,
            Some(lease) => {
                statement.bind(lease.role.code()).bind(&lease.name).bind(to_bigint(lease.epoch))
            }
        };
        self.execute(statement).await.map(drop)
    }

    pub(in crate::store::sqlite) async fn replay(
        &self,
        id: u64,
    ) -> Result<Option<DeadLetterState>, ReadError> {
        let mut open = self.transactions.begin().await?;
        let replayed = replay(open.connection(), to_bigint(id)).await;
        self.transactions.end(open, replayed).await.map_err(unavailable)
    }

    pub(in crate::store::sqlite) async fn delete_letter(&self, id: u64) -> Result<bool, ReadError> {
        let mut open = self.transactions.begin().await?;
        let deleted = delete(open.connection(), to_bigint(id)).await;
        self.transactions.end(open, deleted).await.map_err(unavailable)
    }

    pub(in crate::store::sqlite) async fn replay_oldest(
        &self,
        connector: (Role, &str),
        limit: u32,
    ) -> Result<u64, ReadError> {
        self.in_steps(REPLAY_OLDEST, connector, limit).await
    }

    pub(in crate::store::sqlite) async fn delete_oldest(
        &self,
        connector: (Role, &str),
        limit: u32,
    ) -> Result<u64, ReadError> {
        self.in_steps(DELETE_OLDEST, connector, limit).await
    }

    /// Runs a statement that changes up to so many rows, until there are no more or `limit` are changed.
    async fn in_steps(
        &self,
        statement: &'static str,
        connector: (Role, &str),
        limit: u32,
    ) -> Result<u64, ReadError> {
        let (mut left, mut changed) = (limit, 0);
        while left > 0 {
            let most = left.min(STEP_LETTERS);
            let mut open = self.transactions.begin().await?;
            let step = step(open.connection(), statement, connector, most).await;
            let rows = self.transactions.end(open, step).await.map_err(unavailable)?;
            changed += rows;
            if rows < u64::from(most) {
                break;
            }
            left -= most;
        }
        Ok(changed)
    }
}

async fn add(
    connection: &mut SqliteConnection,
    (role, name): (Role, &str),
    lease: Option<&Lease>,
    letters: &[NewDeadLetter],
) -> Result<Option<u64>, sqlx::Error> {
    let is_held: bool = sqlx::query_scalar(HELD)
        .bind(role.code())
        .bind(name)
        .bind(lease.map(|lease| to_bigint(lease.epoch)))
        .fetch_one(&mut *connection)
        .await?;
    if !is_held {
        return Ok(None);
    }
    for letter in letters {
        let place = PlaceColumns::of(&letter.place);
        sqlx::query(ADD)
            .bind(role.code())
            .bind(name)
            .bind(letter.state.code())
            .bind(place.place)
            .bind(place.position)
            .bind(place.entity_type)
            .bind(place.entity_id)
            .bind(place.version)
            .bind(&letter.message)
            .bind(storable(&letter.error))
            .bind(i64::from(letter.tries))
            .bind(letter.first_at.micros())
            .bind(letter.last_at.micros())
            .execute(&mut *connection)
            .await?;
    }
    let count: i64 = sqlx::query_scalar(COUNT)
        .bind(role.code())
        .bind(name)
        .bind(to_bigint(MAX_DEAD_LETTERS + 1))
        .fetch_one(connection)
        .await?;
    Ok(Some(from_bigint(count)))
}

async fn replay(
    connection: &mut SqliteConnection,
    id: i64,
) -> Result<Option<DeadLetterState>, sqlx::Error> {
    let state: Option<i16> =
        sqlx::query_scalar(STATE).bind(id).fetch_optional(&mut *connection).await?;
    let state = state.map(DeadLetterState::from_code);
    if state == Some(DeadLetterState::Dead) {
        sqlx::query(NOTE_CHANGE_OF).bind(id).execute(&mut *connection).await?;
        sqlx::query(REPLAY).bind(id).execute(connection).await?;
    }
    Ok(state)
}

async fn delete(connection: &mut SqliteConnection, id: i64) -> Result<bool, sqlx::Error> {
    sqlx::query(NOTE_CHANGE_OF).bind(id).execute(&mut *connection).await?;
    let deleted = sqlx::query(DELETE).bind(id).execute(connection).await?;
    Ok(deleted.rows_affected() > 0)
}

async fn step(
    connection: &mut SqliteConnection,
    statement: &'static str,
    (role, name): (Role, &str),
    most: u32,
) -> Result<u64, sqlx::Error> {
    sqlx::query(NOTE_CHANGE).bind(role.code()).bind(name).execute(&mut *connection).await?;
    let step = sqlx::query(statement).bind(role.code()).bind(name).bind(i64::from(most));
    Ok(step.execute(connection).await?.rows_affected())
}
