//! The entities as they are, page by page, in the order of their keys.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::Semaphore;
use uuid::Uuid;

use super::item::Item;
use super::pages::{Reading, begin_reading, read_of};
use super::port::{FeedStore, PAGE_BYTES};
use super::ring::Room;
use super::token::{Cursor, SnapshotCursor, Token};
use super::types::Types;
use super::verdict::matches_entity;
use crate::filter::JudgingTime;
use crate::model::{Entity, EntityKey};
use crate::query::{EntitiesQuery, KeyRange, ReadError};

/// Entities that are read at once.
const ENTITIES: u32 = 1000;

/// A snapshot under way. It is no moment of the database: an entity may be newer than its beginning, and
/// then its changes come again behind it, with the versions that the reader has.
pub(super) struct Snapshot {
    cursor: SnapshotCursor,
    /// The types that are read.
    types: Types,
    reading: Option<Reading<Vec<Entity>>>,
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
        Self { cursor, types, reading: None }
    }

    /// Whether not all entities are in it.
    fn is_filtered(&self) -> bool {
        self.cursor.filter.is_some()
    }

    pub(super) fn token(&self, epoch: Uuid) -> Token {
        Token { epoch, cursor: Cursor::Snapshot(Arc::new(self.cursor.clone())) }
    }

    /// The next entities, or the end. Cancel safe, if it is called with the same room again.
    pub(super) async fn next(
        &mut self,
        store: &Arc<dyn FeedStore>,
        permits: &Arc<Semaphore>,
        epoch: Uuid,
        room: Room,
    ) -> Result<SnapshotPart, ReadError> {
        let reading = match self.reading.take() {
            Some(reading) => reading,
            None => begin_reading(self.read(store, permits, room)),
        };
        // stays there while it is waited for
        let entities = read_of(self.reading.insert(reading)).await;
        self.reading = None;
        let entities = entities?;
        if entities.is_empty() {
            let end = Token::in_log(epoch, self.cursor.position);
            return Ok(SnapshotPart { items: vec![Item::SnapshotEnd(end)], is_full: false });
        }
        // each token has the filter
        let token_bytes = self.token(epoch).filter_bytes();
        let (mut items, mut bytes, mut time) = (Vec::new(), 0, JudgingTime::default());
        for entity in entities {
            if self.has(&entity, &mut time) {
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

    fn has(&self, entity: &Entity, time: &mut JudgingTime) -> bool {
        let filter = self.cursor.filter.as_ref();
        filter.is_none_or(|filter| matches_entity(filter, entity, time))
    }

    fn read(
        &self,
        store: &Arc<dyn FeedStore>,
        permits: &Arc<Semaphore>,
        room: Room,
    ) -> impl Future<Output = Result<Vec<Entity>, ReadError>> + Send + use<> {
        // how many of them match is not known before
        let unknown = Room { items: ENTITIES as usize, bytes: PAGE_BYTES, at_least_one: true };
        let room = if self.is_filtered() { unknown } else { room };
        // where little matches, no client slows it down
        let permits = self.is_filtered().then(|| Arc::clone(permits));
        let (store, types, after) =
            (Arc::clone(store), self.types.clone(), self.cursor.after.clone());
        async move {
            let _permit = match permits {
                Some(permits) => permits.acquire_owned().await.ok(),
                None => None,
            };
            next_entities(&*store, &types, after.as_ref(), room).await
        }
    }
}

/// The entities behind a key: of one type after another, where not all are wanted.
async fn next_entities(
    store: &dyn FeedStore,
    types: &Types,
    after: Option<&EntityKey>,
    Room { items, bytes, .. }: Room,
) -> Result<Vec<Entity>, ReadError> {
    let entities = u32::try_from(items).map_or(ENTITIES, |items| items.min(ENTITIES));
    let Some(types) = types.names() else {
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
