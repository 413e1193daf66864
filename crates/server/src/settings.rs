//! Settings. Each is an environment variable and a flag of the same name; flag over environment over
//! `.env` over default.

mod common;
mod secret;
mod values;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
pub use common::CommonSettings;
use producer_opensearch::{Client, Target};
pub use secret::Secret;
pub(crate) use values::age;
pub use values::port;
use values::{connector_name, count, duration, duration_or_off, ip, size};

/// Every setting that both services have. The command line makes each of them global and reads the
/// environment for it.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Those that the worker has too.
    #[command(flatten)]
    pub common: CommonSettings,
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
    /// A request that takes longer is logged, with where its time went; 0 is off
    #[arg(long, env = "SLOW_REQUEST", default_value = "1s", value_parser = duration_or_off, value_name = "DURATION")]
    pub slow_request: Duration,
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
    /// Port for /metrics, the pool's figures and CPU profiles; unset: none, and /metrics is on the REST port
    #[arg(long, env = "ADMIN_PORT", value_parser = port, value_name = "PORT")]
    pub admin_port: Option<u16>,
}

impl Settings {
    /// Checks the settings that depend on each other.
    ///
    /// # Errors
    /// One line that names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        self.common.check()?;
        self.search_target()?;
        match (&self.tls_cert_file, &self.tls_key_file) {
            (Some(file), None) => Err(missing_half("TLS_CERT_FILE", file, "TLS_KEY_FILE")),
            (None, Some(file)) => Err(missing_half("TLS_KEY_FILE", file, "TLS_CERT_FILE")),
            _ => Ok(()),
        }
    }

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
                let line = "SEARCH_URL: the value is invalid: SEARCH_SINK isn't set; \
                            allowed are both or neither";
                Err(line.to_owned())
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
        let database = cli.settings.common.database();
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
