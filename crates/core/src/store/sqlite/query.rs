//! The reads, each one statement.

mod entities;
mod error;
mod events;
mod feed;
mod lists;
mod log;
mod parameter;
mod ping;
mod search;
mod types;
mod worker;

pub(super) use entities::entity;
pub(super) use error::{kind, unavailable};
pub(super) use events::{LOGGED, event, logged, record, wanted};
pub(super) use feed::{bounds, changes, head, position_before};
pub(super) use lists::{count, entities, indexed, indexed_ids, states, types};
pub(super) use log::{log, log_point};
pub(super) use ping::ping;
pub(super) use search::{matches, search_parts, stems};
pub(super) use types::{
    count_entities, has_unfinished_parts, kept_parts, type_definition, type_definitions,
};
pub(super) use worker::{connectors, dead_letter, dead_letters, due_dead_letters, held_entities};
