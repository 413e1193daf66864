//! Checks in the tables, not through the service, that every accepted event is stored once.

use std::str::FromStr;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

use super::summary::Counts;
use crate::Result;

/// For both databases; `kind` 0 is an event.
const COUNTS: &str = "SELECT \
    (SELECT count(DISTINCT event_uuid) FROM event_log WHERE kind = 0) AS events, \
    (SELECT count(*) FROM event_log WHERE kind = 0) AS updates, \
    (SELECT CAST(coalesce(sum(version), 0) AS bigint) FROM entities) AS versions, \
    (SELECT count(*) FROM entities AS e LEFT JOIN \
        (SELECT entity_type, entity_id, count(*) AS updates FROM event_log \
         GROUP BY entity_type, entity_id) AS l \
        ON l.entity_type = e.entity_type AND l.entity_id = e.entity_id \
        WHERE e.version <> coalesce(l.updates, 0)) AS inconsistent";

/// Counts of the rows of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct StoredRows {
    /// Distinct events in the log.
    events: i64,
    /// Entity updates in the log.
    updates: i64,
    /// The sum of the versions of all entities.
    versions: i64,
    /// Entities whose version is not the number of their updates in the log.
    inconsistent: i64,
}

impl StoredRows {
    pub(super) async fn read(url: &str) -> Result<Self> {
        if url.starts_with("sqlite:") {
            let mut connection = SqliteConnectOptions::from_str(url)?.connect().await?;
            return Ok(sqlx::query_as(COUNTS).fetch_one(&mut connection).await?);
        }
        let mut connection = PgConnection::connect(url).await?;
        Ok(sqlx::query_as(COUNTS).fetch_one(&mut connection).await?)
    }
}

/// k6's counts compared with the rows of the database.
#[derive(Debug)]
pub(super) struct Check {
    /// Events that k6 counted as accepted and new.
    pub(super) accepted: u64,
    /// New events in the log.
    pub(super) stored: i64,
    /// Differences, each in a sentence.
    pub(super) problems: Vec<String>,
}

impl Check {
    /// Compares k6's counts with the new rows.
    pub(super) fn new(counts: &Counts, before: &StoredRows, after: &StoredRows) -> Self {
        let (accepted, stored) = (counts.new, after.events - before.events);
        let most = i128::from(accepted) + i128::from(counts.unknown);
        let lost = i128::from(accepted) - i128::from(stored);
        let excess = i128::from(stored) - most;
        let updates = after.updates - before.updates;
        let versions = after.versions - before.versions;
        let mut problems = Vec::new();
        if accepted == 0 {
            problems.push("no event was accepted".to_owned());
        }
        if lost > 0 {
            problems.push(format!("{lost} accepted events are not in the log"));
        }
        if excess > 0 {
            problems.push(format!("the log has {excess} more events than were accepted"));
        }
        if updates != stored {
            problems.push(format!(
                "{stored} events of one update each, but {updates} updates in the log"
            ));
        }
        if versions != updates {
            problems.push(format!("{updates} updates, but the versions grew by {versions}"));
        }
        if after.inconsistent > before.inconsistent {
            let inconsistent = after.inconsistent - before.inconsistent;
            problems.push(format!(
                "{inconsistent} entities have a version that is not the number of their updates"
            ));
        }
        Self { accepted, stored, problems }
    }

    pub(super) fn print(&self) {
        for problem in &self.problems {
            println!("  CHECK OF THE DATABASE FAILED: {problem}");
        }
        if self.problems.is_empty() {
            println!("  the database has each of the {} accepted events once", self.accepted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(new: u64, unknown: u64, stored: i64) -> Vec<String> {
        let counts = Counts { new, unknown, ..Counts::default() };
        let before = StoredRows { events: 10, updates: 10, versions: 10, inconsistent: 0 };
        let now = 10 + stored;
        let after = StoredRows { events: now, updates: now, versions: now, inconsistent: 0 };
        Check::new(&counts, &before, &after).problems
    }

    #[test]
    fn accepted_events_must_be_stored_once() {
        assert_eq!(check(100, 0, 100), [""; 0]);
        assert_eq!(check(100, 0, 99), ["1 accepted events are not in the log"]);
        assert_eq!(check(100, 0, 101), ["the log has 1 more events than were accepted"]);
        assert_eq!(check(0, 0, 0), ["no event was accepted"]);
    }

    #[test]
    fn an_event_of_unknown_outcome_may_be_stored_or_not() {
        assert_eq!(check(100, 2, 100), [""; 0]);
        assert_eq!(check(100, 2, 102), [""; 0]);
        assert_eq!(check(100, 2, 103), ["the log has 1 more events than were accepted"]);
    }

    #[test]
    fn a_version_without_its_update_is_found() {
        let counts = Counts { new: 5, ..Counts::default() };
        let before = StoredRows { events: 0, updates: 0, versions: 0, inconsistent: 0 };
        let after = StoredRows { events: 5, updates: 5, versions: 6, inconsistent: 1 };
        let problems = Check::new(&counts, &before, &after).problems;
        assert_eq!(problems.len(), 2, "{problems:?}");
    }
}
