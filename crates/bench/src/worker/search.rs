//! The backlog into OpenSearch, and the same documents by a plain client.
//!
//! Both write to an index that the sink has made. A sink of search begins with a snapshot: so it takes one of a
//! database with a single order, stops, and finds the backlog when it is started again.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use producer_test_support::{OpenSearch, http_client};
use reqwest::Client;
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::orders::{self, DOCUMENT, ENTITY_TYPE};
use super::process::Worker;
use super::progress::until_carried;
use super::setup::Setup;
use super::{backlog, sinks};
use crate::Result;
use crate::postgres::{Database, execute};
use crate::results::Measurement;
use crate::service::sibling_binary;

/// Documents of a bulk of the plain client, and its bulks in flight.
const DOCUMENTS: u64 = 500;
const IN_FLIGHT: usize = 4;
/// The order that the index has at first. Its id is as long as those of the others.
const FIRST: &str = "order-example";
/// For the snapshot of one order.
const TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// From the start of the worker until OpenSearch has every change.
pub(super) async fn worker(setup: &mut Setup) -> Result<Measurement> {
    let search = Search::prepare(setup).await?;
    backlog::insert_entities(&search.database, setup.changes).await?;
    setup.insert_changes(&search.database).await?;
    // a new connection for each look would cost as much as what is measured
    let mut looks = PgConnection::connect(&search.database.url).await?;
    let before = setup.bench.usage(None)?;
    let mut worker = Worker::start(&search.database, &search.file)?;
    let changes = setup.changes;
    until_carried(&mut worker, changes, async || carried(&mut looks, changes).await).await?;
    looks.close().await?;
    let measurement = sinks::finish(setup, before, worker).await?;
    search.check(setup.changes).await?;
    setup.drop_database(search.database).await?;
    Ok(measurement)
}

/// From the first bulk to the last answer.
pub(super) async fn bulk(setup: &mut Setup) -> Result<Measurement> {
    let search = Search::prepare(setup).await?;
    let document = search.document().await?;
    let (before, changes) = (setup.bench.usage(None)?, setup.changes);
    search.write(&document, changes).await?;
    let measurement = setup.bench.since(&before, changes, None)?;
    search.check(changes).await?;
    setup.drop_database(search.database).await?;
    Ok(measurement)
}

/// A node of OpenSearch whose index has one order, and a database with the same.
struct Search {
    database: Database,
    /// The worker's file.
    file: String,
    client: Client,
    /// The URL of the index, and the name.
    url: String,
    index: String,
    /// Dropped last.
    node: OpenSearch,
}

impl Search {
    async fn prepare(setup: &Setup) -> Result<Self> {
        let database = setup.empty_database().await?;
        insert_first(&database, orders::last_version(setup.changes)).await?;
        let (node, client) = (OpenSearch::own(), http_client());
        let file = format!(
            "[[sink]]\nname = \"search\"\nkind = \"opensearch\"\nurl = \"{}\"\n",
            node.url()
        );
        let worker = Worker::start(&database, &file)?;
        wait_until_caught_up(&database, &worker).await?;
        worker.stop().await?;
        let indexes = format!("{}/_cat/indices/entities-*?h=index", node.url());
        let index = client.get(indexes).send().await?.error_for_status()?.text().await?;
        let index = index.trim().to_owned();
        let url = format!("{}/{index}", node.url());
        Ok(Self { database, file, client, url, index, node })
    }

    /// The document of the first order.
    async fn document(&self) -> Result<String> {
        let source = self.client.get(format!("{}/_source/{FIRST}", self.url)).send().await?;
        Ok(source.error_for_status()?.text().await?)
    }

    /// Writes as many documents as there are changes, in their order.
    async fn write(&self, document: &str, changes: u64) -> Result<()> {
        let bulks = (0..changes / DOCUMENTS).map(|bulk| self.bulk(document, bulk, changes));
        stream::iter(bulks).buffer_unordered(IN_FLIGHT).try_collect().await
    }

    async fn bulk(&self, document: &str, bulk: u64, changes: u64) -> Result<()> {
        let (mut lines, index) = (String::new(), &self.index);
        let (entities, version) = (orders::entities(changes), orders::last_version(changes));
        for change in bulk * DOCUMENTS..(bulk + 1) * DOCUMENTS {
            let id = orders::id(change % entities);
            lines.push_str(&format!(
                r#"{{"index":{{"_index":"{index}","_id":"{id}","version":{version},"version_type":"external_gte"}}}}"#
            ));
            lines.push('\n');
            lines.push_str(&document.replace(FIRST, &id));
            lines.push('\n');
        }
        let request = self.client.post(format!("{}/_bulk?filter_path=errors", self.node.url()));
        let request = request.header("content-type", "application/x-ndjson").body(lines);
        let answer = request.send().await?.error_for_status()?.text().await?;
        if answer.contains("\"errors\":false") {
            return Ok(());
        }
        Err(format!("OpenSearch refused a document: {answer}").into())
    }

    /// The index has every order.
    async fn check(&self, changes: u64) -> Result<()> {
        self.client.post(format!("{}/_refresh", self.url)).send().await?.error_for_status()?;
        let count = self.json("_count").await?;
        let (found, expected) = (count["count"].as_u64(), orders::entities(changes) + 1);
        if found == Some(expected) {
            return Ok(());
        }
        Err(format!("the index has {found:?} documents instead of {expected}").into())
    }

    async fn json(&self, path: &str) -> Result<Value> {
        let answer = self.client.get(format!("{}/{path}", self.url)).send().await?;
        Ok(serde_json::from_slice(&answer.error_for_status()?.bytes().await?)?)
    }
}

/// Writes the first order, as the service does.
async fn insert_first(database: &Database, version: u64) -> Result<()> {
    let size = DOCUMENT.len();
    let entity = format!(
        "INSERT INTO entities (entity_type, entity_id, version, size, data, created_at, updated_at)
         VALUES ('{ENTITY_TYPE}', '{FIRST}', {version}, {size}, '{DOCUMENT}', now(), now())"
    );
    execute(&database.url, &entity).await?;
    let change = format!(
        "INSERT INTO event_log
             (event_uuid, ordinal, version, created_at, committed_at, created,
              entity_type, entity_id, event_name, patch)
         VALUES (gen_random_uuid(), 0, {version}, now(), now(), true,
                 '{ENTITY_TYPE}', '{FIRST}', 'OrderPaid', '{DOCUMENT}')"
    );
    execute(&database.url, &change).await
}

/// How many of the changes the sink has passed. Several of one order that wait together are written as one.
async fn carried(database: &mut PgConnection, changes: u64) -> Result<u64> {
    const BEHIND: &str = "SELECT (SELECT max(position) FROM event_log) - position FROM connectors";
    let behind: i64 = sqlx::query_scalar(BEHIND).fetch_one(database).await?;
    Ok(changes.saturating_sub(u64::try_from(behind)?))
}

/// What `producer-worker status` says. Its exit status says whether every sink runs.
async fn status(database: &Database) -> Result<Value> {
    let mut command = Command::new(sibling_binary("producer-worker")?);
    command.args(["status", "--json"]).env("DATABASE_URL", &database.url);
    Ok(serde_json::from_slice(&command.output().await?.stdout).unwrap_or_default())
}

/// Until the snapshot is taken, and nothing is left to do.
async fn wait_until_caught_up(database: &Database, worker: &Worker) -> Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let status = status(database).await?;
        if status.pointer("/sinks/0/caughtUp") == Some(&Value::Bool(true)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("the snapshot isn't taken: {status}\n{}", worker.log()).into());
        }
        sleep(POLL).await;
    }
}
