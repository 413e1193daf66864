//! `producer-bench worker`: measures what producer-worker carries out and in, beside other ways to do it.

mod backlog;
mod debezium;
mod delivery;
mod memory;
mod orders;
mod process;
mod progress;
mod receiver;
mod redis_server;
mod report;
mod search;
mod setup;
mod sinks;
mod source;
mod steps;
mod targets;
mod topic;
mod webhooks;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use producer_core::Clock;
use setup::Setup;
use steps::Step;
use tokio::time::timeout;

use crate::measure::{Bench, Times};
use crate::postgres::Postgres;
use crate::process::measure_into;
use crate::report::thousands;
use crate::results::{Measurement, Results};
use crate::rounds::Rounds;
use crate::{Result, begin, rounds};

const WARM_UP: Duration = Duration::from_secs(2);
/// The time after which no further cell is started.
const LIMIT: Duration = Duration::from_secs(60 * 60);
/// For one cell, with what it prepares.
const CELL_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this cell (repeatable); its results replace the previous ones
    #[arg(long, value_name = "CELL")]
    only: Vec<String>,
    /// Number of rounds
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measured seconds of the cells that have no end by themselves, after the warm-up
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Changes of a backlog, and messages of a source; whole thousands
    #[arg(long, value_name = "N", default_value = "500000", value_parser = clap::value_parser!(u64).range(1000..=10_000_000))]
    changes: u64,
    /// The folder of the results
    #[arg(long, value_name = "FOLDER", default_value = "bench/results")]
    output: PathBuf,
}

/// Measures everything, or until SIGINT or SIGTERM; completed measurements are kept.
pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    let steps = rounds::named(Step::all(), &args.only)?;
    measure_into(&args.output, measure_all(args, &steps)).await
}

/// The names of its cells.
pub(crate) fn cells() -> Vec<String> {
    rounds::names(&Step::all())
}

/// Renders the report of existing results again.
pub(crate) fn render(path: &Path) -> Result<()> {
    Results::render(path, report::document)
}

async fn measure_all(args: &Args, steps: &[Step]) -> Result<ExitCode> {
    let times = Times { warm_up: WARM_UP, measured: Duration::from_secs(args.seconds) };
    let bench = Bench::on(Some(Postgres::start_logical()?), times);
    let mut setup = Setup::new(bench, args.changes / 1000 * 1000);
    let run = Clock::system().now().to_string();
    let what =
        format!("{run}; {} rounds; {} changes", args.rounds, thousands(setup.changes as f64));
    let rounds = Rounds {
        output: &args.output,
        name: "worker",
        rounds: args.rounds,
        limit: LIMIT,
        report: report::document,
        targets: targets::to_text,
    };
    let names = rounds::names(steps);
    let only = !args.only.is_empty();
    let postgres = setup.bench.postgres.as_ref();
    let results = begin::results(&rounds.path(), &names, only, what, postgres).await?;
    rounds.measure(steps, &run, results, async |step| try_measure(&mut setup, step).await).await
}

async fn try_measure(setup: &mut Setup, step: Step) -> Result<Measurement> {
    let measured = async {
        match step {
            Step::Debezium => debezium::measure(setup).await,
            Step::Kafka => sinks::kafka(setup).await,
            Step::Redis => sinks::redis(setup).await,
            Step::Bulk => search::bulk(setup).await,
            Step::OpenSearch => search::worker(setup).await,
            Step::Webhooks => webhooks::measure(setup).await,
            Step::Ndjson => source::ndjson(setup).await,
            Step::Source => source::redis(setup).await,
            Step::Memory => memory::measure(setup).await,
            Step::Delivery => delivery::measure(setup).await,
        }
    };
    timeout(CELL_TIMEOUT, measured).await.map_err(|_| "it took too long")?
}
