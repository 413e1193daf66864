//! Full-text search: what both adapters share.

use sqlx::FromRow;

use super::numbers::from_bigint;
use crate::model::Timestamp;
use crate::search::{Found, Leaf, Matched, SearchPart};
use crate::types::{PartKind, PartState};

/// The parts that are searched.
pub(crate) const PARTS: &str = r"
SELECT part_id, entity_type, spec, state FROM type_parts WHERE kind = 1 AND state <> 2";

/// A row of [`PARTS`].
#[derive(FromRow)]
pub(crate) struct PartRow {
    part_id: i32,
    entity_type: String,
    spec: String,
    state: i16,
}

impl PartRow {
    pub(crate) fn into_part(self) -> Result<SearchPart, sqlx::Error> {
        let kind = PartKind::from_columns(SEARCH, &self.spec);
        let kind = kind.map_err(|error| sqlx::Error::Decode(error.into()))?;
        let PartKind::Search(definition) = kind else {
            return Err(sqlx::Error::Decode("an index is no search".into()));
        };
        Ok(SearchPart {
            id: self.part_id,
            entity_type: self.entity_type,
            definition,
            is_ready: PartState::from_code(self.state) == PartState::Ready,
        })
    }
}

/// The kind of a part that is searched.
const SEARCH: i16 = 1;

/// A match without the entity's state.
#[derive(FromRow)]
pub(crate) struct MatchRow {
    entity_id: String,
    score: f64,
}

/// A match with the entity's state.
#[derive(FromRow)]
pub(crate) struct StateRow<T> {
    entity_id: String,
    score: f64,
    version: i64,
    created_at: T,
    updated_at: T,
    data: String,
}

impl From<MatchRow> for Matched {
    fn from(row: MatchRow) -> Self {
        Self { entity_id: row.entity_id, score: row.score, state: None }
    }
}

impl<T> StateRow<T> {
    pub(crate) fn into_matched(self, moment: impl Fn(T) -> Timestamp) -> Matched {
        let state = Found {
            version: from_bigint(self.version),
            created_at: moment(self.created_at),
            updated_at: moment(self.updated_at),
            data: self.data,
        };
        Matched { entity_id: self.entity_id, score: self.score, state: Some(state) }
    }
}

/// Whether an entity without any word fulfils a group of leaves: one of them must not be there. Where that
/// is so of every group, not what matches is looked up, but what does not.
pub(crate) fn is_of_absence<'l>(group: impl IntoIterator<Item = &'l Leaf>) -> bool {
    group.into_iter().any(|leaf| leaf.negated)
}
