//! Pages of the log, for readers that are behind what is kept in memory.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::change::ChangeData;
use super::port::{ChangesQuery, FeedStore, LogPage, PAGE_BYTES};
use super::types::Types;
use super::verdict::may_match;
use crate::filter::{Filter, JudgingTime};
use crate::model::EntityKey;
use crate::query::ReadError;

/// Rows and bytes of a reader's first page.
const FIRST_ROWS: u32 = 256;
const FIRST_BYTES: usize = 64 << 10;
/// Rows of a page at most.
const MOST_ROWS: u32 = 8192;
/// A reader that asks for the next page sooner gets larger ones, up to [`PAGE_BYTES`]; a slower one gets
/// small ones, since many of them hold a page in memory.
const FAST: Duration = Duration::from_millis(250);

/// Adds the states of the entities, about `bytes` of them: changes whose states do not fit are left out at
/// the end of the page. Those that a filter passes over whatever their states are get none.
pub(super) async fn with_states(
    store: &dyn FeedStore,
    mut page: LogPage,
    filter: Option<&Filter>,
    bytes: usize,
) -> Result<LogPage, ReadError> {
    let mut places = HashMap::<&EntityKey, usize>::new();
    let (mut keys, mut time) = (Vec::new(), JudgingTime::default());
    let mut state_of = Vec::with_capacity(page.changes.len());
    for change in &page.changes {
        if filter.is_some_and(|filter| !may_match(filter, change, &mut time)) {
            state_of.push(None);
            continue;
        }
        let place = *places.entry(&change.key).or_insert_with(|| {
            keys.push(&change.key);
            keys.len() - 1
        });
        state_of.push(Some(place));
    }
    if keys.is_empty() {
        return Ok(page);
    }
    let states = store.states(&keys, bytes).await?;
    let states: Vec<ChangeData> = states
        .into_iter()
        .map(|state| {
            state.map_or(ChangeData::Deleted, |entity| ChangeData::State(Arc::new(entity)))
        })
        .collect();
    let complete =
        state_of.iter().position(|place| place.is_some_and(|place| place >= states.len()));
    if let Some(complete) = complete {
        page.changes.truncate(complete);
        page.last = page.changes.last().map(|change| change.position);
        page.is_last = false;
    }
    for (change, place) in page.changes.iter_mut().zip(state_of) {
        if let Some(place) = place {
            change.data = states[place].clone();
        }
    }
    Ok(page)
}

/// A read that goes on while nobody waits for it: a wait that is given up loses nothing, and nothing is read
/// twice. Dropping it ends it.
pub(super) type Reading<T> = AbortOnDropHandle<Result<T, ReadError>>;

/// Begins a read.
pub(super) fn begin_reading<T: Send + 'static>(
    read: impl Future<Output = Result<T, ReadError>> + Send + 'static,
) -> Reading<T> {
    AbortOnDropHandle::new(tokio::spawn(read))
}

/// Waits for a read. Cancel safe.
pub(super) async fn read_of<T>(reading: &mut Reading<T>) -> Result<T, ReadError> {
    reading.await.unwrap_or_else(|error| Err(ReadError::of_task(&error)))
}

/// Reads the log page by page, the next one while the last is sent.
pub(super) struct Pages {
    store: Arc<dyn FeedStore>,
    /// Only a few are read at the same time: other reads need connections too.
    permits: Arc<Semaphore>,
    types: Types,
    filter: Option<Filter>,
    with_data: bool,
    rows: u32,
    bytes: usize,
    /// When the last page was returned, until the next one is asked for.
    returned_at: Option<Instant>,
    /// Whether that was soon.
    is_fast: bool,
    under_way: Option<UnderWay>,
}

/// A page that is being read, perhaps before it is asked for.
struct UnderWay {
    after: u64,
    up_to: u64,
    reading: Reading<LogPage>,
}

impl Pages {
    pub(super) fn new(
        store: Arc<dyn FeedStore>,
        permits: Arc<Semaphore>,
        types: Types,
        filter: Option<Filter>,
        with_data: bool,
    ) -> Self {
        Self {
            store,
            permits,
            types,
            filter,
            with_data,
            rows: FIRST_ROWS,
            bytes: FIRST_BYTES,
            returned_at: None,
            is_fast: false,
            under_way: None,
        }
    }

    /// The page that follows on `after`. Cancel safe.
    pub(super) async fn next(&mut self, after: u64, up_to: u64) -> Result<LogPage, ReadError> {
        if let Some(returned_at) = self.returned_at.take() {
            self.is_fast = returned_at.elapsed() < FAST;
            self.bytes = if self.is_fast { (self.bytes * 2).min(PAGE_BYTES) } else { FIRST_BYTES };
        }
        let is_it = |page: &UnderWay| page.after == after && page.up_to <= up_to;
        let under_way = match self.under_way.take().filter(is_it) {
            Some(under_way) => under_way,
            None => self.begin(after, up_to),
        };
        // stays there while it is waited for
        let under_way = self.under_way.insert(under_way);
        let page = read_of(&mut under_way.reading).await;
        let read_up_to = under_way.up_to;
        self.under_way = None;
        let mut page = page?;
        page.is_last &= read_up_to == up_to;
        self.rows = next_rows(self.rows, self.bytes, &page);
        if let Some(last) = page.last.filter(|_| !page.is_last && self.is_fast) {
            self.under_way = Some(self.begin(last, up_to));
        }
        self.returned_at = Some(Instant::now());
        Ok(page)
    }

    fn begin(&self, after: u64, up_to: u64) -> UnderWay {
        UnderWay { after, up_to, reading: begin_reading(self.read(after, up_to)) }
    }

    fn read(
        &self,
        after: u64,
        up_to: u64,
    ) -> impl Future<Output = Result<LogPage, ReadError>> + Send + use<> {
        let (store, permits) = (Arc::clone(&self.store), Arc::clone(&self.permits));
        let (types, filter) = (self.types.clone(), self.filter.clone());
        let (rows, bytes, with_data) = (self.rows, self.bytes, self.with_data);
        async move {
            // never closed
            let _permit = permits.acquire().await.ok();
            let query = ChangesQuery { after, up_to, types: &types, rows, bytes };
            let page = store.changes(query).await?;
            if with_data {
                return with_states(&*store, page, filter.as_ref(), bytes).await;
            }
            Ok(page)
        }
    }
}

/// How many rows the page after this one looks at: more where few of them were wanted, or they are small;
/// about what fits where states or patches filled the page, since the rest was read in vain.
fn next_rows(rows: u32, bytes: usize, page: &LogPage) -> u32 {
    let mut states = HashSet::new();
    let mut read = 0;
    for change in &page.changes {
        read += change.entry.patch.len();
        if let ChangeData::State(entity) = &change.data
            && states.insert(Arc::as_ptr(entity))
        {
            read += entity.data.len();
        }
    }
    let found = u32::try_from(page.changes.len()).unwrap_or(u32::MAX);
    match read {
        read if read < bytes / 2 => rows.saturating_mul(4).min(MOST_ROWS),
        _ => found.saturating_mul(2).clamp(FIRST_ROWS / 4, MOST_ROWS),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::feed::change::Change;
    use crate::model::{Entity, Timestamp};

    const ROWS: u32 = 1024;
    const BYTES: usize = 64 << 10;

    /// A page of changes of so many entities in turn, with documents of so many bytes.
    fn page(changes: usize, patch: usize, entities: usize, document: usize) -> LogPage {
        let time = Timestamp::from_micros(0);
        let state = |number: usize| {
            let key = EntityKey::new_unchecked("Car", number.to_string());
            let data = "x".repeat(document);
            let entity = Entity { key, version: 1, created_at: time, updated_at: time, data };
            ChangeData::State(Arc::new(entity))
        };
        let states: Vec<_> = (0..entities).map(state).collect();
        let change = |number: usize| {
            let mut change = Change::of_test(Uuid::nil(), 1, "Car", &"x".repeat(patch));
            change.data = states.get(number % entities.max(1)).cloned().unwrap_or_default();
            change
        };
        let changes = (0..changes).map(change).collect();
        LogPage { epoch: Uuid::nil(), floor: 0, changes, last: Some(1), is_last: false }
    }

    #[test]
    fn a_page_looks_at_more_rows_where_much_room_was_left() {
        assert_eq!(next_rows(ROWS, BYTES, &page(10, 100, 0, 0)), 4 * ROWS);
        // one state, of many changes
        assert_eq!(next_rows(ROWS, BYTES, &page(1000, 10, 1, 4000)), 4 * ROWS);
        assert_eq!(next_rows(MOST_ROWS, BYTES, &page(10, 100, 0, 0)), MOST_ROWS);
    }

    #[test]
    fn a_page_looks_at_about_as_many_rows_as_fit() {
        assert_eq!(next_rows(ROWS, BYTES, &page(500, 128, 0, 0)), 1000);
        assert_eq!(next_rows(ROWS, BYTES, &page(200, 10, 16, 4000)), 400);
        assert_eq!(next_rows(ROWS, BYTES, &page(1, BYTES, 0, 0)), FIRST_ROWS / 4);
    }
}
