//! Connectors: their leases, positions and what is asked of them, by the server's clock.

use std::time::Duration;

use super::PgWorker;
use crate::query::ReadError;
use crate::store::numbers::to_bigint;
use crate::store::postgres::error::StatementError;
use crate::store::postgres::short_transactions::Transaction;
use crate::store::postgres::write::Session;
use crate::store::worker::{
    ADVANCE, ControlRow, DELETE_CONNECTOR, LeaseRow, RELEASE, RESET, SET_PAUSED, SKIP,
    STEP_LETTERS, report_json,
};
use crate::worker::{Control, Deleted, Lease, Registered, Report, Role};

/// Changes nothing of one that is there: only so it is returned.
const REGISTER: &str = r"
INSERT INTO connectors (role, name, kind, token, position, lease_epoch)
VALUES ($1, $2, $3, $4, $5, (extract(epoch FROM now()) * 1000000)::int8)
ON CONFLICT (role, name) DO UPDATE SET kind = connectors.kind
RETURNING kind";

/// Of two at once, one waits here and then finds the other's lease.
const TAKE: &str = r"
UPDATE connectors
SET lease_epoch = lease_epoch + 1, worker = $3, lease_until = now() + make_interval(secs => $4)
WHERE role = $1 AND name = $2 AND (lease_until IS NULL OR lease_until < now())
RETURNING lease_epoch, token, paused, generation, skip, letters_generation";

const RENEW: &str = r"
UPDATE connectors
SET lease_until = now() + make_interval(secs => $4), report = $5, reported_at = now()
WHERE role = $1 AND name = $2 AND lease_epoch = $3
RETURNING paused, generation, skip, letters_generation";

const REPORT_SHARED: &str = r"
UPDATE connectors
SET worker = $3, lease_until = now() + make_interval(secs => $4), report = $5, reported_at = now()
WHERE role = $1 AND name = $2
RETURNING paused, generation, skip, letters_generation";

/// While it is locked nobody takes it, and nobody adds a dead letter.
const LOCK: &str = r"
SELECT CASE WHEN lease_until > now() THEN coalesce(worker, '') END
FROM connectors WHERE role = $1 AND name = $2 FOR UPDATE";

/// By an order that only the connector's own index has: else a cached plan may walk the ids of all connectors.
const DELETE_LETTERS: &str = r"
DELETE FROM dead_letters d
USING (SELECT id FROM dead_letters WHERE role = $1 AND connector BETWEEN $2 AND $2
       ORDER BY connector, id LIMIT $3) AS oldest
WHERE d.id = oldest.id";

impl PgWorker {
    pub(in crate::store::postgres) async fn register(
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

    pub(in crate::store::postgres) async fn take(
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
            .bind(duration.as_secs_f64());
        Ok(self.fetch(statement).await?.map(|row| row.into_lease(role, name)))
    }

    pub(in crate::store::postgres) async fn renew(
        &self,
        lease: &Lease,
        duration: Duration,
        report: &Report,
    ) -> Result<Option<Control>, ReadError> {
        let report = report_json(report).map_err(into_read_error)?;
        let statement = sqlx::query_as::<_, ControlRow>(RENEW)
            .bind(lease.role.code())
            .bind(&lease.name)
            .bind(to_bigint(lease.epoch))
            .bind(duration.as_secs_f64())
            .bind(report);
        Ok(self.fetch(statement).await?.map(Control::from))
    }

    pub(in crate::store::postgres) async fn report_shared(
        &self,
        role: Role,
        name: &str,
        worker: &str,
        duration: Duration,
        report: &Report,
    ) -> Result<Option<Control>, ReadError> {
        let report = report_json(report).map_err(into_read_error)?;
        let statement = sqlx::query_as::<_, ControlRow>(REPORT_SHARED)
            .bind(role.code())
            .bind(name)
            .bind(worker)
            .bind(duration.as_secs_f64())
            .bind(report);
        Ok(self.fetch(statement).await?.map(Control::from))
    }

    pub(in crate::store::postgres) async fn advance(
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

    pub(in crate::store::postgres) async fn release(&self, lease: &Lease) -> Result<(), ReadError> {
        let statement = sqlx::query(RELEASE)
            .bind(lease.role.code())
            .bind(&lease.name)
            .bind(to_bigint(lease.epoch));
        self.execute(statement).await.map(drop)
    }

    pub(in crate::store::postgres) async fn set_paused(
        &self,
        role: Role,
        name: &str,
        paused: bool,
    ) -> Result<bool, ReadError> {
        let statement = sqlx::query(SET_PAUSED).bind(role.code()).bind(name).bind(paused);
        Ok(self.execute(statement).await? > 0)
    }

    pub(in crate::store::postgres) async fn skip(
        &self,
        sink: &str,
        token: &str,
    ) -> Result<bool, ReadError> {
        Ok(self.execute(sqlx::query(SKIP).bind(sink).bind(token)).await? > 0)
    }

    pub(in crate::store::postgres) async fn reset(
        &self,
        sink: &str,
        token: &str,
        position: u64,
    ) -> Result<bool, ReadError> {
        let statement = sqlx::query(RESET).bind(sink).bind(token).bind(to_bigint(position));
        Ok(self.execute(statement).await? > 0)
    }

    /// In several transactions, where there are many dead letters. The connector goes with the last of them.
    pub(in crate::store::postgres) async fn delete(
        &self,
        role: Role,
        name: &str,
    ) -> Result<Deleted, ReadError> {
        loop {
            let mut open = self.transactions.begin().await?;
            let deleted = delete_step(&mut open, role, name).await;
            let deleted = self.transactions.end(open, deleted).await;
            if let Some(deleted) = deleted.map_err(StatementError::into_read_error)? {
                return Ok(deleted);
            }
        }
    }
}

/// `None` where more dead letters are there.
async fn delete_step(
    transaction: &mut Transaction<'_>,
    role: Role,
    name: &str,
) -> Result<Option<Deleted>, StatementError> {
    let (deadline, caches) = (transaction.deadline(), transaction.caches_statements());
    let connection = transaction.connection();
    let steps = async {
        let locked: Option<(Option<String>,)> = sqlx::query_as(LOCK)
            .bind(role.code())
            .bind(name)
            .persistent(caches)
            .fetch_optional(&mut *connection)
            .await?;
        match locked {
            None => return Ok(Some(Deleted::NotFound)),
            Some((Some(worker),)) => return Ok(Some(Deleted::InUse(worker))),
            Some((None,)) => {}
        }
        let letters = sqlx::query(DELETE_LETTERS)
            .bind(role.code())
            .bind(name)
            .bind(i64::from(STEP_LETTERS))
            .persistent(caches)
            .execute(&mut *connection)
            .await?;
        if letters.rows_affected() == u64::from(STEP_LETTERS) {
            return Ok(None);
        }
        sqlx::query(DELETE_CONNECTOR)
            .bind(role.code())
            .bind(name)
            .persistent(caches)
            .execute(&mut *connection)
            .await?;
        Ok(Some(Deleted::Deleted))
    };
    Session::with_timeout(deadline, steps).await
}

fn into_read_error(error: sqlx::Error) -> ReadError {
    StatementError::from(error).into_read_error()
}
