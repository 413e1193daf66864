//! Databases for tests: a throw-away PostgreSQL for each test process, one of a test's own that may
//! be stopped, frozen or killed, PgBouncer before it, and SQLite files. Never a database that a test didn't name itself.
#![expect(clippy::expect_used, reason = "a test that has no database must fail, loudly")]
#![expect(clippy::panic, reason = "a test that has no database must fail, loudly")]

pub mod cases;
mod cluster;
mod pgbouncer;

use std::env::temp_dir;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use cluster::{Cluster, Container};
pub use pgbouncer::PgBouncer;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};

const HOW_TO_GET_ONE: &str = "no PostgreSQL for the tests. Any of these will do: TEST_DATABASE_URL \
    (a server where databases may be created), server binaries on the PATH, in \
    /usr/lib/postgresql/*/bin or in PG_BIN_DIR (Debian: apt-get install postgresql), or docker.";

const NEEDS_BINARIES: &str = "this test needs PostgreSQL's server binaries: on the PATH, in \
    /usr/lib/postgresql/*/bin or in PG_BIN_DIR (Debian: apt-get install postgresql)";

/// A PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
}

#[derive(Debug)]
enum Server {
    Given(String),
    Own(Cluster),
    Container(Container),
}

impl Postgres {
    /// The server that all tests of this process share: `TEST_DATABASE_URL`, else one of its own.
    /// It ends with the process, however that ends.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var("TEST_DATABASE_URL") {
            Ok(url) if !url.is_empty() => Self::given(url),
            _ => Self::own(),
        })
    }

    /// A server that is there already, by the URL of one of its databases.
    pub fn given(url: impl Into<String>) -> Self {
        Self { server: Server::Given(url.into()) }
    }

    /// A server of the test's own, which it may stop, freeze and kill. It ends when dropped.
    pub fn own() -> Self {
        let server = match cluster::binaries() {
            Some(binaries) => {
                Server::Own(Cluster::start(binaries, cluster::FOR_TESTS, &temp_dir(), None))
            }
            None => Server::Container(Container::start().expect(HOW_TO_GET_ONE)),
        };
        Self { server }
    }

    /// A server from binaries of this machine, with PostgreSQL's defaults but for these settings
    /// (`name=value`): for measurements. `None` where no binaries are found.
    pub fn with_settings(settings: &'static [&'static str]) -> Option<Self> {
        let cluster = Cluster::start(cluster::binaries()?, settings, &temp_dir(), None);
        Some(Self { server: Server::Own(cluster) })
    }

    /// The id of the process that all others of the server stem from; `None` where the server isn't
    /// one of this machine's binaries.
    pub fn process(&self) -> Option<u32> {
        match &self.server {
            Server::Own(cluster) => cluster.postmaster().parse().ok(),
            Server::Container(_) | Server::Given(_) => None,
        }
    }

    /// Where one of the programs that come with PostgreSQL lies, `pgbench` for instance; `None`
    /// where it isn't installed, or the server isn't one of this machine's binaries.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        match &self.server {
            Server::Own(cluster) => cluster.program(name),
            Server::Container(_) | Server::Given(_) => None,
        }
    }

    /// As [`Postgres::own`], with all of its data in `folder`, which only server binaries can do.
    pub fn own_in(folder: &Path) -> Self {
        let binaries = cluster::binaries().expect(NEEDS_BINARIES);
        Self { server: Server::Own(Cluster::start(binaries, cluster::FOR_TESTS, folder, None)) }
    }

    /// As [`Postgres::own_in`], with its write-ahead log alone in `folder`, which is empty.
    pub fn own_with_wal_in(folder: &Path) -> Self {
        let binaries = cluster::binaries().expect(NEEDS_BINARIES);
        let server = Cluster::start(binaries, cluster::FOR_TESTS, &temp_dir(), Some(folder));
        Self { server: Server::Own(server) }
    }

    /// A second server that follows this one: what is committed here is there, until
    /// [`Postgres::promote`] lets it take over.
    pub fn standby(&self) -> Self {
        let Server::Own(cluster) = &self.server else { panic!("{NEEDS_BINARIES}") };
        Self { server: Server::Own(cluster.standby()) }
    }

    /// Lets a standby take over.
    pub fn promote(&self) {
        let Server::Own(cluster) = &self.server else { panic!("{NEEDS_BINARIES}") };
        cluster.promote();
    }

    /// Whether the server's main process lives.
    pub fn runs(&self) -> bool {
        let Server::Own(cluster) = &self.server else { panic!("{NEEDS_BINARIES}") };
        cluster.runs()
    }

    /// The URL of one of the server's databases.
    pub fn url(&self, database: &str) -> String {
        match &self.server {
            Server::Given(url) => {
                let (base, query) = url.split_once('?').unwrap_or((url, ""));
                let authority = base.find("://").map_or(0, |at| at + 3);
                let end = base[authority..].find('/').map_or(base.len(), |at| authority + at);
                format!("{}/{database}?{query}", &base[..end])
            }
            Server::Own(cluster) => {
                format!("postgres://postgres@127.0.0.1:{}/{database}", cluster.port())
            }
            Server::Container(container) => {
                format!("postgres://postgres:postgres@127.0.0.1:{}/{database}", container.port())
            }
        }
    }

    /// Creates a database with a name that no one else uses, no other machine either whose tests
    /// run on the same server; it is dropped with the value.
    pub async fn fresh_database(&self) -> Database<'_> {
        let random = RandomState::new().hash_one(std::process::id());
        let name = format!("producer_test_{random:016x}");
        run(&self.admin(), &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        Database { url: self.url(&name), name, server: self }
    }

    /// A database that every server has: the one of `TEST_DATABASE_URL`, else `postgres`.
    fn admin(&self) -> String {
        match &self.server {
            Server::Given(url) => url.clone(),
            _ => self.url("postgres"),
        }
    }

    /// Stops the server as an operator would, cutting connections off.
    pub fn stop(&self) {
        match &self.server {
            Server::Own(cluster) => cluster.stop(),
            Server::Container(container) => container.run("stop"),
            Server::Given(_) => not_ours(),
        }
    }

    /// Starts it again after [`Postgres::stop`] or [`Postgres::kill`].
    pub fn start(&self) {
        match &self.server {
            Server::Own(cluster) => cluster.launch(),
            Server::Container(container) => container.run("start"),
            Server::Given(_) => not_ours(),
        }
    }

    /// Kills every process of the server at once (SIGKILL).
    pub fn kill(&self) {
        match &self.server {
            Server::Own(cluster) => cluster.signal("KILL"),
            Server::Container(container) => container.run("kill"),
            Server::Given(_) => not_ours(),
        }
    }

    /// Lets every process of the server stand still: connections stay open and silent.
    pub fn freeze(&self) {
        match &self.server {
            Server::Own(cluster) => cluster.signal("STOP"),
            Server::Container(container) => container.run("pause"),
            Server::Given(_) => not_ours(),
        }
    }

    /// Ends [`Postgres::freeze`].
    pub fn thaw(&self) {
        match &self.server {
            Server::Own(cluster) => cluster.signal("CONT"),
            Server::Container(container) => container.run("unpause"),
            Server::Given(_) => not_ours(),
        }
    }
}

fn not_ours() -> ! {
    panic!("TEST_DATABASE_URL's server is not ours to stop: the test needs Postgres::own()")
}

/// A database that a test has for itself.
#[derive(Debug)]
pub struct Database<'s> {
    name: String,
    url: String,
    server: &'s Postgres,
}

impl Database<'_> {
    /// Its URL, as in `DATABASE_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        // a cluster of ours goes away as a whole
        if !matches!(self.server.server, Server::Given(_)) {
            return;
        }
        let (admin, name) = (self.server.admin(), self.name.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            runtime.block_on(run(&admin, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")));
        });
        if dropped.join().is_err() {
            eprintln!("the test database {} could not be dropped", self.name);
        }
    }
}

async fn run(url: &str, sql: &str) {
    let options: PgConnectOptions = url.parse().expect("a URL of PostgreSQL");
    let mut connection = options.connect().await.expect("PostgreSQL for the tests answers");
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(&mut connection).await.expect("a database of our own");
    connection.close().await.expect("the connection closes");
}

/// A folder of a test's own, with the name of an SQLite file in it that isn't there yet.
#[derive(Debug)]
pub struct SqliteFile {
    folder: tempfile::TempDir,
}

/// An SQLite file; it goes with the value.
pub fn sqlite_file() -> SqliteFile {
    SqliteFile { folder: tempfile::tempdir().expect("a temporary folder") }
}

impl SqliteFile {
    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("producer.db")
    }

    /// Its URL, as in `DATABASE_URL`.
    pub fn url(&self) -> String {
        format!("sqlite://{}", self.path().display())
    }
}

/// Whether this process is root, which PostgreSQL refuses to run as.
pub fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(url: &str, sql: &'static str) -> String {
        let options: PgConnectOptions = url.parse().expect("a URL");
        let mut connection = options.connect().await.expect("a connection");
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect("an answer")
    }

    #[tokio::test]
    async fn a_given_server_gets_databases_of_ours_and_keeps_none() {
        const OURS: &str = "SELECT count(*)::text FROM pg_database WHERE datname LIKE 'producer_%'";
        let server = Postgres::own();
        let plain = server.url("postgres");
        for url in [plain.clone(), format!("{plain}?application_name=given")] {
            let given = Postgres::given(&url);
            let (one, other) = (given.fresh_database().await, given.fresh_database().await);
            assert_ne!(one.name(), other.name());
            assert_eq!(text(one.url(), "SELECT current_database()::text").await, one.name());
            assert_eq!(text(&plain, OURS).await, "2");
            drop((one, other));
            assert_eq!(text(&plain, OURS).await, "0");
        }
    }
}
