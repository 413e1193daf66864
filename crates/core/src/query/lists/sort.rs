//! Lists in an order that no index serves: few entities are sorted in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::chunk::{CHUNK_BYTES, Chunk, Room};
use super::index_walk::NotReady;
use super::judge::{Judge, YieldBudget};
use super::key_walk::KeyWalk;
use super::narrow::Keys;
use super::pace::Pace;
use super::page::bytes_of;
use super::sort_key::SortKey;
use super::walk::{Walk, WalkError};
use crate::model::{Entity, Problem};
use crate::query::list_port::ListStore;
use crate::query::list_token::Place;
use crate::query::scans::Scan;

/// Entities that are looked at for one page.
const MAX_SORTED: usize = 10_000;
/// How long they are looked at.
const SORTING: Duration = Duration::from_secs(1);
/// How old a scan may become. One that is alone rests as long as it works, so it is refused as too expensive
/// before, however slow the machine is.
const SORTED_WITHIN: Duration = Duration::from_secs(3);

/// Why a page was not sorted.
#[derive(Debug)]
pub(super) enum SortError {
    Walk(WalkError),
    /// There are too many entities.
    TooMany,
    /// Others scan; its next turn did not come in time.
    Turn(Problem),
}

impl From<WalkError> for SortError {
    fn from(error: WalkError) -> Self {
        Self::Walk(error)
    }
}

/// The page of a sorted list.
#[derive(Debug)]
pub(super) struct SortedPage {
    /// The first ones behind the last page, by their sort keys and ids.
    first: BTreeMap<(Vec<u8>, String), Entity>,
    /// Whether others follow.
    has_more: bool,
    descending: bool,
    size: usize,
    bytes: usize,
    /// Bytes that the first ones have.
    used: usize,
}

impl SortedPage {
    /// A page of at most so many entities and bytes, or one entity.
    pub(super) fn new(size: u32, bytes: usize, descending: bool) -> Self {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        Self { first: BTreeMap::new(), has_more: false, descending, size, bytes, used: 0 }
    }

    /// Looks at all candidates, and takes the first ones that are wanted behind a place.
    ///
    /// # Errors
    /// The database, that an index is not ready, or that there are too many candidates.
    pub(super) async fn fill(
        &mut self,
        store: &dyn ListStore,
        mut walk: Walk,
        judge: Judge<'_>,
        by: &SortKey,
        after: Option<&(Vec<u8>, String)>,
        scan: &mut Scan<'_>,
    ) -> Result<(), SortError> {
        let (mut pace, mut budget, mut looked_at) = (Pace::new(true), YieldBudget::new(judge), 0);
        let mut began = Instant::now();
        let mut chunk = first_chunk(&mut walk, store, room(&pace, looked_at)).await?;
        loop {
            looked_at += chunk.candidates.len();
            if looked_at > MAX_SORTED {
                return Err(SortError::TooMany);
            }
            let count = chunk.candidates.len();
            for entity in chunk.candidates.into_iter().filter_map(|candidate| candidate.entity) {
                budget.note(entity.data.len()).await;
                if judge.wants(&entity)
                    && let Some(key) = by.of(&entity)
                {
                    self.take(key, entity, after);
                }
            }
            if chunk.is_last {
                return Ok(());
            }
            pace.note(count, count, began.elapsed());
            if scan.worked() >= SORTING {
                return Err(SortError::TooMany);
            }
            scan.rest(SORTED_WITHIN).await.map_err(SortError::Turn)?;
            began = Instant::now();
            chunk = walk.next(store, room(&pace, looked_at)).await?;
        }
    }

    fn take(&mut self, key: Vec<u8>, entity: Entity, after: Option<&(Vec<u8>, String)>) {
        let place = (key, entity.key.entity_id().to_owned());
        let is_behind = after.is_none_or(|after| match self.descending {
            true => place < *after,
            false => place > *after,
        });
        if !is_behind {
            return;
        }
        self.used += bytes_of(&entity);
        let same = self.first.insert(place, entity);
        self.used -= same.as_ref().map_or(0, bytes_of);
        self.cut();
    }

    /// Leaves those that fit, or one.
    fn cut(&mut self) {
        while self.first.len() > 1 && (self.first.len() > self.size || self.used > self.bytes) {
            let last = if self.descending { self.first.pop_first() } else { self.first.pop_last() };
            self.used -= last.as_ref().map_or(0, |(_, entity)| bytes_of(entity));
            self.has_more = true;
        }
    }

    /// The page, and where the next one goes on.
    pub(super) fn into_page(self) -> (Vec<Entity>, Option<Place>) {
        let last = if self.descending {
            self.first.first_key_value()
        } else {
            self.first.last_key_value()
        };
        let place = |((key, id), _): (&(Vec<u8>, String), _)| Place::Sorted {
            key: key.clone(),
            id: id.clone(),
        };
        let next = last.map(place).filter(|_| self.has_more);
        let mut entities: Vec<Entity> = self.first.into_values().collect();
        if self.descending {
            entities.reverse();
        }
        (entities, next)
    }
}

/// Room for one more than may be sorted.
fn room(pace: &Pace, looked_at: usize) -> Room {
    Room { rows: pace.rows(MAX_SORTED - looked_at), bytes: CHUNK_BYTES }
}

/// The first candidates. Between two statements an entity may move in an index, from what is still to be read
/// to what was read already, but its key never changes: an index that one statement does not read to its
/// end is walked over by the keys that it had at one moment.
async fn first_chunk(
    walk: &mut Walk,
    store: &dyn ListStore,
    room: Room,
) -> Result<Chunk, SortError> {
    let index = match walk {
        Walk::Index(index) => Some(index.clone()),
        Walk::Keys(_) => None,
    };
    let chunk = walk.next(store, room).await?;
    let Some(index) = index.filter(|_| !chunk.is_last) else { return Ok(chunk) };
    let most = u32::try_from(MAX_SORTED + 1).unwrap_or(u32::MAX);
    let keys = index.keys(store, most).await.map_err(WalkError::from)?;
    let mut keys = keys.map_err(|NotReady| WalkError::NotReady)?;
    if keys.len() > MAX_SORTED {
        return Err(SortError::TooMany);
    }
    keys.sort();
    *walk = Walk::Keys(KeyWalk::new(Keys::Points(keys), false, None));
    Ok(walk.next(store, room).await?)
}
