//! The id that a call has in logs, metadata and error details.

use http::HeaderValue;

/// Identifies one call. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) HeaderValue);

impl RequestId {
    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}
