//! How a list goes from candidate to candidate.

use super::chunk::{Chunk, Room};
use super::index_walk::{IndexWalk, NotReady};
use super::key_walk::KeyWalk;
use crate::query::list_port::ListStore;
use crate::query::port::ReadError;

/// A walk over candidates, in the order of their keys or of an index.
#[derive(Debug)]
pub(super) enum Walk {
    Keys(KeyWalk),
    Index(IndexWalk),
}

/// Why a walk ended early.
#[derive(Debug)]
pub(super) enum WalkError {
    /// The database.
    Read(ReadError),
    /// The index that is walked over is not ready, or there is none any more.
    NotReady,
}

impl From<ReadError> for WalkError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl Walk {
    /// The next candidates.
    pub(super) async fn next(
        &mut self,
        store: &dyn ListStore,
        room: Room,
    ) -> Result<Chunk, WalkError> {
        match self {
            Self::Keys(walk) => Ok(walk.next(store, room).await?),
            Self::Index(walk) => {
                walk.next(store, room).await?.map_err(|NotReady| WalkError::NotReady)
            }
        }
    }
}
