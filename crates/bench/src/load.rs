//! The load test: k6 drives a service with its default settings through the phases of a mode, then
//! the database is asked whether everything that was accepted is there, once, and a report is
//! drawn. The scripts stand in `load-test/`.

mod database;
mod document;
mod k6;
mod limits;
mod summary;
mod verify;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use database::Databases;
use k6::{Call, K6};
use summary::Summary;
use verify::{Holdings, Verdict};
use watch::{Process, Timeline};

use crate::service::{Api, Service};
use crate::{Result, machine};

/// Where the scripts stand and the results go.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../load-test");

/// k6 drives the services; exit status 1 when a threshold is crossed or the database disagrees.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which phases, as load-test/config.js has them
    mode: Mode,
    /// Which way in
    #[arg(default_value = "both")]
    apis: Apis,
    /// Where the services store
    #[arg(default_value = "postgres")]
    database: Kind,
    /// Drive a service that runs already, on the database of --database-url, instead of starting one
    #[arg(long, requires = "database_url", value_name = "ADDRESS:PORT")]
    service: Option<SocketAddr>,
    /// The database of --service; it isn't cleared, what it gains is counted
    #[arg(long, requires = "service", value_name = "URL")]
    database_url: Option<String>,
    /// Where the report goes, in a folder of its own
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../load-test/results"))]
    results: PathBuf,
}

/// A mode of load-test/config.js.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// 10 users, 30 s
    Smoke,
    /// 10, 50 and 100 users
    Full,
    /// 10 to 2,000 users in seven phases
    Saturation,
    /// A constant rate of events
    Arrival,
    /// 50 users for 30 minutes
    Soak,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Apis {
    Rest,
    Grpc,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Sqlite,
    Postgres,
}

/// What came of driving one API.
struct Run {
    api: Api,
    summary: Summary,
    timeline: Timeline,
    verdict: Verdict,
}

impl Run {
    fn passed(&self) -> bool {
        self.summary.broken.is_empty() && self.verdict.findings.is_empty()
    }
}

/// Runs the test and writes the report. `false`: it failed.
pub(crate) async fn run(args: &Args) -> Result<bool> {
    let apis = args.apis()?;
    let k6 = K6::find()?;
    limits::raise_open_files()?;
    let databases = Databases::prepare(args)?;
    let results = args.results.join(args.name());
    std::fs::create_dir_all(&results)?;
    let mut runs = Vec::new();
    for &api in apis {
        runs.push(drive(args, &k6, &databases, api, &results).await?);
    }
    let mut facts = machine::facts(databases.server()).await?;
    facts.push(("k6".to_owned(), k6.version()?));
    write_report(args, &runs, facts, &results)?;
    Ok(runs.iter().all(Run::passed))
}

/// Starts the service on an empty database, lets k6 drive it, stops it, and asks the database.
async fn drive(
    args: &Args,
    k6: &K6,
    databases: &Databases,
    api: Api,
    results: &Path,
) -> Result<Run> {
    let name = short_name(api);
    println!("\n{} over {} on {}", args.mode_name(), title(api), args.database_name());
    let database = databases.fresh(name).await?;
    let service = match args.service {
        Some(_) => None,
        None => Some(Service::start(api, database.url(), &[]).await?),
    };
    let before = Holdings::of(database.url()).await?;
    let call = Call {
        script: Path::new(FOLDER).join(format!("{name}-api-test.js")),
        mode: args.mode_name(),
        address: service.as_ref().map(Service::address).or(args.service).ok_or("no service")?,
        summary: results.join(format!("{name}.json")),
    };
    let processes = processes(service.as_ref(), databases)?;
    let timeline = watch::run(k6, &call, processes).await?;
    let summary = Summary::read(&call.summary)?;
    if let Some(service) = service {
        service.stop().await?;
    }
    let verdict = Verdict::of(&summary.total, &before, &Holdings::of(database.url()).await?);
    verdict.print();
    databases.drop(database).await?;
    Ok(Run { api, summary, timeline, verdict })
}

/// What can be watched: what was given may run elsewhere.
fn processes(service: Option<&Service>, databases: &Databases) -> Result<Vec<Process>> {
    let mut processes = Vec::new();
    if let Some(service) = service {
        processes.push(Process { name: "service", id: service.process()? });
    }
    if let Some(server) = databases.server() {
        processes.push(Process { name: "database", id: server.process() });
    }
    Ok(processes)
}

fn write_report(
    args: &Args,
    runs: &[Run],
    facts: Vec<(String, String)>,
    results: &Path,
) -> Result<()> {
    let mut document = document::of(args, runs, facts);
    std::fs::write(results.join("report.md"), document.to_markdown())?;
    std::fs::write(results.join("report.svg"), document.to_svg())?;
    document.sections.push(document::over_time(runs)); // too long for a summary
    std::fs::write(results.join("report.html"), document.to_html())?;
    println!("\n{}", document.lead);
    println!("report: {}", results.join("report.html").canonicalize()?.display());
    Ok(())
}

impl Args {
    fn apis(&self) -> Result<&'static [Api]> {
        match self.apis {
            Apis::Rest => Ok(&[Api::Rest]),
            Apis::Grpc => Ok(&[Api::Grpc]),
            Apis::Both if self.service.is_some() => Err("--service is rest or grpc".into()),
            Apis::Both => Ok(&[Api::Rest, Api::Grpc]),
        }
    }

    fn mode_name(&self) -> &'static str {
        match self.mode {
            Mode::Smoke => "smoke",
            Mode::Full => "full",
            Mode::Saturation => "saturation",
            Mode::Arrival => "arrival",
            Mode::Soak => "soak",
        }
    }

    fn database_name(&self) -> &'static str {
        match self.database {
            _ if self.database_url.is_some() => "a given database",
            Kind::Sqlite => "SQLite",
            Kind::Postgres => "PostgreSQL",
        }
    }

    /// The name of the results' folder: the newest result of a mode on a database replaces the last.
    fn name(&self) -> String {
        let database = match self.database {
            _ if self.database_url.is_some() => "given",
            Kind::Sqlite => "sqlite",
            Kind::Postgres => "postgres",
        };
        format!("{}-{database}", self.mode_name())
    }
}

fn short_name(api: Api) -> &'static str {
    match api {
        Api::Rest => "rest",
        Api::Grpc => "grpc",
    }
}

fn title(api: Api) -> &'static str {
    match api {
        Api::Rest => "REST",
        Api::Grpc => "gRPC",
    }
}
