//! Entities in the order of their keys.

use std::collections::VecDeque;

use super::chunk::{Candidate, Chunk, Room};
use super::narrow::Keys;
use crate::model::{Entity, EntityKey};
use crate::query::key_range::KeyRange;
use crate::query::list_port::{EntitiesQuery, ListStore};
use crate::query::list_token::Place;
use crate::query::port::ReadError;

/// Keys that are looked up in one statement.
const POINTS: usize = 1000;

/// A walk over entities in the order of their keys.
#[derive(Debug)]
pub(super) struct KeyWalk {
    pieces: VecDeque<Piece>,
    descending: bool,
}

#[derive(Debug)]
enum Piece {
    Points(VecDeque<EntityKey>),
    Range(KeyRange),
}

impl KeyWalk {
    /// Over those of `keys`, behind a key.
    pub(super) fn new(keys: Keys, descending: bool, after: Option<&EntityKey>) -> Self {
        let mut pieces: VecDeque<Piece> = match keys {
            Keys::Points(points) => [Piece::Points(points.into())].into(),
            Keys::Ranges(ranges) => ranges.into_iter().map(Piece::Range).collect(),
        };
        if descending {
            pieces.make_contiguous().reverse();
            pieces.iter_mut().for_each(Piece::reverse);
        }
        let mut walk = Self { pieces, descending };
        if let Some(key) = after {
            walk.skip_to(key);
        }
        walk.pieces.retain(|piece| !piece.is_empty());
        walk
    }

    /// Leaves what is behind a key.
    fn skip_to(&mut self, key: &EntityKey) {
        let descending = self.descending;
        for piece in &mut self.pieces {
            match piece {
                Piece::Points(points) if descending => points.retain(|point| point < key),
                Piece::Points(points) => points.retain(|point| point > key),
                Piece::Range(range) => *range = behind(range.clone(), key, descending),
            }
        }
    }

    /// The next ones.
    pub(super) async fn next(
        &mut self,
        store: &dyn ListStore,
        room: Room,
    ) -> Result<Chunk, ReadError> {
        let mut rows = Vec::new();
        if let Some(piece) = self.pieces.front_mut() {
            rows = piece.read(store, room, self.descending).await?;
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        let candidates = rows.into_iter();
        let candidates =
            candidates.map(|(key, entity)| Candidate { place: Place::Key(key), entity });
        Ok(Chunk { candidates: candidates.collect(), is_last: self.pieces.is_empty() })
    }
}

impl Piece {
    fn reverse(&mut self) {
        if let Self::Points(points) = self {
            points.make_contiguous().reverse();
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Points(points) => points.is_empty(),
            Self::Range(range) => range.is_empty(),
        }
    }

    /// Takes the next rows out of it.
    async fn read(
        &mut self,
        store: &dyn ListStore,
        Room { rows, bytes }: Room,
        descending: bool,
    ) -> Result<Vec<(EntityKey, Option<Entity>)>, ReadError> {
        match self {
            Self::Points(points) => {
                let most = usize::try_from(rows).map_or(POINTS, |rows| rows.clamp(1, POINTS));
                let keys: Vec<&EntityKey> = points.iter().take(most).collect();
                let states = store.states(&keys, bytes).await?;
                Ok(points.drain(..states.len().min(most)).zip(states).collect())
            }
            Self::Range(range) => {
                let query = EntitiesQuery { range, descending, rows, bytes };
                let part = store.entities(query).await?;
                match part.rows.last() {
                    Some((last, _)) if !part.is_last => {
                        *range = behind(range.clone(), last, descending);
                    }
                    _ => range.to = Some(range.from.clone()),
                }
                Ok(part.rows)
            }
        }
    }
}

fn behind(range: KeyRange, key: &EntityKey, descending: bool) -> KeyRange {
    if descending { range.before(key) } else { range.after(key) }
}
