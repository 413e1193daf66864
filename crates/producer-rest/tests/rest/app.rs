//! A service for a test, and helpers for what tests do with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use producer_core::store::DatabaseUrl;
use producer_core::types::{BuilderSettings, Types};
use producer_core::worker::WorkerStore;
use producer_core::{Clock, Ingest, Timestamp, store};
use producer_maintenance::{Database, migrate, prune};
use producer_rest::{Rest, RestArgs};
use producer_server::settings::Settings;
use producer_server::{Api, App, serve};
use producer_test_support::{Postgres, SqliteFile, http_client};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a test waits for something that must happen.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    args: RestArgs,
}

/// The database of a test, dropped with it.
enum TestDatabase {
    File(#[expect(dead_code, reason = "held for its drop")] SqliteFile),
    Database(
        #[expect(dead_code, reason = "held for its drop")] producer_test_support::Database<'static>,
    ),
    Foreign,
}

/// The service under test.
pub(crate) struct TestApp {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) ingest: Ingest,
    /// For what workers do.
    pub(crate) store: Arc<dyn WorkerStore>,
    types: Types,
    pub(crate) server: JoinHandle<std::io::Result<()>>,
    client: Client,
    url: String,
    _database: TestDatabase,
}

impl TestApp {
    /// On SQLite.
    pub(crate) async fn sqlite() -> Self {
        Self::sqlite_with(&[]).await
    }

    /// On SQLite, with settings as on the command line.
    pub(crate) async fn sqlite_with(flags: &[&str]) -> Self {
        let file = producer_test_support::sqlite_file();
        let url = file.url();
        Self::start(&url, flags, TestDatabase::File(file)).await
    }

    /// On PostgreSQL.
    pub(crate) async fn postgres() -> Self {
        let server = tokio::task::spawn_blocking(Postgres::shared).await.unwrap();
        let database = server.fresh_database().await;
        let url = database.url().to_owned();
        Self::start(&url, &[], TestDatabase::Database(database)).await
    }

    /// On a PostgreSQL server of the test's own.
    pub(crate) async fn on(url: &str) -> Self {
        Self::on_with(url, &[]).await
    }

    /// The same, with settings as on the command line.
    pub(crate) async fn on_with(url: &str, flags: &[&str]) -> Self {
        Self::start(url, flags, TestDatabase::Foreign).await
    }

    /// On SQLite, with a clock of the test's own.
    pub(crate) async fn sqlite_with_clock(clock: Clock) -> Self {
        let file = producer_test_support::sqlite_file();
        let url = file.url();
        Self::start_with_clock(clock, &url, &[], TestDatabase::File(file)).await
    }

    async fn start(url: &str, flags: &[&str], database: TestDatabase) -> Self {
        Self::start_with_clock(Clock::system(), url, flags, database).await
    }

    async fn start_with_clock(
        clock: Clock,
        url: &str,
        flags: &[&str],
        database: TestDatabase,
    ) -> Self {
        let line = ["test", "--database-url", url].into_iter().chain(flags.iter().copied());
        let CommandLine { settings, args } = CommandLine::try_parse_from(line).unwrap();
        migrate::up(&maintained(url)).await.unwrap();
        let store = store::connect(&settings.common.database()).await.unwrap();
        let app = App::new(Rest::API, settings, args, store, clock, &Handle::current());
        let listener = serve::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, ingest) = (app.shutdown.clone(), app.ingest.clone());
        let (store, types) = (app.store.clone() as Arc<dyn WorkerStore>, app.types.clone());
        let server = tokio::spawn(Rest::serve(app, listener.into()));
        Self {
            address,
            shutdown,
            ingest,
            store,
            types,
            server,
            client: http_client(),
            url: url.into(),
            _database: database,
        }
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("http://{}{path}", self.address))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("http://{}{path}", self.address))
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = method.parse().unwrap();
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    /// Posts one event.
    pub(crate) async fn send(&self, event: &Value) -> Answer {
        answer(self.post("/api/v1/events").json(event)).await
    }

    /// Posts a bulk body of a content type.
    pub(crate) async fn bulk(&self, query: &str, media: &str, body: impl Into<String>) -> Answer {
        let request = self.post(&format!("/api/v1/events/bulk{query}"));
        answer(request.header("content-type", media).body(body.into())).await
    }

    /// The attributes of an entity of type `Car`.
    pub(crate) async fn car(&self, id: &str) -> Value {
        answer(self.get(&format!("/api/v1/entities/Car/{id}"))).await.body["data"].clone()
    }

    /// Waits until a car has these attributes.
    pub(crate) async fn until_car(&self, id: &str, attributes: Value) {
        let deadline = Instant::now() + TIMEOUT;
        while self.car(id).await != attributes {
            assert!(Instant::now() < deadline, "{id} never becomes {attributes}");
        }
    }

    /// Builds from now on what is declared about types, as a service does.
    pub(crate) fn start_builder(&self) {
        let builder = self.types.builder(BuilderSettings::default(), self.shutdown.clone());
        tokio::spawn(builder.run());
    }

    /// Waits until all that is declared about a type is ready. Returns the definition.
    pub(crate) async fn until_ready(&self, entity_type: &str) -> Answer {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let found = answer(self.get(&format!("/api/v1/types/{entity_type}"))).await;
            let parts = found.body["parts"].as_array().unwrap();
            if parts.iter().all(|part| part["status"] == "ready") {
                return found;
            }
            assert!(Instant::now() < deadline, "never ready: {found:?}");
        }
    }

    /// Prunes all that was committed until now.
    pub(crate) async fn prune(&self) {
        let later = Clock::system().now().micros() + 1_000_000;
        let clock = Clock::from_fn(move || Timestamp::from_micros(later));
        let database = maintained(&self.url);
        prune::prune(&database, Duration::ZERO, &clock, &mut |_| {}).await.unwrap();
    }

    /// A plain connection.
    pub(crate) async fn connect(&self) -> Raw {
        Raw(TcpStream::connect(self.address).await.unwrap())
    }
}

fn maintained(url: &str) -> Database {
    DatabaseUrl::parse(Some(url)).unwrap().into()
}

/// A connection for requests that a client library would not send.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) async fn write(&mut self, text: impl AsRef<[u8]>) {
        self.0.write_all(text.as_ref()).await.unwrap();
    }

    /// Everything until the server closes the connection.
    pub(crate) async fn read_to_end(&mut self) -> String {
        let mut all = Vec::new();
        self.0.read_to_end(&mut all).await.unwrap();
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Everything until the answer contains `end`.
    pub(crate) async fn read_until(&mut self, end: &str) -> String {
        let mut all = Vec::new();
        while !String::from_utf8_lossy(&all).contains(end) {
            let read = self.0.read_buf(&mut all).await.unwrap();
            assert!(read > 0, "closed before {end:?}: {}", String::from_utf8_lossy(&all));
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// The body of a 200, as long as its `content-length`.
    pub(crate) async fn read_success(&mut self) -> Value {
        let (status, body) = self.read_answer().await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// The status and the body, as long as its `content-length`.
    pub(crate) async fn read_answer(&mut self) -> (u16, Value) {
        let mut all = self.read_until("\r\n\r\n").await;
        let status = all.split(' ').nth(1).unwrap().parse().unwrap();
        let head = all.find("\r\n\r\n").unwrap() + 4;
        let length = all[..head].lines().find_map(|line| line.strip_prefix("content-length: "));
        let missing = head + length.unwrap().parse::<usize>().unwrap() - all.len();
        let mut body = vec![0; missing];
        self.0.read_exact(&mut body).await.unwrap();
        all.push_str(std::str::from_utf8(&body).unwrap());
        (status, serde_json::from_str(&all[head..]).unwrap())
    }
}

/// An answer, read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The name behind `urn:producer:problem:`.
    pub(crate) fn problem(&self) -> &str {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], self.status);
        assert_eq!(self.body["error"], self.body["detail"]);
        assert_eq!(self.body["requestId"], self.header("x-request-id"));
        self.body["type"].as_str().unwrap().strip_prefix("urn:producer:problem:").unwrap()
    }

    /// The statuses of a bulk answer's items.
    pub(crate) fn statuses(&self) -> Vec<&str> {
        let results = self.body["results"].as_array().unwrap();
        results.iter().map(|item| item["status"].as_str().unwrap()).collect()
    }

    /// The pointers of `errors`.
    pub(crate) fn pointers(&self) -> Vec<String> {
        let errors = self.body["errors"].as_array().map_or(&[][..], Vec::as_slice);
        errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
    }
}

/// Sends a request and reads the answer.
pub(crate) async fn answer(request: RequestBuilder) -> Answer {
    read(request.send().await.unwrap()).await
}

pub(crate) async fn read(response: Response) -> Answer {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await.unwrap();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Answer { status, headers, body }
}

/// An event that updates one car.
pub(crate) fn car_event(id: &str, attributes: Value) -> Value {
    json!({
        "eventHeader": {"eventName": "CarChanged"},
        "eventBody": {"entities": [
            {"entityType": "Car", "entityId": id, "updatedAttributes": attributes}
        ]}
    })
}

/// The same with a uuid.
pub(crate) fn car_event_with_uuid(uuid: &str, id: &str, attributes: Value) -> Value {
    let mut event = car_event(id, attributes);
    event["eventHeader"]["uuid"] = uuid.into();
    event
}
