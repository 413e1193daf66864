//! Keeps documents in OpenSearch or Elasticsearch, an index a type.
//!
//! Every document is written as a whole, with the version of its state, so that nothing goes back, whoever
//! writes, retries or comes late. A marker beside the indexes says what they have: where the indexes are not
//! the ones that it names any more, or where a type's words are not those that its definition asks for, the
//! sink asks for a snapshot.

mod batch;
mod failure;
mod indexes;
mod searches;
mod sweep;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use producer_core::feed::{Cursor, Token};
use producer_core::search::SearchParts;
use producer_opensearch::{Body, Client, Marker, SnapshotMarker};
use reqwest::Method;
use serde::Deserialize;
use tokio::time::Instant;

use self::batch::Batch;
use self::failure::{SMALL, failure, unreadable};
use self::indexes::Indexes;
use self::searches::{Searches, TypeSearches};
use super::open_error::OpenError;
use crate::config::{Secret, SinkConfig, Template};
use crate::sink::{Failure, Kept, NotDelivered, Present, Sink};
use crate::update::Update;

/// How long one delivery may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Each checkpoint lets searches see what was written, which costs the server more the more often it is done:
/// as often as it does so by itself by default.
const REFRESH_EVERY: Duration = Duration::from_secs(1);

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
    phase: Mutex<Phase>,
}

/// What a checkpoint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It compares the marker with what is there.
    Compares,
    /// A snapshot is taken, all with the same words.
    InSnapshot,
    /// All was written and compared; the marker does not say so yet.
    Swept,
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
            phase: Mutex::new(Phase::Compares),
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
        if let Cursor::Snapshot(cursor) = &reached.cursor {
            // what is missing is being written; the marker follows when all is compared
            return self.keep_snapshot(reached, cursor.after.is_none()).await;
        }
        let (searches, have_changed) = self.searches.read().await.map_err(unreadable)?;
        if have_changed {
            self.set_phase(Phase::Compares);
        }
        // it stays so until the marker says it, whatever fails before
        let is_swept = self.phase() == Phase::Swept;
        let marker = Marker::read(&self.client, &self.name, SMALL).await.map_err(failure)?;
        if !is_swept {
            let found = self.compare(marker.as_ref(), &searches, reached, stored).await?;
            if found == Kept::Lost {
                return Ok(found);
            }
        }
        self.mark(marker, is_swept, &searches, reached).await?;
        self.set_phase(Phase::Compares);
        Ok(Kept::Everything)
    }

    /// All of a snapshot has the same words, also where another worker goes on with it; otherwise it begins anew.
    async fn keep_snapshot(&self, reached: &Token, begins: bool) -> Result<Kept, Failure> {
        let epoch = reached.epoch.to_string();
        if begins {
            let marker = Marker::read(&self.client, &self.name, SMALL).await.map_err(failure)?;
            if let Some(marker) = marker.filter(|marker| marker.epoch != epoch) {
                self.remove(&marker).await?;
            }
            let (searches, _) = self.searches.read().await.map_err(unreadable)?;
            let marker = self.snapshot_marker(epoch, &searches);
            Marker::make_index(&self.client, SMALL).await.map_err(failure)?;
            marker.write(&self.client, &self.name, SMALL).await.map_err(failure)?;
        } else if self.phase() != Phase::InSnapshot {
            let searches = self.searches.current().await.map_err(unreadable)?;
            let marker = self.snapshot_marker(epoch, &searches);
            let begun = SnapshotMarker::read(&self.client, &self.name, SMALL).await;
            if begun.map_err(failure)? != Some(marker) {
                return Ok(Kept::Lost);
            }
        }
        self.set_phase(Phase::InSnapshot);
        Ok(Kept::Everything)
    }

    fn snapshot_marker(&self, epoch: String, searches: &TypeSearches) -> SnapshotMarker {
        let (types, filter) = (self.types.clone(), self.filter.clone());
        SnapshotMarker { epoch, types, filter, parts: self.parts(searches) }
    }

    fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_phase(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
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
            self.remove(marker).await?;
            return Ok(Kept::Lost);
        }
        if marker.position >= stored.position()
            && self.is_of_these_settings(marker)
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

    /// Whether a sink with the same types, filter and indexes wrote it.
    fn is_of_these_settings(&self, marker: &Marker) -> bool {
        let mut indexes = marker.indexes.iter();
        marker.types == self.types
            && marker.filter == self.filter
            && indexes.all(|(entity_type, index)| self.indexes.name(entity_type) == index.name)
    }

    /// Deletes the indexes of another log: versions there say nothing about those of this one.
    async fn remove(&self, marker: &Marker) -> Result<(), Failure> {
        let indexes = marker.indexes.values().map(|index| index.name.as_str());
        self.indexes.delete(&self.client, indexes).await.map_err(failure)?;
        self.indexes.forget();
        Marker::delete(&self.client, &self.name, SMALL).await.map_err(failure)
    }

    async fn mark(
        &self,
        before: Option<Marker>,
        is_swept: bool,
        searches: &TypeSearches,
        reached: &Token,
    ) -> Result<(), Failure> {
        // after a sweep what the marker says of indexes was not compared
        let known = before.as_ref().filter(|_| !is_swept).map(|marker| marker.indexes.clone());
        let known = known.unwrap_or_default();
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
    fn parts(&self, searches: &TypeSearches) -> BTreeMap<String, i32> {
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
        Box::pin(async {
            tokio::time::timeout(DEADLINE, self.deliver_all(updates))
                .await
                .map_err(|_elapsed| Failure::new("it does not answer in time"))?
        })
    }

    fn deadline(&self) -> Duration {
        DEADLINE
    }

    fn checkpoint_every(&self) -> Duration {
        REFRESH_EVERY
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
            if self.phase() == Phase::InSnapshot {
                self.set_phase(Phase::Swept);
            }
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
