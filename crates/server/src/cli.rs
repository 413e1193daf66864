//! The command line of both binaries.

use std::process::ExitCode;

use crate::Api;

/// Runs the binary: parses the command line and does what it says.
pub fn main<A: Api>() -> ExitCode {
    ExitCode::FAILURE
}
