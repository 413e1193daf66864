//! Why maintenance stopped.

use producer_core::model::UnavailableKind;
use producer_core::store::postgres::connect_error;

/// Why maintenance stopped.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// The database can't be reached now; it may come back.
    #[error("the database can't be reached: {0}")]
    Unreachable(String),
    /// The database refuses the login: user, password or name of the database. That may change.
    #[error("the database refuses the login: {0}")]
    Login(String),
    /// It will not work on this database, however often it is tried.
    #[error("{0}")]
    Refused(String),
    /// Another transaction won; trying again may help.
    #[error("another transaction is in the way: {0}")]
    Contended(String),
    /// Another session holds a lock; it has to end first.
    #[error("another session holds a lock: {0}")]
    Locked(String),
    /// A statement failed.
    #[error("a statement failed: {0}")]
    Statement(String),
}

impl From<sqlx::Error> for MaintenanceError {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Decode(reason) = &error {
            return Self::Refused(reason.to_string());
        }
        let (kind, text) = connect_error(&error);
        let code = match &error {
            sqlx::Error::Database(error) => error.code().map(std::borrow::Cow::into_owned),
            _ => None,
        };
        match code.as_deref() {
            Some("40P01" | "40001") => return Self::Contended(text),
            // of PostgreSQL; of SQLite: busy, locked, and busy with its log or a snapshot
            Some("55P03" | "5" | "6" | "261" | "517" | "773") => return Self::Locked(text),
            _ => {}
        }
        let gone = match code.as_deref() {
            // connection exception, operator intervention (shutdown, starting up), a standby that
            // has not taken over yet
            // of a login, not of a statement that the role may not run
            Some(code) if kind == UnavailableKind::Authentication && code != "42501" => {
                return Self::Login(text);
            }
            Some(code) => code.starts_with("08") || code.starts_with("57P") || code == "25006",
            None => matches!(error, sqlx::Error::Io(_) | sqlx::Error::Tls(_)),
        };
        if gone { Self::Unreachable(text) } else { Self::Statement(text) }
    }
}

impl MaintenanceError {
    /// What the database said.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Unreachable(text)
            | Self::Login(text)
            | Self::Refused(text)
            | Self::Contended(text)
            | Self::Locked(text)
            | Self::Statement(text) => text,
        }
    }

    /// Whether a retry may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Login(_) | Self::Contended(_) | Self::Locked(_))
    }
}
