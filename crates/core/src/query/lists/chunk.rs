//! What a list looks at, chunk by chunk.

use crate::model::Entity;
use crate::query::list_token::Place;

/// Bytes of documents that a chunk has.
pub(super) const CHUNK_BYTES: usize = 4 << 20;

/// One that a list looks at.
#[derive(Debug)]
pub(super) struct Candidate {
    /// Where the list goes on behind it.
    pub(super) place: Place,
    /// `None` where it does not exist.
    pub(super) entity: Option<Entity>,
}

/// How much of the candidates to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// So many rows at most.
    pub(super) rows: u32,
    /// Documents of so many bytes, or one.
    pub(super) bytes: usize,
}

/// A part of the candidates.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) candidates: Vec<Candidate>,
    /// Whether nothing follows.
    pub(super) is_last: bool,
}
