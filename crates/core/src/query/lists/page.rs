//! A page: candidates are judged until it is full or its time is over.

use std::time::Duration;

use tokio::time::Instant;

use super::chunk::{CHUNK_BYTES, Candidate, Room};
use super::judge::{Judge, YieldBudget};
use super::pace::Pace;
use super::walk::{Walk, WalkError};
use crate::model::Entity;
use crate::query::list_port::ListStore;
use crate::query::list_token::Place;
use crate::query::scans::Scan;

/// How long a page looks at entities.
const LOOKING: Duration = Duration::from_millis(500);
/// What an entity has beside its type, id and document in an answer, about.
const ENTITY_BYTES: usize = 200;

/// A page that is being filled.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) entities: Vec<Entity>,
    /// Where the next page goes on, if there may be one.
    pub(super) next: Option<Place>,
    size: usize,
    bytes: usize,
}

impl Page {
    /// A page of at most so many entities and bytes; the first entity comes whatever its size.
    pub(super) fn new(size: u32, bytes: usize) -> Self {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        Self { entities: Vec::new(), next: None, size, bytes }
    }

    /// Fills the page with those candidates that are wanted.
    ///
    /// # Errors
    /// The database, or that the index is not ready.
    pub(super) async fn fill(
        &mut self,
        store: &dyn ListStore,
        mut walk: Walk,
        judge: Judge<'_>,
        mut pace: Pace,
        scan: &mut Scan<'_>,
    ) -> Result<(), WalkError> {
        let mut budget = YieldBudget::new(judge);
        loop {
            let (began, had) = (Instant::now(), self.entities.len());
            let rows = pace.rows(self.size - had);
            let chunk = walk.next(store, Room { rows, bytes: self.bytes.min(CHUNK_BYTES) }).await?;
            let looked_at = chunk.candidates.len();
            for candidate in chunk.candidates {
                let judged = candidate.entity.as_ref().map_or(0, |entity| entity.data.len());
                if !self.take(candidate, judge) {
                    return Ok(());
                }
                budget.note(judged).await;
            }
            if chunk.is_last {
                self.next = None;
                return Ok(());
            }
            pace.note(looked_at, self.entities.len() - had, began.elapsed());
            if self.entities.len() == self.size || scan.rest(LOOKING).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Takes a candidate if it is wanted; `false` where there is no room for it.
    fn take(&mut self, candidate: Candidate, judge: Judge<'_>) -> bool {
        if let Some(entity) = candidate.entity.filter(|entity| judge.wants(entity)) {
            let bytes = bytes_of(&entity);
            let is_full = self.entities.len() >= self.size || bytes > self.bytes;
            if is_full && !self.entities.is_empty() {
                return false;
            }
            self.bytes = self.bytes.saturating_sub(bytes);
            self.entities.push(entity);
        }
        self.next = Some(candidate.place);
        true
    }
}

/// The bytes that an entity has in an answer, about.
pub(super) fn bytes_of(entity: &Entity) -> usize {
    let key = entity.key.entity_type().len() + entity.key.entity_id().len();
    entity.data.len() + key + ENTITY_BYTES
}
