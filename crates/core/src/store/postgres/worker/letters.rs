//! Dead letters: adding them, and what becomes of them.

use super::PgWorker;
use crate::model::EntityKey;
use crate::query::ReadError;
use crate::store::numbers::{from_bigint, to_bigint};
use crate::store::postgres::time::to_pg;
use crate::store::worker::{PlaceColumns, SETTLE_ENTITY, STEP_LETTERS, storable};
use crate::worker::{DeadLetterState, Lease, MAX_DEAD_LETTERS, NewDeadLetter, Role};

/// Without an epoch for a connector that several workers run.
const ADD: &str = r"
WITH held AS MATERIALIZED (
    SELECT FROM connectors
    WHERE role = $1 AND name = $2 AND ($3::int8 IS NULL OR lease_epoch = $3)
    FOR SHARE
), added AS (
    INSERT INTO dead_letters (role, connector, state, place, position, entity_type, entity_id, version,
                              message, error, tries, first_at, last_at)
    SELECT $1, $2, l.*
    FROM held CROSS JOIN unnest($4::int2[], $5::text[], $6::int8[], $7::text[], $8::text[], $9::int8[],
        $10::bytea[], $11::text[], $12::int8[], $13::timestamptz[], $14::timestamptz[]) AS l
    ON CONFLICT (role, connector, place) DO NOTHING
    RETURNING 1
)
SELECT (SELECT count(*) FROM added) + (
    SELECT count(*) FROM (
        SELECT FROM dead_letters WHERE role = $1 AND connector = $2 LIMIT $15) AS before)
FROM held";

const SETTLE: &str = "DELETE FROM dead_letters WHERE id = $1";

const SETTLE_WITH_LEASE: &str = r"
WITH held AS MATERIALIZED (
    SELECT FROM connectors WHERE role = $2 AND name = $3 AND lease_epoch = $4 FOR SHARE
)
DELETE FROM dead_letters d USING held WHERE d.id = $1 AND d.role = $2 AND d.connector = $3";

const FAIL: &str = r"
UPDATE dead_letters
SET state = 0, message = $2, error = $3, tries = $4, first_at = $5, last_at = $6
WHERE id = $1";

const FAIL_WITH_LEASE: &str = r"
WITH held AS MATERIALIZED (
    SELECT FROM connectors WHERE role = $7 AND name = $8 AND lease_epoch = $9 FOR SHARE
)
UPDATE dead_letters d
SET state = 0, message = $2, error = $3, tries = $4, first_at = $5, last_at = $6
FROM held WHERE d.id = $1 AND d.role = $7 AND d.connector = $8";

const REPLAY: &str = r"
WITH noted AS (
    UPDATE connectors c SET letters_generation = letters_generation + 1
    FROM dead_letters d WHERE d.id = $1 AND c.role = d.role AND c.name = d.connector
    RETURNING d.id
), found AS MATERIALIZED (
    SELECT d.id, d.state FROM noted n JOIN dead_letters d ON d.id = n.id FOR UPDATE OF d
), asked AS (
    UPDATE dead_letters d SET state = 2 FROM found f WHERE d.id = f.id AND f.state = 0
)
SELECT state FROM found";

const DELETE: &str = r"
WITH noted AS (
    UPDATE connectors c SET letters_generation = letters_generation + 1
    FROM dead_letters d WHERE d.id = $1 AND c.role = d.role AND c.name = d.connector
    RETURNING d.id
)
DELETE FROM dead_letters d USING noted n WHERE d.id = n.id";

/// By an order that only the connector's own index has: else a cached plan may walk the ids of all connectors.
const REPLAY_OLDEST: &str = r"
WITH noted AS (
    UPDATE connectors SET letters_generation = letters_generation + 1
    WHERE role = $1 AND name = $2 RETURNING 1
)
UPDATE dead_letters d SET state = 2
FROM noted CROSS JOIN (
    SELECT id FROM dead_letters
    WHERE role = $1 AND connector BETWEEN $2 AND $2 AND state = 0
    ORDER BY connector, id LIMIT $3) AS oldest
WHERE d.id = oldest.id AND d.state = 0";

/// By the order of [`REPLAY_OLDEST`].
const DELETE_OLDEST: &str = r"
WITH noted AS (
    UPDATE connectors SET letters_generation = letters_generation + 1
    WHERE role = $1 AND name = $2 RETURNING 1
)
DELETE FROM dead_letters d
USING noted CROSS JOIN (
    SELECT id FROM dead_letters WHERE role = $1 AND connector BETWEEN $2 AND $2
    ORDER BY connector, id LIMIT $3) AS oldest
WHERE d.id = oldest.id";

impl PgWorker {
    pub(in crate::store::postgres) async fn add(
        &self,
        (role, name): (Role, &str),
        lease: Option<&Lease>,
        letters: &[NewDeadLetter],
    ) -> Result<Option<u64>, ReadError> {
        let places: Vec<_> = letters.iter().map(|letter| PlaceColumns::of(&letter.place)).collect();
        let states: Vec<i16> = letters.iter().map(|letter| letter.state.code()).collect();
        let texts: Vec<&str> = places.iter().map(|place| &*place.place).collect();
        let positions: Vec<_> = places.iter().map(|place| place.position).collect();
        let types: Vec<_> = places.iter().map(|place| place.entity_type).collect();
        let ids: Vec<_> = places.iter().map(|place| place.entity_id).collect();
        let versions: Vec<_> = places.iter().map(|place| place.version).collect();
        let messages: Vec<&[u8]> = letters.iter().map(|letter| &*letter.message).collect();
        let errors: Vec<_> = letters.iter().map(|letter| storable(&letter.error)).collect();
        let errors: Vec<&str> = errors.iter().map(|error| &**error).collect();
        let tries: Vec<i64> = letters.iter().map(|letter| i64::from(letter.tries)).collect();
        let first: Vec<_> = letters.iter().map(|letter| to_pg(letter.first_at)).collect();
        let last: Vec<_> = letters.iter().map(|letter| to_pg(letter.last_at)).collect();
        let statement = sqlx::query_as(ADD)
            .bind(role.code())
            .bind(name)
            .bind(lease.map(|lease| to_bigint(lease.epoch)))
            .bind(states)
            .bind(texts)
            .bind(positions)
            .bind(types)
            .bind(ids)
            .bind(versions)
            .bind(messages)
            .bind(errors)
            .bind(tries)
            .bind(first)
            .bind(last)
            .bind(to_bigint(MAX_DEAD_LETTERS + 1));
        let count: Option<(i64,)> = self.fetch(statement).await?;
        Ok(count.map(|(count,)| from_bigint(count)))
    }

    pub(in crate::store::postgres) async fn settle(
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

    pub(in crate::store::postgres) async fn settle_entity(
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

    pub(in crate::store::postgres) async fn fail(
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
            .bind(to_pg(letter.first_at))
            .bind(to_pg(letter.last_at));
        let statement = match lease {
            None => statement,
            Some(lease) => {
                statement.bind(lease.role.code()).bind(&lease.name).bind(to_bigint(lease.epoch))
            }
        };
        self.execute(statement).await.map(drop)
    }

    pub(in crate::store::postgres) async fn replay(
        &self,
        id: u64,
    ) -> Result<Option<DeadLetterState>, ReadError> {
        let found: Option<(i16,)> = self.fetch(sqlx::query_as(REPLAY).bind(to_bigint(id))).await?;
        Ok(found.map(|(state,)| DeadLetterState::from_code(state)))
    }

    pub(in crate::store::postgres) async fn delete_letter(
        &self,
        id: u64,
    ) -> Result<bool, ReadError> {
        Ok(self.execute(sqlx::query(DELETE).bind(to_bigint(id))).await? > 0)
    }

    pub(in crate::store::postgres) async fn replay_oldest(
        &self,
        connector: (Role, &str),
        limit: u32,
    ) -> Result<u64, ReadError> {
        self.in_steps(REPLAY_OLDEST, connector, limit).await
    }

    pub(in crate::store::postgres) async fn delete_oldest(
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
        (role, name): (Role, &str),
        limit: u32,
    ) -> Result<u64, ReadError> {
        let (mut left, mut changed) = (limit, 0);
        while left > 0 {
            let most = left.min(STEP_LETTERS);
            let step = sqlx::query(statement).bind(role.code()).bind(name).bind(i64::from(most));
            let rows = self.execute(step).await?;
            changed += rows;
            if rows < u64::from(most) {
                break;
            }
            left -= most;
        }
        Ok(changed)
    }
}
