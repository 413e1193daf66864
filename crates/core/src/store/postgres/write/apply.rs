//! The choice between the two paths of a batch.

use super::session::Session;
use super::{fast_path, slow_path};
use crate::ingest::{ApplyError, ApplyMode, Verdict};
use crate::model::Event;
use crate::store::postgres::error::{Failure, Fault};

pub(super) async fn apply(
    session: &mut Session<'_>,
    batch: &[Event],
    mode: ApplyMode,
) -> Result<Vec<Verdict>, ApplyError> {
    let mut patient = mode != ApplyMode::Normal;
    if !patient && let Some(folded) = fast_path::fold(batch, session.settings.max_entity_bytes) {
        let failure = match fast(session, batch, folded).await {
            Ok(verdicts) => return Ok(verdicts),
            Err(failure) => failure,
        };
        match failure.fault {
            Fault::Lost(_) | Fault::Down(_) => return Err(failure.into_error(session.stamp)),
            // the lock was waited for once; what others hold is now left aside
            Fault::LockTimeout(_) => patient = true,
            Fault::Exists(_) | Fault::Race(_) | Fault::Refused(_) => {}
        }
    }
    slow_path::apply(session, batch, patient, mode == ApplyMode::Atomic).await
}

/// The fast road, whose one statement commits by itself; behind a pooler it stands in a transaction.
async fn fast(
    session: &mut Session<'_>,
    batch: &[Event],
    folded: fast_path::Folded<'_>,
) -> Result<Vec<Verdict>, Failure> {
    if !session.settings.transactions.always {
        let applied = fast_path::apply(session, batch, folded).await;
        return applied.map_err(|fault| Failure { fault, committing: true });
    }
    session.begin(false).await?;
    match fast_path::apply(session, batch, folded).await {
        Ok(verdicts) => {
            let committed = session.run("COMMIT").await;
            committed.map_err(|fault| Failure { fault, committing: true })?;
            Ok(verdicts)
        }
        Err(fault @ (Fault::Lost(_) | Fault::Down(_))) => Err(fault.into()),
        Err(fault) => {
            session.run("ROLLBACK").await?;
            Err(fault.into())
        }
    }
}
