//! Checkpoints in a task of their own: it copies the write-ahead log back into the file while the
//! writer goes on. Under load that alone never catches up, and SQLite restarts the log only once all
//! of it is copied: so the task copies the rest while it holds the write lock.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::disk::beside;
use super::write_lock::WriteLock;

/// Bytes of log (about 1,000 pages, SQLite's own default) from which on a checkpoint is run. The log's
/// file also keeps this size when the log restarts: overwriting it saves the file system an allocation
/// in each commit.
pub(super) const CHECKPOINT_BYTES: u64 = 4 << 20;

/// Runs checkpoints in the background.
pub(super) struct Checkpointer {
    log: Log,
    wanted: Arc<Notify>,
    task: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

/// The write-ahead log's file. SQLite truncates it to [`CHECKPOINT_BYTES`] when it restarts the log
/// (`journal_size_limit`), so its length shows whether a checkpoint is due.
#[derive(Debug)]
struct Log(PathBuf);

impl Log {
    fn new(file: &Path) -> Self {
        Self(beside(file, "-wal"))
    }

    fn is_due(&self) -> bool {
        std::fs::metadata(&self.0).is_ok_and(|log| log.len() > CHECKPOINT_BYTES)
    }
}

impl Checkpointer {
    /// Starts the task for the database `file`.
    pub(super) fn start(file: &Path, options: SqliteConnectOptions, write_lock: WriteLock) -> Self {
        let log = Log::new(file);
        let wanted = Arc::new(Notify::new());
        let (stop, stopped) = oneshot::channel();
        let worker = Worker { options, write_lock, connection: None };
        let task = tokio::spawn(worker.run(Arc::clone(&wanted), stopped));
        Self { log, wanted, task: Mutex::new(Some((stop, task))) }
    }

    /// To be called after a commit: requests a checkpoint where the log has grown.
    pub(super) fn committed(&self) {
        if self.log.is_due() {
            self.wanted.notify_one();
        }
    }

    /// Empties the log and ends the task.
    pub(super) async fn finish(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, task)) = task {
            drop(stop);
            if let Err(error) = task.await {
                tracing::warn!(%error, "the checkpoint task failed");
            }
        }
    }
}

struct Worker {
    options: SqliteConnectOptions,
    write_lock: WriteLock,
    connection: Option<SqliteConnection>,
}

impl Worker {
    async fn run(mut self, wanted: Arc<Notify>, mut stopped: oneshot::Receiver<()>) {
        loop {
            tokio::select! {
                () = wanted.notified() => self.catch_up().await,
                _ = &mut stopped => break,
            }
        }
        self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)").await;
    }

    async fn catch_up(&mut self) {
        self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)").await;
        match self.write_lock.acquire().await {
            Ok(_guard) => self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)").await,
            Err(error) => tracing::warn!(%error, "no write lock for a checkpoint"),
        }
    }

    /// What a checkpoint can't do now, a later one does; nothing is lost.
    async fn checkpoint(&mut self, pragma: &'static str) {
        let done = async {
            let open = match self.connection.take() {
                Some(open) => open,
                None => self.options.connect().await?,
            };
            sqlx::raw_sql(pragma).execute(self.connection.insert(open)).await
        };
        if let Err(error) = done.await {
            self.connection = None;
            tracing::warn!(%error, pragma, "checkpoint failed");
        }
    }
}
