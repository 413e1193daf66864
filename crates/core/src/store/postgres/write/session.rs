//! A writer's connection to the server while one batch uses it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, SqlSafeStr};

use super::connection::ConnectionLifetime;
use crate::model::{AttemptId, Clock, UnavailableKind};
use crate::query::ReadError;
use crate::store::kept_parts::KeptPartsCache;
use crate::store::postgres::error::{StatementError, connect_error};
use crate::store::postgres::session::Transactions;
use crate::store::postgres::{pooler, query, version};
use crate::store::settings::Pooler;
use crate::types::KeptParts;

/// What every writer of a store shares.
#[derive(Debug, Clone)]
pub(in crate::store::postgres) struct WriterSettings {
    pub(in crate::store::postgres) options: PgConnectOptions,
    pub(in crate::store::postgres) pooler: Pooler,
    pub(in crate::store::postgres) transactions: Transactions,
    pub(in crate::store::postgres) lifetime: ConnectionLifetime,
    /// How long opening a connection may take.
    pub(in crate::store::postgres) connect_deadline: Duration,
    /// How long the round trip of one statement may take: longer than the server's own timeout, so that
    /// passing it means that the server does not respond.
    pub(in crate::store::postgres) statement_deadline: Duration,
    pub(in crate::store::postgres) max_entity_bytes: usize,
    pub(in crate::store::postgres) clock: Clock,
    pub(in crate::store::postgres) kept_parts: Arc<KeptPartsCache>,
}

/// Why there is no connection.
#[derive(Debug)]
pub(in crate::store::postgres) enum OpenError {
    /// Retrying does not help: these settings do not work with this server.
    Unfit(String),
    Unavailable(UnavailableKind, String),
}

impl OpenError {
    /// The error of what belongs to no batch.
    pub(in crate::store::postgres) fn into_read_error(self) -> ReadError {
        match self {
            Self::Unfit(text) => ReadError { kind: UnavailableKind::Unreachable, text },
            Self::Unavailable(kind, text) => ReadError { kind, text },
        }
    }

    fn unavailable(error: &sqlx::Error) -> Self {
        let (kind, text) = connect_error(error);
        Self::Unavailable(kind, text)
    }

    fn no_answer() -> Self {
        Self::Unavailable(UnavailableKind::Unreachable, "the server does not respond".to_owned())
    }
}

/// Opens a connection.
pub(in crate::store::postgres) async fn open(
    settings: &WriterSettings,
) -> Result<PgConnection, OpenError> {
    match tokio::time::timeout(settings.connect_deadline, connect(settings)).await {
        Ok(opened) => opened,
        Err(_) => Err(OpenError::no_answer()),
    }
}

async fn connect(settings: &WriterSettings) -> Result<PgConnection, OpenError> {
    let opened = settings.options.connect().await;
    let mut connection =
        opened.map_err(|error| match pooler::refusal(&error, settings.pooler) {
            Some(hint) => OpenError::Unfit(hint),
            None => OpenError::unavailable(&error),
        })?;
    version::check(connection.server_version_num()).map_err(OpenError::Unfit)?;
    if settings.pooler == Pooler::None {
        let arrive = pooler::check_options(&mut connection).await;
        let arrive = arrive.map_err(|error| OpenError::unavailable(&error))?;
        arrive.map_err(OpenError::Unfit)?;
    }
    Ok(connection)
}

/// A connection while one batch uses it.
pub(in crate::store::postgres) struct Session<'s> {
    pub(in crate::store::postgres) connection: &'s mut PgConnection,
    pub(in crate::store::postgres) settings: &'s WriterSettings,
    /// The attempt that is noted in the log's rows.
    pub(in crate::store::postgres) attempt: AttemptId,
    /// Whether all events of the batch are stored or none.
    pub(in crate::store::postgres) atomic: bool,
}

impl Session<'_> {
    /// Waits for one statement. The deadline is longer than the server's own timeout, so passing it means
    /// that the server does not respond.
    pub(in crate::store::postgres) async fn with_timeout<T>(
        deadline: Duration,
        statement: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StatementError> {
        match tokio::time::timeout(deadline, statement).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(StatementError::OutcomeUnknown("the server does not respond".to_owned())),
        }
    }

    /// Begins a transaction; with `skip_locked` its lock timeout is short. Behind a pooler this is when
    /// a connection to the server is waited for.
    pub(in crate::store::postgres) async fn begin(
        &mut self,
        skip_locked: bool,
    ) -> Result<(), StatementError> {
        let transactions = &self.settings.transactions;
        let begin = if skip_locked { &transactions.begin_skip_locked } else { &transactions.begin };
        self.run(begin.clone()).await
    }

    /// Whether prepared statements may stay in the server's session.
    pub(in crate::store::postgres) fn caches_statements(&self) -> bool {
        self.settings.transactions.caches_statements()
    }

    /// What writers keep up, as far as this process knows; read where it knows nothing yet.
    pub(in crate::store::postgres) async fn kept_parts(
        &mut self,
    ) -> Result<Arc<KeptParts>, StatementError> {
        match self.settings.kept_parts.get() {
            Some(known) => Ok(known),
            None => self.read_kept_parts().await,
        }
    }

    /// Reads what writers keep up. Outside of a transaction.
    pub(in crate::store::postgres) async fn read_kept_parts(
        &mut self,
    ) -> Result<Arc<KeptParts>, StatementError> {
        let always = self.settings.transactions.always;
        if always {
            self.begin(false).await?;
        }
        let (deadline, caches) = (self.settings.statement_deadline, self.caches_statements());
        let read = query::kept_parts(self.connection, caches);
        let read = Self::with_timeout(deadline, read).await?;
        if always {
            self.run("COMMIT").await?;
        }
        Ok(self.settings.kept_parts.put(read))
    }

    /// Runs SQL without parameters or rows.
    pub(in crate::store::postgres) async fn run(
        &mut self,
        sql: impl SqlSafeStr,
    ) -> Result<(), StatementError> {
        let statement = sqlx::raw_sql(sql).execute(&mut *self.connection);
        Self::with_timeout(self.settings.statement_deadline, statement).await.map(drop)
    }
}
