//! Writes marks: which positions were decided before which time.
//!
//! A mark takes two looks at the log. The first reads the last position that was drawn, and then which
//! transactions may still commit one up to it. As soon as a later look finds none of these any more, all up
//! to that position is decided, and a time that is read then is later than each of those commits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::session::Session;
use crate::feed::LogHead;
use crate::model::Timestamp;
use crate::store::marks::{MARK, MARK_EVERY, has_passed, latest_before};
use crate::store::numbers::to_bigint;
use crate::store::postgres::error::StatementError;
use crate::store::postgres::generation::Generations;
use crate::store::postgres::query::head_on;
use crate::store::postgres::time::to_pg;

/// The pause before another look, in microseconds.
const LOOK_EVERY: i64 = 1_000_000;

/// The marks of a store, whose writers take turns. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::store::postgres) struct Marks {
    state: Arc<Mutex<State>>,
    generations: Arc<Generations>,
}

#[derive(Debug, Default)]
struct State {
    /// When a writer looked last.
    looked_at: Option<Timestamp>,
    /// When this store wrote its last mark, or found that none is needed.
    marked_at: Option<Timestamp>,
    /// What an earlier look found, where its writers had not all ended.
    awaited: Option<LogHead>,
}

/// A look that is due.
#[derive(Debug)]
pub(super) struct Look {
    awaited: Option<LogHead>,
}

impl Marks {
    pub(in crate::store::postgres) fn new(generations: Arc<Generations>) -> Self {
        Self { state: Arc::default(), generations }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The look that is due, which the caller must take.
    pub(super) fn due(&self, now: Timestamp) -> Option<Look> {
        let mut state = self.state();
        if !has_passed(LOOK_EVERY, state.looked_at, now)
            || !has_passed(MARK_EVERY, state.marked_at, now)
        {
            return None;
        }
        state.looked_at = Some(now);
        Some(Look { awaited: state.awaited.take() })
    }

    /// Looks at the log, and marks it where that is possible now, in a transaction of its own. Returns
    /// whether the connection is as before: a failure concerns nobody else.
    pub(super) async fn look(&self, look: Look, session: &mut Session<'_>) -> bool {
        let Err(error) = self.look_and_mark(look, session).await else { return true };
        tracing::debug!(?error, "the log could not be marked with a time");
        !matches!(error, StatementError::OutcomeUnknown(_)) && session.run("ROLLBACK").await.is_ok()
    }

    async fn look_and_mark(
        &self,
        look: Look,
        session: &mut Session<'_>,
    ) -> Result<(), StatementError> {
        session.begin(false).await?;
        let head = self.undecided(look, session).await?;
        let now = session.settings.clock.now();
        let awaited = match head {
            Some(head) if head.writers.is_empty() => {
                mark(session, head.drawn, now).await?;
                None
            }
            awaited => awaited,
        };
        session.run("COMMIT").await?;
        let mut state = self.state();
        if awaited.is_none() {
            state.marked_at = Some(now);
        }
        state.awaited = awaited;
        Ok(())
    }

    /// The end of the log that was found first, with those of its writers that are still there; the end as it
    /// is now where the server may have crashed since. `None` where the database does not show who writes.
    async fn undecided(
        &self,
        look: Look,
        session: &mut Session<'_>,
    ) -> Result<Option<LogHead>, StatementError> {
        let (deadline, caches) = (session.settings.statement_deadline, session.caches_statements());
        let head = head_on(session.connection, caches, &self.generations);
        let head = Session::with_timeout(deadline, head).await?;
        let (Some(now), Some(mut awaited)) = (&head, look.awaited) else { return Ok(head) };
        if awaited.generation != now.generation {
            return Ok(head);
        }
        awaited.writers.retain(|writer| now.writers.contains(writer));
        Ok(Some(awaited))
    }
}

async fn mark(
    session: &mut Session<'_>,
    position: u64,
    now: Timestamp,
) -> Result<(), StatementError> {
    let insert = sqlx::query(MARK)
        .bind(to_bigint(position))
        .bind(to_pg(now))
        .bind(to_pg(latest_before(now)))
        .persistent(session.caches_statements())
        .execute(&mut *session.connection);
    Session::with_timeout(session.settings.statement_deadline, insert).await.map(drop)
}
