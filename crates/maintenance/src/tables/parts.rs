//! The parts of definitions of types: what is kept up beside the entities.

use std::collections::{HashMap, HashSet};

use producer_core::types::{PartKind, TypeIndexes, TypeSearch};

use super::json::json;
use crate::connection::Connection;
use crate::error::MaintenanceError;

/// The parts of one type that its writers keep up.
#[derive(Debug, Default)]
pub(crate) struct TypeParts {
    pub(crate) indexes: Option<TypeIndexes>,
    pub(crate) search: Option<TypeSearch>,
    /// Their ids, and what they are called in a line for the operator.
    names: HashMap<i32, String>,
    /// Those that have every entity. Another one may lack some, which its builder has not come to.
    ready: HashSet<i32>,
}

impl TypeParts {
    /// The ids of all parts.
    pub(crate) fn ids(&self) -> Vec<i32> {
        self.names.keys().copied().collect()
    }

    /// What a part is called in a line for the operator.
    pub(crate) fn name(&self, part_id: i32) -> &str {
        self.names.get(&part_id).map_or("a part", String::as_str)
    }

    /// Whether a part has every entity.
    pub(crate) fn is_ready(&self, part_id: i32) -> bool {
        self.ready.contains(&part_id)
    }
}

/// Id, type, kind, spec and state.
type PartRow = (i32, String, i16, String, i16);

const READY: i16 = 1;

impl Connection {
    /// The parts of these types; a type without any is left out.
    pub(crate) async fn parts_of_types(
        &mut self,
        types: &[&str],
    ) -> Result<HashMap<String, TypeParts>, MaintenanceError> {
        let parts: Vec<PartRow> = match self {
            Self::Postgres(c) => {
                let query = sqlx::query_as(
                    "SELECT part_id, entity_type, kind, spec, state FROM type_parts
                     WHERE entity_type = ANY($1) AND state <> 2 ORDER BY part_id",
                );
                query.bind(types).fetch_all(c).await?
            }
            Self::Sqlite(c) => {
                let query = sqlx::query_as(
                    "SELECT part_id, entity_type, kind, spec, state FROM type_parts
                     WHERE entity_type IN (SELECT value FROM json_each(?)) AND state <> 2
                     ORDER BY part_id",
                );
                query.bind(json(&types)?).fetch_all(c).await?
            }
        };
        grouped(parts)
    }

    /// The types that have parts, in the order of their names.
    pub(crate) async fn types_with_parts(&mut self) -> Result<Vec<String>, MaintenanceError> {
        const QUERY: &str =
            "SELECT DISTINCT entity_type FROM type_parts WHERE state <> 2 ORDER BY entity_type";
        Ok(match self {
            Self::Postgres(c) => sqlx::query_scalar(QUERY).fetch_all(c).await?,
            Self::Sqlite(c) => sqlx::query_scalar(QUERY).fetch_all(c).await?,
        })
    }
}

fn grouped(rows: Vec<PartRow>) -> Result<HashMap<String, TypeParts>, MaintenanceError> {
    let mut types: HashMap<String, TypeParts> = HashMap::new();
    let mut indexes: HashMap<String, Vec<_>> = HashMap::new();
    for (id, entity_type, kind, spec, state) in rows {
        let parts = types.entry(entity_type.clone()).or_default();
        if state == READY {
            parts.ready.insert(id);
        }
        match PartKind::from_columns(kind, &spec).map_err(MaintenanceError::Statement)? {
            PartKind::Index(index) => {
                parts.names.insert(id, format!("index {spec}"));
                indexes.entry(entity_type).or_default().push((id, index));
            }
            PartKind::Search(search) => {
                parts.names.insert(id, "search".to_owned());
                parts.search = Some(TypeSearch::new(id, &search));
            }
        }
    }
    for (entity_type, indexes) in indexes {
        types.entry(entity_type).or_default().indexes = Some(TypeIndexes::new(indexes));
    }
    Ok(types)
}
