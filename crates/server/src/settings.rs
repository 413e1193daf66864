//! Settings that both binaries share. Each is an environment variable and a flag of the same name;
//! flag over environment over `.env` over default.

mod secret;
mod values;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args};
use producer_core::ingest::Limits;
use producer_core::store::{DatabaseSettings, Pooler};
use producer_opensearch::{Client, Target};
pub use secret::Secret;
use tracing::level_filters::LevelFilter;
pub(crate) use values::age;
pub use values::port;
use values::{
    boolean, connections, connector_name, count, document_size, duration, duration_or_off, ip,
    level, pooler, size, whole_number,
};

/// Every setting that both binaries have. The command line makes each of them global and reads the
/// environment for it.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// postgres://… (14 or newer) or sqlite://FILE; without it the embedded data/producer.db
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<Secret>,
    /// File that holds DATABASE_URL's value instead; one of the two
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE")]
    pub database_url_file: Option<PathBuf>,
    /// postgres://… of a replica that lists, searches and reads of the history go to; they may lag then
    #[arg(long, env = "READ_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub read_database_url: Option<Secret>,
    /// https://USER:PASSWORD@HOST of OpenSearch or Elasticsearch, where search goes; with SEARCH_SINK
    #[arg(long, env = "SEARCH_URL", value_name = "URL", hide_env_values = true)]
    pub search_url: Option<Secret>,
    /// Name of the worker's sink whose indexes are searched at SEARCH_URL
    #[arg(long, env = "SEARCH_SINK", value_parser = connector_name, value_name = "NAME")]
    pub search_sink: Option<String>,
    /// Address to listen on; there is no authentication, so widen it with care
    #[arg(long, env = "BIND_ADDRESS", default_value = "127.0.0.1", value_parser = ip, value_name = "IP")]
    pub bind_address: IpAddr,
    /// PEM file with the certificate and its chain: the API's port serves TLS; ADMIN_PORT stays plain
    #[arg(long, env = "TLS_CERT_FILE", value_name = "FILE")]
    pub tls_cert_file: Option<PathBuf>,
    /// PEM file with the certificate's private key; both or neither
    #[arg(long, env = "TLS_KEY_FILE", value_name = "FILE")]
    pub tls_key_file: Option<PathBuf>,
    /// trace, debug, info, warn, error or off; RUST_LOG overrides it
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_parser = level, value_name = "LEVEL")]
    pub log_level: LevelFilter,
    /// Log "Persisted events count: N" whenever the count passes a multiple of this; 0 is off
    #[arg(long, env = "LOG_PROGRESS_EVERY", default_value = "10", value_parser = whole_number, value_name = "N")]
    pub log_progress_every: u64,
    /// A request that takes longer is logged, with where its time went; 0 is off
    #[arg(long, env = "SLOW_REQUEST", default_value = "1s", value_parser = duration_or_off, value_name = "DURATION")]
    pub slow_request: Duration,
    /// Connections to PostgreSQL at most, writers included
    #[arg(long, env = "DATABASE_MAX_CONNECTIONS", default_value = "10", value_parser = connections, value_name = "N")]
    pub database_max_connections: u32,
    /// How long to wait for a connection
    #[arg(long, env = "DATABASE_ACQUIRE_TIMEOUT", default_value = "2s", value_parser = duration, value_name = "DURATION")]
    pub database_acquire_timeout: Duration,
    /// How long a connection may idle before it is closed
    #[arg(long, env = "DATABASE_IDLE_TIMEOUT", default_value = "10m", value_parser = duration, value_name = "DURATION")]
    pub database_idle_timeout: Duration,
    /// How old a connection may become before it is replaced
    #[arg(long, env = "DATABASE_MAX_LIFETIME", default_value = "30m", value_parser = duration, value_name = "DURATION")]
    pub database_max_lifetime: Duration,
    /// none, or transaction where DATABASE_URL leads through PgBouncer in that mode
    #[arg(long, env = "DATABASE_POOLER", default_value = "none", value_parser = pooler, value_name = "MODE")]
    pub database_pooler: Pooler,
    /// How long one statement may take
    #[arg(long, env = "DATABASE_STATEMENT_TIMEOUT", default_value = "2s", value_parser = duration, value_name = "DURATION")]
    pub database_statement_timeout: Duration,
    /// How long to wait for a row that another session locks; less than DATABASE_STATEMENT_TIMEOUT
    #[arg(long, env = "DATABASE_LOCK_TIMEOUT", default_value = "100ms", value_parser = duration, value_name = "DURATION")]
    pub database_lock_timeout: Duration,
    /// Whether starting migrates the database
    #[arg(long, env = "MIGRATE_ON_START", default_value = "true", value_parser = boolean, value_name = "BOOL", action = ArgAction::Set)]
    pub migrate_on_start: bool,
    /// Largest request body or message, on the wire and decoded; of NDJSON the longest line
    #[arg(long, env = "MAX_BODY_BYTES", default_value = "16MiB", value_parser = size, value_name = "SIZE")]
    pub max_body_bytes: usize,
    /// Largest document of an entity, as compact UTF-8; up to 32MiB
    #[arg(long, env = "MAX_ENTITY_BYTES", default_value = "1MiB", value_parser = document_size, value_name = "SIZE")]
    pub max_entity_bytes: usize,
    /// Open connections at most
    #[arg(long, env = "MAX_CONNECTIONS", default_value = "12000", value_parser = count, value_name = "N")]
    pub max_connections: usize,
    /// Requests in flight at most, without gRPC streams and health checks; more are refused at once
    #[arg(long, env = "MAX_CONCURRENT_REQUESTS", default_value = "12000", value_parser = count, value_name = "N")]
    pub max_concurrent_requests: usize,
    /// Readers of changes at most: streams, and pages under way
    #[arg(long, env = "MAX_CHANGE_READERS", default_value = "1000", value_parser = count, value_name = "N")]
    pub max_change_readers: usize,
    /// Time until a new connection's first byte, its TLS handshake included, and for the head of each request
    #[arg(long, env = "HEADER_TIMEOUT", default_value = "10s", value_parser = duration, value_name = "DURATION")]
    pub header_timeout: Duration,
    /// How long a connection may idle between two requests; longer than its clients keep it
    #[arg(long, env = "IDLE_TIMEOUT", default_value = "75s", value_parser = duration, value_name = "DURATION")]
    pub idle_timeout: Duration,
    /// How long a client may take for a body; for NDJSON and streams from byte to byte
    #[arg(long, env = "BODY_TIMEOUT", default_value = "30s", value_parser = duration, value_name = "DURATION")]
    pub body_timeout: Duration,
    /// Bytes of all requests read and not yet queued
    #[arg(long, env = "BODY_BUFFER_BYTES", default_value = "64MiB", value_parser = size, value_name = "SIZE")]
    pub body_buffer_bytes: usize,
    /// Time from the end of a request to its answer; in bulk and streams the time without progress
    #[arg(long, env = "REQUEST_TIMEOUT", default_value = "3s", value_parser = duration, value_name = "DURATION")]
    pub request_timeout: Duration,
    /// Events that may wait for a writer
    #[arg(long, env = "INGEST_QUEUE_EVENTS", default_value = "20000", value_parser = count, value_name = "N")]
    pub ingest_queue_events: usize,
    /// Bytes of events that may wait for a writer
    #[arg(long, env = "INGEST_QUEUE_BYTES", default_value = "64MiB", value_parser = size, value_name = "SIZE")]
    pub ingest_queue_bytes: usize,
    /// How long a single event may wait for a writer
    #[arg(long, env = "INGEST_QUEUE_AGE", default_value = "2s", value_parser = duration, value_name = "DURATION")]
    pub ingest_queue_age: Duration,
    /// Port for /metrics, the pool's figures and CPU profiles; unset: none, and /metrics is on the REST port
    #[arg(long, env = "ADMIN_PORT", value_parser = port, value_name = "PORT")]
    pub admin_port: Option<u16>,
    /// Address that ADMIN_PORT listens on; there is no authentication, so widen it with care
    #[arg(long, env = "ADMIN_BIND_ADDRESS", default_value = "127.0.0.1", value_parser = ip, value_name = "IP")]
    pub admin_bind_address: IpAddr,
    /// How long a stop may take to answer what is in flight
    #[arg(long, env = "SHUTDOWN_GRACE", default_value = "25s", value_parser = duration, value_name = "DURATION")]
    pub shutdown_grace: Duration,
}

impl Settings {
    /// The settings of the database.
    pub fn database(&self) -> DatabaseSettings {
        DatabaseSettings {
            url: self.database_url.as_ref().map(|url| url.expose().to_owned()),
            max_connections: self.database_max_connections,
            acquire_timeout: self.database_acquire_timeout,
            idle_timeout: self.database_idle_timeout,
            max_lifetime: self.database_max_lifetime,
            pooler: self.database_pooler,
            statement_timeout: self.database_statement_timeout,
            lock_timeout: self.database_lock_timeout,
            max_entity_bytes: self.max_entity_bytes,
            ..DatabaseSettings::default()
        }
    }

    /// The settings of the queue.
    pub fn limits(&self) -> Limits {
        Limits {
            queue_events: self.ingest_queue_events,
            queue_bytes: self.ingest_queue_bytes,
            queue_age: self.ingest_queue_age,
            request_timeout: self.request_timeout,
            log_progress_every: self.log_progress_every,
        }
    }

    /// Reads `DATABASE_URL` from `DATABASE_URL_FILE`, where that is set.
    ///
    /// # Errors
    /// One line that names the setting, its value and what is allowed; never what the file holds.
    pub fn read_url_file(&mut self) -> Result<(), String> {
        let Some(file) = &self.database_url_file else { return Ok(()) };
        let invalid = |why: &str| {
            format!(
                "DATABASE_URL_FILE: {file:?} is invalid: {why}; \
                 allowed is a file that holds the URL, instead of DATABASE_URL"
            )
        };
        if self.database_url.is_some() {
            return Err(invalid("DATABASE_URL is set too; unset one of them"));
        }
        let text = std::fs::read_to_string(file).map_err(|error| invalid(&error.to_string()))?;
        match text.trim() {
            "" => Err(invalid("it is empty")),
            url => {
                self.database_url = Some(url.into());
                Ok(())
            }
        }
    }

    /// Checks the settings that depend on each other.
    ///
    /// # Errors
    /// One line that names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        let (lock, statement) = (self.database_lock_timeout, self.database_statement_timeout);
        // else a row that another session locks fails the statement, and with it the whole batch
        if lock >= statement {
            return Err(format!(
                "DATABASE_LOCK_TIMEOUT: \"{lock:?}\" is invalid: \
                 allowed is less than DATABASE_STATEMENT_TIMEOUT, which is {statement:?}"
            ));
        }
        self.search_target()?;
        match (&self.tls_cert_file, &self.tls_key_file) {
            (Some(file), None) => Err(missing_half("TLS_CERT_FILE", file, "TLS_KEY_FILE")),
            (None, Some(file)) => Err(missing_half("TLS_KEY_FILE", file, "TLS_CERT_FILE")),
            _ => Ok(()),
        }
    }
}

impl Settings {
    /// Where search goes, if not to the database.
    ///
    /// # Errors
    /// One line that names the setting and what is allowed; never what the URL holds.
    pub fn search_target(&self) -> Result<Option<Target>, String> {
        match (&self.search_url, &self.search_sink) {
            (None, None) => Ok(None),
            (Some(url), Some(sink)) => {
                let client = Client::new(url.expose()).map_err(|why| {
                    format!(
                        "SEARCH_URL: the value is invalid: {why}; \
                         allowed is http(s)://USER:PASSWORD@HOST:PORT"
                    )
                })?;
                Ok(Some(Target { client, sink: sink.clone() }))
            }
            (Some(_), None) => {
                Err("SEARCH_URL: the value is invalid: SEARCH_SINK isn't set; allowed are \
                                    both or neither"
                    .to_owned())
            }
            (None, Some(sink)) => Err(format!(
                "SEARCH_SINK: {sink:?} is invalid: SEARCH_URL isn't set; allowed are both or neither"
            )),
        }
    }
}

fn missing_half(name: &str, file: &Path, missing: &str) -> String {
    format!("{name}: {file:?} is invalid: {missing} isn't set; allowed are both or neither")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        settings: Settings,
    }

    #[test]
    fn debug_shows_no_password() {
        let url = "postgres://user:s3cret@host/d";
        let search = "https://user:s3cret@host";
        let cli = Cli::parse_from([
            "test",
            "--database-url",
            url,
            "--read-database-url",
            url,
            "--search-url",
            search,
        ]);
        let database = cli.settings.database();
        assert!(database.url.as_ref().is_some_and(|url| url.contains("s3cret")));
        let shown = format!("{cli:?} {database:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn search_elsewhere_needs_a_url_and_a_sink() {
        let check = |arguments: &[&str]| {
            let arguments = ["test"].iter().chain(arguments);
            Cli::parse_from(arguments).settings.check()
        };
        let (url, sink) = (["--search-url", "http://u:s3cret@x:9200"], ["--search-sink", "search"]);
        assert_eq!(check(&[url, sink].concat()), Ok(()));
        for (arguments, name) in [(url, "SEARCH_URL"), (sink, "SEARCH_SINK")] {
            let error = check(&arguments).expect_err("half");
            assert!(error.starts_with(name) && error.ends_with("both or neither"), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        let error = check(&["--search-url", "ftp://u:s3cret@x", "--search-sink", "search"]);
        let error = error.expect_err("no URL");
        assert!(error.starts_with("SEARCH_URL: ") && !error.contains("s3cret"), "{error}");
        let error = Cli::try_parse_from(["test", "--search-sink", "No"]).expect_err("no name");
        assert!(error.to_string().contains("a-z, 0-9 and -"), "{error}");
    }
}
