//! Programs that must succeed.

use std::io::{Read, Seek};
use std::process::{Command, Stdio};

/// Runs a program, and panics if it fails. Its output goes into a file, because a server that it
/// starts would keep a pipe open.
pub(crate) fn run_to_success(command: &mut Command) {
    let mut output = tempfile::tempfile().expect("a temporary file");
    let errors = output.try_clone().expect("a second handle");
    let stdout = output.try_clone().expect("a third handle");
    let status = command.stdin(Stdio::null()).stdout(stdout).stderr(errors).status();
    let status = status.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut text = String::new();
    if !status.success() {
        output.rewind().expect("the output");
        output.read_to_string(&mut text).expect("the output");
    }
    assert!(status.success(), "{command:?} failed: {text}");
}

/// Sends a signal, such as `STOP`, to a process.
pub(crate) fn send_signal(signal: &str, pid: &str) {
    run_to_success(Command::new("kill").args(["-s", signal, pid]));
}
