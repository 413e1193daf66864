//! How long requests may take, and why one failed.

use std::time::Duration;

use producer_core::query::ReadError;
use producer_opensearch::Error;

use crate::sink::Failure;

/// How long one small request may take.
pub(super) const SMALL: Duration = Duration::from_secs(10);

pub(super) fn failure(error: Error) -> Failure {
    let retry_after = match &error {
        Error::Status { retry_after, .. } => *retry_after,
        Error::NoAnswer(_) | Error::Unreadable(_) => None,
    };
    Failure { retry_after, ..Failure::new(error.to_string()) }
}

pub(super) fn unreadable(error: ReadError) -> Failure {
    Failure::new(error.to_string())
}
