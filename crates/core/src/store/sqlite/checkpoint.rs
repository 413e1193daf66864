//! Checkpoints off the writer's way: a task of its own copies the write-ahead log back into the
//! file while the writer goes on.

use std::path::{Path, PathBuf};

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of log (about 1,000 pages, as SQLite does it by default) that make a checkpoint worth it.
const WORTH_IT: u64 = 4 << 20;

/// Runs checkpoints in the background.
pub(super) struct Checkpointer {
    wal: PathBuf,
    wanted: Arc<Notify>,
    task: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

impl Checkpointer {
    /// Starts the task for the database `file`.
    pub(super) fn start(file: &Path, options: SqliteConnectOptions) -> Self {
        let mut wal = file.as_os_str().to_owned();
        wal.push("-wal");
        let wanted = Arc::new(Notify::new());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(run(options, Arc::clone(&wanted), stopped));
        Self { wal: wal.into(), wanted, task: Mutex::new(Some((stop, task))) }
    }

    /// To be called after a commit: asks for a checkpoint where the log has grown.
    pub(super) fn committed(&self) {
        let length = std::fs::metadata(&self.wal).map_or(0, |wal| wal.len());
        if length > WORTH_IT {
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

async fn run(
    options: SqliteConnectOptions,
    wanted: Arc<Notify>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut connection = None;
    loop {
        tokio::select! {
            () = wanted.notified() => checkpoint(&options, &mut connection, "PASSIVE").await,
            _ = &mut stopped => return checkpoint(&options, &mut connection, "TRUNCATE").await,
        }
    }
}

/// What a checkpoint can't do now, a later one does; nothing is lost.
async fn checkpoint(
    options: &SqliteConnectOptions,
    connection: &mut Option<SqliteConnection>,
    kind: &'static str,
) {
    let sql = if kind == "TRUNCATE" {
        "PRAGMA wal_checkpoint(TRUNCATE)"
    } else {
        "PRAGMA wal_checkpoint(PASSIVE)"
    };
    let done = async {
        let open = match connection.take() {
            Some(open) => open,
            None => options.connect().await?,
        };
        sqlx::raw_sql(sql).execute(connection.insert(open)).await
    };
    if let Err(error) = done.await {
        *connection = None;
        tracing::warn!(%error, kind, "checkpoint failed");
    }
}
