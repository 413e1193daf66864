//! One of the binaries as a process.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::{DEADLINE, Grpc, Rest, eventually};

/// Which binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// `producer-rest`
    Rest,
    /// `producer-grpc`
    Grpc,
    /// `producer-worker`: its port is that for operators.
    Worker,
}

impl Binary {
    /// The names of the binary and of the setting for its port.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Rest => ("producer-rest", "SERVER_PORT"),
            Self::Grpc => ("producer-grpc", "GRPC_SERVER_PORT"),
            Self::Worker => ("producer-worker", "ADMIN_PORT"),
        }
    }

    /// The path of the binary in the build's folder.
    ///
    /// # Panics
    /// If it doesn't exist.
    pub fn path(self) -> PathBuf {
        let test = std::env::current_exe().expect("a test has a path");
        // target/PROFILE/deps/TEST
        let profile = test.ancestors().nth(2).expect("a test is in the target folder");
        let path = profile.join(self.names().0);
        assert!(
            path.exists(),
            "{} is missing: `cargo build --workspace` makes it, with the profile of this test",
            path.display()
        );
        path
    }

    /// A command that runs it in `folder` with only these settings.
    pub fn command(self, folder: &Path, settings: &[(&str, &str)]) -> Command {
        in_folder(Command::new(self.path()), folder, settings)
    }

    /// The same, with `hosts` as `/etc/hosts`.
    fn command_with_hosts(self, hosts: &Path, folder: &Path, settings: &[(&str, &str)]) -> Command {
        const MOUNT_AND_RUN: &str = r#"mount --bind "$0" /etc/hosts && exec "$1""#;
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", MOUNT_AND_RUN]).arg(hosts).arg(self.path());
        in_folder(command, folder, settings)
    }
}

fn in_folder(mut command: Command, folder: &Path, settings: &[(&str, &str)]) -> Command {
    command
        .env_clear()
        .envs(settings.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// A running service on its own port, killed when dropped.
#[derive(Debug)]
pub struct Service {
    binary: Binary,
    settings: Vec<(String, String)>,
    hosts: Option<PathBuf>,
    address: SocketAddr,
    folder: TempDir,
    child: Child,
}

impl Service {
    /// Starts `binary` in an empty working folder and waits until it is ready.
    pub async fn start(binary: Binary, settings: &[(&str, &str)]) -> Self {
        Self::launch(binary, settings, None).await
    }

    /// Like [`Service::start`], in a mount namespace with `hosts` as `/etc/hosts`. Needs root.
    pub async fn start_with_hosts(binary: Binary, settings: &[(&str, &str)], hosts: &Path) -> Self {
        Self::launch(binary, settings, Some(hosts.to_owned())).await
    }

    async fn launch(binary: Binary, settings: &[(&str, &str)], hosts: Option<PathBuf>) -> Self {
        let mut service = Self::spawn_with_hosts(binary, settings, hosts);
        service.wait_until_ready().await;
        service
    }

    /// Like [`Service::start`], without waiting until it is ready.
    pub fn spawn(binary: Binary, settings: &[(&str, &str)]) -> Self {
        Self::spawn_with_hosts(binary, settings, None)
    }

    fn spawn_with_hosts(binary: Binary, settings: &[(&str, &str)], hosts: Option<PathBuf>) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let port = address.port().to_string();
        let mut settings: Vec<_> =
            settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        settings.push((binary.names().1.to_owned(), port));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let child = spawn(binary, &settings, hosts.as_deref(), folder.path());
        Self { binary, settings, hosts, address, folder, child }
    }

    /// Starts REST and gRPC with the same settings.
    pub async fn start_both(settings: &[(&str, &str)]) -> (Self, Self) {
        let rest = Self::start(Binary::Rest, settings).await;
        (rest, Self::start(Binary::Grpc, settings).await)
    }

    /// Starts it again with the same settings, folder and port.
    pub async fn restart(&mut self) {
        let hosts = self.hosts.as_deref();
        self.child = spawn(self.binary, &self.settings, hosts, self.folder.path());
        self.wait_until_ready().await;
    }

    /// Which one it is.
    pub fn binary(&self) -> Binary {
        self.binary
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its working folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A REST client for it; of a worker for its `/readyz` and `/metrics`.
    pub fn rest(&self) -> Rest {
        assert_ne!(self.binary, Binary::Grpc);
        Rest::new(self.address)
    }

    /// A gRPC client for it, with its own connection.
    pub fn grpc(&self) -> Grpc {
        assert_eq!(self.binary, Binary::Grpc);
        Grpc::new(self.address)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("the service still runs");
        let pid = Pid::from_raw(id.cast_signed()).expect("a process id is above zero");
        kill_process(pid, signal).expect("our own child takes signals");
    }

    /// Stops it where it is (SIGSTOP), and waits until each of its threads is stopped.
    pub async fn freeze(&self) {
        self.signal(Signal::STOP);
        let id = self.child.id().expect("the service still runs");
        let is_stopped = |stat: String| {
            // the name before it may have any character
            let state = stat.rsplit(')').next().map(str::trim_start);
            state.is_some_and(|state| state.starts_with(['T', 't']))
        };
        eventually("every thread is stopped", async || {
            let threads = std::fs::read_dir(format!("/proc/{id}/task")).expect("Linux");
            threads.flatten().all(|thread| {
                // a thread that has just ended has none
                std::fs::read_to_string(thread.path().join("stat")).map_or(true, is_stopped)
            })
        })
        .await;
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it still runs after that time.
    pub async fn exit(&mut self, within: Duration) -> ExitStatus {
        match timeout(within, self.child.wait()).await {
            Ok(status) => status.expect("our own child"),
            Err(_) => panic!("still running {within:?} after it should end:\n{}", self.log_tail()),
        }
    }

    /// Sends SIGTERM, and expects exit status 0.
    pub async fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.exit(DEADLINE).await;
        assert!(status.success(), "{status} after SIGTERM:\n{}", self.log_tail());
    }

    /// Its peak memory in bytes (`VmHWM`).
    pub fn peak_memory(&self) -> u64 {
        let id = self.child.id().expect("the service still runs");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.trim().parse::<u64>().ok()).expect("VmHWM in kB") << 10
    }

    /// The number of open connections to it, from Linux's table.
    pub fn connections(&self) -> usize {
        let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
        let address = format!("0100007F:{:04X}", self.address.port());
        let columns = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let established =
            |line: &Vec<&str>| line.len() > 3 && line[1] == address && line[3] == "01";
        columns.filter(established).count()
    }

    /// Its log, with what it printed.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.folder.path().join("service.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read(self.folder.path().join("service.log")).unwrap_or_default();
        let start = log.len().saturating_sub(4000);
        String::from_utf8_lossy(&log[start..]).into_owned()
    }

    /// The lines of its log with this message. Every line must be a JSON object.
    pub fn logged(&self, message: &str) -> Vec<Value> {
        let log = std::fs::read_to_string(self.folder.path().join("service.log"));
        let log = log.expect("a log of text");
        let complete = log.lines().take(log.matches('\n').count());
        let lines = complete.map(|line| match serde_json::from_str::<Value>(line) {
            Ok(line) => line,
            Err(error) => panic!("{error}: {line}"),
        });
        lines.filter(|line| line["message"] == message).collect()
    }

    fn uses_tls(&self) -> bool {
        self.settings.iter().any(|(name, _)| name == "TLS_CERT_FILE")
    }

    async fn wait_until_ready(&mut self) {
        let start = Instant::now();
        while !self.is_ready().await {
            let ended = self.child.try_wait().expect("our own child");
            assert!(ended.is_none(), "ended with {ended:?} at its start:\n{}", self.log_tail());
            assert!(start.elapsed() < DEADLINE, "not ready in time:\n{}", self.log_tail());
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Runs its `healthcheck` command.
    pub async fn healthcheck(&self) -> Output {
        self.run(&["healthcheck"]).await
    }

    /// Runs one of its commands, with its settings.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        let settings: Vec<_> =
            self.settings.iter().map(|(name, value)| (&**name, &**value)).collect();
        let mut command = self.binary.command(self.folder.path(), &settings);
        command.args(arguments).output().await.expect("the binary starts")
    }

    async fn is_ready(&self) -> bool {
        match self.binary {
            _ if self.uses_tls() => self.healthcheck().await.status.success(),
            Binary::Rest | Binary::Worker => self.rest().ready().await,
            Binary::Grpc => self.grpc().ready().await,
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of {}'s log\n{}", self.binary.names().0, self.log_tail());
        }
    }
}

fn spawn(
    binary: Binary,
    settings: &[(String, String)],
    hosts: Option<&Path>,
    folder: &Path,
) -> Child {
    let settings: Vec<_> = settings.iter().map(|(name, value)| (&**name, &**value)).collect();
    let log = File::options().create(true).append(true).open(folder.join("service.log"));
    let log = log.expect("a log file in the temporary folder");
    let mut command = match hosts {
        None => binary.command(folder, &settings),
        Some(hosts) => binary.command_with_hosts(hosts, folder, &settings),
    };
    command.stdout(log.try_clone().expect("a second handle")).stderr(log);
    command.spawn().expect("the binary starts")
}

/// A free port, below the range of outgoing connections, so that it is still free when the service
/// is restarted.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 20_000 + std::process::id() % 100 * 100;
    loop {
        let offset = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(start + offset % 10_000).expect("below 65,536");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
