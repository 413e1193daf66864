//! The reads, each one statement.

mod entities;
mod error;
mod events;
mod log;
mod ping;

pub(super) use entities::entity;
pub(super) use error::kind;
pub(super) use events::{LOGGED, event, logged, record, wanted};
pub(super) use log::{log, log_point};
pub(super) use ping::ping;
