//! What an error of the driver means.

use crate::model::UnavailableKind;
use crate::query::ReadError;

/// `SQLITE_ERROR`: of statements that never change, a table or column that doesn't exist.
const GENERIC: &str = "1";

pub(in crate::store::sqlite) fn unavailable(error: sqlx::Error) -> ReadError {
    ReadError { kind: kind(&error), text: describe(&error) }
}

/// An error of the driver in one line.
pub(super) fn describe(error: &sqlx::Error) -> String {
    let text = match error.as_database_error() {
        Some(error) => format!("{} ({})", error.message(), error.code().unwrap_or_default()),
        None => error.to_string(),
    };
    text.replace('\n', " ")
}

/// What an operator has to look at.
pub(in crate::store::sqlite) fn kind(error: &sqlx::Error) -> UnavailableKind {
    let code = error.as_database_error().and_then(|error| error.code());
    match code.as_deref() {
        Some(GENERIC) => UnavailableKind::Schema,
        _ => UnavailableKind::Unreachable,
    }
}
