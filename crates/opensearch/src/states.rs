//! The states of hits, as the indexes have them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use producer_core::EntityKey;
use producer_core::model::Entity;
use reqwest::Method;
use serde_json::json;

use crate::client::{Body, Client};
use crate::document;
use crate::error::Error;
use crate::marker::Marker;
use crate::scroll::Found;

/// Documents that are read at once: each may have a megabyte, and its words.
const AT_ONCE: usize = 20;

/// The states of the first of these entities, in their order, as many as fit into `bytes`, at least one; `None` for
/// one that is not there (any more).
pub(crate) async fn states(
    client: &Client,
    marker: &Marker,
    keys: &[&EntityKey],
    bytes: usize,
    timeout: Duration,
) -> Result<Vec<Option<Entity>>, Error> {
    let (mut states, mut left) = (Vec::with_capacity(keys.len()), bytes);
    for part in keys.chunks(AT_ONCE) {
        let mut found = read(client, marker, part, timeout).await?;
        for &key in part {
            let state = found.remove(key);
            let size = state.as_ref().map_or(0, |entity| entity.data.len());
            if size > left && !states.is_empty() {
                return Ok(states);
            }
            left = left.saturating_sub(size);
            states.push(state);
        }
    }
    Ok(states)
}

async fn read(
    client: &Client,
    marker: &Marker,
    keys: &[&EntityKey],
    timeout: Duration,
) -> Result<HashMap<EntityKey, Entity>, Error> {
    let mut ids: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for key in keys {
        ids.entry(key.entity_type()).or_default().push(key.entity_id());
    }
    let mut states = HashMap::new();
    for (entity_type, ids) in ids {
        let Some(index) = marker.indexes.get(entity_type) else { continue };
        let query = json!({"bool": {"filter": [{"terms": {"entityId": ids}}]}});
        let search = json!({"size": ids.len(), "query": query, "track_total_hits": false});
        let (path, body) = ([index.name.as_str(), "_search"], Body::Json(search.to_string()));
        let found: Found = client.json(Method::POST, &path, "", body, timeout).await?;
        for source in found.hits.hits.into_iter().filter_map(|hit| hit.source) {
            let entity = document::read(source.get())?;
            states.insert(entity.key.clone(), entity);
        }
    }
    Ok(states)
}
