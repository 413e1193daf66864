//! Why maintenance stopped.

/// Why maintenance stopped.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// The database can't be reached now; it may come back.
    #[error("the database can't be reached: {0}")]
    Unreachable(String),
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
        let text = error.to_string().replace('\n', " ");
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
            Some(code) => code.starts_with("08") || code.starts_with("57P") || code == "25006",
            None => matches!(error, sqlx::Error::Io(_) | sqlx::Error::Tls(_)),
        };
        if gone { Self::Unreachable(text) } else { Self::Statement(text) }
    }
}

impl MaintenanceError {
    /// Whether a retry may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Contended(_) | Self::Locked(_))
    }
}
