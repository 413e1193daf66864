//! What the command line has.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use producer_server::cli::Program;
use producer_server::settings::{CommonSettings, port};
use producer_server::traces::TraceSettings;
use url::Url;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    about = "Carries changes to Redis, Kafka, OpenSearch and webhooks, and brings messages in"
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) common: CommonSettings,
    #[command(flatten)]
    pub(super) traces: TraceSettings,
    #[command(flatten)]
    pub(super) own: WorkerSettings,
}

/// Settings that this binary alone has.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct WorkerSettings {
    /// File that says what is carried where
    #[arg(long, env = "WORKER_CONFIG", default_value = "worker.toml", value_name = "FILE")]
    pub(super) worker_config: PathBuf,
    /// The attribute `source` of CloudEvents
    #[arg(long, env = "CLOUDEVENTS_SOURCE", default_value = "/producer", value_parser = cloudevents_source, value_name = "URI")]
    pub(super) cloudevents_source: String,
    /// Port for /livez, /readyz, /metrics, the pool's figures and CPU profiles
    #[arg(long, env = "ADMIN_PORT", default_value = "9283", value_parser = port, value_name = "PORT")]
    pub(super) admin_port: u16,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the sinks and sources of the file (the default)
    ///
    /// Any number of workers may share a database and a file: one of them runs a sink at a time, and another takes
    /// over within 15 seconds of its death.
    Run,
    /// Check the file, and reach the database and all that it names; exit status 1 where something fails
    ///
    /// Prints a line each. Nothing is sent and nothing is taken, but a missing embedded database is created. Where the
    /// file is wrong, each error has a line, and the exit status is 2.
    Check,
    /// Show the sinks and sources that workers have run; exit status 1 where a sink is not running
    ///
    /// As the database has them, with what their workers said last. A sink that retries, is paused or that no worker
    /// runs is not running.
    Status {
        /// Show it again every second, until Ctrl-C
        #[arg(long)]
        watch: bool,
        /// Print JSON, as GET /api/v1/sinks and /api/v1/sources have it
        #[arg(long, conflicts_with = "watch")]
        json: bool,
    },
    /// Ask the running worker whether it is ready; exit status 0 if it is
    Healthcheck,
}

impl Program for Cli {
    const NAME: &'static str = "producer-worker";

    fn common(&mut self) -> &mut CommonSettings {
        &mut self.common
    }

    fn check(&self) -> Result<(), String> {
        self.common.check()
    }
}

/// A reference to a URI that is not empty, as CloudEvents want it.
fn cloudevents_source(text: &str) -> Result<String, String> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let base = Url::parse("http://localhost").ok();
    let parses = Url::options().base_url(base.as_ref()).parse(text).is_ok();
    if is_plain && parses {
        return Ok(text.to_owned());
    }
    Err("allowed is a URI or a path, such as /producer or https://shop.example/entities".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_uri_or_a_path() {
        for text in ["/producer", "https://shop.example/entities", "urn:shop:1", "shop"] {
            assert_eq!(cloudevents_source(text).as_deref(), Ok(text));
        }
        for text in ["", "a b", "/ä", "http://[", "\n"] {
            assert!(cloudevents_source(text).is_err(), "{text}");
        }
    }
}
