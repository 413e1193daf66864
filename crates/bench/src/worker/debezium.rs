//! Kafka Connect with Debezium's connector, which reads the log's rows from a slot that was made before them.

use std::net::SocketAddr;
use std::time::Duration;

use producer_test_support::{JavaServer, fetched, free_port, http_client};
use reqwest::{Client, StatusCode};
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use tokio::time::{Instant, sleep};

use super::backlog::PUBLICATION;
use super::progress::until;
use super::setup::Setup;
use super::topic::Topic;
use crate::postgres::Database;
use crate::results::Measurement;
use crate::{Result, procfs};

/// The most of Java's heap.
const HEAP: &str = "384m";
/// For Kafka Connect until it takes connectors, and for its end.
const TIMEOUT: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(100);

/// From when the connector is made, in a process that is there, until Kafka has every row.
pub(super) async fn measure(setup: &mut Setup) -> Result<Measurement> {
    let backlog = setup.backlog().await?;
    let name = format!("debezium_{}", crate::next_seed());
    backlog.copy_slot(&name).await?;
    let kafka = setup.kafka();
    let topic = Topic::new(kafka, &format!("{name}.public.event_log")).await?;
    let connect = Connect::start(&kafka.url()).await?;
    let process = connect.process()?;
    let before = setup.bench.usage(Some(process))?;
    connect.add(&name, &backlog.database).await?;
    until(setup.changes, || connect.check(), async || topic.records()).await?;
    let measurement = setup.bench.since(&before, setup.changes, Some(process))?;
    let peak_memory_bytes = Some(procfs::peak_memory(process)?);
    drop(connect);
    let deadline = Instant::now() + TIMEOUT;
    // the server notices after a moment that its reader has ended
    while let Err(error) = backlog.drop_slot(&name).await {
        if Instant::now() > deadline {
            return Err(error);
        }
        sleep(POLL).await;
    }
    Ok(Measurement { peak_memory_bytes, ..measurement })
}

/// A worker of Kafka Connect.
struct Connect {
    server: JavaServer,
    url: String,
    client: Client,
}

impl Connect {
    /// Starts it, and waits until it takes connectors.
    async fn start(servers: &str) -> Result<Self> {
        for name in ["connect", "debezium"] {
            if !fetched(name).join("libs").is_dir() {
                let fetch = "scripts/java-servers-for-tests connect debezium";
                return Err(format!("{name} is missing: run {fetch}").into());
            }
        }
        let server = JavaServer::new("connect", HEAP);
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let settings = server.folder().join("worker.properties");
        std::fs::write(&settings, properties(servers, address))?;
        let main = "org.apache.kafka.connect.cli.ConnectDistributed";
        server.start(main, &[settings.as_os_str()], || true);
        let connect = Self { server, url: format!("http://{address}"), client: http_client() };
        let deadline = Instant::now() + TIMEOUT;
        while !connect.is_ready().await {
            connect.check().map_err(|error| format!("{error}\n{}", connect.server.log()))?;
            if Instant::now() > deadline {
                return Err(format!("Kafka Connect isn't ready:\n{}", connect.server.log()).into());
            }
            sleep(POLL).await;
        }
        Ok(connect)
    }

    async fn is_ready(&self) -> bool {
        let connectors = self.client.get(format!("{}/connectors", self.url)).send().await;
        connectors.is_ok_and(|answer| answer.status() == StatusCode::OK)
    }

    /// Its process id.
    fn process(&self) -> Result<u32> {
        let pid = std::fs::read_to_string(self.server.folder().join("pid"))?;
        Ok(pid.trim().parse()?)
    }

    /// An error where it has ended.
    fn check(&self) -> Result<()> {
        procfs::cpu_seconds(self.process()?).map(drop)
    }

    /// Makes the connector. What Debezium's documentation does not need set has its default.
    async fn add(&self, name: &str, database: &Database) -> Result<()> {
        let options: PgConnectOptions = database.url.parse()?;
        let connector = json!({
            "name": name,
            "config": {
                "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
                "database.hostname": options.get_host(),
                "database.port": options.get_port().to_string(),
                "database.user": options.get_username(),
                "database.password": "",
                "database.dbname": database.name,
                "topic.prefix": name,
                "table.include.list": "public.event_log",
                "plugin.name": "pgoutput",
                "slot.name": name,
                "publication.name": PUBLICATION,
                "publication.autocreate.mode": "disabled",
                "snapshot.mode": "no_data",
            },
        });
        let body = serde_json::to_vec(&connector)?;
        let request = self.client.post(format!("{}/connectors", self.url));
        let answer = request.header("content-type", "application/json").body(body).send().await?;
        if answer.status() == StatusCode::CREATED {
            return Ok(());
        }
        Err(format!("Kafka Connect: {} {}", answer.status(), answer.text().await?).into())
    }
}

/// Its settings: those that have no default, and JSON without schemas.
fn properties(servers: &str, address: SocketAddr) -> String {
    format!(
        "bootstrap.servers={servers}\n\
         group.id=producer-bench\n\
         key.converter=org.apache.kafka.connect.json.JsonConverter\n\
         value.converter=org.apache.kafka.connect.json.JsonConverter\n\
         key.converter.schemas.enable=false\n\
         value.converter.schemas.enable=false\n\
         config.storage.topic=_connect_configs\n\
         offset.storage.topic=_connect_offsets\n\
         status.storage.topic=_connect_status\n\
         config.storage.replication.factor=1\n\
         offset.storage.replication.factor=1\n\
         offset.storage.partitions=1\n\
         status.storage.replication.factor=1\n\
         status.storage.partitions=1\n\
         listeners=http://{address}\n\
         plugin.path={}\n",
        fetched("debezium").display()
    )
}
