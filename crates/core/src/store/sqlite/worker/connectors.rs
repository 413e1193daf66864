//! Connectors: their leases, positions and what is asked of them, by the machine's clock.

use std::time::Duration;

use sqlx::sqlite::SqliteConnection;

use super::SqliteWorker;
use super::letters::DELETE_OLDEST;
use crate::query::ReadError;
use crate::store::numbers::to_bigint;
use crate::store::sqlite::query::unavailable;
use crate::store::worker::{
    ADVANCE, ControlRow, DELETE_CONNECTOR, LeaseRow, RELEASE, RESET, SET_PAUSED, SKIP,
    STEP_LETTERS, report_json,
};
use crate::worker::{Control, Deleted, Lease, Registered, Report, Role};

/// Changes nothing of one that is there: only so it is returned.
const REGISTER: &str = r"
INSERT INTO connectors (role, name, kind, token, position, lease_epoch)
VALUES ($1, $2, $3, $4, $5, CAST(unixepoch('subsec') * 1000000 AS INTEGER))
ON CONFLICT (role, name) DO UPDATE SET kind = connectors.kind
RETURNING kind";

const TAKE: &str = r"
UPDATE connectors
SET lease_epoch = lease_epoch + 1, worker = $3,
    lease_until = CAST(unixepoch('subsec') * 1000000 AS INTEGER) + $4
WHERE role = $1 AND name = $2 AND (lease_until IS NULL OR lease_until < CAST(unixepoch('subsec') * 1000000 AS INTEGER))
RETURNING lease_epoch, token, paused, generation, skip, letters_generation";

const RENEW: &str = r"
UPDATE connectors
SET lease_until = CAST(unixepoch('subsec') * 1000000 AS INTEGER) + $4, report = $5,
    reported_at = CAST(unixepoch('subsec') * 1000000 AS INTEGER)
WHERE role = $1 AND name = $2 AND lease_epoch = $3
RETURNING paused, generation, skip, letters_generation";

const REPORT_SHARED: &str = r"
UPDATE connectors
SET worker = $3,
    lease_until = CAST(unixepoch('subsec') * 1000000 AS INTEGER) + $4, report = $5,
    reported_at = CAST(unixepoch('subsec') * 1000000 AS INTEGER)
WHERE role = $1 AND name = $2
RETURNING paused, generation, skip, letters_generation";

/// The worker that runs it.
const RUN_BY: &str = r"
SELECT CASE WHEN lease_until > CAST(unixepoch('subsec') * 1000000 AS INTEGER) THEN coalesce(worker, '') END
FROM connectors WHERE role = $1 AND name = $2";

impl SqliteWorker {
    pub(in crate::store::sqlite) async fn register(
        &self,
        role: Role,
        name: &str,
        kind: &str,
        start: Option<(&str, u64)>,
    ) -> Result<Registered, ReadError> {
        let (token, position) = start.unzip();
        let statement = sqlx::query_as(REGISTER)
            .bind(role.code())
            .bind(name)
            .bind(kind)
            .bind(token)
            .bind(position.map(to_bigint));
        let known: Option<(String,)> = self.fetch(statement).await?;
        Ok(match known {
            Some((known,)) if known != kind => Registered::OtherKind(known),
            _ => Registered::Known,
        })
    }

    pub(in crate::store::sqlite) async fn take(
        &self,
        role: Role,
        name: &str,
        worker: &str,
        duration: Duration,
    ) -> Result<Option<Lease>, ReadError> {
        let statement = sqlx::query_as::<_, LeaseRow>(TAKE)
            .bind(role.code())
            .bind(name)
            .bind(worker)
            .bind(micros(duration));
        Ok(self.fetch(statement).await?.map(|row| row.into_lease(role, name)))
    }

    pub(in crate::store::sqlite) async fn renew(
        &self,
        lease: &Lease,
        duration: Duration,
        report: &Report,
    ) -> Result<Option<Control>, ReadError> {
        let report = report_json(report).map_err(unavailable)?;
        let statement = sqlx::query_as::<_, ControlRow>(RENEW)
            .bind(lease.role.code())
            .bind(&lease.name)
            .bind(to_bigint(lease.epoch))
            .bind(micros(duration))
            .bind(report);
        Ok(self.fetch(statement).await?.map(Control::from))
    }

    pub(in crate::store::sqlite) async fn report_shared(
        &self,
        role: Role,
        name: &str,
        worker: &str,
        duration: Duration,
        report: &Report,
    ) -> Result<Option<Control>, ReadError> {
        let report = report_json(report).map_err(unavailable)?;
        let statement = sqlx::query_as::<_, ControlRow>(REPORT_SHARED)
            .bind(role.code())
            .bind(name)
            .bind(worker)
            .bind(micros(duration))
            .bind(report);
        Ok(self.fetch(statement).await?.map(Control::from))
    }

    pub(in crate::store::sqlite) async fn advance(
        &self,
        lease: &Lease,
        token: &str,
        position: u64,
    ) -> Result<bool, ReadError> {
        let statement = sqlx::query(ADVANCE)
            .bind(lease.role.code())
            .bind(&lease.name)
            .bind(to_bigint(lease.epoch))
            .bind(to_bigint(lease.generation))
            .bind(token)
            .bind(to_bigint(position));
        Ok(self.execute(statement).await? > 0)
    }

    pub(in crate::store::sqlite) async fn release(&self, lease: &Lease) -> Result<(), ReadError> {
        let statement = sqlx::query(RELEASE)
            .bind(lease.role.code())
            .bind(&lease.name)
            .bind(to_bigint(lease.epoch));
        self.execute(statement).await.map(drop)
    }

    pub(in crate::store::sqlite) async fn set_paused(
        &self,
        role: Role,
        name: &str,
        paused: bool,
    ) -> Result<bool, ReadError> {
        let statement = sqlx::query(SET_PAUSED).bind(role.code()).bind(name).bind(paused);
        Ok(self.execute(statement).await? > 0)
    }

    pub(in crate::store::sqlite) async fn skip(
        &self,
        sink: &str,
        token: &str,
    ) -> Result<bool, ReadError> {
        Ok(self.execute(sqlx::query(SKIP).bind(sink).bind(token)).await? > 0)
    }

    pub(in crate::store::sqlite) async fn reset(
        &self,
        sink: &str,
        token: &str,
        position: u64,
    ) -> Result<bool, ReadError> {
        let statement = sqlx::query(RESET).bind(sink).bind(token).bind(to_bigint(position));
        Ok(self.execute(statement).await? > 0)
    }

    /// In several transactions, where there are many dead letters. The connector goes with the last of them.
    pub(in crate::store::sqlite) async fn delete(
        &self,
        role: Role,
        name: &str,
    ) -> Result<Deleted, ReadError> {
        loop {
            let mut open = self.transactions.begin().await?;
            let deleted = delete_step(open.connection(), role, name).await;
            let deleted = self.transactions.end(open, deleted).await.map_err(unavailable)?;
            if let Some(deleted) = deleted {
                return Ok(deleted);
            }
        }
    }
}

/// `None` where more dead letters are there.
async fn delete_step(
    connection: &mut SqliteConnection,
    role: Role,
    name: &str,
) -> Result<Option<Deleted>, sqlx::Error> {
    let found: Option<(Option<String>,)> = sqlx::query_as(RUN_BY)
        .bind(role.code())
        .bind(name)
        .fetch_optional(&mut *connection)
        .await?;
    match found {
        None => return Ok(Some(Deleted::NotFound)),
        Some((Some(worker),)) => return Ok(Some(Deleted::InUse(worker))),
        Some((None,)) => {}
    }
    let letters = sqlx::query(DELETE_OLDEST)
        .bind(role.code())
        .bind(name)
        .bind(i64::from(STEP_LETTERS))
        .execute(&mut *connection)
        .await?;
    if letters.rows_affected() == u64::from(STEP_LETTERS) {
        return Ok(None);
    }
    sqlx::query(DELETE_CONNECTOR).bind(role.code()).bind(name).execute(connection).await?;
    Ok(Some(Deleted::Deleted))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
