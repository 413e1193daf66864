//! Reading what an index has at one moment, part by part.
//!
//! A scroll, and not a point in time: both servers and all their releases have the same one, it needs no field
//! to sort by that is different for every document, and keeps no document from being deleted.

use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::client::{Body, Client};
use crate::error::Error;

/// How long the server keeps it between two parts.
const KEEP: &str = "scroll=2m";

/// A search whose hits come in parts.
#[derive(Debug)]
pub struct Scroll<'c> {
    client: &'c Client,
    id: Option<String>,
}

/// An answer to a search.
#[derive(Debug, Deserialize)]
pub struct Found {
    /// Whether the server's time was over before it had looked at all.
    #[serde(default)]
    pub timed_out: bool,
    #[serde(default, rename = "_scroll_id")]
    scroll_id: Option<String>,
    /// What was found.
    pub hits: Hits,
}

/// What a search found.
#[derive(Debug, Deserialize)]
pub struct Hits {
    total: Option<Total>,
    /// A part of them.
    pub hits: Vec<Hit>,
}

#[derive(Debug, Deserialize)]
struct Total {
    value: u64,
}

/// A document that was found.
#[derive(Debug, Deserialize)]
pub struct Hit {
    /// Its id, where it was asked for.
    #[serde(default, rename = "_id")]
    pub id: String,
    /// Its version, where that was asked for.
    #[serde(default, rename = "_version")]
    pub version: Option<u64>,
    /// How well it matches.
    #[serde(default, rename = "_score")]
    pub score: Option<f64>,
    /// The document, where it was asked for.
    #[serde(default, rename = "_source")]
    pub source: Option<Box<RawValue>>,
    /// Fields that were asked for.
    #[serde(default)]
    pub fields: Fields,
}

/// Fields of a document that was found.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Fields {
    entity_type: Vec<String>,
    entity_id: Vec<String>,
}

impl Found {
    /// How many there are in all, as far as that was counted.
    pub fn total(&self) -> u64 {
        self.hits.total.as_ref().map_or(0, |total| total.value)
    }
}

impl Hit {
    /// The entity's id.
    pub fn entity_id(&self) -> Option<&str> {
        self.fields.entity_id.first().map(String::as_str)
    }

    /// The entity's type.
    pub fn entity_type(&self) -> Option<&str> {
        self.fields.entity_type.first().map(String::as_str)
    }
}

impl<'c> Scroll<'c> {
    /// Begins with a search, and returns its first part.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn begin(
        client: &'c Client,
        index: &str,
        search: &Value,
        timeout: Duration,
    ) -> Result<(Self, Found), Error> {
        let body = Body::Json(search.to_string());
        let path = [index, "_search"];
        let mut found: Found = client.json(Method::POST, &path, KEEP, body, timeout).await?;
        Ok((Self { client, id: found.scroll_id.take() }, found))
    }

    /// The next part; without hits behind the last one.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn next(&mut self, timeout: Duration) -> Result<Found, Error> {
        let body = Body::Json(json!({"scroll": "2m", "scroll_id": self.id}).to_string());
        let path = ["_search", "scroll"];
        let mut found: Found = self.client.json(Method::POST, &path, "", body, timeout).await?;
        // it may be another one each time
        if let Some(id) = found.scroll_id.take() {
            self.id = Some(id);
        }
        Ok(found)
    }

    /// Lets the server forget it; what fails there is forgotten by itself.
    pub async fn end(self, timeout: Duration) {
        if let Some(id) = self.id {
            let body = Body::Json(json!({"scroll_id": [id]}).to_string());
            let path = ["_search", "scroll"];
            let _ = self.client.send(Method::DELETE, &path, "", body, timeout).await;
        }
    }
}
