//! The PostgreSQL adapter: one connection for each writer, a pool for the reads.

mod careful;
mod columns;
mod fast;
mod fault;
mod kept;
mod lent;
pub(crate) mod pooler;
mod read;
mod session;
pub(crate) mod version;
mod writer;

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgConnectOptions;
use uuid::Uuid;

use super::pool::PoolUse;
use super::{BoxFuture, ConnectError, Entity, LoggedEvent, ReadError, Store, Writer};
use crate::config::Settings;
use crate::{Clock, EntityKey, Timestamp};
use kept::Keep;
use lent::Lender;
use session::Transactions;
use writer::{PgWriter, WriterSettings};

/// What a client-side deadline allows beyond the server's own.
const SLACK: Duration = Duration::from_millis(500);

/// How many writers use more than they cost: a second one gives bulk calls and streams a quarter to
/// three quarters more, a third nothing.
const WRITERS: u32 = 2;

/// A PostgreSQL database.
pub struct PostgresStore {
    lender: Lender,
    writers: u32,
    writer_settings: WriterSettings,
    read_deadline: Duration,
}

impl PostgresStore {
    /// Opens nothing yet: the first read or batch does.
    pub fn new(base: PgConnectOptions, settings: &Settings, clock: Clock) -> Self {
        let options = session::options(base, settings);
        let transactions = Transactions::new(settings);
        let most = settings.database_max_connections;
        let writers = (most / 2).clamp(1, WRITERS);
        let readers = most.saturating_sub(writers).max(1);
        let lender = Lender::new(options.clone(), settings, readers, transactions.clone());
        let writer_settings = WriterSettings {
            options,
            pooler: settings.database_pooler,
            transactions,
            keep: Keep {
                idle: settings.database_idle_timeout,
                life: settings.database_max_lifetime,
            },
            connect_deadline: settings.database_acquire_timeout,
            flight_deadline: settings.database_statement_timeout + SLACK,
            max_entity_bytes: settings.max_entity_bytes,
            clock,
        };
        let slower = settings.database_acquire_timeout.max(settings.database_statement_timeout);
        let read_deadline = slower + SLACK;
        Self { lender, writers, writer_settings, read_deadline }
    }

    /// A read that no broken connection of the pool can fail.
    async fn read<T, F>(&self, read: impl Fn() -> F) -> Result<T, ReadError>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        read::with_retry(self.read_deadline, self.lender.usage().max, read).await
    }

    /// Looks at the server once. One that can't be reached is no error: the service comes up and
    /// answers 503 until it can.
    ///
    /// # Errors
    /// The server is too old, or it is a pooler that the settings don't name.
    pub async fn check(&self) -> Result<(), ConnectError> {
        match writer::open(&self.writer_settings).await {
            Err(writer::OpenError::Unfit(message)) => Err(ConnectError(message)),
            Err(writer::OpenError::Unavailable(error)) => {
                tracing::warn!(error, "the database can't be reached yet");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }
}

impl Store for PostgresStore {
    fn writer(&self) -> Box<dyn Writer> {
        Box::new(PgWriter::new(self.writer_settings.clone()))
    }

    fn max_writers(&self) -> usize {
        self.writers as usize
    }

    fn entity<'a>(
        &'a self,
        key: &'a EntityKey,
    ) -> BoxFuture<'a, Result<Option<Entity>, ReadError>> {
        Box::pin(self.read(move || read::entity(&self.lender, key)))
    }

    fn event(&self, uuid: Uuid) -> BoxFuture<'_, Result<Option<LoggedEvent>, ReadError>> {
        Box::pin(self.read(move || read::event(&self.lender, uuid)))
    }

    fn pool(&self) -> Option<PoolUse> {
        Some(self.lender.usage())
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(self.read(move || read::ping(&self.lender)))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.lender.close())
    }
}

/// PostgreSQL's time of a moment. Every [`Timestamp`] of an event is within chrono's range.
pub(crate) fn to_pg(moment: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(moment.micros()).unwrap_or_default()
}

/// The moment of PostgreSQL's time.
pub(crate) fn from_pg(moment: DateTime<Utc>) -> Timestamp {
    Timestamp::from_micros(moment.timestamp_micros())
}
