//! What an error of the driver means for a read.

use crate::query::ReadError;

pub(super) fn unavailable(error: sqlx::Error) -> ReadError {
    ReadError(error.to_string())
}
