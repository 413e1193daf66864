//! The choice between the two paths of a batch.

use super::fast_path::Fence;
use super::session::Session;
use super::{fast_path, slow_path};
use crate::ingest::{ApplyError, ApplyMode, Verdict};
use crate::model::Event;
use crate::store::postgres::error::{StatementError, TransactionError};

pub(super) async fn apply(
    session: &mut Session<'_>,
    batch: &[Event],
    mode: ApplyMode,
) -> Result<Vec<Verdict>, ApplyError> {
    let kept = session.kept_parts().await.map_err(StatementError::before_commit)?;
    let mut skip_locked = mode != ApplyMode::Normal;
    if !skip_locked
        && let Some(folded) = fast_path::fold(batch, session.settings.max_entity_bytes)
        && let Some(rows) = fast_path::part_rows(&folded, &kept)
    {
        let fence = Fence::new(kept.generation(), rows);
        let failure = match fast(session, batch, folded, fence).await {
            Ok(verdicts) => return Ok(verdicts),
            Err(failure) => failure,
        };
        match failure.error {
            StatementError::OutcomeUnknown(_) | StatementError::Unavailable(..) => {
                return Err(failure.into_error(session.attempt));
            }
            // the lock was waited for once; rows that others have locked are now skipped
            StatementError::LockTimeout(_) => skip_locked = true,
            StatementError::UniqueViolation(_)
            | StatementError::Contention(_)
            | StatementError::StaleTypes
            | StatementError::Refused(_) => {}
        }
    }
    slow_path::apply(session, batch, kept, skip_locked, mode == ApplyMode::Atomic).await
}

/// The fast path, whose one statement commits by itself; behind a pooler it is wrapped in a
/// transaction.
async fn fast(
    session: &mut Session<'_>,
    batch: &[Event],
    folded: fast_path::Folded<'_>,
    fence: Fence<'_>,
) -> Result<Vec<Verdict>, TransactionError> {
    if !session.settings.transactions.always {
        let applied = fast_path::apply(session, batch, folded, fence).await;
        return applied.map_err(|error| TransactionError { error, committing: true });
    }
    session.begin(false).await?;
    match fast_path::apply(session, batch, folded, fence).await {
        Ok(verdicts) => {
            let committed = session.run("COMMIT").await;
            committed.map_err(|error| TransactionError { error, committing: true })?;
            Ok(verdicts)
        }
        Err(error @ (StatementError::OutcomeUnknown(_) | StatementError::Unavailable(..))) => {
            Err(error.into())
        }
        Err(error) => {
            session.run("ROLLBACK").await?;
            Err(error.into())
        }
    }
}
