//! The machine and the programs that are measured.

use std::fs;
use std::io::Write;
use std::time::Instant;

use crate::Result;
use crate::postgres::{Postgres, SETTINGS};
use crate::results::median;
use crate::service::Api;

/// Names with values, for the head of a report.
pub(crate) async fn facts(postgres: Option<&Postgres>) -> Result<Vec<(String, String)>> {
    let mut facts = vec![("machine", machine()), ("disk", disk()?)];
    if let Some(postgres) = postgres {
        let (version, settings) = (postgres.version().await?, SETTINGS.join(", "));
        facts.push(("PostgreSQL", format!("{version}; its defaults but for {settings}")));
    }
    facts.push(("producer", version().await?));
    facts.push(("load average before the run", load_average()));
    Ok(facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
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

fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
