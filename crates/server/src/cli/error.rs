//! Why the program ends early.

use producer_maintenance::MaintenanceError;

/// The exit status of an invalid command line or setting.
const INVALID: u8 = 2;

/// Why the program ends: one line for standard error, and the exit status.
pub(super) struct ExitError {
    pub(super) status: u8,
    pub(super) line: String,
}

impl ExitError {
    /// An invalid command line or setting.
    pub(super) fn invalid(line: String) -> Self {
        Self { status: INVALID, line }
    }

    /// Any other error.
    pub(super) fn new(error: impl ToString) -> Self {
        Self { status: 1, line: error.to_string().replace('\n', " ") }
    }
}

impl From<MaintenanceError> for ExitError {
    fn from(error: MaintenanceError) -> Self {
        Self::new(error)
    }
}
