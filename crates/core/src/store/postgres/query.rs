//! The reads, each one statement.

mod entities;
mod events;
mod feed;
mod lists;
mod log;
mod ping;
mod retry;
mod search;
mod types;
mod worker;

pub(super) use entities::entity;
pub(super) use events::{event, logged};
pub(super) use feed::{bounds, changes, describe, generation, head, head_on, position_before};
pub(super) use lists::{count, entities, estimates, indexed, indexed_ids, states, types};
pub(super) use log::{log, log_point};
pub(super) use ping::ping;
pub(super) use retry::with_retry;
pub(super) use search::{open_search, search_parts, stems};
pub(super) use types::{
    kept_parts, knows_language, type_definition, type_definitions, writers_of_entities,
};
pub(super) use worker::{connectors, dead_letter, dead_letters, due_dead_letters, held_entities};
