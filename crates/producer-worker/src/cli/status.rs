//! `status`: sinks and sources, as the database has them.

use std::io::{IsTerminal, Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use producer_core::query::ReadError;
use producer_core::store::Store;
use producer_core::worker::{Connector, ConnectorState, LastError, Role};
use producer_server::cli::{self, ExitError, StopSignals};
use producer_server::settings::CommonSettings;
use rustix::termios::tcgetwinsize;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::table::{self, printable};

/// The exit status where a sink is not running.
const NOT_RUNNING: u8 = 1;

/// How often it is shown again.
const EVERY: Duration = Duration::from_secs(1);

const HEADINGS: [&str; 10] = [
    "ROLE",
    "NAME",
    "KIND",
    "STATE",
    "CHANGES",
    "SECONDS",
    "BREAKER",
    "DEAD",
    "WORKER",
    "LAST ERROR",
];

/// Clears the terminal from its first line on.
const CLEAR: &str = "\x1b[H\x1b[J";

pub(super) async fn status(
    settings: &CommonSettings,
    is_watched: bool,
    is_json: bool,
) -> Result<ExitCode, ExitError> {
    let store = cli::connect(settings).await?;
    let shown = match is_watched {
        true => watch(&*store).await,
        false => show_once(&*store, is_json).await,
    };
    store.close().await;
    shown
}

async fn show_once(store: &dyn Store, is_json: bool) -> Result<ExitCode, ExitError> {
    let seen = Seen::read(store).await.map_err(|error| ExitError::new(error.text))?;
    let text = if is_json { format!("{}\n", seen.json()) } else { seen.table(usize::MAX) };
    print(&text)?;
    Ok(if seen.sinks_run() { ExitCode::SUCCESS } else { ExitCode::from(NOT_RUNNING) })
}

/// Shows it every second until SIGINT or SIGTERM, also while the database can't be read.
async fn watch(store: &dyn Store) -> Result<ExitCode, ExitError> {
    let mut stop = StopSignals::new()?;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_first = true;
    loop {
        let seen = async {
            ticks.tick().await;
            Seen::read(store).await
        };
        let seen = tokio::select! {
            seen = seen => seen,
            () = stop.next() => return Ok(ExitCode::SUCCESS),
        };
        let table = |height| match &seen {
            Ok(seen) => seen.table(height),
            Err(error) => format!("{}\n", printable(&error.text)),
        };
        let text = match terminal() {
            Some(size) => format!("{CLEAR}{}", table(size.height)),
            // a file or a pipe: one table after the other
            None if is_first => table(usize::MAX),
            None => format!("\n{}", table(usize::MAX)),
        };
        print(&text)?;
        is_first = false;
    }
}

/// What the database has.
struct Seen {
    sinks: Vec<Connector>,
    sources: Vec<Connector>,
}

impl Seen {
    async fn read(store: &dyn Store) -> Result<Self, ReadError> {
        let sinks = store.connectors(Role::Sink, None).await?;
        let sources = store.connectors(Role::Source, None).await?;
        Ok(Self { sinks, sources })
    }

    fn sinks_run(&self) -> bool {
        self.sinks.iter().all(|sink| sink.state() == ConnectorState::Running)
    }

    /// The table, in as many columns as the terminal has, and at most so many lines.
    fn table(&self, height: usize) -> String {
        if self.sinks.is_empty() && self.sources.is_empty() {
            return "no worker has run a sink or a source yet\n".to_owned();
        }
        let mut rows = vec![HEADINGS.map(str::to_owned)];
        rows.extend(self.sinks.iter().chain(&self.sources).map(row));
        let width = terminal().map_or(usize::MAX, |size| size.width);
        let mut lines = table::lines(&rows, width);
        // the last line of a terminal is that of the cursor
        let most = height.saturating_sub(2).max(1);
        if lines.len() > most.saturating_add(1) {
            let left = lines.len() - most;
            lines.truncate(most);
            lines.push(format!("… {left} more"));
        }
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    fn json(&self) -> Value {
        let all = |connectors: &[Connector]| connectors.iter().map(json).collect::<Vec<_>>();
        json!({"sinks": all(&self.sinks), "sources": all(&self.sources)})
    }
}

fn row(connector: &Connector) -> [String; 10] {
    let none = || "-".to_owned();
    let Connector { role, name, kind, report, dead_letters, worker, .. } = connector;
    [
        role.as_str().to_owned(),
        name.clone(),
        kind.clone(),
        connector.state().as_str().to_owned(),
        connector.lag_changes().map_or_else(none, |changes| changes.to_string()),
        connector.lag_seconds().map_or_else(none, |seconds| format!("{seconds:.1}")),
        report.breaker.as_str().to_owned(),
        dead_letters.to_string(),
        worker.clone().unwrap_or_else(none),
        report
            .last_error
            .as_ref()
            .map_or_else(String::new, |error| format!("{} {}", error.at(), error.detail)),
    ]
}

/// As the routes of the services have it. Absent is what is not there.
fn json(connector: &Connector) -> Value {
    let report = &connector.report;
    let mut body = json!({
        "name": connector.name,
        "kind": connector.kind,
        "state": connector.state().as_str(),
        "caughtUp": connector.is_caught_up(),
        "breaker": report.breaker.as_str(),
        "deadLetters": connector.dead_letters,
    });
    let error = |error: &LastError| json!({"at": error.at().to_string(), "detail": error.detail});
    let optional = [
        ("token", connector.token.as_deref().map(Value::from)),
        ("lagChanges", connector.lag_changes().map(Value::from)),
        ("lagSeconds", connector.lag_seconds().map(Value::from)),
        ("current", report.current.as_ref().map(|current| json!(current))),
        ("lastError", report.last_error.as_ref().map(error)),
        ("worker", connector.worker.as_deref().map(Value::from)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            body[name] = value;
        }
    }
    body
}

/// A terminal's size in characters.
struct Size {
    width: usize,
    height: usize,
}

/// That of standard output, where it is a terminal.
fn terminal() -> Option<Size> {
    let size = stdout().is_terminal().then(|| tcgetwinsize(stdout()).ok())??;
    // one that does not know its size has none
    let known = |count: u16| if count == 0 { usize::MAX } else { usize::from(count) };
    Some(Size { width: known(size.ws_col), height: known(size.ws_row) })
}

/// Writes at once. A reader that has gone, such as `head`, ends the program without a panic.
fn print(text: &str) -> Result<(), ExitError> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(ExitError::new)
}
