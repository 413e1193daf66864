//! The reads, each one statement.

mod entities;
mod error;
mod events;
mod ping;

pub(super) use entities::entity;
pub(super) use error::kind;
pub(super) use events::{LOGGED, event, logged, record, wanted};
pub(super) use ping::ping;
