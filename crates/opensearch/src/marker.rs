//! The markers of a sink: what its indexes have. The sink writes it, the services read it.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::client::{Body, Client};
use crate::error::Error;

/// The index of all markers.
const INDEX: &str = "producer-markers";

/// What the indexes of a sink have. It is written beside them, so that it is lost where they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Marker {
    /// The identity of the log.
    pub epoch: String,
    /// All up to this position of the log is there.
    pub position: u64,
    /// The types that the sink has; `None`: all.
    pub types: Option<Vec<String>>,
    /// The sink's filter.
    pub filter: Option<String>,
    /// By type.
    pub indexes: BTreeMap<String, IndexIdentity>,
    /// By type the part of its definition whose words all its documents have.
    pub parts: BTreeMap<String, i32>,
}

/// What a snapshot is taken with, from its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMarker {
    /// The identity of the log.
    pub epoch: String,
    /// As [`Marker::types`].
    pub types: Option<Vec<String>>,
    /// As [`Marker::filter`].
    pub filter: Option<String>,
    /// As [`Marker::parts`].
    pub parts: BTreeMap<String, i32>,
}

/// An index, and which one of those that had its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexIdentity {
    /// Its name.
    pub name: String,
    /// Another one after it was deleted and made again.
    pub uuid: String,
}

#[derive(Deserialize)]
struct Found<T> {
    #[serde(rename = "_source")]
    source: Option<T>,
}

impl Marker {
    /// Whether the sink has this type.
    pub fn includes(&self, entity_type: &str) -> bool {
        self.types.as_ref().is_none_or(|types| types.iter().any(|name| name == entity_type))
    }

    /// The marker of a sink as it was written last.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn read(
        client: &Client,
        sink: &str,
        timeout: Duration,
    ) -> Result<Option<Self>, Error> {
        read(client, sink, timeout).await
    }

    /// Writes it.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn write(&self, client: &Client, sink: &str, timeout: Duration) -> Result<(), Error> {
        write(client, sink, self, timeout).await
    }

    /// Deletes it, where it is there.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn delete(client: &Client, sink: &str, timeout: Duration) -> Result<(), Error> {
        let path = [INDEX, "_doc", sink];
        match client.send(Method::DELETE, &path, "", Body::Empty, timeout).await {
            Err(error) if error.status() != Some(404) => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes the index of markers, where it is not there: its members are kept, and not searched.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn make_index(client: &Client, timeout: Duration) -> Result<(), Error> {
        const BODY: &str = r#"{"settings":{"index":{"number_of_shards":1,"auto_expand_replicas":"0-1"}},
            "mappings":{"enabled":false}}"#;
        let body = Body::Json(BODY.to_owned());
        match client.send(Method::PUT, &[INDEX], "", body, timeout).await {
            Err(error) if !error.is("resource_already_exists_exception") => Err(error),
            _ => Ok(()),
        }
    }
}

impl SnapshotMarker {
    /// That of the snapshot that a sink began last.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn read(
        client: &Client,
        sink: &str,
        timeout: Duration,
    ) -> Result<Option<Self>, Error> {
        read(client, &of_snapshot(sink), timeout).await
    }

    /// Writes it.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn write(&self, client: &Client, sink: &str, timeout: Duration) -> Result<(), Error> {
        write(client, &of_snapshot(sink), self, timeout).await
    }
}

/// No sink has a dot in its name.
fn of_snapshot(sink: &str) -> String {
    format!("{sink}.snapshot")
}

async fn read<T: DeserializeOwned>(
    client: &Client,
    id: &str,
    timeout: Duration,
) -> Result<Option<T>, Error> {
    let path = [INDEX, "_doc", id];
    match client.json::<Found<T>>(Method::GET, &path, "", Body::Empty, timeout).await {
        Ok(found) => Ok(found.source),
        Err(error) if error.status() == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn write(
    client: &Client,
    id: &str,
    marker: &impl Serialize,
    timeout: Duration,
) -> Result<(), Error> {
    let text = serde_json::to_string(marker).map_err(Error::unreadable)?;
    let path = [INDEX, "_doc", id];
    client.send(Method::PUT, &path, "", Body::Json(text), timeout).await?;
    Ok(())
}
