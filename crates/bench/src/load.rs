//! `producer-bench load`: k6 drives a service with its default settings through the phases of a
//! mode. Afterwards the database is checked, and a report is written. The scripts are in
//! `load-test/`; the latency over time is what k6's web dashboard records.

mod args;
mod databases;
mod drive;
mod k6;
mod report;
mod summary;
mod timeline;
mod verify;

use std::path::Path;
use std::process::ExitCode;

pub(crate) use args::Args;
use databases::Databases;
use drive::Process;
use k6::{Call, K6};
use report::Run;
use summary::Summary;
use verify::{Check, StoredRows};

use crate::Result;
use crate::machine::{self, LoadAverage};
use crate::process::raise_open_files;
use crate::report::{Document, to_html, to_markdown};
use crate::service::{Api, Service};

/// The folder of the scripts.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../load-test");

/// Runs the test and writes the report.
pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    let apis = args.apis()?;
    let load = LoadAverage::now();
    if let Some(warning) = load.warning() {
        println!("{warning}");
    }
    let k6 = K6::find()?;
    raise_open_files()?;
    let databases = Databases::prepare(args)?;
    let folder = args.folder();
    std::fs::create_dir_all(&folder)?;
    let mut runs = Vec::new();
    for &api in apis {
        runs.push(drive(args, &k6, &databases, api, &folder).await?);
    }
    let mut facts = machine::facts(databases.server(), load).await?;
    facts.push(("k6".to_owned(), k6.version()?));
    let mut document = report::document(args, &runs, facts);
    document.warnings.extend(load.warning());
    write_report(&document, &folder)?;
    Ok(if runs.iter().all(Run::passed) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts the service on an empty database, drives it with k6, stops it, and checks the database.
async fn drive(
    args: &Args,
    k6: &K6,
    databases: &Databases,
    api: Api,
    folder: &Path,
) -> Result<Run> {
    let name = api.name();
    let (mode, operation) = (args.mode_name(), args.operation_name());
    println!("\n{mode}, {operation} over {} on {}", api.title(), args.database_name());
    let database = databases.fresh(name).await?;
    let service = match args.service {
        Some(_) => None,
        None => Some(Service::start(api, database.url(), &[]).await?),
    };
    let before = StoredRows::read(database.url()).await?;
    let call = Call {
        script: Path::new(SCRIPTS).join(format!("{name}-api-test.js")),
        mode: args.mode_name(),
        operation: args.operation_name(),
        address: service.as_ref().map(Service::address).or(args.service).ok_or("no service")?,
        summary: folder.join(format!("{name}.json")),
        dashboard: folder.join(format!("{name}-k6.html")),
        record: folder.join(format!("{name}-k6.ndjson")),
    };
    let processes = processes(service.as_ref(), databases)?;
    let usage = drive::run(k6, &call, processes).await?;
    let summary = Summary::read(&call.summary)?;
    let timeline = timeline::read(&call.record, latency_metric(api), summary.started)?;
    if let Some(service) = service {
        service.stop().await?;
    }
    let check = Check::new(&summary.total, &before, &StoredRows::read(database.url()).await?);
    check.print();
    databases.drop(database).await?;
    Ok(Run { api, summary, timeline, usage, check, has_dashboard: call.dashboard.is_file() })
}

/// k6's own metric of a call's latency.
fn latency_metric(api: Api) -> &'static str {
    match api {
        Api::Rest => "http_req_duration",
        Api::Grpc => "grpc_req_duration",
    }
}

/// The processes whose usage is sampled; a given service and database may run elsewhere.
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

fn write_report(document: &Document, folder: &Path) -> Result<()> {
    std::fs::write(folder.join("report.md"), to_markdown(document))?;
    std::fs::write(folder.join("report.html"), to_html(document)?)?;
    println!("\n{}", document.summary);
    println!("report: {}", folder.join("report.html").canonicalize()?.display());
    Ok(())
}
