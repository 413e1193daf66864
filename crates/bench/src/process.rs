//! Limits and signals of this process.

use std::path::Path;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::Result;

/// Enough for every cell, and for k6's 2,000 users with the files beside their connections.
const OPEN_FILES: u64 = 4096;

/// Raises the limit of open files, which child processes inherit, as far as allowed: every
/// connection is a file.
pub(crate) fn raise_open_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    if limit.maximum.is_some_and(|maximum| maximum < OPEN_FILES) {
        eprintln!(
            "only {} open files are allowed here; thousands of connections need {OPEN_FILES} \
             (`ulimit -Hn {OPEN_FILES}` as root, or LimitNOFILE, or docker's --ulimit)",
            limit.maximum.unwrap_or_default()
        );
    }
    Ok(())
}

/// Runs measurements whose results go into the folder `output`, until they end, or until SIGINT or SIGTERM.
pub(crate) async fn measure_into(
    output: &Path,
    measurements: impl Future<Output = Result<ExitCode>>,
) -> Result<ExitCode> {
    raise_open_files()?;
    std::fs::create_dir_all(output)?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = measurements => return ended,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    println!("stopped; completed measurements are written");
    Ok(ExitCode::from(130))
}
