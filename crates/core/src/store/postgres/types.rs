//! Changing definitions of types, and building what they declare.

mod definitions;
mod jobs;
mod steps;

use std::time::Duration;

use super::error::StatementError;
use super::short_transactions::ShortTransactions;
use super::write::WriterSettings;
use crate::query::ReadError;
use crate::types::{ChangeOutcome, Job, StepOutcome, Task, TypeChange};

/// How often a change is tried again that met another one.
const ATTEMPTS: u32 = 10;

/// What writes definitions and builds. It has connections of its own.
pub(super) struct PgTypes {
    transactions: ShortTransactions,
}

impl PgTypes {
    pub(super) fn new(settings: WriterSettings) -> Self {
        Self { transactions: ShortTransactions::new(settings) }
    }

    pub(super) async fn change(&self, change: TypeChange<'_>) -> Result<ChangeOutcome, ReadError> {
        let mut attempt = 1;
        loop {
            let mut open = self.transactions.begin().await?;
            let changed = definitions::change(&mut open, &change).await;
            match self.transactions.end(open, changed).await {
                Err(StatementError::LockTimeout(_) | StatementError::Contention(_))
                    if attempt < ATTEMPTS =>
                {
                    attempt += 1;
                }
                ended => return ended.map_err(StatementError::into_read_error),
            }
        }
    }

    pub(super) async fn take_job(&self, lease: Duration) -> Result<Option<Job>, ReadError> {
        let mut open = self.transactions.begin().await?;
        let taken = jobs::take(&mut open, lease).await;
        self.transactions.end(open, taken).await.map_err(StatementError::into_read_error)
    }

    pub(super) async fn renew(&self, job: &mut Job, lease: Duration) -> Result<bool, ReadError> {
        let mut open = self.transactions.begin().await?;
        let renewed = jobs::renew(&mut open, job, lease).await;
        self.transactions.end(open, renewed).await.map_err(StatementError::into_read_error)
    }

    pub(super) async fn release(&self, job: &Job) -> Result<(), ReadError> {
        let mut open = self.transactions.begin().await?;
        let released = jobs::release(&mut open, job).await;
        self.transactions.end(open, released).await.map_err(StatementError::into_read_error)
    }

    /// The job is changed only where the step is committed.
    pub(super) async fn step(
        &self,
        job: &mut Job,
        lease: Duration,
    ) -> Result<StepOutcome, ReadError> {
        let mut next = job.clone();
        let mut open = self.transactions.begin().await?;
        let went = match job.task {
            Task::Build => steps::build(&mut open, &mut next, lease).await,
            Task::Drop => steps::drop_rows(&mut open, &mut next, lease).await,
        };
        match self.transactions.end(open, went).await {
            Ok(outcome) => {
                *job = next;
                Ok(outcome)
            }
            Err(StatementError::LockTimeout(_) | StatementError::Contention(_)) => {
                Ok(StepOutcome::Locked)
            }
            Err(error) => Err(error.into_read_error()),
        }
    }
}
