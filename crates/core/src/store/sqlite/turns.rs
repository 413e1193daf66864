//! Turns of the processes that write one file. SQLite's busy handler is no queue: of two that
//! commit back to back, one waits for seconds. Two locks are: whoever wants to write holds `turn`
//! while it waits for `write`, so that the next in line gets it, not the one that just had it.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The lock files beside a database.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Files>);

#[derive(Debug)]
struct Files {
    turn: PathBuf,
    write: PathBuf,
}

/// The right to write; dropping it gives it up. The lock belongs to the open file, so that the
/// system gives it up too when the process dies.
#[derive(Debug)]
pub(super) struct Turn {
    _write: File,
}

impl Turns {
    /// For the database `file`.
    pub(super) fn beside(file: &Path) -> Self {
        let with = |suffix: &str| {
            let mut name = file.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        Self(Arc::new(Files { turn: with("-turn"), write: with("-write") }))
    }

    /// Waits for the right to write, off the runtime where it isn't free at once.
    pub(super) async fn take(&self) -> io::Result<Turn> {
        let turn = open(&self.0.turn)?;
        let write = open(&self.0.write)?;
        if try_lock(&turn)? {
            if try_lock(&write)? {
                return Ok(Turn { _write: write });
            }
            return wait(move || write.lock().map(|()| (turn, write))).await;
        }
        wait(move || {
            turn.lock()?;
            write.lock()?;
            Ok((turn, write))
        })
        .await
    }
}

/// Should the caller be gone meanwhile, the files are closed when the thread is done with them, and
/// with them the locks.
async fn wait(
    lock: impl FnOnce() -> io::Result<(File, File)> + Send + 'static,
) -> io::Result<Turn> {
    let (_turn, write) = tokio::task::spawn_blocking(lock).await.map_err(io::Error::other)??;
    Ok(Turn { _write: write })
}

fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(path)
}
