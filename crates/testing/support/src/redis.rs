//! Redis servers that a test process starts.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::command::send_signal;
use crate::port::free_port;
use crate::watcher::Watcher;

const INSTALL_HELP: &str = "this test needs Redis's or Valkey's server: on the PATH, in /usr/bin or in \
    /usr/sbin (Debian: apt-get install redis-server)";

/// For the start of a server, with what it loads.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Another process may take a free port before the server does.
const PORTS: usize = 5;

/// A server on 127.0.0.1 without persistence, with its files in a temporary folder. It ends when dropped, and
/// with this process in whatever way that ends.
#[derive(Debug)]
pub struct Redis {
    /// Before the folder, so that it is dropped first.
    watcher: Mutex<Option<Watcher>>,
    folder: TempDir,
    settings: Vec<String>,
    port: u16,
}

impl Redis {
    /// Starts a server.
    ///
    /// # Panics
    /// If none is installed, or it does not start.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a server with settings of its own, such as `["--maxmemory", "8mb"]`.
    ///
    /// # Panics
    /// As [`Redis::start`].
    pub fn with(settings: &[&str]) -> Self {
        for _ in 0..PORTS {
            let folder = tempfile::Builder::new().prefix("producer-test-redis").tempdir();
            let redis = Self {
                watcher: Mutex::default(),
                folder: folder.expect("a folder"),
                settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
                port: free_port(),
            };
            if redis.launch() {
                return redis;
            }
        }
        panic!("Redis does not start");
    }

    /// Starts a replica of this server, which has the same data as soon as it answers `PING`s of a client that
    /// waited for `master_link_status:up`.
    ///
    /// # Panics
    /// As [`Redis::start`].
    pub fn replica(&self) -> Self {
        Self::with(&["--replicaof", "127.0.0.1", &self.port.to_string()])
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its working folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills it (SIGKILL): what it had in memory is gone.
    ///
    /// # Panics
    /// If a thread panicked while it was being killed.
    pub fn kill(&self) {
        let watcher = self.watcher.lock().expect("not poisoned").take();
        drop(watcher);
    }

    /// Starts it again on its port after [`Redis::kill`], with what its folder has.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&self) {
        assert!(self.launch(), "Redis does not start again");
    }

    /// Stops it with SIGSTOP: connections stay open without an answer, and new ones are accepted by the
    /// kernel.
    ///
    /// # Panics
    /// If it does not run.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Ends [`Redis::freeze`].
    ///
    /// # Panics
    /// If it does not run.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = fs::read_to_string(self.pid_file()).expect("it runs");
        send_signal(signal, pid.trim());
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.path().join("redis.pid")
    }

    /// Whether it listens: the pid file is written behind that.
    fn launch(&self) -> bool {
        let _ = fs::remove_file(self.pid_file());
        let mut command: Vec<OsString> = vec![program().into()];
        command.extend(["--bind", "127.0.0.1", "--port"].map(OsString::from));
        command.push(self.port.to_string().into());
        command.extend(["--save", "", "--appendonly", "no", "--dir"].map(OsString::from));
        command.push(self.folder.path().into());
        command.push("--pidfile".into());
        command.push(self.pid_file().into());
        command.push("--logfile".into());
        command.push(self.folder.path().join("redis.log").into());
        command.extend(self.settings.iter().map(OsString::from));
        let arguments: Vec<_> = command.iter().map(OsString::as_os_str).collect();
        let watcher = Watcher::run(&arguments);
        let deadline = Instant::now() + START_TIMEOUT;
        while !(self.pid_file().exists() && self.answers()) {
            if self.port_is_taken() {
                return false;
            }
            assert!(Instant::now() < deadline, "Redis does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        *self.watcher.lock().expect("not poisoned") = Some(watcher);
        true
    }

    /// Whether it answers commands: not while it reads its data, but also where it wants a password first.
    fn answers(&self) -> bool {
        let mut answer = [0; 8];
        let mut ask = || -> std::io::Result<()> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(START_TIMEOUT))?;
            stream.write_all(b"PING\r\n")?;
            stream.read_exact(&mut answer[..7])
        };
        ask().is_ok() && !answer.starts_with(b"-LOADIN")
    }

    fn port_is_taken(&self) -> bool {
        let log = fs::read_to_string(self.folder.path().join("redis.log")).unwrap_or_default();
        log.contains("Address already in use")
    }
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let also = ["/usr/bin", "/usr/sbin", "/usr/local/bin"].map(PathBuf::from);
    let folders: Vec<_> = std::env::split_paths(&path).chain(also).collect();
    let names = ["redis-server", "valkey-server"];
    let mut files =
        names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    files.find(|file| file.is_file()).expect(INSTALL_HELP)
}
