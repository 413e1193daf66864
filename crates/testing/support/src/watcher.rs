//! Cleanup that also happens when this process is killed: a shell waits for the end of a pipe.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// A shell with a pipe from this process. When the pipe is closed, because this value is dropped or
/// the process has ended in whatever way, `read` in its script returns.
#[derive(Debug)]
pub(crate) struct Watcher(Child);

/// Runs its arguments until the pipe is closed.
const RUN: &str = r#""$@" & read -r _; kill -KILL $!; wait"#;

impl Watcher {
    /// Runs a program until this value is dropped or the process has ended.
    pub(crate) fn run(program: &[&OsStr]) -> Self {
        Self::start(RUN, program)
    }

    /// Starts a shell with `script`, which begins by reading from its standard input.
    pub(crate) fn start(script: &str, arguments: &[&OsStr]) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "watcher"]).args(arguments);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // Ctrl-C in a terminal must reach only this process; the shell ends by its pipe
        shell.process_group(0);
        Self(shell.spawn().expect("a shell"))
    }
}

impl Drop for Watcher {
    /// Closes the pipe and waits for the script's end.
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("the shell ends");
    }
}
