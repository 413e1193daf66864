//! A writer: takes its connection, applies a batch, puts the connection back.

use futures_util::future::BoxFuture;
use sqlx::Connection;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::apply::apply;
use super::connection::{OpenConnection, WriterConnection};
use super::marks::{Look, Marks};
use super::session::{OpenError, Session, WriterSettings, open};
use crate::ingest::{ApplyError, ApplyMode, Verdict, Writer};
use crate::model::{AttemptId, Event, UnavailableKind};
use crate::store::postgres::error::StatementError;

/// Applies batches over one connection.
pub(in crate::store::postgres) struct PgWriter {
    settings: WriterSettings,
    marks: Marks,
    /// Taken while a batch runs and put back only when its transaction has surely ended: an error or a
    /// dropped future closes it, so no later batch meets an open transaction.
    connection: WriterConnection,
    /// Uses the connection after a batch was answered, and puts it back.
    marking: Option<JoinHandle<()>>,
}

impl PgWriter {
    pub(in crate::store::postgres) fn new(settings: WriterSettings, marks: Marks) -> Self {
        let connection = WriterConnection::new(settings.lifetime);
        Self { settings, marks, connection, marking: None }
    }

    /// Puts the connection back, now and then after it has been used to mark the log with a time.
    fn put_back(&mut self, open: OpenConnection) {
        match self.marks.due(self.settings.clock.now()) {
            None => self.connection.put(open),
            Some(look) => {
                let (marks, settings) = (self.marks.clone(), self.settings.clone());
                let marking = mark(marks, look, settings, open, self.connection.slot());
                self.marking = Some(tokio::spawn(marking));
            }
        }
    }

    /// Waits until a mark is written, no longer than for one statement.
    async fn end_marking(&mut self) {
        if let Some(marking) = self.marking.take() {
            // a panic has closed the connection
            let _ended = marking.await;
        }
    }

    /// A connection that was used a moment ago, was tested, or is new; an error within the time that
    /// opening one may take.
    async fn checked_connection(&mut self) -> Result<OpenConnection, OpenError> {
        if let Some(mut open) = self.connection.take() {
            if open.is_just_used() {
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
        self.end_marking().await;
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
            self.put_back(open);
        }
        result
    }
}

/// Marks the log over a writer's connection.
async fn mark(
    marks: Marks,
    look: Look,
    settings: WriterSettings,
    mut open: OpenConnection,
    put_back: impl FnOnce(OpenConnection),
) {
    let mut session = Session {
        connection: &mut open.connection,
        settings: &settings,
        attempt: AttemptId::random(),
        atomic: false,
    };
    // a batch may wait for the connection
    let looked = timeout(settings.statement_deadline, marks.look(look, &mut session)).await;
    if looked.is_ok_and(|is_unharmed| is_unharmed) {
        put_back(open);
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
