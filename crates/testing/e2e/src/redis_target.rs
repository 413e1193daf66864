//! A Redis server where sinks write and sources read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use producer_test_support::Redis;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisResult, cmd, pipe};
use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::EntityKey;

/// The time limit of a connection and of an answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What one step reads.
const STEP: usize = 1000;
/// What the keys of a cache begin with.
const CACHED: &str = "entity:";
/// What the keys end with that say how an entity was removed.
const GUARD: &str = ":version";

/// A server, which ends when dropped.
#[derive(Debug, Clone)]
pub struct RedisTarget {
    server: Arc<Redis>,
    client: Client,
}

/// An entry of a stream in the format `plain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEntry {
    /// Its id.
    pub id: String,
    /// `entity_type` and `entity_id`
    pub key: EntityKey,
    /// `version`
    pub version: u64,
}

impl RedisTarget {
    /// Starts a server that keeps nothing.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts a server that keeps all that it has acknowledged.
    pub async fn durable() -> Self {
        Self::with(&["--appendonly", "yes", "--appendfsync", "always"]).await
    }

    async fn with(settings: &'static [&'static str]) -> Self {
        let server = spawn_blocking(|| Redis::with(settings)).await.expect("a Redis server");
        let client = Client::open(server.url()).expect("a URL of Redis");
        Self { server: Arc::new(server), client }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Kills it (SIGKILL).
    pub async fn kill(&self) {
        self.act(Redis::kill).await;
    }

    /// Starts it again, with what it kept.
    pub async fn restart(&self) {
        self.act(Redis::restart).await;
    }

    /// Stops it where it is (SIGSTOP).
    pub async fn freeze(&self) {
        self.act(Redis::freeze).await;
    }

    /// Lets it go on (SIGCONT).
    pub async fn thaw(&self) {
        self.act(Redis::thaw).await;
    }

    async fn act(&self, act: fn(&Redis)) {
        let server = Arc::clone(&self.server);
        spawn_blocking(move || act(&server)).await.expect("the server can be steered");
    }

    /// Sends a command over a new connection.
    ///
    /// # Errors
    /// While it is away; what it answers.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        command.query_async(&mut self.connect().await?).await
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Sends messages of one field to a stream, all at once.
    pub async fn send(&self, stream: &str, field: &str, values: &[Vec<u8>]) {
        let mut commands = pipe();
        for value in values {
            commands.cmd("XADD").arg(stream).arg("*").arg(field).arg(value);
        }
        let mut connection = self.connect().await.expect("Redis is up");
        let sent: RedisResult<Vec<String>> = commands.query_async(&mut connection).await;
        sent.expect("Redis takes them");
    }

    /// The entries of a stream behind an id.
    ///
    /// # Errors
    /// While the server is away.
    ///
    /// # Panics
    /// If one is not in the format `plain`.
    pub async fn entries(&self, stream: &str, behind: &str) -> RedisResult<Vec<StreamEntry>> {
        let mut connection = self.connect().await?;
        let mut entries: Vec<StreamEntry> = Vec::new();
        loop {
            let last = entries.last().map_or(behind, |entry| &entry.id);
            let mut command = cmd("XRANGE");
            command.arg(stream).arg(format!("({last}")).arg("+").arg("COUNT").arg(STEP);
            let read: Vec<(String, BTreeMap<String, String>)> =
                command.query_async(&mut connection).await?;
            let is_last = read.len() < STEP;
            entries.extend(read.into_iter().map(|(id, fields)| StreamEntry::new(id, &fields)));
            if is_last {
                return Ok(entries);
            }
        }
    }

    /// The entities of a cache with the default keys: what each key has.
    ///
    /// # Errors
    /// While the server is away.
    ///
    /// # Panics
    /// If a value is no JSON.
    pub async fn cached(&self) -> RedisResult<BTreeMap<String, Value>> {
        let mut connection = self.connect().await?;
        let mut cached = BTreeMap::new();
        let mut cursor = String::from("0");
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(&cursor).arg("MATCH").arg(format!("{CACHED}*")).arg("COUNT").arg(STEP);
            let (next, mut keys): (String, Vec<String>) = scan.query_async(&mut connection).await?;
            keys.retain(|key| !key.ends_with(GUARD));
            if !keys.is_empty() {
                let values: Vec<Option<String>> =
                    cmd("MGET").arg(&keys).query_async(&mut connection).await?;
                // a key may go between the two commands
                let found =
                    keys.into_iter().zip(values).filter_map(|(key, value)| Some((key, value?)));
                cached.extend(found.map(|(key, value)| match serde_json::from_str(&value) {
                    Ok(value) => (key, value),
                    Err(error) => panic!("{key}: {error}: {value}"),
                }));
            }
            if next == "0" {
                return Ok(cached);
            }
            cursor = next;
        }
    }
}

impl StreamEntry {
    fn new(id: String, fields: &BTreeMap<String, String>) -> Self {
        let field = |name: &str| match fields.get(name) {
            Some(value) => value.clone(),
            None => panic!("entry {id} has no {name}: {fields:?}"),
        };
        let key = EntityKey { entity_type: field("entity_type"), entity_id: field("entity_id") };
        let version = field("version").parse().expect("a version");
        Self { key, version, id }
    }
}
