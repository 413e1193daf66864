//! The entities as they are, page by page, in the order of their keys.

use std::sync::Arc;

use uuid::Uuid;

use super::item::Item;
use super::port::{EntitiesQuery, FeedStore};
use super::ring::Room;
use super::token::{Cursor, SnapshotCursor, Token};
use crate::model::{Entity, EntityKey};
use crate::query::ReadError;

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
        let after = self.cursor.after.as_ref().map(key);
        let Some(types) = self.cursor.types.names() else {
            let after = after.unwrap_or_default();
            let query = EntitiesQuery { after, entity_type: None, entities, bytes };
            return store.entities(query).await;
        };
        let begun = after.map_or("", |(entity_type, _)| entity_type);
        for name in types.iter().filter(|name| ***name >= *begun) {
            let after = after.filter(|(entity_type, _)| **entity_type == **name);
            let after = after.unwrap_or((name, ""));
            let query = EntitiesQuery { after, entity_type: Some(name), entities, bytes };
            let found = store.entities(query).await?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }
}

fn key(key: &EntityKey) -> (&str, &str) {
    (key.entity_type(), key.entity_id())
}
