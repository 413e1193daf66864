//! Changing definitions of types, and building what they declare. There is one writer at a time, so nobody
//! need be waited for who does not know a definition.

mod definitions;
mod jobs;
mod steps;

use std::time::Duration;

use super::query::unavailable;
use super::short_transactions::ShortTransactions;
use super::write::WriterSettings;
use crate::query::ReadError;
use crate::types::{ChangeOutcome, Job, StepOutcome, Task, TypeChange};

/// What writes definitions and builds. It has a connection of its own.
pub(super) struct SqliteTypes {
    transactions: ShortTransactions,
}

impl SqliteTypes {
    pub(super) fn new(settings: WriterSettings) -> Self {
        Self { transactions: ShortTransactions::new(settings) }
    }

    pub(super) async fn close(&self) {
        self.transactions.close().await;
    }

    pub(super) async fn change(&self, change: TypeChange<'_>) -> Result<ChangeOutcome, ReadError> {
        let mut transaction = self.transactions.begin().await?;
        let changed = definitions::change(transaction.connection(), &change).await;
        self.transactions.end(transaction, changed).await.map_err(unavailable)
    }

    pub(super) async fn take_job(&self, lease: Duration) -> Result<Option<Job>, ReadError> {
        let mut transaction = self.transactions.begin().await?;
        let taken = jobs::take(transaction.connection(), lease).await;
        self.transactions.end(transaction, taken).await.map_err(unavailable)
    }

    /// Parts that are not the job's any more are taken out of it. `total` is noted.
    pub(super) async fn renew(
        &self,
        job: &mut Job,
        total: Option<i64>,
        lease: Duration,
    ) -> Result<bool, ReadError> {
        let mut transaction = self.transactions.begin().await?;
        let renewed = jobs::renew(transaction.connection(), job, total, lease).await;
        self.transactions.end(transaction, renewed).await.map_err(unavailable)
    }

    pub(super) async fn release(&self, job: &Job) -> Result<(), ReadError> {
        let mut transaction = self.transactions.begin().await?;
        let released = jobs::release(transaction.connection(), job).await;
        self.transactions.end(transaction, released).await.map_err(unavailable)
    }

    /// The job is changed only where the step is committed.
    pub(super) async fn step(
        &self,
        job: &mut Job,
        lease: Duration,
    ) -> Result<StepOutcome, ReadError> {
        let mut next = job.clone();
        let mut transaction = self.transactions.begin().await?;
        let went = match job.task {
            Task::Build => steps::build(transaction.connection(), &mut next, lease).await,
            Task::Drop => steps::drop_rows(transaction.connection(), &mut next, lease).await,
        };
        let outcome = self.transactions.end(transaction, went).await.map_err(unavailable)?;
        *job = next;
        Ok(outcome)
    }
}
