//! What an error of the driver means for the batch under way.

use sqlx::Error;
use sqlx::error::DatabaseError;

use crate::ingest::ApplyError;
use crate::model::AttemptId;
use crate::query::ReadErrorKind;

/// Why a statement failed.
#[derive(Debug)]
pub(super) enum StatementError {
    /// The connection broke, or the server does not respond: whether the statement took effect is
    /// unknown.
    OutcomeUnknown(String),
    /// The server can't execute it now; the statement had no effect.
    Unavailable(String),
    /// Another session holds a lock for longer than `lock_timeout` (55P03).
    LockTimeout(String),
    /// A deadlock or a race with another writer: retrying helps.
    Contention(String),
    /// A row of that key exists (23505).
    UniqueViolation(String),
    /// The data broke a rule of the database.
    Refused(String),
}

impl StatementError {
    /// The error of a statement before the commit: nothing is stored.
    pub(super) fn before_commit(self) -> ApplyError {
        match self {
            Self::OutcomeUnknown(text) | Self::Unavailable(text) => ApplyError::Unavailable(text),
            Self::LockTimeout(text)
            | Self::Contention(text)
            | Self::UniqueViolation(text)
            | Self::Refused(text) => ApplyError::Refused(text),
        }
    }

    /// The error of a statement that commits.
    fn at_commit(self, attempt: AttemptId) -> ApplyError {
        match self {
            Self::OutcomeUnknown(reason) => ApplyError::Unknown { reason, attempt },
            other => other.before_commit(),
        }
    }
}

/// Why a transaction failed.
pub(super) struct TransactionError {
    pub(super) error: StatementError,
    /// Whether the commit may have been under way.
    pub(super) committing: bool,
}

impl TransactionError {
    pub(super) fn into_error(self, attempt: AttemptId) -> ApplyError {
        if self.committing { self.error.at_commit(attempt) } else { self.error.before_commit() }
    }
}

impl From<StatementError> for TransactionError {
    fn from(error: StatementError) -> Self {
        Self { error, committing: false }
    }
}

impl From<Error> for StatementError {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(refusal) => Self::from_database_error(&*refusal),
            Error::Encode(_) | Error::Decode(_) | Error::ColumnDecode { .. } => {
                Self::Refused(error.to_string())
            }
            Error::PoolTimedOut | Error::PoolClosed => Self::Unavailable(error.to_string()),
            broken => Self::OutcomeUnknown(broken.to_string()),
        }
    }
}

impl StatementError {
    fn from_database_error(refusal: &dyn DatabaseError) -> Self {
        let code = refusal.code().unwrap_or_default();
        let text = format!("{} ({code})", refusal.message());
        match &*code {
            "55P03" => Self::LockTimeout(text),
            "40P01" | "40001" => Self::Contention(text),
            "23505" => Self::UniqueViolation(text),
            // the server ends the connection, perhaps between the commit and its answer
            "57P01" | "57P02" => Self::OutcomeUnknown(text),
            "25006" => Self::Unavailable(text),
            _ => match code.get(..2) {
                Some("08") => Self::OutcomeUnknown(text),
                // no room or no connection left; cancelled or starting up; disk; a schema that
                // isn't there (yet) or that we may not touch
                Some("53" | "57" | "58" | "28" | "42" | "3D" | "3F") => Self::Unavailable(text),
                _ => Self::Refused(text),
            },
        }
    }
}

/// What an error of the driver means for a read, and what an operator has to look at.
pub(super) fn read_error(error: Error) -> (StatementError, ReadErrorKind) {
    let code = error.as_database_error().and_then(DatabaseError::code);
    let kind = match code.as_deref() {
        // a login that fails; a privilege that the role lacks
        Some(code) if code.starts_with("28") || code == "42501" => ReadErrorKind::Authentication,
        // no such database, schema, table or column
        Some(code) if ["3D", "3F", "42"].iter().any(|class| code.starts_with(class)) => {
            ReadErrorKind::Schema
        }
        _ => ReadErrorKind::Unreachable,
    };
    (error.into(), kind)
}

impl StatementError {
    /// The database's own words.
    pub(super) fn text(self) -> String {
        match self {
            Self::OutcomeUnknown(text)
            | Self::Unavailable(text)
            | Self::LockTimeout(text)
            | Self::Contention(text)
            | Self::UniqueViolation(text)
            | Self::Refused(text) => text,
        }
    }
}
