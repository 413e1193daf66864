//! The accept loop: HTTP/1 and HTTP/2 over hyper, with a limit on connections, a deadline for the
//! first byte and the headers, and a graceful end.

use std::time::Duration;

use producer_core::config::Settings;

/// Limits of the accept loop.
#[derive(Debug, Clone)]
pub struct ServeLimits {
    /// `MAX_CONNECTIONS`
    pub max_connections: usize,
    /// `HEADER_TIMEOUT`
    pub header_timeout: Duration,
    /// `SHUTDOWN_GRACE`
    pub shutdown_grace: Duration,
}

impl From<&Settings> for ServeLimits {
    fn from(settings: &Settings) -> Self {
        Self {
            max_connections: settings.max_connections,
            header_timeout: settings.header_timeout,
            shutdown_grace: settings.shutdown_grace,
        }
    }
}
