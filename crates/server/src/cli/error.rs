//! Why the program ends early.

use std::process::ExitCode;

use producer_maintenance::MaintenanceError;

/// The exit status of an invalid command line or setting.
const INVALID: u8 = 2;

/// Why the program ends: a text for the user, and the exit status.
#[derive(Debug)]
pub struct ExitError {
    status: u8,
    text: String,
}

impl ExitError {
    /// Help or version: it was asked for, so that the exit status is 0.
    pub(super) fn help(text: String) -> Self {
        Self { status: 0, text }
    }

    /// An invalid command line or setting; a line each.
    pub fn invalid(lines: String) -> Self {
        Self { status: INVALID, text: lines }
    }

    /// Any other error, in one line.
    pub fn new(error: impl ToString) -> Self {
        Self { status: 1, text: error.to_string().replace('\n', " ") }
    }

    /// Prints the text: on standard output what was asked for, else on standard error.
    pub(super) fn report(self) -> ExitCode {
        if self.status == 0 {
            print!("{}", self.text);
        } else {
            eprintln!("{}", self.text);
        }
        ExitCode::from(self.status)
    }
}

impl From<MaintenanceError> for ExitError {
    fn from(error: MaintenanceError) -> Self {
        Self::new(error)
    }
}
