//! What an error of the driver means for the batch under way.

use sqlx::Error;
use sqlx::error::DatabaseError;

use crate::ingest::ApplyError;
use crate::model::Stamp;
use crate::query::ReadError;

/// How a statement failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection broke or went silent: whether the statement took effect is not known.
    Lost(String),
    /// The server can't do its work now; the statement had no effect.
    Down(String),
    /// Someone else holds a lock for longer than we wait (55P03).
    LockTimeout(String),
    /// A deadlock, or a race with another writer that a second try settles.
    Race(String),
    /// A row of that key exists (23505).
    Exists(String),
    /// The data broke a rule of the database.
    Refused(String),
}

impl Fault {
    /// A statement of which nothing can be stored yet, or any more.
    pub(super) fn before_commit(self) -> ApplyError {
        match self {
            Self::Lost(text) | Self::Down(text) => ApplyError::Unavailable(text),
            Self::LockTimeout(text)
            | Self::Race(text)
            | Self::Exists(text)
            | Self::Refused(text) => ApplyError::Refused(text),
        }
    }

    /// A statement that commits.
    fn at_commit(self, stamp: Stamp) -> ApplyError {
        match self {
            Self::Lost(reason) => ApplyError::Unknown { reason, stamp },
            other => other.before_commit(),
        }
    }
}

/// How a transaction failed.
pub(super) struct Failure {
    pub(super) fault: Fault,
    /// Whether the commit may have been under way.
    pub(super) committing: bool,
}

impl Failure {
    pub(super) fn into_error(self, stamp: Stamp) -> ApplyError {
        if self.committing { self.fault.at_commit(stamp) } else { self.fault.before_commit() }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self { fault, committing: false }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(refusal) => Self::of_refusal(&*refusal),
            Error::Encode(_) | Error::Decode(_) | Error::ColumnDecode { .. } => {
                Self::Refused(error.to_string())
            }
            Error::PoolTimedOut | Error::PoolClosed => Self::Down(error.to_string()),
            broken => Self::Lost(broken.to_string()),
        }
    }
}

impl Fault {
    fn of_refusal(refusal: &dyn DatabaseError) -> Self {
        let code = refusal.code().unwrap_or_default();
        let text = format!("{} ({code})", refusal.message());
        match &*code {
            "55P03" => Self::LockTimeout(text),
            "40P01" | "40001" => Self::Race(text),
            "23505" => Self::Exists(text),
            // the server ends the connection, perhaps between the commit and its answer
            "57P01" | "57P02" => Self::Lost(text),
            "25006" => Self::Down(text),
            _ => match code.get(..2) {
                Some("08") => Self::Lost(text),
                // no room or no connection left; cancelled or starting up; disk; a schema that
                // isn't there (yet) or that we may not touch
                Some("53" | "57" | "58" | "28" | "42" | "3D" | "3F") => Self::Down(text),
                _ => Self::Refused(text),
            },
        }
    }
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> Self {
        match fault.before_commit() {
            ApplyError::Unavailable(text)
            | ApplyError::Unknown { reason: text, .. }
            | ApplyError::Refused(text) => Self(text),
        }
    }
}
