//! Rows turned into columns: every statement takes arrays, so that a batch is one round trip.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::model::{EntityKey, EntityUpdate, Event};
use crate::store::numbers::to_bigint;
use crate::store::postgres::time::to_pg;
use crate::store::write::plan::Change;
use crate::types::IndexRow;

/// What both paths write into the log.
pub(super) struct LogColumns<'a> {
    pub(super) types: Vec<&'a str>,
    pub(super) ids: Vec<&'a str>,
    pub(super) uuids: Vec<Uuid>,
    pub(super) ordinals: Vec<i16>,
    pub(super) created: Vec<Option<DateTime<Utc>>>,
    pub(super) saved: Vec<Option<DateTime<Utc>>>,
    pub(super) names: Vec<&'a str>,
    pub(super) event_types: Vec<Option<&'a str>>,
    pub(super) sources: Vec<Option<&'a str>>,
    pub(super) actors: Vec<Option<&'a str>>,
    pub(super) patches: Vec<&'a str>,
}

impl<'a> LogColumns<'a> {
    /// With room for so many rows.
    pub(super) fn with_capacity(rows: usize) -> Self {
        Self {
            types: Vec::with_capacity(rows),
            ids: Vec::with_capacity(rows),
            uuids: Vec::with_capacity(rows),
            ordinals: Vec::with_capacity(rows),
            created: Vec::with_capacity(rows),
            saved: Vec::with_capacity(rows),
            names: Vec::with_capacity(rows),
            event_types: Vec::with_capacity(rows),
            sources: Vec::with_capacity(rows),
            actors: Vec::with_capacity(rows),
            patches: Vec::with_capacity(rows),
        }
    }

    pub(super) fn push(&mut self, event: &'a Event, ordinal: usize, update: &'a EntityUpdate) {
        self.types.push(update.key().entity_type());
        self.ids.push(update.key().entity_id());
        self.uuids.push(event.uuid());
        self.ordinals.push(i16::try_from(ordinal).unwrap_or(i16::MAX));
        self.created.push(event.created().map(to_pg));
        self.saved.push(event.saved().map(to_pg));
        self.names.push(event.name());
        self.event_types.push(event.event_type());
        self.sources.push(event.source());
        self.actors.push(event.actor());
        self.patches.push(update.patch().text());
    }
}

/// Entity keys.
#[derive(Default)]
pub(super) struct KeyColumns<'a> {
    pub(super) types: Vec<&'a str>,
    pub(super) ids: Vec<&'a str>,
}

impl<'a> FromIterator<&'a EntityKey> for KeyColumns<'a> {
    fn from_iter<I: IntoIterator<Item = &'a EntityKey>>(keys: I) -> Self {
        let (types, ids) = keys.into_iter().map(|key| (key.entity_type(), key.entity_id())).unzip();
        Self { types, ids }
    }
}

/// Rows of indexes.
#[derive(Default)]
pub(in crate::store::postgres) struct IndexColumns<'a> {
    pub(in crate::store::postgres) indexes: Vec<i32>,
    pub(in crate::store::postgres) entities: Vec<&'a str>,
    pub(in crate::store::postgres) keys: Vec<Option<Vec<u8>>>,
}

impl<'a> IndexColumns<'a> {
    /// Adds rows of one entity.
    pub(in crate::store::postgres) fn extend(
        &mut self,
        entity_id: &'a str,
        rows: impl IntoIterator<Item = IndexRow>,
    ) {
        for row in rows {
            self.indexes.push(row.index_id);
            self.entities.push(entity_id);
            self.keys.push(row.key);
        }
    }
}

impl<'a> FromIterator<(&'a str, IndexRow)> for IndexColumns<'a> {
    fn from_iter<I: IntoIterator<Item = (&'a str, IndexRow)>>(rows: I) -> Self {
        let mut columns = Self::default();
        rows.into_iter().for_each(|(entity_id, row)| columns.extend(entity_id, [row]));
        columns
    }
}

/// The `size` of a deleted entity: no patch is small enough for the fast path's condition.
pub(super) const SIZE_OF_DELETED: usize = i32::MAX as usize;

/// Planned states.
#[derive(Default)]
pub(super) struct ChangeColumns<'a> {
    pub(super) types: Vec<&'a str>,
    pub(super) ids: Vec<&'a str>,
    pub(super) replaces: Vec<i64>,
    pub(super) versions: Vec<i64>,
    pub(super) deleted: Vec<bool>,
    pub(super) sizes: Vec<i32>,
    pub(super) data: Vec<String>,
    pub(super) created: Vec<DateTime<Utc>>,
    pub(super) updated: Vec<DateTime<Utc>>,
}

impl<'a> FromIterator<Change<'a>> for ChangeColumns<'a> {
    fn from_iter<I: IntoIterator<Item = Change<'a>>>(changes: I) -> Self {
        let mut columns = Self::default();
        for change in changes {
            columns.types.push(change.key.entity_type());
            columns.ids.push(change.key.entity_id());
            columns.replaces.push(to_bigint(change.replaces));
            columns.versions.push(to_bigint(change.version));
            columns.deleted.push(change.deleted);
            let size = if change.deleted { SIZE_OF_DELETED } else { change.size };
            columns.sizes.push(i32::try_from(size).unwrap_or(i32::MAX));
            columns.data.push(change.data);
            columns.created.push(to_pg(change.created));
            columns.updated.push(to_pg(change.updated));
        }
        columns
    }
}
