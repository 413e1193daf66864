//! PostgreSQL servers that a test process starts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::command::run_to_success;
use crate::port::free_port;
use crate::user::{give_to_server, is_root, server_user};
use crate::watcher::Watcher;

/// For the start and the end of a server.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Settings for tests: many small databases, without durability.
pub(crate) const FOR_TESTS: &[&str] =
    &["fsync=off", "max_connections=200", "shared_buffers=64MB", "log_min_messages=fatal"];

/// The newest server binaries of this machine.
pub(crate) fn binaries() -> Option<PathBuf> {
    let server = |folder: &PathBuf| ["initdb", "postgres"].iter().all(|p| folder.join(p).is_file());
    folders().find(server)
}

/// The folders where PostgreSQL's programs may be, in order of preference.
fn folders() -> impl Iterator<Item = PathBuf> {
    let named = std::env::var_os("PG_BIN_DIR").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<_> = std::env::split_paths(&path).collect();
    let mut packaged: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    packaged.sort_by_key(|folder| std::cmp::Reverse(release_of(folder)));
    named.into_iter().chain(on_path).chain(packaged)
}

fn release_of(bin: &Path) -> u32 {
    let release = bin.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    release.and_then(|name| name.parse().ok()).unwrap_or(0)
}

/// A cluster in a temporary folder. Its watcher stops the server and removes the folder.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// The first field, so that it is dropped before the folder.
    _watcher: Watcher,
    folder: TempDir,
    binaries: PathBuf,
    settings: &'static [&'static str],
    port: u16,
}

// QUIT first: a server that is killed leaves its shared memory behind.
const WATCH: &str = r#"
read -r _
pid=$(head -n 1 "$1/data/postmaster.pid") || exec rm -rf "$1"
all="$pid $(cat "/proc/$pid/task/$pid/children")"
kill -CONT $all
kill -QUIT "$pid"
for _ in $(seq 100); do
    [ -e "/proc/$pid/exe" ] || break # gone, or a zombie that nobody has waited for
    sleep 0.05
done
kill -KILL $all
rm -rf "$1"
"#;

impl Cluster {
    /// Starts a new cluster in a folder below `parent`. Its write-ahead log is in `wal`, an empty
    /// folder, if given.
    pub(crate) fn start(
        binaries: PathBuf,
        settings: &'static [&'static str],
        parent: &Path,
        wal: Option<&Path>,
    ) -> Self {
        let cluster = Self::empty(binaries, settings, parent);
        let mut initdb = cluster.command("initdb");
        initdb.args(["-N", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C"]);
        if let Some(wal) = wal {
            give_to_server(wal);
            initdb.arg("--wal-segsize=1").arg("--waldir").arg(wal);
        }
        run_to_success(initdb.arg("-D").arg(cluster.data()));
        cluster.launch();
        cluster
    }

    fn empty(binaries: PathBuf, settings: &'static [&'static str], parent: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("producer-test-pg").tempdir_in(parent);
        let folder = folder.expect("a folder");
        // the server's user needs access to its data and its socket
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        let data = folder.path().join("data");
        fs::create_dir(&data).expect("a data folder");
        give_to_server(&data);
        let watcher = Watcher::start(WATCH, &[folder.path().as_os_str()]);
        let port = free_port();
        Self { _watcher: watcher, folder, binaries, settings, port }
    }

    /// Starts a synchronous standby: from now on each commit waits for it.
    pub(crate) fn standby(&self) -> Self {
        let standby = Self::empty(self.binaries.clone(), self.settings, &std::env::temp_dir());
        let port = self.port.to_string();
        run_to_success(
            standby
                .command("pg_basebackup")
                .args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-c", "fast", "-R", "-D"])
                .arg(standby.data()),
        );
        standby.launch();
        for statement in
            ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"]
        {
            run_to_success(self.command("psql").args([
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-U",
                "postgres",
                "-c",
                statement,
            ]));
        }
        standby
    }

    pub(crate) fn promote(&self) {
        run_to_success(self.command("pg_ctl").args(["promote", "-w", "-D"]).arg(self.data()));
    }

    pub(crate) fn runs(&self) -> bool {
        let pid_file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let stat =
            pid_file.lines().next().map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")));
        stat.is_some_and(|stat| stat.is_ok_and(|stat| !stat.contains(") Z ")))
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Starts the server and waits until it accepts connections.
    pub(crate) fn launch(&self) {
        let mut options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={}",
            self.port,
            self.data().display()
        );
        for setting in self.settings {
            options.push_str(" -c ");
            options.push_str(setting);
        }
        let seconds = START_TIMEOUT.as_secs().to_string();
        run_to_success(
            self.command("pg_ctl")
                .args(["start", "-w", "-t", &seconds, "-D"])
                .arg(self.data())
                .arg("-l")
                .arg(self.data().join("server.log"))
                .args(["-o", &options]),
        );
    }

    /// The process id of the postmaster.
    pub(crate) fn postmaster(&self) -> String {
        let pid_file = fs::read_to_string(self.data().join("postmaster.pid")).expect("it runs");
        pid_file.lines().next().expect("a pid").to_owned()
    }

    /// One of PostgreSQL's programs: the one of the server's release, else any.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        // the server's binaries may be links into the folder of the others
        let real = self.binaries.join("postgres").canonicalize().ok();
        let real = real.and_then(|path| Some(path.parent()?.to_owned()));
        let folders = [Some(self.binaries.clone()), real].into_iter().flatten().chain(folders());
        folders.map(|folder| folder.join(name)).find(|path| path.is_file())
    }

    pub(crate) fn stop(&self) {
        run_to_success(
            self.command("pg_ctl").args(["stop", "-m", "fast", "-w", "-D"]).arg(self.data()),
        );
    }

    /// Signals the postmaster first, so that it can't start more children, then all of them.
    pub(crate) fn signal(&self, signal: &str) {
        let postmaster = self.postmaster();
        let children = children_of(&postmaster);
        kill(signal, &postmaster);
        for child in &children {
            kill(signal, child);
        }
        if signal == "KILL" {
            let deadline = Instant::now() + START_TIMEOUT;
            let alive = || {
                children.iter().chain([&postmaster]).any(|pid| {
                    let state = fs::read_to_string(format!("/proc/{pid}/stat"));
                    state.is_ok_and(|state| !state.contains(") Z "))
                })
            };
            while alive() {
                assert!(Instant::now() < deadline, "the killed server still runs");
                std::thread::yield_now();
            }
            // zombies that nobody waits for would look alive to the next start
            for file in ["postmaster.pid".to_owned(), format!(".s.PGSQL.{}.lock", self.port)] {
                fs::remove_file(self.data().join(file)).expect("a killed server leaves its files");
            }
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A command for one of PostgreSQL's programs, as a user other than root.
    fn command(&self, program: &str) -> Command {
        let program = self.program(program).unwrap_or_else(|| self.binaries.join(program));
        let mut command = if is_root() {
            let user = server_user();
            let mut command = Command::new("setpriv");
            command.arg(format!("--reuid={user}")).args(["--clear-groups", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.folder.path()).env_remove("PGDATA");
        command
    }
}

fn children_of(pid: &str) -> Vec<String> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().map(str::to_owned).collect()
}

fn kill(signal: &str, pid: &str) {
    // a child may have ended by itself
    let _ = Command::new("kill").args(["-s", signal, pid]).stderr(Stdio::null()).status();
}
