//! PgBouncer in front of a server.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use tempfile::TempDir;

use crate::cluster::START_TIMEOUT;
use crate::port::free_port;
use crate::postgres::Postgres;
use crate::user::{give_to_server, is_root, server_user};
use crate::watcher::Watcher;

const INSTALL_HELP: &str = "this test needs PgBouncer: on the PATH or in /usr/sbin (Debian: \
    apt-get install pgbouncer)";

/// PgBouncer in transaction mode, for all databases of a server. It ends when dropped.
#[derive(Debug)]
pub struct PgBouncer {
    watcher: Mutex<Option<Watcher>>,
    folder: TempDir,
    port: u16,
    user: String,
}

impl PgBouncer {
    /// Starts it in front of `server`; `settings` are further lines of its file (`name = value`).
    ///
    /// # Panics
    /// If it isn't installed.
    pub fn before(server: &Postgres, settings: &[&str]) -> Self {
        let url = server.url("any");
        let (user, host, port) = authority(&url);
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        let folder = tempfile::Builder::new().prefix("producer-test-pgbouncer").tempdir();
        let folder = folder.expect("a folder");
        let own_port = free_port();
        let users_file = folder.path().join("users.txt");
        let users_file = users_file.display();
        let configuration = format!(
            "[databases]\n* = host={host} port={port}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {own_port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {users_file}\npool_mode = transaction\ndefault_pool_size = 2\n\
             max_client_conn = 1000\nserver_idle_timeout = 5\nserver_login_retry = 1\n{}\n",
            settings.join("\n")
        );
        let users = format!("\"{user}\" \"{password}\"\n");
        for (file, text) in [("pgbouncer.ini", configuration), ("users.txt", users)] {
            fs::write(folder.path().join(file), text).expect("its settings");
        }
        give_to_server(folder.path());
        // the server's user needs access
        let readable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), readable).expect("permissions");
        let bouncer =
            Self { watcher: Mutex::default(), folder, port: own_port, user: user.to_owned() };
        bouncer.start();
        bouncer
    }

    /// The URL of one of the server's databases through PgBouncer.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{}@127.0.0.1:{}/{database}", self.user, self.port)
    }

    /// Kills it, which closes every connection.
    pub fn kill(&self) {
        let watcher = self.watcher.lock().expect("not poisoned").take();
        drop(watcher);
    }

    /// Starts it again after [`PgBouncer::kill`].
    ///
    /// # Panics
    /// If it doesn't start to listen.
    pub fn start(&self) {
        let program = program();
        let configuration = self.folder.path().join("pgbouncer.ini");
        let mut command: Vec<&OsStr> = Vec::new();
        let user = format!("--reuid={}", server_user());
        if is_root() {
            command.extend(["setpriv", &user, "--clear-groups", "--"].map(OsStr::new));
        }
        command.extend([program.as_os_str(), "-q".as_ref(), configuration.as_os_str()]);
        let watcher = Watcher::run(&command);
        *self.watcher.lock().expect("not poisoned") = Some(watcher);
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "PgBouncer doesn't listen");
            std::thread::yield_now();
        }
    }
}

/// User with password, host and port of a URL.
fn authority(url: &str) -> (&str, &str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, _) = rest.split_once('/').expect("a URL names its database");
    let (user, place) = authority.rsplit_once('@').expect("a URL names its user");
    let (host, port) = place.rsplit_once(':').unwrap_or((place, "5432"));
    (user, host, port)
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([Path::new("/usr/sbin").to_owned()]);
    let found = folders.map(|folder| folder.join("pgbouncer")).find(|file| file.is_file());
    found.expect(INSTALL_HELP)
}
