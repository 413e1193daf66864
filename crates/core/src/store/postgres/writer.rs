//! A writer's connection, and the choice between the two roads of a batch.

use std::future::Future;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, SqlSafeStr};

use super::fault::{Failure, Fault};
use super::kept::{Keep, Kept, Open};
use super::session::Transactions;
use super::{careful, fast, pooler, version};
use crate::config::Pooler;
use crate::store::{ApplyError, ApplyMode, BoxFuture, Stamp, Verdict, Writer};
use crate::{Clock, Event};

/// What every writer of a store shares.
#[derive(Debug, Clone)]
pub(super) struct WriterSettings {
    pub(super) options: PgConnectOptions,
    pub(super) pooler: Pooler,
    pub(super) transactions: Transactions,
    pub(super) keep: Keep,
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
    /// It never will be, with these settings and this server.
    Unfit(String),
    Unavailable(String),
}

/// Opens a connection.
pub(super) async fn open(settings: &WriterSettings) -> Result<PgConnection, OpenError> {
    match tokio::time::timeout(settings.connect_deadline, connect(settings)).await {
        Ok(opened) => opened,
        Err(_) => Err(OpenError::Unavailable("the server doesn't answer".to_owned())),
    }
}

async fn connect(settings: &WriterSettings) -> Result<PgConnection, OpenError> {
    let opened = settings.options.connect().await;
    let mut connection =
        opened.map_err(|error| match pooler::refusal(&error, settings.pooler) {
            Some(hint) => OpenError::Unfit(hint),
            None => OpenError::Unavailable(error.to_string()),
        })?;
    version::check(connection.server_version_num()).map_err(OpenError::Unfit)?;
    if settings.pooler == Pooler::None {
        let arrive = pooler::options_arrive(&mut connection).await;
        let arrive = arrive.map_err(|error| OpenError::Unavailable(error.to_string()))?;
        arrive.map_err(OpenError::Unfit)?;
    }
    Ok(connection)
}

/// A connection while one batch uses it.
pub(super) struct Session<'s> {
    pub(super) connection: &'s mut PgConnection,
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

    /// Begins a transaction; a patient one waits for no row lock. Behind a pooler this is when a
    /// connection to the server is waited for.
    pub(super) async fn begin(&mut self, patient: bool) -> Result<(), Fault> {
        let transactions = &self.settings.transactions;
        let begin = if patient { &transactions.begin_patient } else { &transactions.begin };
        self.run(begin.clone()).await
    }

    /// Whether prepared statements may stay in the server's session.
    pub(super) fn keep_statements(&self) -> bool {
        self.settings.transactions.keep_statements()
    }

    /// Runs SQL without parameters or rows.
    pub(super) async fn run(&mut self, sql: impl SqlSafeStr) -> Result<(), Fault> {
        let statement = sqlx::raw_sql(sql).execute(&mut *self.connection);
        Self::flight(self.settings.flight_deadline, statement).await.map(drop)
    }
}

/// Applies batches over one connection.
pub(super) struct PgWriter {
    settings: WriterSettings,
    /// Taken out while a batch runs and put back only when its transaction is surely over: an error
    /// or a dropped future closes it, so no one ever meets a half-done transaction.
    kept: Kept,
}

impl PgWriter {
    pub(super) fn new(settings: WriterSettings) -> Self {
        let kept = Kept::new(settings.keep);
        Self { settings, kept }
    }

    /// A connection that works, or none within the time that opening one may take.
    async fn connection(&mut self) -> Result<Open, OpenError> {
        if let Some(mut open) = self.kept.take() {
            if open.idle() < IDLE {
                return Ok(open);
            }
            let deadline = self.settings.connect_deadline;
            match Session::flight(deadline, open.connection.ping()).await {
                Ok(()) => return Ok(open),
                // silence will not be less on another connection
                Err(Fault::Lost(text)) if open.idle() >= deadline => {
                    return Err(OpenError::Unavailable(text));
                }
                Err(_) => {}
            }
        }
        open(&self.settings).await.map(Open::new)
    }

    async fn apply(
        &mut self,
        batch: &[Event],
        mode: ApplyMode,
    ) -> Result<Vec<Verdict>, ApplyError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let mut open = self.connection().await.map_err(|error| match error {
            OpenError::Unfit(text) | OpenError::Unavailable(text) => ApplyError::Unavailable(text),
        })?;
        let mut session = Session {
            connection: &mut open.connection,
            settings: &self.settings,
            stamp: Stamp::random(),
        };
        let result = apply(&mut session, batch, mode).await;
        if matches!(result, Ok(_) | Err(ApplyError::Refused(_))) {
            self.kept.put(open);
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
        let failure = match fast(session, batch, folded).await {
            Ok(verdicts) => return Ok(verdicts),
            Err(failure) => failure,
        };
        match failure.fault {
            Fault::Lost(_) | Fault::Down(_) => return Err(failure.into_error(session.stamp)),
            // the lock was waited for once; what others hold is now left aside
            Fault::LockTimeout(_) => patient = true,
            Fault::Exists(_) | Fault::Race(_) | Fault::Refused(_) => {}
        }
    }
    careful::apply(session, batch, patient, mode == ApplyMode::Atomic).await
}

/// The fast road, whose one statement commits by itself; behind a pooler it stands in a transaction.
async fn fast(
    session: &mut Session<'_>,
    batch: &[Event],
    folded: fast::Folded<'_>,
) -> Result<Vec<Verdict>, Failure> {
    if !session.settings.transactions.always {
        let applied = fast::apply(session, batch, folded).await;
        return applied.map_err(|fault| Failure { fault, committing: true });
    }
    session.begin(false).await?;
    match fast::apply(session, batch, folded).await {
        Ok(verdicts) => {
            let committed = session.run("COMMIT").await;
            committed.map_err(|fault| Failure { fault, committing: true })?;
            Ok(verdicts)
        }
        Err(fault @ (Fault::Lost(_) | Fault::Down(_))) => Err(fault.into()),
        Err(fault) => {
            session.run("ROLLBACK").await?;
            Err(fault.into())
        }
    }
}
