//! Entities in the order of an index.

use std::collections::VecDeque;

use super::chunk::{Candidate, Chunk, Room};
use crate::model::EntityKey;
use crate::query::key_range::next_text;
use crate::query::list_port::{IndexQuery, IndexedEntity, ListStore};
use crate::query::list_token::Place;
use crate::query::port::ReadError;
use crate::types::index_key::Range;

/// A walk over a part of an index.
#[derive(Debug, Clone)]
pub(super) struct IndexWalk {
    index_id: i32,
    entity_type: String,
    descending: bool,
    /// What is left, in the order of the walk.
    ranges: VecDeque<RowRange>,
}

/// Rows from one on and before another: keys and ids.
#[derive(Debug, Clone)]
struct RowRange {
    from: (Vec<u8>, String),
    to: (Vec<u8>, String),
}

/// The index is not ready, or there is none any more.
#[derive(Debug)]
pub(super) struct NotReady;

impl IndexWalk {
    /// Over ranges of an index that are in its order and do not overlap, behind a row.
    pub(super) fn new(
        (index_id, entity_type): (i32, &str),
        ranges: Vec<Range>,
        descending: bool,
        after: Option<(&[u8], &str)>,
    ) -> Self {
        let rows = |range: Range| RowRange {
            from: (range.from, String::new()),
            to: (range.to, String::new()),
        };
        let mut ranges: VecDeque<RowRange> = ranges.into_iter().map(rows).collect();
        if descending {
            ranges.make_contiguous().reverse();
        }
        if let Some((key, id)) = after {
            ranges.iter_mut().for_each(|range| range.skip_to(key, id, descending));
        }
        ranges.retain(|range| range.from < range.to);
        Self { index_id, entity_type: entity_type.to_owned(), descending, ranges }
    }

    /// The keys of all entities in it at one moment, `rows` of them at most. It has not begun.
    pub(super) async fn keys(
        &self,
        store: &dyn ListStore,
        rows: u32,
    ) -> Result<Result<Vec<EntityKey>, NotReady>, ReadError> {
        let range = |rows: &RowRange| Range { from: rows.from.0.clone(), to: rows.to.0.clone() };
        let ranges: Vec<Range> = self.ranges.iter().map(range).collect();
        let ids = store.indexed_ids(self.index_id, &ranges, rows).await?;
        let key = |id| EntityKey::new_unchecked(&*self.entity_type, id);
        Ok(ids.map(|ids| ids.into_iter().map(key).collect()).ok_or(NotReady))
    }

    /// The next ones.
    pub(super) async fn next(
        &mut self,
        store: &dyn ListStore,
        Room { rows, bytes }: Room,
    ) -> Result<Result<Chunk, NotReady>, ReadError> {
        let mut candidates = Vec::new();
        if let Some(range) = self.ranges.front_mut() {
            let query = IndexQuery {
                index_id: self.index_id,
                entity_type: &self.entity_type,
                from: (&range.from.0, &range.from.1),
                to: (&range.to.0, &range.to.1),
                descending: self.descending,
                rows,
                bytes,
            };
            let Some(part) = store.indexed(query).await? else { return Ok(Err(NotReady)) };
            match part.rows.last() {
                Some(last) if !part.is_last => {
                    range.skip_to(&last.key, &last.id, self.descending);
                }
                _ => drop(self.ranges.pop_front()),
            }
            let candidate = |row| candidate(self.index_id, row);
            candidates = part.rows.into_iter().map(candidate).collect();
        }
        Ok(Ok(Chunk { candidates, is_last: self.ranges.is_empty() }))
    }
}

fn candidate(index_id: i32, IndexedEntity { key, id, entity }: IndexedEntity) -> Candidate {
    Candidate { place: Place::Index { index_id, key, id }, entity }
}

impl RowRange {
    /// Leaves what is behind a row.
    fn skip_to(&mut self, key: &[u8], id: &str, descending: bool) {
        if descending {
            let row = (key.to_vec(), id.to_owned());
            if row < self.to {
                self.to = row;
            }
        } else {
            let next = (key.to_vec(), next_text(id));
            if next > self.from {
                self.from = next;
            }
        }
    }
}
