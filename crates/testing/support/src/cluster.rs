//! Servers that a test process starts.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::is_root;

pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The server's settings where a test doesn't bring its own: many small databases, none of which
/// has to outlive a crash of the machine.
pub(crate) const FOR_TESTS: &[&str] =
    &["fsync=off", "max_connections=200", "shared_buffers=64MB", "log_min_messages=fatal"];

/// The newest server binaries of this machine.
pub(crate) fn binaries() -> Option<PathBuf> {
    let server = |folder: &PathBuf| ["initdb", "postgres"].iter().all(|p| folder.join(p).is_file());
    folders().find(server)
}

/// Where PostgreSQL's programs may lie, the best place first.
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

/// A cluster in a temporary folder. A shell of its own watches a pipe from this process: when the
/// pipe breaks, because the cluster is dropped or the process is gone in whatever way, the shell
/// kills the server and removes the folder.
#[derive(Debug)]
pub(crate) struct Cluster {
    folder: TempDir,
    binaries: PathBuf,
    settings: &'static [&'static str],
    port: u16,
    watcher: Mutex<Child>,
}

// QUIT first: a server that is only killed leaves its shared memory behind.
const WATCH: &str = r#"
read -r _
pid=$(head -n 1 "$1/data/postmaster.pid") || exec rm -rf "$1"
all="$pid $(cat "/proc/$pid/task/$pid/children")"
kill -CONT $all
kill -QUIT "$pid"
for _ in $(seq 100); do
    [ -e "/proc/$pid/exe" ] || break # gone, or a zombie that no one has buried
    sleep 0.05
done
kill -KILL $all
rm -rf "$1"
"#;

/// Starts a shell with `script`, which waits until this process lets its pipe go.
pub(crate) fn watch(script: &str, what: &[&OsStr]) -> Child {
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "watch"]).args(what);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // Ctrl-C at a terminal is for this process; the watcher follows by its pipe
    shell.process_group(0);
    shell.spawn().expect("a shell")
}

/// Lets a watcher's pipe go, and waits for what it then does.
pub(crate) fn end(watcher: &Mutex<Child>) {
    let mut watcher = watcher.lock().expect("no one panicked with it");
    drop(watcher.stdin.take());
    watcher.wait().expect("the watcher ends");
}

impl Cluster {
    /// A new cluster in a folder of its own below `parent`; its write-ahead log lies in `wal`, an
    /// empty folder, where one is given.
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
        ok(initdb.arg("-D").arg(cluster.data()));
        cluster.launch();
        cluster
    }

    fn empty(binaries: PathBuf, settings: &'static [&'static str], parent: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("producer-test-pg").tempdir_in(parent);
        let folder = folder.expect("a folder");
        // the server's user must get to its data and its socket
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        let data = folder.path().join("data");
        fs::create_dir(&data).expect("a data folder");
        give_to_server(&data);
        let watcher = watch(WATCH, &[folder.path().as_os_str()]);
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        Self { folder, binaries, settings, port, watcher: Mutex::new(watcher) }
    }

    /// A cluster that follows this one, which from now on waits for it at each commit.
    pub(crate) fn standby(&self) -> Self {
        let standby = Self::empty(self.binaries.clone(), self.settings, &std::env::temp_dir());
        let port = self.port.to_string();
        ok(standby
            .command("pg_basebackup")
            .args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-c", "fast", "-R", "-D"])
            .arg(standby.data()));
        standby.launch();
        for statement in
            ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"]
        {
            ok(self.command("psql").args([
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
        ok(self.command("pg_ctl").args(["promote", "-w", "-D"]).arg(self.data()));
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

    /// Starts the server and waits until it answers.
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
        let seconds = PATIENCE.as_secs().to_string();
        ok(self
            .command("pg_ctl")
            .args(["start", "-w", "-t", &seconds, "-D"])
            .arg(self.data())
            .arg("-l")
            .arg(self.data().join("server.log"))
            .args(["-o", &options]));
    }

    /// The process that all others of the server stem from.
    pub(crate) fn postmaster(&self) -> String {
        let pid_file = fs::read_to_string(self.data().join("postmaster.pid")).expect("it runs");
        pid_file.lines().next().expect("a pid").to_owned()
    }

    /// One of PostgreSQL's programs: that of the server's release, else any.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        // the server's own may be links to where the others lie
        let real = self.binaries.join("postgres").canonicalize().ok();
        let real = real.and_then(|path| Some(path.parent()?.to_owned()));
        let folders = [Some(self.binaries.clone()), real].into_iter().flatten().chain(folders());
        folders.map(|folder| folder.join(name)).find(|path| path.is_file())
    }

    pub(crate) fn stop(&self) {
        ok(self.command("pg_ctl").args(["stop", "-m", "fast", "-w", "-D"]).arg(self.data()));
    }

    /// Signals the postmaster first, so that it can't start others, then all of its children.
    pub(crate) fn signal(&self, signal: &str) {
        let postmaster = self.postmaster();
        let children = children_of(&postmaster);
        kill(signal, &postmaster);
        for child in &children {
            kill(signal, child);
        }
        if signal == "KILL" {
            let deadline = Instant::now() + PATIENCE;
            let alive = || {
                children.iter().chain([&postmaster]).any(|pid| {
                    let state = fs::read_to_string(format!("/proc/{pid}/stat"));
                    state.is_ok_and(|state| !state.contains(") Z "))
                })
            };
            while alive() {
                assert!(Instant::now() < deadline, "the killed server is still there");
                std::thread::yield_now();
            }
            // where no one buries zombies they look alive to the next start
            for file in ["postmaster.pid".to_owned(), format!(".s.PGSQL.{}.lock", self.port)] {
                fs::remove_file(self.data().join(file)).expect("a killed server leaves its files");
            }
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// One of PostgreSQL's programs, as a user that isn't root.
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

impl Drop for Cluster {
    fn drop(&mut self) {
        end(&self.watcher);
    }
}

/// Makes a folder the server's own.
pub(crate) fn give_to_server(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("permissions");
    if is_root() {
        ok(Command::new("chown").arg(server_user()).arg(folder));
    }
}

pub(crate) fn server_user() -> &'static str {
    let there = Command::new("id").args(["-u", "postgres"]).output();
    if there.is_ok_and(|output| output.status.success()) { "postgres" } else { "nobody" }
}

fn children_of(pid: &str) -> Vec<String> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().map(str::to_owned).collect()
}

fn kill(signal: &str, pid: &str) {
    // a child may end by itself meanwhile
    let _ = Command::new("kill").args(["-s", signal, pid]).stderr(Stdio::null()).status();
}

/// Runs a program; its output goes into a file, since a server that it leaves behind keeps a pipe
/// open for ever.
fn ok(command: &mut Command) {
    let mut output = tempfile::tempfile().expect("a temporary file");
    let errors = output.try_clone().expect("a second handle");
    let stdout = output.try_clone().expect("a third handle");
    let status = command.stdin(Stdio::null()).stdout(stdout).stderr(errors).status();
    let status = status.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut text = String::new();
    if !status.success() {
        use std::io::{Read, Seek};
        output.rewind().expect("the output");
        output.read_to_string(&mut text).expect("the output");
    }
    assert!(status.success(), "{command:?} failed: {text}");
}

/// A server in a container, which ends as a [`Cluster`] does.
#[derive(Debug)]
pub(crate) struct Container {
    id: String,
    port: u16,
    watcher: Mutex<Child>,
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
        let watcher = Mutex::new(watch(WATCH_CONTAINER, &[id.as_ref()]));
        let container = Self { id, port, watcher };
        container.wait();
        Some(container)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn run(&self, verb: &str) {
        ok(Command::new("docker").args([verb, &self.id]));
        if verb == "start" {
            self.wait();
        }
    }

    /// Over TCP: while the image initialises, its server listens on a socket alone.
    fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        let ready = || {
            let ready = Command::new("docker")
                .args(["exec", &self.id, "pg_isready", "-h", "127.0.0.1"])
                .output();
            ready.is_ok_and(|output| output.status.success())
        };
        while !ready() {
            assert!(Instant::now() < deadline, "the container's server doesn't answer");
            std::thread::yield_now();
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        end(&self.watcher);
    }
}
