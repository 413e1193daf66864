//! A writer: takes its connection, applies a batch, puts the connection back.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::Connection;

use super::apply::apply;
use super::connection::{OpenConnection, WriterConnection};
use super::session::{OpenError, Session, WriterSettings, open};
use crate::ingest::{ApplyError, ApplyMode, Verdict, Writer};
use crate::model::{AttemptId, Event, UnavailableKind};
use crate::store::postgres::error::StatementError;

/// A connection that was idle for longer is tested before a batch is sent over it: if the server had
/// closed it, the batch's outcome would be unknown though nothing was stored.
const TEST_AFTER_IDLE: Duration = Duration::from_millis(20);

/// Applies batches over one connection.
pub(in crate::store::postgres) struct PgWriter {
    settings: WriterSettings,
    /// Taken while a batch runs and put back only when its transaction has surely ended: an error or a
    /// dropped future closes it, so no later batch meets an open transaction.
    connection: WriterConnection,
}

impl PgWriter {
    pub(in crate::store::postgres) fn new(settings: WriterSettings) -> Self {
        let connection = WriterConnection::new(settings.lifetime);
        Self { settings, connection }
    }

    /// A connection that was used a moment ago, was tested, or is new; an error within the time that
    /// opening one may take.
    async fn checked_connection(&mut self) -> Result<OpenConnection, OpenError> {
        if let Some(mut open) = self.connection.take() {
            if open.idle() < TEST_AFTER_IDLE {
                return Ok(open);
            }
            let deadline = self.settings.connect_deadline;
            match Session::with_timeout(deadline, open.connection.ping()).await {
                Ok(()) => return Ok(open),
                // another connection would not be answered either
                Err(StatementError::OutcomeUnknown(text)) if open.idle() >= deadline => {
                    return Err(OpenError::Unavailable(UnavailableKind::Unreachable, text));
                }
                Err(_) => {}
            }
        }
        open(&self.settings).await.map(OpenConnection::new)
    }

    async fn apply(
        &mut self,
        batch: &[Event],
        mode: ApplyMode,
    ) -> Result<Vec<Verdict>, ApplyError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let mut open = self.checked_connection().await.map_err(|error| match error {
            OpenError::Unfit(reason) => {
                ApplyError::Unavailable { kind: UnavailableKind::Unreachable, reason }
            }
            OpenError::Unavailable(kind, reason) => ApplyError::Unavailable { kind, reason },
        })?;
        let mut session = Session {
            connection: &mut open.connection,
            settings: &self.settings,
            attempt: AttemptId::random(),
            atomic: mode == ApplyMode::Atomic,
        };
        let result = apply(&mut session, batch, mode).await;
        if matches!(result, Ok(_) | Err(ApplyError::Refused(_))) {
            self.connection.put(open);
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
