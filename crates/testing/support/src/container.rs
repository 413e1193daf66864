//! PostgreSQL in a container, where there are no server binaries.

use std::net::TcpListener;
use std::process::Command;
use std::time::Instant;

use crate::cluster::START_TIMEOUT;
use crate::command::run_to_success;
use crate::watcher::Watcher;

/// A server in a container, which is removed with this value or at the end of this process.
#[derive(Debug)]
pub(crate) struct Container {
    _watcher: Watcher,
    id: String,
    port: u16,
}

const WATCH_CONTAINER: &str = r#"read -r _; exec docker rm --force --volumes "$1""#;

impl Container {
    pub(crate) fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let publish = format!("127.0.0.1:{port}:5432");
        let output = Command::new("docker")
            .args(["run", "--detach", "--rm=false", "--publish", &publish])
            .args(["--env", "POSTGRES_PASSWORD=postgres", "postgres:17"])
            .args(["-c", "fsync=off", "-c", "max_connections=200"])
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        let id = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        let watcher = Watcher::start(WATCH_CONTAINER, &[id.as_ref()]);
        let container = Self { _watcher: watcher, id, port };
        container.wait();
        Some(container)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn run(&self, verb: &str) {
        run_to_success(Command::new("docker").args([verb, &self.id]));
        if verb == "start" {
            self.wait();
        }
    }

    /// Waits for TCP: during its initialisation the server listens only on a socket.
    fn wait(&self) {
        let deadline = Instant::now() + START_TIMEOUT;
        let ready = || {
            let ready = Command::new("docker")
                .args(["exec", &self.id, "pg_isready", "-h", "127.0.0.1"])
                .output();
            ready.is_ok_and(|output| output.status.success())
        };
        while !ready() {
            assert!(Instant::now() < deadline, "the server in the container doesn't respond");
            std::thread::yield_now();
        }
    }
}
