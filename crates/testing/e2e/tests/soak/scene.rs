//! The services, their database, and what befalls them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::{Binary, Proxy, Service, Signal, Weather};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};
use test_support::{Postgres, SqliteFile};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::faults::{Blow, DatabaseFault, ServiceFault, Target};
use crate::senders::{HOT, Peers};

/// `SHUTDOWN_GRACE`, and slack.
const END: Duration = Duration::from_secs(30);
/// How often what is done again and again is done.
const AGAIN: Duration = Duration::from_millis(300);
const SLOW: Duration = Duration::from_millis(60);

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    Sqlite,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "PostgreSQL",
            Self::Sqlite => "SQLite",
        })
    }
}

enum Database {
    Postgres { server: Arc<Postgres>, proxy: Proxy },
    Sqlite(#[expect(dead_code, reason = "the file goes with it")] SqliteFile),
}

/// Both services on one database.
pub(crate) struct Scene {
    database: Database,
    /// Past the proxy.
    url: String,
    rest: Service,
    grpc: Service,
}

impl Scene {
    pub(crate) async fn new(kind: Kind) -> Self {
        let (database, url, through) = match kind {
            Kind::Postgres => {
                let server = Arc::new(spawn_blocking(Postgres::own).await.unwrap());
                let url = server.url("postgres");
                let (proxy, through) = Proxy::before(&url).await;
                (Database::Postgres { server, proxy }, url, through)
            }
            Kind::Sqlite => {
                let file = test_support::sqlite_file();
                let url = file.url();
                (Database::Sqlite(file), url.clone(), url)
            }
        };
        let (rest, grpc) = Service::start_both(&[("DATABASE_URL", &through)]).await;
        Self { database, url, rest, grpc }
    }

    /// The database's URL, past the proxy.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn peers(&self) -> Peers {
        Peers { rest: self.rest.rest(), grpc: self.grpc.grpc() }
    }

    /// Lets it happen, and sets right afterwards what doesn't come right by itself.
    pub(crate) async fn suffer(&mut self, blow: &Blow, entity_type: &str) {
        let database = async {
            match blow.database {
                Some(fault) => self.hurt(fault, blow.lasts, entity_type).await,
                None => sleep(blow.lasts).await,
            }
        };
        let service = async {
            sleep(blow.service_after).await;
            if let Some((fault, target)) = blow.service {
                self.signal(target, signal_of(fault));
                if fault == ServiceFault::Frozen {
                    // by the clock: a frozen writer holds its locks, which the other part waits for
                    sleep(blow.lasts.saturating_sub(blow.service_after)).await;
                    self.signal(target, Signal::CONT);
                }
            }
        };
        tokio::join!(database, service);
        if let Some((fault, target)) = blow.service
            && fault != ServiceFault::Frozen
        {
            self.revive(fault, target).await;
        }
    }

    /// Ends both in peace, and lets `rebuild` fold the log; returns what is wrong.
    pub(crate) async fn end(self) -> Option<String> {
        self.rest.stop().await;
        self.grpc.stop().await;
        let folder = tempfile::tempdir().unwrap();
        let settings = [("DATABASE_URL", &*self.url)];
        let mut rebuild = Binary::Rest.command(folder.path(), &settings);
        let output = rebuild.arg("rebuild").output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (!output.status.success()).then(|| format!("rebuild: {} {said}", output.status))
    }

    async fn hurt(&self, fault: DatabaseFault, lasts: Duration, entity_type: &str) {
        let Database::Postgres { server, proxy } = &self.database else {
            return self.hold_file(lasts).await;
        };
        match fault {
            DatabaseFault::Stopped => between(server, Postgres::stop, Postgres::start, lasts).await,
            DatabaseFault::Killed => between(server, Postgres::kill, Postgres::start, lasts).await,
            DatabaseFault::Frozen => between(server, Postgres::freeze, Postgres::thaw, lasts).await,
            DatabaseFault::Silent => {
                weather(proxy, Weather { silent: true, ..Weather::default() }, lasts).await;
            }
            DatabaseFault::Slow => {
                weather(proxy, Weather { latency: SLOW, ..Weather::default() }, lasts).await;
            }
            DatabaseFault::Resets => {
                let end = Instant::now() + lasts;
                while Instant::now() < end {
                    proxy.reset();
                    sleep(AGAIN).await;
                }
            }
            DatabaseFault::SessionsEnded => self.end_sessions(lasts).await,
            DatabaseFault::RowHeld => {
                let held = format!("entity_type = '{entity_type}' AND entity_id = '{HOT}0'");
                self.hold(&format!("SELECT FROM entities WHERE {held} FOR UPDATE"), lasts).await;
            }
            DatabaseFault::TableHeld => {
                self.hold("LOCK TABLE entities IN EXCLUSIVE MODE", lasts).await;
            }
            DatabaseFault::FileHeld => {}
        }
    }

    /// A foreign session that holds a lock.
    async fn hold(&self, lock: &str, lasts: Duration) {
        let mut session = PgConnection::connect(&self.url).await.unwrap();
        session.execute("BEGIN").await.unwrap();
        session.execute(AssertSqlSafe(lock.to_owned())).await.unwrap();
        sleep(lasts).await;
        session.execute("ROLLBACK").await.unwrap();
    }

    async fn end_sessions(&self, lasts: Duration) {
        let mut session = PgConnection::connect(&self.url).await.unwrap();
        let end = Instant::now() + lasts;
        while Instant::now() < end {
            let all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
            session.execute(all).await.unwrap();
            sleep(AGAIN).await;
        }
    }

    /// A foreign process that is in the midst of writing.
    async fn hold_file(&self, lasts: Duration) {
        let options: SqliteConnectOptions = self.url.parse().unwrap();
        let mut foreign = options.busy_timeout(END).connect().await.unwrap();
        foreign.execute("BEGIN IMMEDIATE").await.unwrap();
        sleep(lasts).await;
        foreign.execute("ROLLBACK").await.unwrap();
    }

    fn signal(&self, target: Target, signal: Signal) {
        if target != Target::Grpc {
            self.rest.signal(signal);
        }
        if target != Target::Rest {
            self.grpc.signal(signal);
        }
    }

    async fn revive(&mut self, fault: ServiceFault, target: Target) {
        let (rest, grpc) = (&mut self.rest, &mut self.grpc);
        let services = match target {
            Target::Rest => vec![rest],
            Target::Grpc => vec![grpc],
            Target::Both => vec![rest, grpc],
        };
        for service in services {
            let status = service.exit(END).await;
            let in_peace = fault == ServiceFault::Killed || status.success();
            assert!(in_peace, "{status} after SIGTERM:\n{}", service.log_tail());
            service.restart().await;
        }
    }
}

fn signal_of(fault: ServiceFault) -> Signal {
    match fault {
        ServiceFault::Killed => Signal::KILL,
        ServiceFault::Told => Signal::TERM,
        ServiceFault::Frozen => Signal::STOP,
    }
}

/// Does one thing to the server, and the other after a while, both off the runtime.
async fn between(
    server: &Arc<Postgres>,
    begin: fn(&Postgres),
    end: fn(&Postgres),
    lasts: Duration,
) {
    let act = async |act: fn(&Postgres)| {
        let server = Arc::clone(server);
        spawn_blocking(move || act(&server)).await.unwrap();
    };
    act(begin).await;
    sleep(lasts).await;
    act(end).await;
}

async fn weather(proxy: &Proxy, weather: Weather, lasts: Duration) {
    proxy.set(weather);
    sleep(lasts).await;
    proxy.set(Weather::default());
}
