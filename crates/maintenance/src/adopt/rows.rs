//! The older services' rows: how they are read, and which can become entities.

use chrono::{DateTime, NaiveDateTime, Utc};
use futures_util::TryStreamExt;
use producer_core::json::Document;
use producer_core::store::postgres::from_pg;
use producer_core::{EntityKey, Patch, Problem, Timestamp};

use crate::connection::Connection;
use crate::error::MaintenanceError;
use crate::tables::page;

/// A row as stored.
#[derive(Debug)]
pub(super) struct OldRow {
    pub(super) id: String,
    entity_type: Option<String>,
    data: Option<String>,
    created_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
}

/// A row that can become an entity.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) key: EntityKey,
    /// The document without null members.
    pub(super) data: String,
    pub(super) size: usize,
    pub(super) created_at: Option<Timestamp>,
    pub(super) updated_at: Option<Timestamp>,
}

impl OldRow {
    /// Checks the row against the contract; the error is the reason why it is skipped.
    pub(super) fn check(&self, max_entity_bytes: usize) -> Result<Checked, String> {
        let entity_type = self.entity_type.as_deref().unwrap_or_default();
        check_id("entity_type", entity_type)?;
        check_id("id", &self.id)?;
        let data = self.data.as_deref().ok_or("data is null")?;
        let patch = Patch::parse(data)
            .map_err(|broken| format!("data: {}", Problem::validation(broken).detail))?;
        let mut document = Document::empty();
        document.merge(Document::parse(patch.text()).map_err(|error| format!("data: {error}"))?);
        if document.size() > max_entity_bytes {
            let size = document.size();
            return Err(format!("data has {size} bytes, over MAX_ENTITY_BYTES {max_entity_bytes}"));
        }
        Ok(Checked {
            key: EntityKey::new_unchecked(entity_type, self.id.clone()),
            size: document.size(),
            data: document.to_json(),
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

fn check_id(column: &str, id: &str) -> Result<(), String> {
    match id {
        "" => Err(format!("{column} is missing")),
        "." | ".." => Err(format!("{column} must not be {id}")),
        _ if id.contains('\0') => Err(format!("{column} holds a NUL")),
        _ if id.chars().count() > 255 => Err(format!("{column} is longer than 255 characters")),
        _ => Ok(()),
    }
}

type PgRow = (String, Option<String>, Option<String>, Option<DateTime<Utc>>, Option<DateTime<Utc>>);
type SqliteRow = (String, Option<String>, Option<String>, Option<String>, Option<String>);

impl Connection {
    /// The rows behind an id, in an order of the database's own: one batch.
    pub(super) async fn old_rows(
        &mut self,
        after: Option<&str>,
    ) -> Result<Vec<OldRow>, MaintenanceError> {
        let bytes = |row: &OldRow| row.data.as_ref().map_or(0, String::len);
        Ok(match self {
            Self::Postgres(c) => {
                // a time without zone is taken as UTC, which is the session's zone; one that
                // chrono can't represent counts as missing
                let query = sqlx::query_as::<_, PgRow>(
                    "SELECT id::text, entity_type::text, data::text,
                         CASE WHEN created_at >= '0001-01-01' AND created_at < '10000-01-01'
                              THEN created_at::timestamptz END,
                         CASE WHEN updated_at >= '0001-01-01' AND updated_at < '10000-01-01'
                              THEN updated_at::timestamptz END
                     FROM car_entities WHERE $1::text IS NULL OR id > $1::text
                     ORDER BY id LIMIT 500",
                );
                let rows =
                    query.bind(after).fetch(c).map_ok(|(id, entity_type, data, c, u)| OldRow {
                        id,
                        entity_type,
                        data,
                        created_at: c.map(from_pg),
                        updated_at: u.map(from_pg),
                    });
                page(rows, bytes).await?
            }
            Self::Sqlite(c) => {
                let query = sqlx::query_as::<_, SqliteRow>(
                    "SELECT CAST(id AS TEXT), CAST(entity_type AS TEXT), CAST(data AS TEXT),
                         CAST(created_at AS TEXT), CAST(updated_at AS TEXT)
                     FROM car_entities WHERE $1 IS NULL OR id > $1 ORDER BY id LIMIT 500",
                );
                let rows =
                    query.bind(after).fetch(c).map_ok(|(id, entity_type, data, c, u)| OldRow {
                        id,
                        entity_type,
                        data,
                        created_at: c.as_deref().and_then(sqlite_time),
                        updated_at: u.as_deref().and_then(sqlite_time),
                    });
                page(rows, bytes).await?
            }
        })
    }

    /// Whether an entity's log holds nothing but what adoptions wrote.
    pub(super) async fn is_only_adopted(
        &mut self,
        key: &EntityKey,
    ) -> Result<bool, MaintenanceError> {
        const QUERY: &str = "SELECT count(*) FROM (SELECT 1 FROM event_log
             WHERE entity_type = $1 AND entity_id = $2 AND kind <> 1 LIMIT 1) AS others";
        let (entity_type, id) = (key.entity_type(), key.entity_id());
        let others: i64 = match self {
            Self::Postgres(c) => {
                sqlx::query_scalar(QUERY).bind(entity_type).bind(id).fetch_one(c).await?
            }
            Self::Sqlite(c) => {
                sqlx::query_scalar(QUERY).bind(entity_type).bind(id).fetch_one(c).await?
            }
        };
        Ok(others == 0)
    }

    /// Waits for no lock longer than a second: while it waits for the table, later requests wait behind it.
    /// On SQLite the busy timeout is the bound.
    pub(super) async fn wait_briefly(&mut self) -> Result<(), MaintenanceError> {
        match self {
            Self::Postgres(_) => self.run("SET lock_timeout = '1s'").await,
            Self::Sqlite(_) => Ok(()),
        }
    }

    /// The sessions of others that hold the table, as the end of a sentence.
    pub(super) async fn holders_of_old_table(&mut self) -> Result<String, MaintenanceError> {
        let Self::Postgres(c) = self else { return Ok(String::new()) };
        let holders: Option<String> = sqlx::query_scalar(
            "SELECT string_agg(format('%s (pid %s, %s)',
                 coalesce(nullif(application_name, ''), usename, '?'), pid, state), ', ')
             FROM pg_stat_activity
             WHERE application_name <> 'producer maintenance' AND pid IN (
                 SELECT pid FROM pg_locks
                 WHERE granted AND relation = to_regclass('car_entities'))",
        )
        .fetch_one(c)
        .await?;
        Ok(holders.map_or_else(String::new, |who| format!(": car_entities is held by {who}")))
    }

    pub(super) async fn adopted_table_exists(&mut self) -> Result<bool, MaintenanceError> {
        let count = match self {
            Self::Postgres(_) => {
                self.count(
                    "SELECT count(*) FROM pg_class WHERE oid = to_regclass('car_entities_adopted')",
                )
                .await?
            }
            Self::Sqlite(_) => {
                self.count("SELECT count(*) FROM sqlite_schema WHERE name = 'car_entities_adopted'")
                    .await?
            }
        };
        Ok(count > 0)
    }

    /// From here to the transaction's end no other session writes the table; it can still be read.
    /// SQLite has no such lock.
    pub(super) async fn hold_old_table(&mut self) -> Result<(), MaintenanceError> {
        if let Self::Postgres(_) = self {
            self.run("BEGIN").await?;
            self.run("LOCK TABLE car_entities IN SHARE ROW EXCLUSIVE MODE").await?;
        }
        Ok(())
    }

    /// Keeps the table under another name; the view takes its place, as the first migration makes
    /// it.
    pub(super) async fn replace_old_table(&mut self) -> Result<(), MaintenanceError> {
        self.run("ALTER TABLE car_entities RENAME TO car_entities_adopted").await?;
        self.run(match self {
            Self::Postgres(_) => "SELECT car_entities_create_view()",
            Self::Sqlite(_) => {
                "CREATE VIEW car_entities AS
                 SELECT entity_id AS id, entity_type,
                        strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000000.0, 'unixepoch') AS created_at,
                        strftime('%Y-%m-%dT%H:%M:%fZ', updated_at / 1000000.0, 'unixepoch') AS updated_at,
                        data
                 FROM entities WHERE NOT deleted"
            }
        })
        .await
    }
}

/// SQLite has no type for times: RFC 3339, its own `YYYY-MM-DD HH:MM:SS`, or Unix seconds or
/// milliseconds. One beyond the years 0001 to 9999 counts as missing.
fn sqlite_time(text: &str) -> Option<Timestamp> {
    if let Ok(number) = text.parse::<i64>() {
        let is_millis = number.unsigned_abs() >= 100_000_000_000;
        let micros = number.checked_mul(if is_millis { 1_000 } else { 1_000_000 })?;
        return Timestamp::checked(micros).ok();
    }
    let formats = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"];
    let naive =
        || formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let date = DateTime::parse_from_rfc3339(text).ok().map(|date| date.to_utc());
    let date = date.or_else(|| naive().map(|date| date.and_utc()))?;
    Timestamp::checked(date.timestamp_micros()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_sqlite_are_read_as_far_as_they_can_be_told_again() {
        for text in
            ["1704103200", "1704103200000", "2024-01-01 10:00:00", "2024-01-01T11:00:00+01:00"]
        {
            let read = sqlite_time(text).map(|time| time.to_string());
            assert_eq!(read.as_deref(), Some("2024-01-01T10:00:00Z"), "{text}");
        }
        for text in
            ["", "soon", "9000000000000000", "0000-01-01T00:00:00Z", "+12024-01-01 10:00:00"]
        {
            assert_eq!(sqlite_time(text), None, "{text}");
        }
    }
}
