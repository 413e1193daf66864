//! Whether the database holds what was accepted: asked of its tables, not of the service.

use std::str::FromStr;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

use super::summary::Counts;
use crate::Result;

/// Understood by both databases, answered with one number each; `kind` 0 is an event.
const QUESTIONS: [&str; 4] = [
    "SELECT count(DISTINCT event_uuid) FROM event_log WHERE kind = 0",
    "SELECT count(*) FROM event_log WHERE kind = 0",
    "SELECT CAST(coalesce(sum(version), 0) AS bigint) FROM entities",
    "SELECT count(*) FROM entities AS e LEFT JOIN \
     (SELECT entity_type, entity_id, count(*) AS updates FROM event_log \
      GROUP BY entity_type, entity_id) AS l \
     ON l.entity_type = e.entity_type AND l.entity_id = e.entity_id \
     WHERE e.version <> coalesce(l.updates, 0)",
];

/// What a database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holdings {
    /// Distinct events in the log.
    events: i64,
    /// Entity updates in the log.
    updates: i64,
    /// The versions of all entities together.
    versions: i64,
    /// Entities whose version isn't the number of their updates in the log.
    torn: i64,
}

impl Holdings {
    pub(super) async fn of(url: &str) -> Result<Self> {
        let [events, updates, versions, torn] = if url.starts_with("sqlite:") {
            of_sqlite(url).await?
        } else {
            of_postgres(url).await?
        };
        Ok(Self { events, updates, versions, torn })
    }
}

async fn of_postgres(url: &str) -> Result<[i64; 4]> {
    let mut connection = PgConnection::connect(url).await?;
    let mut answers = [0; 4];
    for (answer, question) in answers.iter_mut().zip(QUESTIONS) {
        *answer = sqlx::query_scalar(question).fetch_one(&mut connection).await?;
    }
    connection.close().await?;
    Ok(answers)
}

async fn of_sqlite(url: &str) -> Result<[i64; 4]> {
    let mut connection = SqliteConnectOptions::from_str(url)?.connect().await?;
    let mut answers = [0; 4];
    for (answer, question) in answers.iter_mut().zip(QUESTIONS) {
        *answer = sqlx::query_scalar(question).fetch_one(&mut connection).await?;
    }
    connection.close().await?;
    Ok(answers)
}

/// What the database says to k6's count.
#[derive(Debug)]
pub(super) struct Verdict {
    /// Events that k6 counted as accepted and new.
    pub(super) accepted: u64,
    /// Events that the log has gained.
    pub(super) stored: i64,
    /// What is wrong, each in a sentence.
    pub(super) findings: Vec<String>,
}

impl Verdict {
    /// Compares what k6 counted with what the database gained.
    pub(super) fn of(counts: &Counts, before: &Holdings, after: &Holdings) -> Self {
        let (accepted, stored) = (counts.new, after.events - before.events);
        let most = i128::from(accepted) + i128::from(counts.unknown);
        let lost = i128::from(accepted) - i128::from(stored);
        let beyond = i128::from(stored) - most;
        let updates = after.updates - before.updates;
        let versions = after.versions - before.versions;
        let mut findings = Vec::new();
        if accepted == 0 {
            findings.push("no event was accepted".to_owned());
        }
        if lost > 0 {
            findings.push(format!("{lost} accepted events are not in the log"));
        }
        if beyond > 0 {
            findings.push(format!("the log has {beyond} events more than were accepted"));
        }
        if updates != stored {
            findings.push(format!("{stored} events of one update each left {updates} in the log"));
        }
        if versions != updates {
            findings.push(format!("{updates} updates raised versions by {versions}"));
        }
        if after.torn > before.torn {
            let torn = after.torn - before.torn;
            findings.push(format!("{torn} entities have a version that their log doesn't explain"));
        }
        Self { accepted, stored, findings }
    }

    pub(super) fn print(&self) {
        for finding in &self.findings {
            println!("  THE DATABASE DISAGREES: {finding}");
        }
        if self.findings.is_empty() {
            println!("  the database has each of the {} accepted events once", self.accepted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(new: u64, unknown: u64, stored: i64) -> Vec<String> {
        let counts = Counts { new, unknown, ..Counts::default() };
        let before = Holdings { events: 10, updates: 10, versions: 10, torn: 0 };
        let now = 10 + stored;
        let after = Holdings { events: now, updates: now, versions: now, torn: 0 };
        Verdict::of(&counts, &before, &after).findings
    }

    #[test]
    fn what_was_accepted_must_be_there_once() {
        assert_eq!(verdict(100, 0, 100), [""; 0]);
        assert_eq!(verdict(100, 0, 99), ["1 accepted events are not in the log"]);
        assert_eq!(verdict(100, 0, 101), ["the log has 1 events more than were accepted"]);
        assert_eq!(verdict(0, 0, 0), ["no event was accepted"]);
    }

    #[test]
    fn an_event_without_an_answer_may_be_there_or_not() {
        assert_eq!(verdict(100, 2, 100), [""; 0]);
        assert_eq!(verdict(100, 2, 102), [""; 0]);
        assert_eq!(verdict(100, 2, 103), ["the log has 1 events more than were accepted"]);
    }

    #[test]
    fn a_version_without_its_update_is_found() {
        let counts = Counts { new: 5, ..Counts::default() };
        let before = Holdings { events: 0, updates: 0, versions: 0, torn: 0 };
        let after = Holdings { events: 5, updates: 5, versions: 6, torn: 1 };
        let findings = Verdict::of(&counts, &before, &after).findings;
        assert_eq!(findings.len(), 2, "{findings:?}");
    }
}
