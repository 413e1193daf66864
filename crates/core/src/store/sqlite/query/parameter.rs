//! Parameters of statements that SQLite has no type for.

use std::fmt::Write;

use serde::Serialize;
use serde_json::to_string;

use super::error::unavailable;
use crate::query::ReadError;

/// A parameter as JSON.
pub(super) fn json(value: &(impl Serialize + ?Sized)) -> Result<String, ReadError> {
    to_string(value).map_err(|error| unavailable(sqlx::Error::Encode(error.into())))
}

/// Bytes within JSON, for SQLite's `unhex`.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // a string takes whatever is written
        let _ = write!(text, "{byte:02x}");
        text
    })
}
