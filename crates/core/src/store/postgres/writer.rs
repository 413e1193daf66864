//! A writer's connection, and the choice between the two roads of a batch.

use std::future::Future;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::time::Instant;

use super::fault::Fault;
use super::{careful, fast, version};
use crate::store::{ApplyError, ApplyMode, BoxFuture, Stamp, Verdict, Writer};
use crate::{Clock, Event};

/// What every writer of a store shares.
#[derive(Debug, Clone)]
pub(super) struct WriterSettings {
    pub(super) options: PgConnectOptions,
    /// How long opening a connection may take.
    pub(super) connect_deadline: Duration,
    /// How long one statement's way there and back may take: longer than the server's own timeout,
    /// so that passing it means silence.
    pub(super) flight_deadline: Duration,
    pub(super) max_entity_bytes: usize,
    pub(super) clock: Clock,
}

/// A connection that stood still for longer is looked at before a batch goes over it: one that the
/// server has closed meanwhile would leave the batch's outcome unknown, where nothing was stored.
const IDLE: Duration = Duration::from_millis(20);

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum OpenError {
    TooOld(String),
    Unavailable(String),
}

/// Opens a connection.
pub(super) async fn open(settings: &WriterSettings) -> Result<PgConnection, OpenError> {
    let opened = tokio::time::timeout(settings.connect_deadline, settings.options.connect()).await;
    let connection = match opened {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return Err(OpenError::Unavailable(error.to_string())),
        Err(_) => return Err(OpenError::Unavailable("the server doesn't answer".to_owned())),
    };
    version::check(connection.server_version_num()).map_err(OpenError::TooOld)?;
    Ok(connection)
}

/// A connection while one batch uses it.
pub(super) struct Session<'s> {
    pub(super) connection: PgConnection,
    pub(super) settings: &'s WriterSettings,
    /// What this try writes into the log.
    pub(super) stamp: Stamp,
}

impl Session<'_> {
    /// Waits for one statement, as long as a server that lives could need.
    pub(super) async fn flight<T>(
        deadline: Duration,
        statement: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, Fault> {
        match tokio::time::timeout(deadline, statement).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(Fault::Lost("the server went silent".to_owned())),
        }
    }

    /// Runs SQL without parameters or rows.
    pub(super) async fn run(&mut self, sql: &'static str) -> Result<(), Fault> {
        let statement = sqlx::raw_sql(sql).execute(&mut self.connection);
        Self::flight(self.settings.flight_deadline, statement).await.map(drop)
    }
}

/// Applies batches over one connection.
pub(super) struct PgWriter {
    settings: WriterSettings,
    /// Taken out while a batch runs and put back only when its transaction is surely over: an error
    /// or a dropped future closes it, so no one ever meets a half-done transaction.
    connection: Option<(PgConnection, Instant)>,
}

impl PgWriter {
    pub(super) fn new(settings: WriterSettings) -> Self {
        Self { settings, connection: None }
    }

    /// A connection that works, or none within the time that opening one may take.
    async fn connection(&mut self) -> Result<PgConnection, OpenError> {
        if let Some((mut connection, used)) = self.connection.take() {
            if used.elapsed() < IDLE {
                return Ok(connection);
            }
            let deadline = self.settings.connect_deadline;
            match Session::flight(deadline, connection.ping()).await {
                Ok(()) => return Ok(connection),
                // silence will not be less on another connection
                Err(Fault::Lost(text)) if used.elapsed() >= deadline => {
                    return Err(OpenError::Unavailable(text));
                }
                Err(_) => {}
            }
        }
        open(&self.settings).await
    }

    async fn apply(
        &mut self,
        batch: &[Event],
        mode: ApplyMode,
    ) -> Result<Vec<Verdict>, ApplyError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let connection = self.connection().await.map_err(|error| match error {
            OpenError::TooOld(text) | OpenError::Unavailable(text) => ApplyError::Unavailable(text),
        })?;
        let mut session = Session { connection, settings: &self.settings, stamp: Stamp::random() };
        let result = apply(&mut session, batch, mode).await;
        if matches!(result, Ok(_) | Err(ApplyError::Refused(_))) {
            self.connection = Some((session.connection, Instant::now()));
        }
        result
    }
}

impl Writer for PgWriter {
    fn apply<'a>(
        &'a mut self,
        batch: &'a [Event],
        mode: ApplyMode,
    ) -> BoxFuture<'a, Result<Vec<Verdict>, ApplyError>> {
        Box::pin(self.apply(batch, mode))
    }
}

async fn apply(
    session: &mut Session<'_>,
    batch: &[Event],
    mode: ApplyMode,
) -> Result<Vec<Verdict>, ApplyError> {
    let mut patient = mode != ApplyMode::Normal;
    if !patient && let Some(folded) = fast::fold(batch, session.settings.max_entity_bytes) {
        match fast::apply(session, batch, folded).await {
            Ok(verdicts) => return Ok(verdicts),
            // the lock was waited for once; what others hold is now left aside
            Err(Fault::LockTimeout(_)) => patient = true,
            Err(fault @ (Fault::Lost(_) | Fault::Down(_))) => {
                return Err(fault.at_commit(session.stamp));
            }
            Err(Fault::Exists(_) | Fault::Race(_) | Fault::Refused(_)) => {}
        }
    }
    careful::apply(session, batch, patient, mode == ApplyMode::Atomic).await
}
