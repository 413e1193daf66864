//! PostgreSQL servers and their databases.

use std::env::temp_dir;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::cluster::{self, Cluster};
use crate::container::Container;

const INSTALL_HELP: &str = "no PostgreSQL for the tests. Provide one of: TEST_DATABASE_URL \
    (a server that allows creating databases), server binaries on the PATH, in \
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
    /// The server that all tests of this process share: `TEST_DATABASE_URL`, else a new one, which
    /// ends with the process in whatever way.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var("TEST_DATABASE_URL") {
            Ok(url) if !url.is_empty() => Self::given(url),
            _ => Self::own(),
        })
    }

    /// An existing server, by the URL of one of its databases.
    pub fn given(url: impl Into<String>) -> Self {
        Self { server: Server::Given(url.into()) }
    }

    /// A new server, which the test may stop, freeze and kill. It ends when dropped.
    pub fn own() -> Self {
        let server = match cluster::binaries() {
            Some(binaries) => {
                Server::Own(Cluster::start(binaries, cluster::FOR_TESTS, &temp_dir(), None))
            }
            None => Server::Container(Container::start().expect(INSTALL_HELP)),
        };
        Self { server }
    }

    /// A new server with these settings (`name=value`) and PostgreSQL's defaults, for measurements.
    /// `None` if no server binaries are found.
    pub fn with_settings(settings: &'static [&'static str]) -> Option<Self> {
        let cluster = Cluster::start(cluster::binaries()?, settings, &temp_dir(), None);
        Some(Self { server: Server::Own(cluster) })
    }

    /// The process id of the postmaster; `None` for a given server and in a container.
    pub fn process(&self) -> Option<u32> {
        match &self.server {
            Server::Own(cluster) => cluster.postmaster().parse().ok(),
            Server::Container(_) | Server::Given(_) => None,
        }
    }

    /// The path of one of PostgreSQL's programs, such as `pgbench`; `None` if it isn't installed, for
    /// a given server, and in a container.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        match &self.server {
            Server::Own(cluster) => cluster.program(name),
            Server::Container(_) | Server::Given(_) => None,
        }
    }

    /// As [`Postgres::own`], with its data in `folder`. Needs server binaries.
    pub fn own_in(folder: &Path) -> Self {
        let binaries = cluster::binaries().expect(NEEDS_BINARIES);
        Self { server: Server::Own(Cluster::start(binaries, cluster::FOR_TESTS, folder, None)) }
    }

    /// As [`Postgres::own`], with its write-ahead log in `folder`, which is empty.
    pub fn own_with_wal_in(folder: &Path) -> Self {
        let binaries = cluster::binaries().expect(NEEDS_BINARIES);
        let server = Cluster::start(binaries, cluster::FOR_TESTS, &temp_dir(), Some(folder));
        Self { server: Server::Own(server) }
    }

    /// Starts a synchronous standby of this server.
    pub fn standby(&self) -> Self {
        let Server::Own(cluster) = &self.server else { panic!("{NEEDS_BINARIES}") };
        Self { server: Server::Own(cluster.standby()) }
    }

    /// Promotes a standby.
    pub fn promote(&self) {
        let Server::Own(cluster) = &self.server else { panic!("{NEEDS_BINARIES}") };
        cluster.promote();
    }

    /// Whether the postmaster runs.
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

    /// Creates a database with a random name, since tests on other machines may use the same server.
    /// It is dropped with the value.
    pub async fn fresh_database(&self) -> Database<'_> {
        let random = RandomState::new().hash_one(std::process::id());
        let name = format!("producer_test_{random:016x}");
        execute(&self.admin_url(), &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        Database { url: self.url(&name), name, server: self }
    }

    /// An existing database: the one of `TEST_DATABASE_URL`, else `postgres`.
    fn admin_url(&self) -> String {
        match &self.server {
            Server::Given(url) => url.clone(),
            _ => self.url("postgres"),
        }
    }

    /// Stops the server (fast shutdown, which closes connections).
    pub fn stop(&self) {
        match &self.server {
            Server::Own(cluster) => cluster.stop(),
            Server::Container(container) => container.run("stop"),
            Server::Given(_) => not_own(),
        }
    }

    /// Starts it again after [`Postgres::stop`] or [`Postgres::kill`].
    pub fn start(&self) {
        match &self.server {
            Server::Own(cluster) => cluster.launch(),
            Server::Container(container) => container.run("start"),
            Server::Given(_) => not_own(),
        }
    }

    /// Kills every process of the server at once (SIGKILL).
    pub fn kill(&self) {
        match &self.server {
            Server::Own(cluster) => cluster.signal("KILL"),
            Server::Container(container) => container.run("kill"),
            Server::Given(_) => not_own(),
        }
    }

    /// Stops every process of the server with SIGSTOP: connections stay open without a response.
    pub fn freeze(&self) {
        match &self.server {
            Server::Own(cluster) => cluster.signal("STOP"),
            Server::Container(container) => container.run("pause"),
            Server::Given(_) => not_own(),
        }
    }

    /// Ends [`Postgres::freeze`].
    pub fn thaw(&self) {
        match &self.server {
            Server::Own(cluster) => cluster.signal("CONT"),
            Server::Container(container) => container.run("unpause"),
            Server::Given(_) => not_own(),
        }
    }
}

fn not_own() -> ! {
    panic!("TEST_DATABASE_URL's server must not be stopped: the test needs Postgres::own()")
}

/// A test's own database.
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
        // other servers are removed with all their databases
        if !matches!(self.server.server, Server::Given(_)) {
            return;
        }
        let (admin, name) = (self.server.admin_url(), self.name.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            runtime
                .block_on(execute(&admin, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")));
        });
        if dropped.join().is_err() {
            eprintln!("the test database {} could not be dropped", self.name);
        }
    }
}

async fn execute(url: &str, sql: &str) {
    let options: PgConnectOptions = url.parse().expect("a URL of PostgreSQL");
    let mut connection = options.connect().await.expect("PostgreSQL for the tests answers");
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(&mut connection).await.expect("the statement succeeds");
    connection.close().await.expect("the connection closes");
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
    async fn databases_on_a_given_server_are_unique_and_dropped() {
        const COUNT: &str =
            "SELECT count(*)::text FROM pg_database WHERE datname LIKE 'producer_%'";
        let server = Postgres::own();
        let plain = server.url("postgres");
        for url in [plain.clone(), format!("{plain}?application_name=given")] {
            let given = Postgres::given(&url);
            let (one, other) = (given.fresh_database().await, given.fresh_database().await);
            assert_ne!(one.name(), other.name());
            assert_eq!(text(one.url(), "SELECT current_database()::text").await, one.name());
            assert_eq!(text(&plain, COUNT).await, "2");
            drop((one, other));
            assert_eq!(text(&plain, COUNT).await, "0");
        }
    }
}
