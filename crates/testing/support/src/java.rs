//! Servers in Java: `scripts/java-servers-for-tests` puts them into a folder below `target/`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::command::{run_to_success, send_signal};
use crate::fetched::fetched;
use crate::watcher::Watcher;

/// For the start of a server, on a machine that compiles meanwhile.
const START_TIMEOUT: Duration = Duration::from_secs(120);

const POLL: Duration = Duration::from_millis(50);

/// Lines of the log that a failed test shows.
const LOG_LINES: usize = 60;

/// Runs its arguments, with the output in the file `log` of the folder $1 and the process id in `pid`,
/// until the pipe is closed.
const RUN: &str = r#"
folder=$1
shift
"$@" >>"$folder/log" 2>&1 &
echo $! >"$folder/pid.new"
mv "$folder/pid.new" "$folder/pid"
read -r _
kill -KILL $!
wait
rm "$folder/pid"
"#;

/// Removes the folder once its server has ended, which [`RUN`] sees to.
const REMOVE: &str = r#"
read -r _
for _ in $(seq 100); do
    [ -e "$1/pid" ] || break
    sleep 0.05
done
rm -rf "$1"
"#;

/// A server in Java on this machine, with a temporary folder. It is killed and its folder removed when
/// this is dropped, or when the test process ends in whatever way. A test that fails shows the end of its log.
#[derive(Debug)]
pub struct JavaServer {
    name: &'static str,
    heap: &'static str,
    /// What runs, by its main class and arguments.
    launched: Mutex<Option<Vec<OsString>>>,
    // the order of the fields is the order in which they are dropped
    process: Mutex<Option<Watcher>>,
    _remover: Watcher,
    folder: TempDir,
}

impl JavaServer {
    /// A server that is not started yet: `name` is its folder below `crates/testing/support/java`, and
    /// `heap` the most of Java's heap (`384m`).
    ///
    /// # Panics
    /// If the server or Java is not there.
    pub fn new(name: &'static str, heap: &'static str) -> Self {
        let there = fetched(name).join("libs").is_dir();
        assert!(there, "no {name} for the tests: run scripts/java-servers-for-tests");
        let prefix = format!("producer-test-{name}");
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir().expect("a folder");
        let remover = Watcher::start(REMOVE, &[folder.path().as_os_str()]);
        Self {
            name,
            heap,
            launched: Mutex::default(),
            process: Mutex::default(),
            _remover: remover,
            folder,
        }
    }

    /// Its folder, for settings and data. The files `log` and `pid` there are this value's own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs another main class of the server to its end.
    ///
    /// # Panics
    /// If it fails.
    pub fn run(&self, main: &str, arguments: &[&OsStr]) {
        let command = self.command(main, arguments);
        let [program, arguments @ ..] = command.as_slice() else { panic!("no program") };
        run_to_success(Command::new(program).args(arguments).current_dir(self.folder()));
    }

    /// Starts the server, and waits until `answers` is true.
    ///
    /// # Panics
    /// If it ends or does not answer in time.
    pub fn start(&self, main: &str, arguments: &[&OsStr], answers: impl FnMut() -> bool) {
        *self.launched.lock().expect("not poisoned") = Some(self.command(main, arguments));
        self.restart(answers);
    }

    /// Kills the server where it runs, and starts it with the same arguments and data as before.
    ///
    /// # Panics
    /// As [`JavaServer::start`], and if it was never started.
    pub fn restart(&self, mut answers: impl FnMut() -> bool) {
        self.kill();
        let launched = self.launched.lock().expect("not poisoned").clone();
        let launched = launched.expect("a server that was started before");
        let mut arguments = vec![self.folder().as_os_str()];
        arguments.extend(launched.iter().map(OsString::as_os_str));
        *self.process.lock().expect("not poisoned") = Some(Watcher::start(RUN, &arguments));
        let deadline = Instant::now() + START_TIMEOUT;
        while self.pid().is_none() || !answers() {
            // dropped while panicking, this shows the log
            assert!(!self.has_ended(), "{} has ended", self.name);
            assert!(Instant::now() < deadline, "{} does not answer", self.name);
            std::thread::sleep(POLL);
        }
    }

    /// Kills the server (SIGKILL), and waits for its end.
    pub fn kill(&self) {
        drop(self.process.lock().expect("not poisoned").take());
    }

    /// Stops it with SIGSTOP: connections stay open without an answer.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Ends [`JavaServer::freeze`].
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.pid().expect("a server that runs");
        send_signal(signal, &pid);
    }

    /// The end of what it has written.
    pub fn log(&self) -> String {
        let log = fs::read(self.folder().join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    fn pid(&self) -> Option<String> {
        let pid = fs::read_to_string(self.folder().join("pid")).ok()?;
        Some(pid.trim().to_owned())
    }

    /// Whether the process has ended by itself: its shell has not waited for it yet.
    fn has_ended(&self) -> bool {
        let state = |pid: String| Command::new("ps").args(["-o", "stat=", "-p", &pid]).output();
        let state = self.pid().and_then(|pid| state(pid).ok());
        state.is_some_and(|output| output.stdout.starts_with(b"Z"))
    }

    fn command(&self, main: &str, arguments: &[&OsStr]) -> Vec<OsString> {
        let server = fetched(self.name);
        let mut classes = server.join("classes").into_os_string();
        classes.push(":");
        classes.push(server.join("libs").join("*"));
        let logging = sources().join("log4j2.properties");
        let mut logs_to = OsString::from("-Dlog4j2.configurationFile=");
        logs_to.push(logging);
        // small and soon started, since tests share the machine
        let heap = format!("-Xmx{}", self.heap);
        let options = ["java", &heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
        let mut command: Vec<OsString> = options.iter().map(OsString::from).collect();
        command.extend([logs_to, "-cp".into(), classes, main.into()]);
        command.extend(arguments.iter().map(OsString::from));
        command
    }
}

impl Drop for JavaServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of the log of {}:\n{}", self.name, self.log());
        }
    }
}

/// What the repository has of the servers.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("java")
}
