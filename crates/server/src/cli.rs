//! The command line of both binaries.

mod environment;
mod line;
mod maintain;
mod open_files;
mod serve;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use producer_core::config::Settings;
use producer_core::maintenance::Database;
use producer_core::store::DatabaseUrl;
use producer_core::telemetry::{self, Filter};

use crate::Api;
use crate::traces::Traces;
use environment::Environment;
use line::{Command, Line};

/// The exit status of a command line or setting that can't be used.
const UNUSABLE: u8 = 2;

/// Why the program ends: one line for standard error, and the exit status.
struct Failure {
    status: u8,
    line: String,
}

impl Failure {
    fn unusable(line: String) -> Self {
        Self { status: UNUSABLE, line }
    }

    fn new(error: impl ToString) -> Self {
        Self { status: 1, line: error.to_string().replace('\n', " ") }
    }
}

/// Runs the binary: parses the command line and does what it says.
pub fn main<A: Api>() -> ExitCode {
    match run::<A>() {
        Ok(code) => code,
        Err(Failure { status, line }) => {
            eprintln!("{line}");
            ExitCode::from(status)
        }
    }
}

fn run<A: Api>() -> Result<ExitCode, Failure> {
    let environment = Environment::load().map_err(Failure::unusable)?;
    let mut line: Line<A::Args> = match line::parse::<A>(&environment, std::env::args_os()) {
        Ok(line) => line,
        Err(line::Stop::Shown(text)) => {
            print!("{text}");
            return Ok(ExitCode::SUCCESS);
        }
        Err(line::Stop::Unusable(line)) => return Err(Failure::unusable(line)),
    };
    line.settings.read_url_file().map_err(Failure::unusable)?;
    line.settings.check().map_err(Failure::unusable)?;
    let rust_log = environment.get("RUST_LOG").map_err(Failure::unusable)?;
    let filter = Filter::new(line.settings.log_level, rust_log)
        .map_err(|reason| Failure::unusable(format!("RUST_LOG: {reason}")))?;
    let database = database(&line.settings)?;
    let runtime = crate::connections_runtime().map_err(Failure::new)?;
    let writers = crate::writers_runtime().map_err(Failure::new)?;
    runtime.block_on(async {
        match line.command.unwrap_or(Command::Serve) {
            Command::Serve => {
                telemetry::init(filter).map_err(Failure::new)?;
                let traces = Traces::start(&line.traces, A::NAME).map_err(Failure::unusable)?;
                let served =
                    serve::serve::<A>(line.settings, line.args, database, writers.handle());
                let ended = served.await;
                if let Some(traces) = traces {
                    traces.stop().await;
                }
                ended
            }
            Command::Migrate { command } => {
                maintain::migrate(&database, command.unwrap_or_default(), &line.settings).await
            }
            Command::Rebuild { write } => maintain::rebuild(&database, write).await,
            Command::Prune { older_than } => maintain::prune(&database, older_than).await,
            Command::Healthcheck => healthcheck::<A>(&line.settings, &line.args).await,
        }
    })
}

fn database(settings: &Settings) -> Result<Database, Failure> {
    let url = DatabaseUrl::parse(settings.database_url.as_deref());
    url.map(Database::from).map_err(Failure::unusable)
}

async fn healthcheck<A: Api>(settings: &Settings, args: &A::Args) -> Result<ExitCode, Failure> {
    // a service that listens on every address is asked on the loopback one
    let ip = match settings.bind_address {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let address = SocketAddr::new(ip, A::port(args));
    // a service that stands still accepts and doesn't answer
    let patience = settings.request_timeout;
    let asked = tokio::time::timeout(patience, A::healthcheck(address)).await;
    let ready = asked.unwrap_or_else(|_| Err(format!("no answer within {patience:?}")));
    ready.map_err(|reason| Failure::new(format!("{address}: {reason}")))?;
    Ok(ExitCode::SUCCESS)
}
