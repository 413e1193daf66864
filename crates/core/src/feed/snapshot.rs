//! The entities as they are, page by page, in the order of their keys.

use std::sync::Arc;

use uuid::Uuid;

use super::item::Item;
use super::port::{EntitiesQuery, FeedStore, PAGE_BYTES};
use super::ring::Room;
use super::token::{Cursor, SnapshotCursor, Token};
use super::types::Types;
use super::verdict::matches_entity;
use crate::model::{Entity, EntityKey};
use crate::query::ReadError;

/// Entities that are read at once.
const ENTITIES: u32 = 1000;

/// A snapshot under way. It is no moment of the database: an entity may be newer than its beginning, and
/// then its changes come again behind it, with the versions that the reader has.
pub(super) struct Snapshot {
    cursor: SnapshotCursor,
    /// The types that are read.
    types: Types,
}

/// A part of a snapshot.
pub(super) struct SnapshotPart {
    /// Entities, or the end of the snapshot; nothing where none of what was read matches.
    pub(super) items: Vec<Item>,
    /// Whether the next entity does not fit.
    pub(super) is_full: bool,
}

impl Snapshot {
    pub(super) fn new(cursor: SnapshotCursor) -> Self {
        let types = cursor.types.narrowed(cursor.filter.as_ref());
        Self { cursor, types }
    }

    /// Whether not all entities are in it.
    pub(super) fn is_filtered(&self) -> bool {
        self.cursor.filter.is_some()
    }

    pub(super) fn token(&self, epoch: Uuid) -> Token {
        Token { epoch, cursor: Cursor::Snapshot(Arc::new(self.cursor.clone())) }
    }

    /// The next entities, or the end.
    pub(super) async fn next(
        &mut self,
        store: &dyn FeedStore,
        epoch: Uuid,
        room: Room,
    ) -> Result<SnapshotPart, ReadError> {
        // how many of them match is not known before
        let read = Room { items: ENTITIES as usize, bytes: PAGE_BYTES, at_least_one: true };
        let entities = self.read(store, if self.is_filtered() { read } else { room }).await?;
        if entities.is_empty() {
            let end = Token::in_log(epoch, self.cursor.position);
            return Ok(SnapshotPart { items: vec![Item::SnapshotEnd(end)], is_full: false });
        }
        // each token has the filter
        let token_bytes = self.token(epoch).filter_bytes();
        let (mut items, mut bytes) = (Vec::new(), 0);
        for entity in entities {
            if self.has(&entity) {
                bytes += entity.data.len() + token_bytes;
                let is_full = items.len() >= room.items || bytes > room.bytes;
                if is_full && !(items.is_empty() && room.at_least_one) {
                    return Ok(SnapshotPart { items, is_full: true });
                }
                self.cursor.after = Some(entity.key.clone());
                items.push(Item::Snapshot(self.token(epoch), Arc::new(entity)));
            } else {
                self.cursor.after = Some(entity.key);
            }
        }
        Ok(SnapshotPart { items, is_full: false })
    }

    fn has(&self, entity: &Entity) -> bool {
        self.cursor.filter.as_ref().is_none_or(|filter| matches_entity(filter, entity))
    }

    /// One type after another, where not all are wanted.
    async fn read(
        &self,
        store: &dyn FeedStore,
        Room { items, bytes, .. }: Room,
    ) -> Result<Vec<Entity>, ReadError> {
        let entities = u32::try_from(items).map_or(ENTITIES, |items| items.min(ENTITIES));
        let after = self.cursor.after.as_ref().map(key);
        let Some(types) = self.types.names() else {
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
