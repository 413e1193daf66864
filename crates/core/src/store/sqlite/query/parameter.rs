//! Parameters of statements that SQLite has no type for.

use serde::Serialize;
use serde_json::to_string;

use super::error::unavailable;
use crate::query::ReadError;

/// A parameter as JSON.
pub(super) fn json(value: &(impl Serialize + ?Sized)) -> Result<String, ReadError> {
    to_string(value).map_err(|error| unavailable(sqlx::Error::Encode(error.into())))
}
