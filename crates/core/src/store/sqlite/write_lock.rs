//! A fair write lock between the processes that write one file. SQLite's busy handler is no queue: of
//! two that commit back to back, one waits for seconds. Two file locks make a queue: a process holds
//! `turn` while it waits for `write`, so that the next in line gets it and not the one that just had
//! it.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::disk::beside;

/// How long the lock is waited for. A process that holds it for longer is stuck.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// Threads that wait at the same time: more than there are writers, since waits that timed out may
/// still occupy a few.
const WAITERS: usize = 4;

/// The lock files beside a database.
#[derive(Debug, Clone)]
pub struct WriteLock {
    turn: PathBuf,
    write: PathBuf,
    waiters: Arc<Semaphore>,
}

/// Releases the lock when dropped. The lock belongs to the open file, so the system releases it too
/// when the process dies.
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

    /// Waits for the lock, on a blocking thread where it isn't free immediately.
    pub async fn acquire(&self) -> io::Result<WriteLockGuard> {
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

    /// If the caller is gone when the thread gets the lock, it is released immediately. The number of
    /// such threads is bounded, however long another process is stuck.
    async fn wait(
        &self,
        lock: impl FnOnce() -> io::Result<WriteLockGuard> + Send + 'static,
    ) -> io::Result<WriteLockGuard> {
        let too_long = || {
            io::Error::new(
                io::ErrorKind::TimedOut,
                "another process holds the write lock of the file",
            )
        };
        let permit = Arc::clone(&self.waiters).try_acquire_owned().map_err(|_| too_long())?;
        let waiting = tokio::task::spawn_blocking(move || {
            let guard = lock();
            drop(permit);
            guard
        });
        let guard = tokio::time::timeout(LOCK_TIMEOUT, waiting).await.map_err(|_| too_long())?;
        guard.map_err(io::Error::other)?
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
