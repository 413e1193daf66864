//! Deletes what the indexes have and the database does not.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use producer_core::EntityKey;
use producer_opensearch::bulk::{self, Action, Outcome};
use producer_opensearch::{Body, Client, Error, Found, Hit, Scroll};
use reqwest::Method;
use serde::de::IgnoredAny;
use serde_json::json;

use super::failure::{SMALL, failure, unreadable};
use super::indexes::Indexes;
use crate::sink::{Failure, Present};

/// Documents that are compared at once.
const PART: usize = 1000;
/// How long looking at a part may take.
const LOOK: Duration = Duration::from_secs(60);

/// A document that is there.
struct Document {
    id: String,
    version: u64,
    key: EntityKey,
}

/// Deletes what the indexes have and `present` does not. Nothing is written meanwhile.
pub(super) async fn sweep(
    client: &Client,
    indexes: &Indexes,
    present: &dyn Present,
) -> Result<(), Failure> {
    let names = names(client, indexes.pattern()).await.map_err(failure)?;
    // a search sees what was refreshed, whoever wrote it
    names.iter().for_each(|index| indexes.note_written(index));
    indexes.refresh(client).await.map_err(failure)?;
    for index in names {
        sweep_index(client, indexes, &index, present).await?;
    }
    Ok(())
}

/// The names of all indexes that may be of the sink, those of earlier types too.
async fn names(client: &Client, pattern: &str) -> Result<Vec<String>, Error> {
    let (path, query) = ([pattern, "_alias"], "ignore_unavailable=true&allow_no_indices=true");
    let found: BTreeMap<String, IgnoredAny> =
        client.json(Method::GET, &path, query, Body::Empty, SMALL).await?;
    Ok(found.into_keys().collect())
}

async fn sweep_index(
    client: &Client,
    indexes: &Indexes,
    index: &str,
    present: &dyn Present,
) -> Result<(), Failure> {
    let search = json!({
        "size": PART, "sort": ["_doc"], "version": true, "_source": false,
        "docvalue_fields": ["entityType", "entityId"],
    });
    let (mut scroll, mut found) =
        Scroll::begin(client, index, &search, LOOK).await.map_err(failure)?;
    let swept = loop {
        if found.hits.hits.is_empty() {
            break Ok(());
        }
        if let Err(failure) = sweep_part(client, indexes, index, found, present).await {
            break Err(failure);
        }
        match scroll.next(LOOK).await {
            Ok(next) => found = next,
            Err(error) => break Err(failure(error)),
        }
    };
    scroll.end(SMALL).await;
    swept
}

async fn sweep_part(
    client: &Client,
    indexes: &Indexes,
    index: &str,
    found: Found,
    present: &dyn Present,
) -> Result<(), Failure> {
    // another sink's index may begin with the same text
    let is_ours = |document: &Document| indexes.name(document.key.entity_type()) == index;
    let documents = found.hits.hits.into_iter().filter_map(document).filter(is_ours);
    let documents: Vec<Document> = documents.collect();
    let keys: Vec<EntityKey> = documents.iter().map(|document| document.key.clone()).collect();
    let versions = present.versions(&keys).await.map_err(unreadable)?;
    for (document, _) in documents.iter().zip(&versions).filter(|(_, version)| version.is_some()) {
        // another worker may have written it
        indexes.note_made(document.key.entity_type(), index);
    }
    let absent = documents.iter().zip(versions).filter(|(_, version)| version.is_none());
    let absent: Vec<_> = absent.map(|(document, _)| document).collect();
    if absent.is_empty() {
        return Ok(());
    }
    let mut lines = String::new();
    for Document { id, version, .. } in &absent {
        Action { index, id, version: *version, document: None }.write(&mut lines);
    }
    let count = absent.len();
    let outcomes = bulk::send(client, Bytes::from(lines), count, LOOK).await.map_err(failure)?;
    indexes.note_written(index);
    let failed = outcomes.into_iter().find_map(|outcome| match outcome {
        Outcome::Done | Outcome::NoIndex => None,
        Outcome::Misfit(cause) => Some(cause.to_string()),
        Outcome::Failed { status, cause } => Some(format!("{cause} (status {status})")),
    });
    failed.map_or(Ok(()), |text| Err(Failure::new(text)))
}

/// `None` where it is no document of a sink.
fn document(hit: Hit) -> Option<Document> {
    let key = EntityKey::new_unchecked(hit.entity_type()?, hit.entity_id()?);
    Some(Document { version: hit.version?, id: hit.id, key })
}
