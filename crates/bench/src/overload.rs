//! `producer-bench overload`: finds the number of connections that saturates a service, then
//! measures three times as many, and an open loop at three times the throughput of saturation.

mod report;
mod steps;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use producer_core::Clock;
use steps::{CONNECTIONS, Step};

use crate::Result;
use crate::cells::{Cell, Interface, cell};
use crate::machine::{self, LoadAverage};
use crate::measure::{Bench, Times};
use crate::process::measure_into;
use crate::report::{number, thousands};
use crate::results::{Measurement, Results};
use crate::service::{Api, Apis};

/// The share of the highest throughput from which on a service counts as saturated.
const SATURATION: f64 = 0.95;
/// The offered load in multiples of saturation.
const OVERLOAD_FACTOR: usize = 3;
const WARM_UP: Duration = Duration::from_millis(700);

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which APIs
    #[arg(default_value = "both")]
    apis: Apis,
    /// Number of rounds, after saturation is found
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measured seconds per load, after the warm-up
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// The number of connections that saturates, instead of searching for it
    #[arg(long, value_name = "N")]
    saturated_by: Option<usize>,
    /// Connections (gRPC: concurrent calls) of the open loop
    #[arg(long, value_name = "N", default_value = "4000", value_parser = clap::value_parser!(u16).range(1..=4000))]
    bound: u16,
    /// A setting for the services (repeatable)
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// The folder of the results
    #[arg(long, value_name = "FOLDER", default_value = "bench/results")]
    output: PathBuf,
}

impl Args {
    fn candidates(&self) -> Vec<usize> {
        self.saturated_by.map_or_else(|| CONNECTIONS.into(), |connections| vec![connections])
    }
}

/// Reads `NAME=VALUE`.
pub(crate) fn setting(text: &str) -> std::result::Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Measures and writes the report. The exit status is 1 if a measurement failed.
pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    measure_into(&args.output, measure_all(args)).await
}

async fn measure_all(args: &Args) -> Result<ExitCode> {
    let mut run = Run::start(args).await?;
    for &api in args.apis.list() {
        let (connections, rate) = run.saturate(api, &args.candidates()).await?;
        for round in 1..=args.rounds {
            for step in Step::AFTER_SATURATION {
                let load = load(api, step, connections, rate, args.bound);
                run.measure(round, api, step, &load).await?;
            }
        }
    }
    println!("\n{}", steps::to_text(&run.results));
    println!("written: {}.{{html,md,json}}", run.path.display());
    Ok(if run.results.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Renders the report of existing results again.
pub(crate) fn render(path: &Path) -> Result<()> {
    Results::render(path, report::document)
}

/// Single events, by API.
fn interface(api: Api) -> Interface {
    match api {
        Api::Rest => Interface::Single,
        Api::Grpc => Interface::Unary,
    }
}

/// The load of a step, where this many connections saturate the service at that rate.
fn load(api: Api, step: Step, connections: usize, rate: f64, bound: u16) -> Cell {
    let at_a_rate = |rate| Cell { rate: Some(rate), ..cell(interface(api), usize::from(bound)) };
    match step {
        Step::Search(connections) => cell(interface(api), connections),
        Step::Saturated => cell(interface(api), connections),
        Step::MoreConnections => cell(interface(api), connections * OVERLOAD_FACTOR),
        Step::Rate => at_a_rate(rate),
        Step::MoreRate => at_a_rate(rate * OVERLOAD_FACTOR as f64),
    }
}

/// A measurement in progress.
struct Run {
    bench: Bench,
    results: Results,
    /// When it began.
    begun: String,
    /// The path of the results without an extension.
    path: PathBuf,
    done: usize,
    all: usize,
}

impl Run {
    async fn start(args: &Args) -> Result<Self> {
        let times = Times { warm_up: WARM_UP, measured: Duration::from_secs(args.seconds) };
        let bench = Bench::new(&[cell(Interface::Single, 1)], times)?
            .counting_refusals(args.settings.clone());
        let begun = Clock::system().now().to_string();
        let mut facts = machine::facts(bench.postgres.as_ref(), LoadAverage::now()).await?;
        let what = format!("{begun}; each load {} s, {} rounds", args.seconds, args.rounds);
        facts.insert(0, ("run".to_owned(), what));
        facts.extend(args.settings.iter().map(|(name, value)| (name.clone(), value.clone())));
        let per_api = args.candidates().len() + Step::AFTER_SATURATION.len() * args.rounds as usize;
        let all = per_api * args.apis.list().len();
        let results = Results { facts, measurements: Vec::new() };
        Ok(Self { bench, results, begun, path: args.output.join("overload"), done: 0, all })
    }

    /// The lowest number of connections that saturates, and its throughput.
    async fn saturate(&mut self, api: Api, candidates: &[usize]) -> Result<(usize, f64)> {
        let mut measured = Vec::new();
        for &connections in candidates {
            let step = Step::Search(connections);
            let rate = self.measure(1, api, step, &cell(interface(api), connections)).await?;
            measured.push((connections, rate));
        }
        let highest = measured.iter().map(|&(_, rate)| rate).fold(0.0, f64::max);
        let saturated = measured.into_iter().find(|&(_, rate)| rate >= highest * SATURATION);
        saturated.filter(|&(_, rate)| rate > 0.0).ok_or_else(|| "no event was acknowledged".into())
    }

    /// Measures one load, prints and writes it, and returns its events per second.
    async fn measure(&mut self, round: u32, api: Api, step: Step, load: &Cell) -> Result<f64> {
        let measurement = self.bench.measure(load).await;
        self.done += 1;
        println!(
            "[{:>2}/{}] {:<22} {}",
            self.done,
            self.all,
            load.to_string(),
            outcome(&measurement)
        );
        let rate = measurement.events_per_second;
        let (cell, run) = (step.name(api), self.begun.clone());
        let measurement = Measurement {
            cell,
            run,
            round,
            connections: Some(load.connections),
            offered_per_second: load.rate,
            ..measurement
        };
        self.results.measurements.push(measurement);
        self.results.write(&self.path, &report::document(&self.results))?;
        Ok(rate)
    }
}

fn outcome(measurement: &Measurement) -> String {
    if let Some(error) = &measurement.error {
        return format!("FAILED: {}", error.replace('\n', " "));
    }
    let admission = measurement.admission.clone().unwrap_or_default();
    let p99 = measurement.latency_us.map_or(0.0, |latency| latency.p99 / 1e3);
    format!(
        "{:>8} admitted/s, p99 {:>6} ms, {:>8} refused/s, {:>8} not sent/s",
        thousands(measurement.events_per_second),
        number(p99),
        thousands(admission.refused as f64 / measurement.seconds),
        thousands(admission.unsent as f64 / measurement.seconds),
    )
}
