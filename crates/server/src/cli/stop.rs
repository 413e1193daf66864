//! The signals that end a process.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::ExitError;

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Begins to listen for both.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn new() -> Result<Self, ExitError> {
        let listen = |kind| signal(kind).map_err(ExitError::new);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
