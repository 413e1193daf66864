//! `producer-bench finding`: measures lists, indexes and search in rounds, beside pgbench and beside writers.

mod beside;
mod cars;
mod clients;
mod databases;
mod definition;
mod ingest;
mod questions;
mod report;
mod setup;
mod sql;
mod steps;
mod targets;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use databases::Databases;
use producer_core::Clock;
use setup::Setup;
use steps::Step;
use tokio::time::timeout;

use crate::cells::{Interface, cell};
use crate::measure::{Bench, Times};
use crate::process::measure_into;
use crate::report::thousands;
use crate::results::{Measurement, Results};
use crate::rounds::Rounds;
use crate::{Result, begin, rounds};

const WARM_UP: Duration = Duration::from_secs(1);
/// The time after which no further cell is started.
const LIMIT: Duration = Duration::from_secs(90 * 60);
/// For one cell. Its database is filled before.
const CELL_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this cell (repeatable); its results replace the previous ones
    #[arg(long, value_name = "CELL")]
    only: Vec<String>,
    /// Number of rounds
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measured seconds per cell, after the warm-up
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Entities of the type
    #[arg(long, value_name = "N", default_value = "1000000", value_parser = clap::value_parser!(u64).range(1000..=100_000_000))]
    entities: u64,
    /// Entities of the type in the cells that end with `-large`, which are measured with this only
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1000..=100_000_000))]
    large: Option<u64>,
    /// The folder of an earlier release's producer-rest: the cell `ingest-before`, measured with this only
    #[arg(long, value_name = "FOLDER")]
    before: Option<PathBuf>,
    /// The folder of the results
    #[arg(long, value_name = "FOLDER", default_value = "bench/results")]
    output: PathBuf,
}

impl Args {
    fn steps(&self) -> Result<Vec<Step>> {
        let mut all = Step::all();
        if self.only.is_empty() {
            all.retain(|step| self.can_measure(*step));
        }
        let steps = rounds::named(all, &self.only)?;
        match steps.iter().find(|step| !self.can_measure(**step)) {
            Some(step) if step.is_large() => Err(format!("{step} needs --large").into()),
            Some(step) => Err(format!("{step} needs --before").into()),
            None => Ok(steps),
        }
    }

    fn can_measure(&self, step: Step) -> bool {
        (self.large.is_some() || !step.is_large()) && (self.before.is_some() || !step.is_before())
    }
}

/// Measures everything, or until SIGINT or SIGTERM; completed measurements are kept.
pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    let steps = args.steps()?;
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
    let databases = Databases::new(args.entities, args.large)?;
    let times = Times { warm_up: WARM_UP, measured: Duration::from_secs(args.seconds) };
    let bench = Bench::new(&[cell(Interface::Single, 1)], times)?;
    let mut setup = Setup { bench, databases, before: args.before.clone() };
    let run = Clock::system().now().to_string();
    let large = args.large.map_or_else(String::new, |large| {
        format!(", {} in the large cells", thousands(large as f64))
    });
    let what = format!(
        "{run}; {} rounds, each cell {} s; {} entities{large}",
        args.rounds,
        args.seconds,
        thousands(args.entities as f64),
    );
    let rounds = Rounds {
        output: &args.output,
        name: "finding",
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
    if let Some(filled) = step.filled() {
        setup.filled(filled).await?;
    }
    setup.postgres()?.checkpoint().await?;
    let measured = async {
        match step {
            Step::Ask(question, amount) => questions::measure(setup, question, amount).await,
            Step::Pgbench(question, amount) => {
                questions::measure_pgbench(setup, question, amount).await
            }
            Step::Gets { scans } => beside::gets(setup, scans).await,
            Step::Writes(beside) => beside::writes(setup, beside).await,
            Step::Ingest(ingest) => ingest::measure(setup, ingest).await,
        }
    };
    timeout(CELL_TIMEOUT, measured).await.map_err(|_| "it took too long")?
}
