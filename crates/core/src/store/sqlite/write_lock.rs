//! WriteLock of the processes that write one file. SQLite's busy handler is no queue: of two that
//! commit back to back, one waits for seconds. Two locks are: whoever wants to write holds `turn`
//! while it waits for `write`, so that the next in line gets it, not the one that just had it.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::disk::beside;

/// How long a turn is waited for. Whoever takes longer stands still.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// Threads that wait at once: more than there are writers, so that a few may be given up.
const WAITERS: usize = 4;

/// The lock files beside a database.
#[derive(Debug, Clone)]
pub struct WriteLock {
    turn: PathBuf,
    write: PathBuf,
    waiters: Arc<Semaphore>,
}

/// The right to write; dropping it gives it up. The lock belongs to the open file, so that the
/// system gives it up too when the process dies.
#[derive(Debug)]
pub struct WriteLockGuard {
    _write: File,
}

impl WriteLock {
    /// For the database `file`.
    pub fn beside(file: &Path) -> Self {
        let with = |suffix| beside(file, suffix);
        let waiters = Arc::new(Semaphore::new(WAITERS));
        Self { turn: with("-turn"), write: with("-write"), waiters }
    }

    /// Waits for the right to write, off the runtime where it isn't free at once.
    pub async fn take(&self) -> io::Result<WriteLockGuard> {
        let turn = open(&self.turn)?;
        let write = open(&self.write)?;
        let first = try_lock(&turn)?;
        if first && try_lock(&write)? {
            return Ok(WriteLockGuard { _write: write });
        }
        let lock = move || {
            if !first {
                turn.lock()?;
            }
            write.lock()?;
            Ok(WriteLockGuard { _write: write }) // and `turn` is free again
        };
        self.wait(lock).await
    }

    /// Should the caller be gone when the thread has its lock, it is given up at once. Threads that
    /// were given up on are bounded, however long another process stands still.
    async fn wait(
        &self,
        lock: impl FnOnce() -> io::Result<WriteLockGuard> + Send + 'static,
    ) -> io::Result<WriteLockGuard> {
        let too_long = || io::Error::new(io::ErrorKind::TimedOut, "another process keeps the file");
        let permit = Arc::clone(&self.waiters).try_acquire_owned().map_err(|_| too_long())?;
        let waiting = tokio::task::spawn_blocking(move || {
            let turn = lock();
            drop(permit);
            turn
        });
        let turn = tokio::time::timeout(LOCK_TIMEOUT, waiting).await.map_err(|_| too_long())?;
        turn.map_err(io::Error::other)?
    }
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
