//! The first minute: a binary, no settings, no database.

use std::process::Stdio;
use std::time::{Duration, Instant};

use producer_e2e::proto::HealthRequest;
use producer_e2e::{Api, Binary, Database, Outcome, SentEvent, Service, eventually};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

/// From the start of the process to the answer to its first event.
const FIRST_ANSWER: Duration = Duration::from_secs(3);

/// Only the port is set, so that tests don't meet on one.
async fn first_event(binary: Binary, api: impl Fn(&Service) -> Api) -> Service {
    let start = Instant::now();
    let service = Service::start(binary, &[]).await;
    let event = SentEvent::new("Loan", "loan-1", json!({"balance": 24439.75}));
    let outcome = api(&service).send(&event).await;
    assert_eq!(outcome, Outcome::Done { duplicate: false, versions: vec![1] });
    assert!(start.elapsed() < FIRST_ANSWER, "{:?}", start.elapsed());
    assert!(service.folder().join("data/producer.db").is_file());
    service
}

#[tokio::test]
async fn rest_without_settings_serves_from_a_file_of_its_own() {
    let service = first_event(Binary::Rest, |service| service.rest().into()).await;
    let entity = service.rest().entity("Loan", "loan-1").await;
    assert_eq!(entity, (1, json!({"balance": 24439.75})));
    assert!(service.log_tail().contains("producer.db"), "the log says where the data is");
    service.stop().await;
}

#[tokio::test]
async fn grpc_without_settings_serves_from_a_file_of_its_own() {
    let service = first_event(Binary::Grpc, |service| service.grpc().into()).await;
    service.stop().await;
}

#[tokio::test]
async fn what_was_stored_is_there_after_a_restart() {
    let mut service = first_event(Binary::Rest, |service| service.rest().into()).await;
    service.signal(producer_e2e::Signal::TERM);
    assert!(service.exit(producer_e2e::DEADLINE).await.success());
    service.restart().await;
    assert_eq!(service.rest().entity("Loan", "loan-1").await.0, 1);
}

/// Both services while another session holds a lock that the migration needs.
struct Blocked {
    rest: Service,
    grpc: Service,
}

impl Blocked {
    fn start(database: &Database) -> Self {
        let settings = database.settings();
        let rest = Service::spawn(Binary::Rest, &settings);
        Self { rest, grpc: Service::spawn(Binary::Grpc, &settings) }
    }

    /// They live, say why they aren't ready, and store nothing.
    async fn answers_without_being_ready(&self) {
        let rest = self.rest.rest();
        let get = async |path: &str| {
            let response = rest.http.get(rest.url(path)).send().await.ok()?;
            Some((response.status().as_u16(), response.json::<Value>().await.ok()?))
        };
        eventually("an answer", async || get("/livez").await.is_some()).await;
        assert_eq!(get("/livez").await.unwrap().0, 200);
        for path in ["/readyz", "/api/v1/events/health"] {
            let (status, body) = get(path).await.unwrap();
            assert_eq!((status, &body["database"]), (503, &json!("schema")), "{path}: {body}");
        }
        let event = SentEvent::new("Car", "car-1", json!({"km": 1}));
        let response = rest.http.post(rest.url("/api/v1/events")).json(&event.json());
        let response = response.send().await.unwrap();
        assert_eq!(response.status(), 503);
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["type"], "urn:producer:problem:unavailable", "{problem}");

        let health = async || {
            let request = HealthRequest { service: String::new() };
            self.grpc.grpc().client.health_check(request).await.ok()
        };
        eventually("an answer", async || health().await.is_some()).await;
        let health = health().await.unwrap().into_inner();
        assert!(!health.healthy && health.message.contains("schema"), "{health:?}");
        assert_eq!(self.grpc.healthcheck().await.status.code(), Some(1));
    }

    /// The lines that say what the migration waits for.
    async fn held_by(&self) -> String {
        let lines = || self.rest.logged("the migration waits for a lock: answering 503");
        eventually("two lines", async || lines().len() > 1).await;
        lines()[1]["held_by"].as_str().unwrap().to_owned()
    }

    async fn becomes_ready(self) {
        eventually("ready", async || {
            self.rest.rest().ready().await && self.grpc.grpc().ready().await
        })
        .await;
        let event = SentEvent::new("Car", "car-1", json!({"km": 1}));
        let outcome = Api::from(self.rest.rest()).send(&event).await;
        assert_eq!(outcome, Outcome::Done { duplicate: false, versions: vec![1] });
        self.rest.stop().await;
        self.grpc.stop().await;
    }
}

#[tokio::test]
async fn a_migrations_lock_that_another_session_holds_is_logged_and_waited_for() {
    let database = Database::postgres().await;
    let url = format!("{}?application_name=holder", database.url());
    let mut holder = PgConnection::connect(&url).await.unwrap();
    holder.execute("SELECT pg_advisory_lock(8101259051807302003)").await.unwrap();
    let pid: i32 =
        sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut holder).await.unwrap();
    let named = format!("pid {pid}, application \"holder\"");
    let blocked = Blocked::start(&database);
    blocked.answers_without_being_ready().await;
    let held_by = blocked.held_by().await;
    assert!(held_by.contains(&named), "{held_by}");

    let folder = tempfile::tempdir().unwrap();
    let mut up = Binary::Rest.command(folder.path(), &database.settings());
    up.args(["migrate", "up"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut up = up.spawn().unwrap();
    let mut lines = BufReader::new(up.stderr.take().unwrap()).lines();
    let line = timeout(producer_e2e::DEADLINE, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert!(line.contains("waiting for a lock") && line.contains(&named), "{line}");
    holder.close().await.unwrap();
    assert!(timeout(producer_e2e::DEADLINE, up.wait()).await.unwrap().unwrap().success());
    blocked.becomes_ready().await;
}

#[tokio::test]
async fn a_process_that_writes_the_file_is_logged_and_waited_for() {
    let database = Database::sqlite();
    let url = format!("{}?mode=rwc", database.url());
    let mut writer = SqliteConnection::connect(&url).await.unwrap();
    writer.execute("PRAGMA journal_mode = WAL; BEGIN IMMEDIATE").await.unwrap();
    let blocked = Blocked::start(&database);
    blocked.answers_without_being_ready().await;
    let held_by = blocked.held_by().await;
    assert!(held_by.contains("locked"), "{held_by}");
    writer.close().await.unwrap();
    blocked.becomes_ready().await;
}
