//! Overload: first the number of connections that saturates a service, then three times as many,
//! then requests at three times the rate that it carries. What does it still do, and how long do
//! those wait whom it admits?

mod document;
mod figures;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};
use figures::Step;
use producer_core::Clock;

use crate::cells::{Cell, Way, cell};
use crate::measure::{Bench, Times};
use crate::report::{number, thousands};
use crate::results::{Measurement, Results};
use crate::run::{until_stopped, write_files};
use crate::{Result, machine};

/// Where saturation is looked for.
const CONNECTIONS: [usize; 5] = [16, 64, 256, 512, 1024];
/// The fewest connections that come so near the most saturate.
const NEAR: f64 = 0.95;
/// How much more is asked for than the service carries.
const TIMES: usize = 3;
const WARM_UP: Duration = Duration::from_millis(700);

/// What is run.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Which way in
    #[arg(default_value = "both")]
    apis: Apis,
    /// How many times each load is measured, once saturation is found
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds that each measurement takes, after its warm-up
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// The connections that saturate, where they aren't to be looked for
    #[arg(long, value_name = "N")]
    saturated_by: Option<usize>,
    /// Connections (gRPC: calls at once) of the generator where requests come at a rate
    #[arg(long, value_name = "N", default_value = "4000", value_parser = clap::value_parser!(u16).range(1..=4000))]
    bound: u16,
    /// A setting of the services that is not to be as by default (may be said again)
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Where results go
    #[arg(long, value_name = "FOLDER", default_value = "bench/results")]
    output: PathBuf,
}

/// Which services.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Apis {
    Rest,
    Grpc,
    Both,
}

impl Apis {
    fn ways(self) -> &'static [Way] {
        match self {
            Self::Rest => &[Way::Single],
            Self::Grpc => &[Way::Unary],
            Self::Both => &[Way::Single, Way::Unary],
        }
    }
}

impl Args {
    fn candidates(&self) -> Vec<usize> {
        self.saturated_by.map_or_else(|| CONNECTIONS.into(), |connections| vec![connections])
    }
}

fn setting(text: &str) -> std::result::Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Measures and writes the report; exit status 1 where a measurement failed.
pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    std::fs::create_dir_all(&args.output)?;
    until_stopped(measure_all(args)).await
}

async fn measure_all(args: &Args) -> Result<ExitCode> {
    let mut run = Run::start(args).await?;
    for &way in args.apis.ways() {
        let (connections, rate) = run.saturate(way, &args.candidates()).await?;
        for round in 1..=args.rounds {
            for step in Step::after_saturation() {
                run.measure(round, step, &load(way, step, connections, rate, args.bound)).await?;
            }
        }
    }
    println!("\n{}", figures::text(&run.results));
    println!("written: {}.{{html,md,json}}", run.path.display());
    let failed = run.results.measurements.iter().any(|measured| measured.error.is_some());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What a step asks of a service that so many connections saturate at that rate.
fn load(way: Way, step: Step, connections: usize, rate: f64, bound: u16) -> Cell {
    let at_a_rate = |rate| Cell { rate: Some(rate), ..cell(way, usize::from(bound)) };
    match step {
        Step::Search(connections) => cell(way, connections),
        Step::Saturated => cell(way, connections),
        Step::MoreConnections => cell(way, connections * TIMES),
        Step::Rate => at_a_rate(rate),
        Step::MoreRate => at_a_rate(rate * TIMES as f64),
    }
}

/// A run under way.
struct Run {
    bench: Bench,
    results: Results,
    /// When it began.
    begun: String,
    /// Results without their ending.
    path: PathBuf,
    done: usize,
    all: usize,
}

impl Run {
    async fn start(args: &Args) -> Result<Self> {
        let times = Times { warm_up: WARM_UP, measured: Duration::from_secs(args.seconds) };
        let bench = Bench::new(&[cell(Way::Single, 1)], times)?.overloading(args.settings.clone());
        let begun = Clock::system().now().to_string();
        let mut facts = machine::facts(bench.postgres.as_ref()).await?;
        let what = format!("{begun}; each load {} s, {} rounds", args.seconds, args.rounds);
        facts.insert(0, ("run".to_owned(), what));
        facts.extend(args.settings.iter().map(|(name, value)| (name.clone(), value.clone())));
        let per_way =
            args.candidates().len() + Step::after_saturation().len() * args.rounds as usize;
        let all = per_way * args.apis.ways().len();
        let results = Results { facts, measurements: Vec::new() };
        Ok(Self { bench, results, begun, path: args.output.join("overload"), done: 0, all })
    }

    /// The fewest connections that saturate, and what they reach.
    async fn saturate(&mut self, way: Way, candidates: &[usize]) -> Result<(usize, f64)> {
        let mut seen = Vec::new();
        for &connections in candidates {
            let step = Step::Search(connections);
            seen.push((connections, self.measure(1, step, &cell(way, connections)).await?));
        }
        let most = seen.iter().map(|&(_, rate)| rate).fold(0.0, f64::max);
        let near = seen.into_iter().find(|&(_, rate)| rate >= most * NEAR);
        near.filter(|&(_, rate)| rate > 0.0).ok_or_else(|| "nothing was answered".into())
    }

    /// Measures one load, writes it down, tells it, and returns its events a second.
    async fn measure(&mut self, round: u32, step: Step, load: &Cell) -> Result<f64> {
        let measurement = self.bench.measure(load).await;
        self.done += 1;
        println!("[{:>2}/{}] {:<22} {}", self.done, self.all, load.to_string(), seen(&measurement));
        let rate = measurement.events_per_second;
        let (cell, run) = (step.name(load.way), self.begun.clone());
        let measurement = Measurement {
            cell,
            run,
            round,
            connections: Some(load.connections),
            offered_per_second: load.rate,
            ..measurement
        };
        self.results.measurements.push(measurement);
        write_files(&self.path, &self.results, &document::document(&self.results))?;
        Ok(rate)
    }
}

fn seen(measurement: &Measurement) -> String {
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
