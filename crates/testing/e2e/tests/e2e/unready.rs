//! Databases that can't be served from: what every answer and the log say.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::{fs, str};

use producer_e2e::proto::{GetEntityRequest, HealthRequest};
use producer_e2e::{
    Binary, Certificate, CertificateFiles, Database, SentEvent, Service, eventually,
};
use producer_test_support::Postgres;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tokio::task::spawn_blocking;

use crate::macros::on_both_databases;

on_both_databases!(a_missing_schema_is_named_by_every_answer);

const MISSING: &str =
    "the database's schema is missing or older than this release: run \"migrate\"";

async fn a_missing_schema_is_named_by_every_answer(database: &Database) {
    let settings = [("DATABASE_URL", database.url()), ("MIGRATE_ON_START", "false")];
    let rest = Service::spawn(Binary::Rest, &settings);
    let grpc = Service::spawn(Binary::Grpc, &settings);
    answers(&rest).await;
    let client = rest.rest();
    for path in ["/readyz", "/api/v1/events/health"] {
        let (status, health) = client.get(path).await;
        assert_eq!((status, &health["database"]), (503, &json!("schema")), "{path}: {health}");
        assert_eq!(health["message"], MISSING, "{path}");
    }
    let event = SentEvent::new("Car", "car-1", json!({"km": 1}));
    let body = event.json().to_string();
    let (status, problem) = client.post("/api/v1/events", "application/json", body).await;
    let detail = problem["detail"].as_str().unwrap();
    assert_eq!((status, &problem["type"]), (503, &json!("urn:producer:problem:unavailable")));
    assert!(detail.starts_with(MISSING) && detail.contains("was not stored"), "{problem}");
    let (status, problem) = client.get("/api/v1/entities/Car/car-1").await;
    assert_eq!(status, 503);
    assert!(problem["detail"].as_str().unwrap().starts_with(MISSING), "{problem}");

    let mut client = grpc.grpc().client;
    eventually("an answer", async || {
        client.clone().health_check(HealthRequest::default()).await.is_ok()
    })
    .await;
    let health = client.health_check(HealthRequest::default()).await.unwrap().into_inner();
    assert!(!health.healthy && health.message.contains(MISSING), "{health:?}");
    let refused = client.process_event(event.message()).await.unwrap_err();
    let key = GetEntityRequest {
        entity_type: "Car".into(),
        entity_id: "car-1".into(),
        ..Default::default()
    };
    for status in [refused, client.get_entity(key).await.unwrap_err()] {
        assert_eq!(status.code(), tonic::Code::Unavailable);
        assert!(status.message().starts_with(MISSING), "{status:?}");
        for no_word in ["SELECT", "relation", "no such table"] {
            assert!(!status.message().contains(no_word), "{status:?}");
        }
    }
    let healthcheck = rest.healthcheck().await;
    assert!(String::from_utf8_lossy(&healthcheck.stderr).contains("schema"), "{healthcheck:?}");

    let folder = tempfile::tempdir().unwrap();
    let migrate = Binary::Rest.command(folder.path(), &settings).arg("migrate").output().await;
    assert!(migrate.unwrap().status.success());
    eventually("ready", async || rest.rest().ready().await && grpc.grpc().ready().await).await;
    assert!(matches!(rest.rest().send(&event).await, producer_e2e::Outcome::Done { .. }));
    rest.stop().await;
    grpc.stop().await;
}

async fn answers(rest: &Service) {
    let client = rest.rest();
    let live = async || client.http.get(client.url("/livez")).send().await.is_ok();
    eventually("an answer", live).await;
}

/// The lines that say why it isn't ready; at least one.
async fn reasons(service: &Service) -> Vec<Value> {
    eventually("a reason", async || !service.logged("not ready").is_empty()).await;
    service.logged("not ready")
}

async fn own_server() -> Postgres {
    spawn_blocking(Postgres::own).await.unwrap()
}

async fn connect(server: &Postgres) -> PgConnection {
    PgConnection::connect(&server.url("postgres")).await.unwrap()
}

/// Gives the server a file of its own in its data folder.
fn place(data: &Path, name: &str, text: &str) {
    let file = data.join(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let owner = fs::metadata(data).unwrap();
    chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
}

async fn data(connection: &mut PgConnection) -> PathBuf {
    let data: String =
        sqlx::query_scalar("SHOW data_directory").fetch_one(connection).await.unwrap();
    data.into()
}

#[tokio::test]
async fn a_login_that_fails_is_named_until_it_succeeds() {
    let server = own_server().await;
    let mut admin = connect(&server).await;
    admin.execute("ALTER ROLE postgres PASSWORD 'right'").await.unwrap();
    place(&data(&mut admin).await, "pg_hba.conf", "host all all all scram-sha-256\n");
    admin.execute("SELECT pg_reload_conf()").await.unwrap();
    let url = |login: &str, database: &str| server.url(database).replacen("postgres@", login, 1);
    // the reload takes a moment
    let refused = url("postgres:wrong@", "postgres");
    eventually("a password is needed", async || PgConnection::connect(&refused).await.is_err())
        .await;

    for (url, words, repair) in [
        (url("postgres:new@", "postgres"), "(28P01)", "ALTER ROLE postgres PASSWORD 'new'"),
        (
            url("stranger:new@", "postgres"),
            "(28P01)",
            "CREATE ROLE stranger LOGIN SUPERUSER PASSWORD 'new'",
        ),
        (url("postgres:new@", "cars"), "\"cars\" does not exist (3D000)", "CREATE DATABASE cars"),
    ] {
        let service = Service::spawn(Binary::Rest, &[("DATABASE_URL", &url)]);
        answers(&service).await;
        let (status, health) = service.rest().get("/readyz").await;
        assert_eq!((status, &health["database"]), (503, &json!("authentication")), "{health}");
        assert!(health["message"].as_str().unwrap().contains("refuses the login"), "{health}");
        let event = SentEvent::new("Car", "car-1", json!({"km": 1}));
        let body = event.json().to_string();
        let (status, problem) =
            service.rest().post("/api/v1/events", "application/json", body).await;
        assert_eq!(status, 503);
        assert!(problem["detail"].as_str().unwrap().contains("refuses the login"), "{problem}");

        let reason = &reasons(&service).await[0];
        assert_eq!(reason["database"], "authentication", "{reason}");
        let waiting = service.logged("the migration waits for the database: answering 503");
        for line in [reason, &waiting[0]] {
            let error = line["error"].as_str().unwrap();
            assert!(error.contains(words), "{line}");
            for no_word in ["at line", "returned from database", "new@"] {
                assert!(!error.contains(no_word), "{line}");
            }
        }
        admin.execute(repair).await.unwrap();
        eventually("ready", async || service.rest().ready().await).await;
        service.stop().await;
    }
}

/// rustls refuses it even where nothing is verified, as with `sslmode=prefer`, the default.
#[tokio::test]
async fn a_servers_certificate_of_version_1_is_named_with_what_helps() {
    let server = own_server().await;
    let mut admin = connect(&server).await;
    let data = data(&mut admin).await;
    let files = CertificateFiles::new(&Certificate::version_1());
    for (file, name) in [(files.cert(), "server.crt"), (files.key(), "server.key")] {
        place(&data, name, str::from_utf8(&fs::read(file).unwrap()).unwrap());
    }
    admin.execute("ALTER SYSTEM SET ssl = on").await.unwrap();
    admin.execute("SELECT pg_reload_conf()").await.unwrap();
    let url = server.url("postgres");
    eventually("it speaks TLS", async || PgConnection::connect(&url).await.is_err()).await;

    let helps = |text: &str| {
        ["X.509 version 1", "version 3", "sslmode=disable"].iter().all(|word| text.contains(word))
    };
    let service = Service::spawn(Binary::Rest, &[("DATABASE_URL", &url)]);
    answers(&service).await;
    assert_eq!(service.rest().get("/readyz").await.1["database"], "unreachable");
    let reason = &reasons(&service).await[0];
    assert!(helps(reason["error"].as_str().unwrap()), "{reason}");
    let folder = tempfile::tempdir().unwrap();
    let mut migrate = Binary::Rest.command(folder.path(), &[("DATABASE_URL", &url)]);
    let migrate = migrate.arg("migrate").output().await.unwrap();
    let line = String::from_utf8_lossy(&migrate.stderr).into_owned();
    assert!(helps(&line) && line.lines().count() == 1, "{line}");

    let plain = format!("{url}?sslmode=disable");
    let service = Service::start(Binary::Rest, &[("DATABASE_URL", &plain)]).await;
    service.stop().await;
}
