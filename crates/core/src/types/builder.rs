//! Builds what is declared, and deletes what is declared no more, beside the writers.
//!
//! The place of the work is in the database, under a lease that each step renews; when its process dies,
//! another one goes on from there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::port::{Job, StepOutcome, Task, TypeStore};
use crate::feed::OpenWriter;
use crate::query::ReadError;

/// The pause between two looks at who writes.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// After so long the log says whom the work waits for, and again each time.
const LOG_WAIT_EVERY: Duration = Duration::from_secs(10);
/// The pause after a step that met a lock.
const LOCKED_PAUSE: Duration = Duration::from_millis(100);
/// The pause after an error, within which a database may restart.
const ERROR_PAUSE: Duration = Duration::from_secs(1);

/// How a builder works.
#[derive(Debug, Clone, Copy)]
pub struct BuilderSettings {
    /// After so long without a step the work is another process's.
    pub lease: Duration,
    /// The pause between two looks for something to do.
    pub look_every: Duration,
    /// How many times as long as a step the pause after it is.
    pub pause_factor: f64,
    /// The same where somebody has written meanwhile, so that writers keep most of the database.
    pub pause_factor_beside_writers: f64,
}

impl Default for BuilderSettings {
    /// Taken over within 15 s.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            look_every: Duration::from_secs(4),
            pause_factor: 1.0,
            pause_factor_beside_writers: 4.0,
        }
    }
}

/// The task that builds.
pub struct Builder {
    store: Arc<dyn TypeStore>,
    changes: Arc<Notify>,
    settings: BuilderSettings,
    shutdown: CancellationToken,
}

/// Why work on a job ended.
enum Ended {
    Finished,
    /// It is another process's, or was undone.
    Lost,
    /// The service stops.
    Stopped,
}

impl Builder {
    pub(super) fn new(
        store: Arc<dyn TypeStore>,
        changes: Arc<Notify>,
        settings: BuilderSettings,
        shutdown: CancellationToken,
    ) -> Self {
        Self { store, changes, settings, shutdown }
    }

    /// Looks for something to do, and does it, until the service stops.
    pub async fn run(self) {
        while !self.shutdown.is_cancelled() {
            match self.store.take_job(self.settings.lease).await {
                Ok(Some(job)) => self.work(job).await,
                Ok(None) => self.rest(self.settings.look_every).await,
                Err(error) => {
                    // readiness says so, for as long as it lasts
                    tracing::debug!(%error, "definitions of types can't be read");
                    self.rest(self.settings.look_every).await;
                }
            }
        }
    }

    /// Until something is declared or the time is over.
    async fn rest(&self, time: Duration) {
        tokio::select! {
            () = self.changes.notified() => {}
            () = sleep(time) => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    async fn pause(&self, time: Duration) {
        let _stopped = self.shutdown.run_until_cancelled(sleep(time)).await;
    }

    async fn work(&self, mut job: Job) {
        let started = Instant::now();
        log_begin(&job);
        let ended = match self.wait_for_writers(&mut job).await {
            Ok(()) => self.steps(&mut job).await,
            Err(ended) => ended,
        };
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (entity_type, done) = (job.entity_type.as_str(), job.done);
        match ended {
            Ended::Finished if job.task == Task::Build => {
                tracing::info!(entity_type, entities = done, duration_ms, "indexes are ready");
            }
            Ended::Finished => {
                tracing::info!(entity_type, rows = done, duration_ms, "an index is deleted");
            }
            Ended::Lost => tracing::info!(entity_type, "work on indexes was given up to others"),
            Ended::Stopped => {
                if let Err(error) = self.store.release(&job).await {
                    tracing::debug!(%error, "the lease of an index ends by itself");
                }
            }
        }
    }

    /// Whoever began to write before the definition was published may not know it.
    async fn wait_for_writers(&self, job: &mut Job) -> Result<(), Ended> {
        let mut awaited: Option<Vec<OpenWriter>> = None;
        let mut logged = Instant::now();
        loop {
            self.renew(job).await?;
            match self.store.writers_of_entities().await {
                Ok(open) => {
                    let awaited = awaited.get_or_insert_with(|| open.clone());
                    awaited.retain(|writer| open.contains(writer));
                    let Some(first) = awaited.first() else { return Ok(()) };
                    if logged.elapsed() >= LOG_WAIT_EVERY {
                        logged = Instant::now();
                        self.log_wait(job, first).await;
                    }
                    self.pause(LOOK_EVERY).await;
                }
                Err(error) => self.log_error(job, &error).await,
            }
        }
    }

    async fn renew(&self, job: &mut Job) -> Result<(), Ended> {
        loop {
            if self.shutdown.is_cancelled() {
                return Err(Ended::Stopped);
            }
            match self.store.renew(job, self.settings.lease).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Ended::Lost),
                Err(error) => self.log_error(job, &error).await,
            }
        }
    }

    async fn steps(&self, job: &mut Job) -> Ended {
        while !self.shutdown.is_cancelled() {
            let (started, log_position) = (Instant::now(), job.log_position);
            match self.store.step(job, self.settings.lease).await {
                Ok(StepOutcome::Went) => {
                    let factor = if job.log_position == log_position {
                        self.settings.pause_factor
                    } else {
                        self.settings.pause_factor_beside_writers
                    };
                    self.pause(started.elapsed().mul_f64(factor)).await;
                }
                Ok(StepOutcome::Finished) => return Ended::Finished,
                Ok(StepOutcome::Lost) => return Ended::Lost,
                Ok(StepOutcome::Locked) => {
                    self.pause(LOCKED_PAUSE).await;
                    if let Err(ended) = self.renew(job).await {
                        return ended;
                    }
                }
                Err(error) => self.log_error(job, &error).await,
            }
        }
        Ended::Stopped
    }

    async fn log_wait(&self, job: &Job, writer: &OpenWriter) {
        let entity_type = job.entity_type.as_str();
        match self.store.describe_writer(writer).await {
            Ok(writer) => tracing::warn!(
                entity_type,
                writer,
                "indexes wait for a transaction that began before they were declared"
            ),
            Err(error) => tracing::debug!(%error, "the open transaction can't be described"),
        }
    }

    async fn log_error(&self, job: &Job, error: &ReadError) {
        let entity_type = job.entity_type.as_str();
        tracing::debug!(entity_type, %error, "a step of building indexes failed; it is tried again");
        self.pause(ERROR_PAUSE).await;
    }
}

fn log_begin(job: &Job) {
    let entity_type = job.entity_type.as_str();
    let parts: Vec<String> = job.parts.iter().map(|part| part.kind.spec()).collect();
    let parts = parts.join(", ");
    let done = job.done;
    match (job.task, job.is_taken_over) {
        (Task::Build, false) => tracing::info!(entity_type, parts, "indexes are being built"),
        (Task::Build, true) => {
            tracing::info!(entity_type, parts, done, "building indexes is taken over");
        }
        (Task::Drop, _) => tracing::info!(entity_type, parts, "an index is being deleted"),
    }
}
