//! pgbench: clients that repeat a script with prepared statements.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use crate::cells::Cell;
use crate::meter::Meter;
use crate::postgres::{Database, Postgres};
use crate::{Result, events};

/// The durable work of an event: one statement that inserts the event unless its uuid exists and merges
/// the entity, and one commit. The server generates the uuid, which is cheaper than sending one.
const EVENT: &str = r"
\set number random(:first, :last)
WITH claimed AS (
    INSERT INTO event_log (event_uuid, event_name, event_type, created_at, entity_type, entity_id, patch)
    VALUES (gen_random_uuid(), :name, :name, :created, :type, :prefix || :number, :patch)
    ON CONFLICT (event_uuid) DO NOTHING
    RETURNING entity_type, entity_id, patch
)
INSERT INTO entities AS e (entity_type, entity_id, version, data, created_at, updated_at)
SELECT entity_type, entity_id, 1, patch::jsonb, now(), now() FROM claimed
ON CONFLICT (entity_type, entity_id) DO UPDATE SET
    version = e.version + 1, data = e.data || excluded.data, updated_at = excluded.updated_at
RETURNING version;
";

/// The share of transactions whose latency is logged; logging all would slow many clients.
const SAMPLING_RATE: f64 = 0.2;

/// What the clients of pgbench do.
pub(crate) struct Script {
    /// Commands and statements, which each client repeats.
    pub(crate) sql: String,
    /// They are sent with each execution, as a service would do. A client keeps what it sets.
    pub(crate) variables: Vec<(&'static str, String)>,
    pub(crate) clients: usize,
}

impl Script {
    /// The events of a cell, on the tables and keys of the baseline.
    pub(crate) fn events(cell: &Cell) -> Self {
        let numbers = cell.keys.numbers();
        let variables = vec![
            ("first", numbers.start.to_string()),
            ("last", (numbers.end - 1).to_string()),
            ("name", events::NAME.to_owned()),
            ("created", events::CREATED.to_owned()),
            ("type", events::ENTITY_TYPE.to_owned()),
            ("prefix", events::KEY_PREFIX.to_owned()),
            ("patch", events::attributes(cell.size)),
        ];
        Self { sql: EVENT.to_owned(), variables, clients: cell.connections }
    }
}

/// pgbench with a script.
pub(crate) struct Pgbench<'a> {
    postgres: &'a Postgres,
    database: &'a Database,
    script: &'a Script,
    folder: TempDir,
}

impl<'a> Pgbench<'a> {
    /// pgbench on a database that has what the script needs.
    pub(crate) fn new(
        postgres: &'a Postgres,
        database: &'a Database,
        script: &'a Script,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("script.sql"), &script.sql)?;
        Ok(Self { postgres, database, script, folder })
    }

    /// Runs for this many seconds, adds its counts to the meter, and returns transactions per second
    /// without the time for connecting.
    pub(crate) async fn run(&self, seconds: u64, meter: &Meter) -> Result<f64> {
        let mut command = self.command(seconds)?;
        let output = command.output().await?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(format!("pgbench ended with {}: {errors}", output.status).into());
        }
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        if after(&report, "number of failed transactions: ").is_some_and(|failed| failed != "0") {
            meter.record_error(|| report.clone());
        }
        let count = after(&report, "transactions actually processed: ");
        let count = count.and_then(|count| count.parse().ok());
        meter.add(count.ok_or("no count in pgbench's output")?, latencies(self.folder.path())?);
        let rate = after(&report, "tps = ").and_then(|rate| rate.parse().ok());
        Ok(rate.ok_or("no rate in pgbench's output")?)
    }

    fn command(&self, seconds: u64) -> Result<Command> {
        let clients = self.script.clients;
        let sampled = if clients == 1 { 1.0 } else { SAMPLING_RATE };
        let mut command = Command::from(self.postgres.program("pgbench")?);
        command
            .args(["--no-vacuum", "--protocol=prepared", "--file=script.sql", "--log"])
            .arg("--log-prefix=latencies")
            .arg(format!("--sampling-rate={sampled}"))
            .arg(format!("--client={clients}"))
            .arg(format!("--jobs={}", clients.min(2)))
            .arg(format!("--time={seconds}"));
        for (name, value) in &self.script.variables {
            command.arg(format!("--define={name}={value}"));
        }
        command.arg(&self.database.url).current_dir(self.folder.path());
        command.stdin(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }
}

/// The word after a text.
fn after<'t>(output: &'t str, text: &str) -> Option<&'t str> {
    output.split_once(text)?.1.split_whitespace().next()
}

/// Reads and removes pgbench's logs, whose columns are client, transaction, microseconds, …
fn latencies(folder: &Path) -> Result<impl Iterator<Item = Duration>> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder)? {
        let path = file?.path();
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"latencies")) {
            let log = std::fs::read_to_string(&path)?;
            found
                .extend(log.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<u64>().ok()));
            std::fs::remove_file(path)?;
        }
    }
    Ok(found.into_iter().map(Duration::from_micros))
}
