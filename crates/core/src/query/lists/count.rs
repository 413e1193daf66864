//! Counting what a list has.

use std::time::Duration;

use tokio::time::Instant;

use super::chunk::{CHUNK_BYTES, Room};
use super::judge::{Judge, YieldBudget};
use super::pace::Pace;
use super::walk::{Walk, WalkError};
use crate::query::key_range::KeyRange;
use crate::query::list_port::{CountedPart, Estimates, ListStore};
use crate::query::list_request::Count;
use crate::query::port::ReadError;
use crate::query::scans::Scan;

/// How long counting takes at most.
const COUNTING: Duration = Duration::from_secs(1);

/// Rows of which one statement counts the entities.
pub(super) const COUNTED_ROWS: u32 = 20_000;

/// The first rows of a type, which are counted before the statistics are asked.
pub(super) const FIRST_ROWS: u32 = 1000;

/// Fewer entities of all types are counted rather than estimated.
const MANY: u64 = 10_000;

/// Counts the candidates that are wanted, for a second at most.
///
/// # Errors
/// The database, or that the index is not ready.
pub(super) async fn wanted(
    store: &dyn ListStore,
    mut walk: Walk,
    judge: Judge<'_>,
    scan: &mut Scan<'_>,
) -> Result<Count, WalkError> {
    let (mut value, mut pace, mut budget) = (0, Pace::new(false), YieldBudget::new(judge));
    let until = scan.elapsed() + COUNTING;
    loop {
        let began = Instant::now();
        let room = Room { rows: pace.rows(usize::MAX), bytes: CHUNK_BYTES };
        let chunk = walk.next(store, room).await?;
        for entity in chunk.candidates.iter().filter_map(|candidate| candidate.entity.as_ref()) {
            value += u64::from(judge.wants(entity));
            budget.note(entity.data.len()).await;
        }
        if chunk.is_last {
            return Ok(Count { value, exact: true });
        }
        pace.note(chunk.candidates.len(), 0, began.elapsed());
        if scan.rest(until).await.is_err() {
            return Ok(Count { value, exact: false });
        }
    }
}

/// Counts the entities of a type, or of all types, without reading them, for a second at most.
///
/// # Errors
/// The database.
pub(super) async fn all(
    store: &dyn ListStore,
    entity_type: Option<&str>,
    scan: &mut Scan<'_>,
) -> Result<Count, ReadError> {
    let mut range = entity_type.map_or_else(KeyRange::all, KeyRange::of_type);
    let (mut value, until) = (0, scan.elapsed() + COUNTING);
    loop {
        let part = store.count(&range, COUNTED_ROWS).await?;
        value += part.entities;
        let Some(last) = part.next else { return Ok(Count { value, exact: true }) };
        range = range.after(&last);
        if scan.rest(until).await.is_err() {
            return Ok(Count { value, exact: false });
        }
    }
}

/// How many entities there are of a type, or of all types, if the statistics tell.
///
/// # Errors
/// The database.
pub(super) async fn estimated(
    store: &dyn ListStore,
    entity_type: Option<&str>,
) -> Result<Option<Count>, ReadError> {
    let estimates = store.estimates().await?;
    let Some(entity_type) = entity_type else {
        let many = estimates.all.filter(|value| *value >= MANY);
        return Ok(many.map(|value| Count { value, exact: false }));
    };
    let first = store.count(&KeyRange::of_type(entity_type), FIRST_ROWS).await?;
    Ok(match of_type(entity_type, &first, &estimates) {
        _ if first.next.is_none() => Some(Count { value: first.entities, exact: true }),
        Some(value) => Some(Count { value, exact: false }),
        None => None,
    })
}

/// What the statistics say about how many entities a type has, whose first rows were counted: they do not
/// know how many of a type are deleted.
pub(super) fn of_type(
    entity_type: &str,
    first: &CountedPart,
    estimates: &Estimates,
) -> Option<u64> {
    let rows = *estimates.of_types.get(entity_type).or(estimates.of_another_type.as_ref())?;
    let share = first.entities as f64 / f64::from(FIRST_ROWS).max(first.entities as f64);
    // saturates
    Some(((rows as f64 * share) as u64).max(first.entities))
}
