//! What the worker's sinks still need of the log.

use chrono::{DateTime, Utc};
use producer_core::Timestamp;
use producer_core::store::numbers::{from_bigint, to_bigint};
use producer_core::store::postgres::from_pg;

use super::rules::Cutoff;
use crate::connection::Connection;
use crate::error::MaintenanceError;
use crate::progress::Progress;

/// Each sink, the position up to which it has delivered, and the position of its oldest dead letter. One that is
/// to take a snapshot has the position that it goes on from behind it.
const SINKS: &str = "SELECT c.name, c.position, (
         SELECT d.position FROM dead_letters d
         WHERE d.role = 0 AND d.connector = c.name AND d.position IS NOT NULL
         ORDER BY d.position LIMIT 1)
     FROM connectors c WHERE c.role = 0 AND c.position IS NOT NULL ORDER BY c.name";

/// When the first change behind a position was committed or adopted. Up to the floor there are others.
const FIRST_BEHIND: &str = "SELECT CASE WHEN kind = 1 THEN coalesce(saved_at, committed_at)
            ELSE committed_at END
     FROM event_log
     WHERE position > $1 AND position > (SELECT floor FROM event_log_epoch)
     ORDER BY position LIMIT 1";

/// A sink.
struct Sink {
    name: String,
    /// Up to where it has delivered.
    position: u64,
    /// Its oldest dead letter.
    dead_letter: Option<u64>,
}

impl Sink {
    /// The last position that it does not need.
    fn up_to(&self) -> u64 {
        let before_letter =
            self.dead_letter.map_or(u64::MAX, |position| position.saturating_sub(1));
        self.position.min(before_letter)
    }

    /// What keeps the log from being pruned, and what can be done about it.
    fn warning(&self) -> String {
        let (name, position) = (&self.name, self.position);
        match self.dead_letter {
            Some(letter) if letter <= position => format!(
                "sink {name} has a dead letter of position {letter}, and the log is kept from there on: replay or \
                 delete its dead letters, or use --past-sinks"
            ),
            _ => format!(
                "sink {name} has delivered up to position {position}, and the log is kept behind that: run its \
                 worker, delete the sink, or use --past-sinks"
            ),
        }
    }
}

impl Connection {
    /// The position up to which no sink needs the log.
    pub(super) async fn needed_by_sinks(&mut self) -> Result<u64, MaintenanceError> {
        Ok(self.sinks().await?.iter().map(Sink::up_to).min().unwrap_or(u64::MAX))
    }

    /// What is old and needed by no sink. Each sink that needs something old is named.
    pub(super) async fn cutoff_of_sinks(
        &mut self,
        cutoff: Cutoff,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Cutoff, MaintenanceError> {
        let mut up_to = cutoff.up_to;
        for sink in self.sinks().await? {
            up_to = up_to.min(sink.up_to());
            let first = self.first_behind(sink.up_to()).await?;
            if first.is_some_and(|stored_at| stored_at < cutoff.before) {
                progress(Progress::Warning(sink.warning()));
            }
        }
        Ok(Cutoff { up_to, ..cutoff })
    }

    async fn sinks(&mut self) -> Result<Vec<Sink>, MaintenanceError> {
        let rows: Vec<(String, i64, Option<i64>)> = match self {
            Self::Postgres(c) => sqlx::query_as(SINKS).fetch_all(c).await?,
            Self::Sqlite(c) => sqlx::query_as(SINKS).fetch_all(c).await?,
        };
        let sink = |(name, position, dead_letter): (String, i64, Option<i64>)| Sink {
            name,
            position: from_bigint(position),
            dead_letter: dead_letter.map(from_bigint),
        };
        Ok(rows.into_iter().map(sink).collect())
    }

    async fn first_behind(&mut self, position: u64) -> Result<Option<Timestamp>, MaintenanceError> {
        let position = to_bigint(position);
        Ok(match self {
            Self::Postgres(c) => {
                let query = sqlx::query_scalar::<_, DateTime<Utc>>(FIRST_BEHIND).bind(position);
                query.fetch_optional(c).await?.map(from_pg)
            }
            Self::Sqlite(c) => {
                let query = sqlx::query_scalar::<_, i64>(FIRST_BEHIND).bind(position);
                query.fetch_optional(c).await?.map(Timestamp::from_micros)
            }
        })
    }
}
