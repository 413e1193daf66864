//! A worker as a process.

use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::postgres::Database;
use crate::service::{clear_inherited_env, sibling_binary};
use crate::{Result, procfs};

/// For the end of a worker.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);
/// Bytes of the log that an error shows.
const LOG_BYTES: usize = 4000;

/// The real binary with the settings of a file; all others have their defaults. Killed when dropped.
#[derive(Debug)]
pub(super) struct Worker {
    child: Child,
    folder: TempDir,
}

impl Worker {
    /// Starts it, and does not wait for anything.
    pub(super) fn start(database: &Database, file: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("producer-bench-worker-").tempdir()?;
        std::fs::write(folder.path().join("worker.toml"), file)?;
        let log = File::create(folder.path().join("log"))?;
        let mut command = Command::new(sibling_binary("producer-worker")?);
        command.env("DATABASE_URL", &database.url).env("ADMIN_PORT", "0");
        clear_inherited_env(&mut command);
        let child = command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { child, folder })
    }

    /// Its process id.
    pub(super) fn process(&self) -> Result<u32> {
        Ok(self.child.id().ok_or("the worker has ended")?)
    }

    /// Its peak memory, in bytes.
    pub(super) fn peak_memory(&self) -> Result<u64> {
        procfs::peak_memory(self.process()?)
    }

    /// An error where it has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("the worker ended with {status}:\n{}", self.log()).into()),
        }
    }

    /// Sends SIGTERM and waits for its end.
    pub(super) async fn stop(mut self) -> Result<()> {
        let id = Pid::from_raw(self.process()?.cast_signed()).ok_or("no process id")?;
        kill_process(id, Signal::TERM)?;
        let status = timeout(STOP_TIMEOUT, self.child.wait()).await;
        let status = status.map_err(|_| format!("the worker didn't end:\n{}", self.log()))??;
        if status.success() {
            return Ok(());
        }
        Err(format!("the worker ended with {status}:\n{}", self.log()).into())
    }

    /// The end of its log.
    pub(super) fn log(&self) -> String {
        let log = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_BYTES)..]).into_owned()
    }
}
