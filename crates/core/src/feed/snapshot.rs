//! The entities as they are, page by page, in the order of their keys.

use std::sync::Arc;

use uuid::Uuid;

use super::item::Item;
use super::port::FeedStore;
use super::ring::Room;
use super::token::{Cursor, SnapshotCursor, Token};
use crate::model::{Entity, EntityKey};
use crate::query::{EntitiesQuery, KeyRange, ReadError};

/// Entities that are read at once.
const ENTITIES: u32 = 1000;

/// A snapshot under way. It is no moment of the database: an entity may be newer than its beginning, and
/// then its changes come again behind it, with the versions that the reader has.
pub(super) struct Snapshot {
    cursor: SnapshotCursor,
}

impl Snapshot {
    pub(super) fn new(cursor: SnapshotCursor) -> Self {
        Self { cursor }
    }

    pub(super) fn token(&self, epoch: Uuid) -> Token {
        Token { epoch, cursor: Cursor::Snapshot(Arc::new(self.cursor.clone())) }
    }

    /// The next entities, or the end; nothing where the next one does not fit.
    pub(super) async fn next(
        &mut self,
        store: &dyn FeedStore,
        epoch: Uuid,
        room: Room,
    ) -> Result<Vec<Item>, ReadError> {
        let entities = self.read(store, room).await?;
        let is_too_large = |first: &Entity| first.data.len() > room.bytes && !room.at_least_one;
        if entities.first().is_some_and(is_too_large) {
            return Ok(Vec::new());
        }
        if entities.is_empty() {
            let end = Token::in_log(epoch, self.cursor.position);
            return Ok(vec![Item::SnapshotEnd(end)]);
        }
        let items = entities.into_iter().map(|entity| {
            self.cursor.after = Some(entity.key.clone());
            Item::Snapshot(self.token(epoch), Arc::new(entity))
        });
        Ok(items.collect())
    }

    /// One type after another, where not all are wanted.
    async fn read(
        &self,
        store: &dyn FeedStore,
        Room { items, bytes, .. }: Room,
    ) -> Result<Vec<Entity>, ReadError> {
        let entities = u32::try_from(items).map_or(ENTITIES, |items| items.min(ENTITIES));
        let after = self.cursor.after.as_ref();
        let Some(types) = self.cursor.types.names() else {
            return first(store, KeyRange::all(), after, entities, bytes).await;
        };
        let begun = after.map_or("", EntityKey::entity_type);
        for name in types.iter().filter(|name| ***name >= *begun) {
            let found = first(store, KeyRange::of_type(name), after, entities, bytes).await?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }
}

/// The first entities of a range behind a key; deleted ones are passed over.
async fn first(
    store: &dyn FeedStore,
    range: KeyRange,
    after: Option<&EntityKey>,
    rows: u32,
    bytes: usize,
) -> Result<Vec<Entity>, ReadError> {
    let mut range = after.map_or_else(|| range.clone(), |after| range.clone().after(after));
    loop {
        let query = EntitiesQuery { range: &range, descending: false, rows, bytes };
        let part = store.entities(query).await?;
        let last = part.rows.last().map(|(key, _)| key.clone());
        let found: Vec<Entity> = part.rows.into_iter().filter_map(|(_, entity)| entity).collect();
        match last {
            Some(last) if found.is_empty() && !part.is_last => range = range.after(&last),
            _ => return Ok(found),
        }
    }
}
