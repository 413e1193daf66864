//! What an error of the driver means for the batch under way.

use sqlx::Error;
use sqlx::error::DatabaseError;

use crate::ingest::ApplyError;
use crate::model::{AttemptId, UnavailableKind};
use crate::query::ReadError;

/// Why a statement failed.
#[derive(Debug)]
pub(super) enum StatementError {
    /// The connection broke, or the server does not respond: whether the statement took effect is
    /// unknown.
    OutcomeUnknown(String),
    /// The server can't execute it now; the statement had no effect.
    Unavailable(UnavailableKind, String),
    /// Another session holds a lock for longer than `lock_timeout` (55P03).
    LockTimeout(String),
    /// A deadlock or a race with another writer: retrying helps.
    Contention(String),
    /// A row of that key exists (23505).
    UniqueViolation(String),
    /// The definitions of types have changed since the writer read them; nothing was written.
    StaleTypes,
    /// The data broke a rule of the database.
    Refused(String),
}

const STALE_TYPES: &str = "the definitions of types change all the time";

impl StatementError {
    /// The error of a statement before the commit: nothing is stored.
    pub(super) fn before_commit(self) -> ApplyError {
        match self {
            Self::OutcomeUnknown(reason) => {
                ApplyError::Unavailable { kind: UnavailableKind::Unreachable, reason }
            }
            Self::Unavailable(kind, reason) => ApplyError::Unavailable { kind, reason },
            Self::LockTimeout(text)
            | Self::Contention(text)
            | Self::UniqueViolation(text)
            | Self::Refused(text) => ApplyError::Refused(text),
            Self::StaleTypes => ApplyError::Refused(STALE_TYPES.to_owned()),
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
            Error::PoolTimedOut | Error::PoolClosed => {
                Self::Unavailable(UnavailableKind::Unreachable, error.to_string())
            }
            broken => Self::OutcomeUnknown(describe(&broken)),
        }
    }
}

impl StatementError {
    fn from_database_error(refusal: &dyn DatabaseError) -> Self {
        let code = refusal.code().unwrap_or_default();
        let text = one_line(refusal, &code);
        if let Some(kind) = refused_kind(&code) {
            return Self::Unavailable(kind, text);
        }
        match &*code {
            "55P03" => Self::LockTimeout(text),
            "40P01" | "40001" => Self::Contention(text),
            "23505" => Self::UniqueViolation(text),
            // the server ends the connection, perhaps between the commit and its answer
            "57P01" | "57P02" => Self::OutcomeUnknown(text),
            "25006" => Self::Unavailable(UnavailableKind::Unreachable, text),
            _ => match code.get(..2) {
                Some("08") => Self::OutcomeUnknown(text),
                // no room or no connection left; cancelled or starting up; disk
                Some("53" | "57" | "58") => Self::Unavailable(UnavailableKind::Unreachable, text),
                _ => Self::Refused(text),
            },
        }
    }

    /// What an operator has to look at, and the database's own words.
    pub(super) fn into_parts(self) -> (UnavailableKind, String) {
        match self {
            Self::Unavailable(kind, text) => (kind, text),
            Self::OutcomeUnknown(text)
            | Self::LockTimeout(text)
            | Self::Contention(text)
            | Self::UniqueViolation(text)
            | Self::Refused(text) => (UnavailableKind::Unreachable, text),
            Self::StaleTypes => (UnavailableKind::Unreachable, STALE_TYPES.to_owned()),
        }
    }

    /// The error of a statement that belongs to no batch.
    pub(super) fn into_read_error(self) -> ReadError {
        let (kind, text) = self.into_parts();
        ReadError { kind, text }
    }
}

/// What an operator has to look at, for an error that is not the batch's own.
fn refused_kind(code: &str) -> Option<UnavailableKind> {
    match code.get(..2)? {
        // a login that fails; a database that doesn't exist, which is a wrong name more often than a
        // step that is missing
        "28" | "3D" => Some(UnavailableKind::Authentication),
        // a privilege that the role lacks
        "42" if code == "42501" => Some(UnavailableKind::Authentication),
        // no such schema, table or column (yet)
        "42" | "3F" => Some(UnavailableKind::Schema),
        _ => None,
    }
}

/// Why a connection can't be opened: what an operator has to look at, and one line about it.
pub fn connect_error(error: &Error) -> (UnavailableKind, String) {
    let code = error.as_database_error().and_then(DatabaseError::code);
    let kind = code.and_then(|code| refused_kind(&code)).unwrap_or(UnavailableKind::Unreachable);
    (kind, describe(error))
}

/// An error of the driver in one line. Its own text says where it noticed the error, which says
/// nothing about the cause.
fn describe(error: &Error) -> String {
    let text = match error {
        Error::Database(refusal) => one_line(&**refusal, &refusal.code().unwrap_or_default()),
        Error::Io(error) => error.to_string(),
        Error::Tls(error) => format!("TLS: {error}"),
        other => other.to_string(),
    };
    let text = text.replace('\n', " ");
    if text.contains(X509_V1) {
        return format!("{text}; {X509_V1_HINT}");
    }
    text
}

fn one_line(refusal: &dyn DatabaseError, code: &str) -> String {
    format!("{} ({code})", refusal.message().replace('\n', " "))
}

/// How rustls names a certificate of X.509 version 1, which it refuses even where nothing is verified.
const X509_V1: &str = "UnsupportedCertVersion";

const X509_V1_HINT: &str = "the server's certificate is of X.509 version 1, which can't be used, not \
    even without verification: give the server a certificate of version 3, or add sslmode=disable to \
    DATABASE_URL to connect without TLS";
