//! Running connectors: what all kinds need.

mod lanes;
pub mod lease;
mod leased_sink;
mod letters;
pub mod parts;
mod present;
mod register;
mod retry;
mod session;
mod settings;
pub mod sink;
pub mod source;
mod window;

use std::time::Duration;

use producer_core::feed::{ChangeData, Item};
use window::Place;

use crate::update::{Cause, Update};

/// The pause after a statement that failed.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);

/// What is delivered for an item of the feed, and where it stands; `None` where nothing is.
fn update_of(item: Item) -> Option<(Update, Place)> {
    match item {
        Item::Change(change) => {
            let state = match &change.data {
                ChangeData::State(entity) => Some(entity.clone()),
                ChangeData::Deleted | ChangeData::NotRead => None,
            };
            let place = Place::Change(change.clone());
            Some((Update { cause: Cause::Change(change), state }, place))
        }
        Item::Left(change) => {
            let place = Place::Change(change.clone());
            Some((Update { cause: Cause::Left(change), state: None }, place))
        }
        Item::Snapshot(token, entity) => {
            let update = Update { cause: Cause::Snapshot(entity.clone()), state: Some(entity) };
            Some((update, Place::Snapshot(token)))
        }
        Item::SnapshotEnd(_) | Item::Bookmark { .. } | Item::Gone(_) | Item::Unavailable(_) => None,
    }
}
