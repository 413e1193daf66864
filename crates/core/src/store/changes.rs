//! Reading the log in the order of positions: what both adapters share. `T` is how a database has times.

use sqlx::{FromRow, Row};
use uuid::Uuid;

use super::entries::EntryRow;
use super::numbers::from_bigint;
use crate::feed::{Change, ChangesQuery, LogBounds, LogPage};
use crate::model::{EntityKey, Timestamp};

/// The log's epoch and floor, and its last position up to $1.
pub(crate) const BOUNDS: &str = r"
SELECT epoch, floor, (SELECT position FROM event_log WHERE position <= $1
                      ORDER BY position DESC LIMIT 1) AS last
FROM event_log_epoch";

/// The last mark before a time.
pub(crate) const MARK_BEFORE: &str = r"
SELECT position FROM event_log_times WHERE marked_at <= $1
ORDER BY marked_at DESC, position DESC LIMIT 1";

/// The last mark.
pub(crate) const LAST_MARK: &str =
    "SELECT position FROM event_log_times ORDER BY position DESC LIMIT 1";

/// A row of [`BOUNDS`].
#[derive(FromRow)]
pub(crate) struct BoundsRow {
    epoch: Uuid,
    floor: i64,
    last: Option<i64>,
}

impl From<BoundsRow> for LogBounds {
    fn from(row: BoundsRow) -> Self {
        let floor = from_bigint(row.floor);
        let last = row.last.map_or(floor, from_bigint).max(floor);
        Self { epoch: row.epoch, floor, last }
    }
}

/// What every row of a page has beside the entry. Where a page has no entry, there is one row, with nulls.
#[derive(FromRow)]
pub(crate) struct PageRow {
    epoch: Uuid,
    floor: i64,
    position: Option<i64>,
    entity_type: Option<String>,
    entity_id: Option<String>,
}

/// A page of its rows, in any order.
pub(crate) fn into_page<'r, R, T>(
    rows: &'r [R],
    query: ChangesQuery<'_>,
    moment: impl Fn(T) -> Timestamp + Copy,
) -> Result<LogPage, sqlx::Error>
where
    R: Row,
    PageRow: FromRow<'r, R>,
    EntryRow<T>: FromRow<'r, R>,
{
    let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let PageRow { epoch, floor, .. } = PageRow::from_row(first)?;
    let (mut changes, mut last) = (Vec::with_capacity(rows.len()), None);
    for row in rows {
        let placed = PageRow::from_row(row)?;
        let (Some(position), Some(entity_type), Some(entity_id)) =
            (placed.position, placed.entity_type, placed.entity_id)
        else {
            continue;
        };
        let (position, entry) = (from_bigint(position), EntryRow::<T>::from_row(row)?);
        let entry = entry.into_entry(moment)?;
        last = last.max(Some(position));
        // the last row that was looked at may be none that is wanted
        if entry.event_id().is_some() && query.types.include(&entity_type) {
            let key = EntityKey::new_unchecked(entity_type, entity_id);
            changes.push(Change::new(epoch, position, key, entry));
        }
    }
    changes.sort_by_key(|change| change.position);
    let is_last = last.is_none_or(|last| last >= query.up_to);
    Ok(LogPage { epoch, floor: from_bigint(floor), changes, last, is_last })
}
