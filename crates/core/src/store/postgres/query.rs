//! The reads, each one statement.

mod entities;
mod events;
mod ping;
mod retry;

pub(super) use entities::entity;
pub(super) use events::{event, logged};
pub(super) use ping::ping;
pub(super) use retry::with_retry;
