//! Keeps documents in OpenSearch or Elasticsearch, an index a type.
//!
//! Every document is written as a whole, with the version of its state, so that nothing goes back, whoever
//! writes, retries or comes late. A marker beside the indexes says what they have: where the indexes are not
//! the ones that it names any more, or where a type's words are not those that its definition asks for, the
//! sink asks for a snapshot.

mod batch;
mod indexes;
mod searches;
mod sweep;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use producer_core::feed::{Cursor, Token};
use producer_core::query::ReadError;
use producer_core::search::SearchParts;
use producer_opensearch::{Body, Client, Error, Marker};
use reqwest::Method;
use serde::Deserialize;
use tokio::time::Instant;

use self::batch::Batch;
use self::indexes::Indexes;
use self::searches::{Searches, TypeSearches};
use super::OpenError;
use crate::config::{Secret, SinkConfig, Template};
use crate::sink::{Failure, Kept, NotDelivered, Present, Sink};
use crate::update::Update;

/// How long one delivery may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long one small request may take.
const SMALL: Duration = Duration::from_secs(10);

/// Where to, as the configuration says.
pub(super) struct Target<'c> {
    /// With user and password.
    pub(super) url: &'c Secret,
    /// A type's index.
    pub(super) index: &'c Template,
    /// A file with an index template of the user's own.
    pub(super) template: Option<&'c Path>,
}

/// The sink `opensearch`.
pub(super) struct OpenSearch {
    client: Client,
    /// Its marker's name.
    name: String,
    types: Option<Vec<String>>,
    filter: Option<String>,
    indexes: Indexes,
    searches: Searches,
    /// Whether all was written and compared, and the marker does not say so yet.
    is_swept: AtomicBool,
}

impl OpenSearch {
    /// # Errors
    /// The URL, the name of the indexes or the template's file can't be used.
    pub(super) fn open(
        config: &SinkConfig,
        target: Target<'_>,
        searches: Arc<dyn SearchParts>,
    ) -> Result<Self, OpenError> {
        let client = Client::new(target.url.expose()).map_err(OpenError)?;
        let types = config.types.names().map(|names| names.iter().map(|name| (**name).to_owned()));
        let types: Option<Vec<String>> = types.map(Iterator::collect);
        let indexes = Indexes::new(target.index, target.template, types.as_deref())?;
        Ok(Self {
            client,
            name: config.name.clone(),
            types,
            filter: config.filter.as_ref().map(|filter| filter.text().to_owned()),
            indexes,
            searches: Searches::new(searches),
            is_swept: AtomicBool::new(false),
        })
    }

    async fn deliver_all(
        &self,
        updates: &[Update],
    ) -> Result<Vec<Result<(), NotDelivered>>, Failure> {
        let deadline = Instant::now() + DEADLINE;
        let searches = self.searches.current().await.map_err(unreadable)?;
        let mut batch = Batch::new(updates);
        self.indexes.make(&self.client, batch.types()).await.map_err(failure)?;
        batch.send(&self.client, &self.indexes, &searches, deadline).await
    }

    async fn keep(&self, reached: &Token, stored: &Token) -> Result<Kept, Failure> {
        self.indexes.refresh(&self.client).await.map_err(failure)?;
        if matches!(reached.cursor, Cursor::Snapshot(_)) {
            // what is missing is being written; the marker follows when all is compared
            return Ok(Kept::Everything);
        }
        let (searches, have_changed) = self.searches.read().await.map_err(unreadable)?;
        if have_changed {
            self.is_swept.store(false, Ordering::Relaxed);
        }
        let marker = Marker::read(&self.client, &self.name, SMALL).await.map_err(failure)?;
        if !self.is_swept.load(Ordering::Relaxed) {
            let found = self.compare(marker.as_ref(), &searches, reached, stored).await?;
            if found == Kept::Lost {
                return Ok(found);
            }
        }
        self.mark(marker, &searches, reached).await?;
        self.is_swept.store(false, Ordering::Relaxed);
        Ok(Kept::Everything)
    }

    /// Whether the indexes have what was acknowledged. Where they do not, nothing is left that says they did:
    /// it is found again after a crash.
    async fn compare(
        &self,
        marker: Option<&Marker>,
        searches: &TypeSearches,
        reached: &Token,
        stored: &Token,
    ) -> Result<Kept, Failure> {
        let Some(marker) = marker else {
            self.indexes.forget();
            return Ok(Kept::Lost);
        };
        if marker.epoch != reached.epoch.to_string() {
            // versions of another log say nothing about those of this one
            let indexes = marker.indexes.values().map(|index| index.name.as_str());
            self.indexes.delete(&self.client, indexes).await.map_err(failure)?;
        } else if marker.position >= stored.position()
            && self.indexes.are(&self.client, &marker.indexes).await.map_err(failure)?
        {
            let mut parts = self.parts(searches).into_iter();
            let are_built =
                parts.all(|(entity_type, id)| marker.parts.get(&entity_type) == Some(&id));
            // otherwise the marker stays: types whose words are right are still searched
            return Ok(if are_built { Kept::Everything } else { Kept::Lost });
        }
        self.indexes.forget();
        Marker::delete(&self.client, &self.name, SMALL).await.map_err(failure)?;
        Ok(Kept::Lost)
    }

    async fn mark(
        &self,
        before: Option<Marker>,
        searches: &TypeSearches,
        reached: &Token,
    ) -> Result<(), Failure> {
        let known = before.as_ref().map(|marker| marker.indexes.clone()).unwrap_or_default();
        let marker = Marker {
            epoch: reached.epoch.to_string(),
            position: reached.position(),
            types: self.types.clone(),
            filter: self.filter.clone(),
            indexes: self.indexes.identities(&self.client, known).await.map_err(failure)?,
            parts: self.parts(searches),
        };
        if before.as_ref() == Some(&marker) {
            return Ok(());
        }
        if before.is_none() {
            Marker::make_index(&self.client, SMALL).await.map_err(failure)?;
        }
        marker.write(&self.client, &self.name, SMALL).await.map_err(failure)
    }

    /// The searches of the sink's types.
    fn parts(&self, searches: &TypeSearches) -> std::collections::BTreeMap<String, i32> {
        let of_types = searches.iter().filter(|(entity_type, _)| {
            self.types.as_ref().is_none_or(|types| types.contains(entity_type))
        });
        of_types.map(|(entity_type, search)| (entity_type.clone(), search.part_id)).collect()
    }

    async fn look(&self) -> Result<(), Failure> {
        let about: About =
            self.client.json(Method::GET, &[], "", Body::Empty, SMALL).await.map_err(failure)?;
        about.check()
    }
}

impl Sink for OpenSearch {
    fn deliver<'a>(
        &'a self,
        updates: &'a [Update],
    ) -> BoxFuture<'a, Result<Vec<Result<(), NotDelivered>>, Failure>> {
        Box::pin(self.deliver_all(updates))
    }

    fn deadline(&self) -> Duration {
        DEADLINE
    }

    fn checkpoint<'a>(
        &'a self,
        reached: &'a Token,
        stored: &'a Token,
    ) -> BoxFuture<'a, Result<Kept, Failure>> {
        Box::pin(self.keep(reached, stored))
    }

    fn sweep<'a>(&'a self, present: &'a dyn Present) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            sweep::sweep(&self.client, &self.indexes, present).await?;
            self.is_swept.store(true, Ordering::Relaxed);
            Ok(())
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(self.look())
    }
}

/// What a server says about itself.
#[derive(Deserialize)]
struct About {
    version: Version,
}

#[derive(Deserialize)]
struct Version {
    number: String,
    #[serde(default)]
    distribution: Option<String>,
}

impl About {
    fn check(&self) -> Result<(), Failure> {
        let Version { number, distribution } = &self.version;
        let (name, least) = match distribution {
            Some(_) => ("OpenSearch", 2),
            None => ("Elasticsearch", 8),
        };
        let major = number.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_some_and(|major| major >= least) {
            return Ok(());
        }
        Err(Failure::new(format!("{name} {number} is too old: it must be {least} or newer")))
    }
}

fn failure(error: Error) -> Failure {
    let retry_after = match &error {
        Error::Status { retry_after, .. } => *retry_after,
        Error::NoAnswer(_) | Error::Unreadable(_) => None,
    };
    Failure { retry_after, ..Failure::new(error.to_string()) }
}

fn unreadable(error: ReadError) -> Failure {
    Failure::new(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_are_too_old_are_refused() {
        let check = |text: &str| serde_json::from_str::<About>(text).expect(text).check();
        let of = |number: &str, distribution: &str| {
            check(&format!(r#"{{"version":{{"number":"{number}"{distribution}}}}}"#))
        };
        let open = r#","distribution":"opensearch""#;
        assert!(of("2.0.0", open).is_ok() && of("3.1.0-SNAPSHOT", open).is_ok());
        assert!(of("8.0.0", "").is_ok() && of("10.2.1", "").is_ok());
        let error = of("7.17.9", "").expect_err("too old");
        assert_eq!(error.detail, "Elasticsearch 7.17.9 is too old: it must be 8 or newer");
        assert!(of("1.3.0", open).is_err() && of("x", open).is_err());
    }
}
