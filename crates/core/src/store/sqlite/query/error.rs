//! What an error of the driver means for a read.

use crate::query::{ReadError, ReadErrorKind};

/// `SQLITE_ERROR`: of statements that never change, a table or column that doesn't exist.
const GENERIC: &str = "1";

pub(super) fn unavailable(error: sqlx::Error) -> ReadError {
    let code = error.as_database_error().and_then(|error| error.code());
    let kind = match code.as_deref() {
        Some(GENERIC) => ReadErrorKind::Schema,
        _ => ReadErrorKind::Unreachable,
    };
    ReadError { kind, text: error.to_string() }
}
