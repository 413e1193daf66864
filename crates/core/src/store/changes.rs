//! Reading the log in the order of positions: what both adapters share. `T` is how a database has times.

use sqlx::{FromRow, Row};
use uuid::Uuid;

use super::entries::EntryRow;
use super::numbers::from_bigint;
use crate::feed::{Change, ChangesQuery, LogBounds, LogPage, Token};
use crate::model::{Entity, EntityKey, Timestamp};

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

/// Longer than any type, and behind all of them.
pub(crate) fn behind_every_type() -> String {
    "\u{10FFFF}".repeat(256)
}

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

/// What the first row of a page says about all of it. It is there also where the page has no change; then
/// `position` is null, and so is all that belongs to a change.
#[derive(FromRow)]
pub(crate) struct PageHead {
    epoch: Option<Uuid>,
    floor: Option<i64>,
    /// Rows of the log that were looked at, and the position of the last of them.
    looked: Option<i64>,
    looked_up_to: Option<i64>,
    /// Changes among them that are wanted, also those that did not fit.
    wanted: Option<i64>,
    position: Option<i64>,
}

/// What a row of a page has beside the entry.
#[derive(FromRow)]
pub(crate) struct Placed {
    position: i64,
    entity_type: String,
    entity_id: String,
}

/// A page of its rows.
pub(crate) fn into_page<'r, R, T>(
    rows: &'r [R],
    query: ChangesQuery<'_>,
    moment: impl Fn(T) -> Timestamp + Copy,
) -> Result<LogPage, sqlx::Error>
where
    R: Row,
    PageHead: FromRow<'r, R>,
    Placed: FromRow<'r, R>,
    EntryRow<T>: FromRow<'r, R>,
{
    let head = rows.first().map(PageHead::from_row).transpose()?;
    let head = head.ok_or(sqlx::Error::RowNotFound)?;
    let epoch = head.epoch.ok_or(sqlx::Error::RowNotFound)?;
    let mut changes = Vec::with_capacity(rows.len());
    for row in rows.iter().filter(|_| head.position.is_some()) {
        let Placed { position, entity_type, entity_id } = Placed::from_row(row)?;
        let position = from_bigint(position);
        let entry = EntryRow::<T>::from_row(row)?.into_entry(moment)?;
        let key = EntityKey::new_unchecked(entity_type, entity_id);
        changes.push(Change::new(Token::in_log(epoch, position), position, key, entry));
    }
    let is_cut = head.wanted.is_some_and(|wanted| from_bigint(wanted) > changes.len() as u64);
    let looked_up_to = head.looked_up_to.map(from_bigint);
    let last = match changes.last() {
        Some(change) if is_cut => Some(change.position),
        _ => looked_up_to,
    };
    let looked = head.looked.map_or(0, from_bigint);
    Ok(LogPage {
        epoch,
        floor: head.floor.map_or(0, from_bigint),
        changes,
        last,
        is_last: !is_cut && looked < u64::from(query.rows),
    })
}

/// A row of the states of entities; null where an entity does not exist.
#[derive(FromRow)]
pub(crate) struct StateRow<T> {
    version: Option<i64>,
    created_at: Option<T>,
    updated_at: Option<T>,
    data: Option<String>,
}

impl<T> StateRow<T> {
    pub(crate) fn into_entity(
        self,
        key: &EntityKey,
        moment: impl Fn(T) -> Timestamp,
    ) -> Option<Entity> {
        Some(Entity {
            key: key.clone(),
            version: from_bigint(self.version?),
            created_at: moment(self.created_at?),
            updated_at: moment(self.updated_at?),
            data: self.data?,
        })
    }
}

/// A row of a snapshot.
#[derive(FromRow)]
pub(crate) struct EntityRow<T> {
    entity_type: String,
    entity_id: String,
    version: i64,
    created_at: T,
    updated_at: T,
    data: String,
}

impl<T> EntityRow<T> {
    pub(crate) fn into_entity(self, moment: impl Fn(T) -> Timestamp) -> Entity {
        Entity {
            key: EntityKey::new_unchecked(self.entity_type, self.entity_id),
            version: from_bigint(self.version),
            created_at: moment(self.created_at),
            updated_at: moment(self.updated_at),
            data: self.data,
        }
    }
}
