//! The fast path: a batch in one statement that commits by itself. The updates of one entity are folded,
//! the database merges with `||`, and the log's rows get the versions that the statement returns.

mod fold;
mod indexes;
mod many;
mod one;

pub(super) use fold::{Folded, fold};
pub(super) use indexes::{Fence, part_rows};

use super::session::Session;
use crate::ingest::Verdict;
use crate::model::Event;
use crate::store::postgres::error::StatementError;

/// Applies the batch: all of it or, with any error but [`StatementError::OutcomeUnknown`], nothing.
pub(super) async fn apply(
    session: &mut Session<'_>,
    batch: &[Event],
    folded: Folded<'_>,
    fence: Fence<'_>,
) -> Result<Vec<Verdict>, StatementError> {
    match batch {
        [event]
            if let [update] = event.updates()
                && let [group] = folded.groups.as_slice()
                && fence.rows.is_empty() =>
        {
            one::apply(session, event, update, group, fence.generation).await
        }
        _ => many::apply(session, batch, folded, fence).await,
    }
}
