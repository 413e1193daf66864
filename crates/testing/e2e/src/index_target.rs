//! A node of OpenSearch where a sink keeps its indexes.

use std::sync::Arc;
use std::time::Duration;

use producer_test_support::{OpenSearch, http_client_builder};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

/// The time limit of an answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What one step reads.
const STEP: usize = 5000;
/// The indexes of a sink with default settings.
const INDEXES: &str = "entities-*";

/// A node, which ends when dropped.
pub struct IndexTarget {
    node: Arc<OpenSearch>,
    http: Client,
}

impl IndexTarget {
    /// Starts a node.
    pub async fn start() -> Self {
        let node = spawn_blocking(OpenSearch::own).await.expect("a node");
        let http = http_client_builder().timeout(TIMEOUT).build().expect("a client");
        Self { node: Arc::new(node), http }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        self.node.url()
    }

    /// Kills it (SIGKILL).
    pub async fn kill(&self) {
        self.act(OpenSearch::kill).await;
    }

    /// Starts it again, with what it kept.
    pub async fn restart(&self) {
        self.act(OpenSearch::restart).await;
    }

    /// Stops it where it is (SIGSTOP).
    pub async fn freeze(&self) {
        self.act(OpenSearch::freeze).await;
    }

    /// Lets it go on (SIGCONT).
    pub async fn thaw(&self) {
        self.act(OpenSearch::thaw).await;
    }

    async fn act(&self, act: fn(&OpenSearch)) {
        let node = Arc::clone(&self.node);
        spawn_blocking(move || act(&node)).await.expect("the node can be steered");
    }

    /// Deletes the indexes.
    ///
    /// # Errors
    /// While the node is away.
    pub async fn delete_indexes(&self) -> reqwest::Result<()> {
        self.request(Method::DELETE, INDEXES, Value::Null).await.map(drop)
    }

    /// All documents.
    ///
    /// # Errors
    /// While the node is away.
    ///
    /// # Panics
    /// If it does not answer as OpenSearch does.
    pub async fn documents(&self) -> reqwest::Result<Vec<Value>> {
        self.request(Method::POST, &format!("{INDEXES}/_refresh"), Value::Null).await?;
        let search = format!("{INDEXES}/_search?scroll=1m&size={STEP}");
        let mut page = self.request(Method::POST, &search, json!({ "sort": ["_doc"] })).await?;
        let mut documents = Vec::new();
        while let Some(hits) = page["hits"]["hits"].as_array().filter(|hits| !hits.is_empty()) {
            documents.extend(hits.iter().map(|hit| hit["_source"].clone()));
            let next = json!({ "scroll": "1m", "scroll_id": page["_scroll_id"] });
            page = self.request(Method::POST, "_search/scroll", next).await?;
        }
        assert!(page["hits"]["hits"].is_array(), "{page}");
        let scroll = json!({ "scroll_id": page["_scroll_id"] });
        self.request(Method::DELETE, "_search/scroll", scroll).await?;
        Ok(documents)
    }

    async fn request(&self, method: Method, path: &str, body: Value) -> reqwest::Result<Value> {
        let mut request = self.http.request(method, format!("{}/{path}", self.url()));
        if !body.is_null() {
            request = request.json(&body);
        }
        request.send().await?.error_for_status()?.json().await
    }
}
