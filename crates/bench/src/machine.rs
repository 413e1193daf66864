//! The machine and the programs that are measured.

use std::io::Write;
use std::time::Instant;
use std::{fmt, fs};

use crate::Result;
use crate::postgres::Postgres;
use crate::results::median;
use crate::service::Api;

/// How many tasks wanted a core, over the last 1, 5 and 15 minutes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LoadAverage([f64; 3]);

impl LoadAverage {
    /// The present one: to be read before anything is measured.
    pub(crate) fn now() -> Self {
        Self::parse(&fs::read_to_string("/proc/loadavg").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut values = text.split(' ').map(|value| value.parse().unwrap_or_default());
        Self([(); 3].map(|()| values.next().unwrap_or_default()))
    }

    /// What is wrong with figures that are measured now: `None` where there is a core for everyone.
    pub(crate) fn warning(self) -> Option<String> {
        self.warning_for(cores())
    }

    fn warning_for(self, cores: usize) -> Option<String> {
        let Self([last_minute, ..]) = self;
        (last_minute > cores as f64).then(|| {
            format!(
                "The machine was busy before the run: a load average of {last_minute:.2} on {cores} \
                 cores. The figures are worse than they would be on an idle machine."
            )
        })
    }
}

impl fmt::Display for LoadAverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([one, five, fifteen]) = self;
        write!(f, "{one:.2} {five:.2} {fifteen:.2}")?;
        if self.warning().is_some() {
            write!(f, ", MORE THAN THE {} CORES", cores())?;
        }
        Ok(())
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Names with values, for the head of a report.
pub(crate) async fn facts(
    postgres: Option<&Postgres>,
    load: LoadAverage,
) -> Result<Vec<(String, String)>> {
    let mut facts = vec![("machine", machine()), ("disk", disk()?)];
    if let Some(postgres) = postgres {
        let (version, settings) = (postgres.version().await?, postgres.settings());
        facts.push(("PostgreSQL", format!("{version}; its defaults but for {settings}")));
    }
    facts.push(("producer", version().await?));
    facts.push(("load average before the run", load.to_string()));
    Ok(facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn machine() -> String {
    let cores = cores();
    let model = line_of("/proc/cpuinfo", "model name").unwrap_or_else(|| "CPU".to_owned());
    let kib = line_of("/proc/meminfo", "MemTotal").unwrap_or_default();
    let kib: f64 = kib.trim_end_matches(" kB").parse().unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let gib = kib / f64::from(1 << 20);
    format!("{cores} cores, {model}, {gib:.0} GiB, Linux {}", kernel.trim())
}

fn line_of(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The cost of a durable write on the disk of the databases.
fn disk() -> Result<String> {
    let mut file = tempfile::tempfile()?;
    let mut took = Vec::new();
    for _ in 0..100 {
        let start = Instant::now();
        file.write_all(&[0; 8192])?;
        file.sync_data()?;
        took.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let median = median(took).unwrap_or_default();
    Ok(format!("{median:.2} ms to write and sync 8 KiB (median)"))
}

async fn version() -> Result<String> {
    let output = Api::Rest.command()?.arg("--version").output().await?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let profile =
        if cfg!(debug_assertions) { ", a debug build: the figures are meaningless" } else { "" };
    Ok(format!("{version}, default settings{profile}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_above_the_number_of_cores_is_a_warning() {
        let load = LoadAverage::parse("4.07 3.50 2.00 5/700 4242\n");
        assert!(load.to_string().starts_with("4.07 3.50 2.00"));
        let warning = load.warning_for(4).expect("a warning");
        assert!(warning.contains("4.07 on 4 cores"), "{warning}");
        assert_eq!(load.warning_for(5), None);
        assert_eq!(LoadAverage::parse("").warning_for(1), None);
    }
}
