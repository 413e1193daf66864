//! The services, their database, and the injection of faults.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use producer_e2e::{Binary, NetworkConditions, Proxy, Service, Signal};
use producer_test_support::{Postgres, SqliteFile};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::faults::{DatabaseFault, Injection, ServiceFault, Target};
use crate::senders::{HOT_PREFIX, Peers};

/// `SHUTDOWN_GRACE`, plus slack.
const END_TIMEOUT: Duration = Duration::from_secs(30);
/// The interval of repeated faults.
const REPEAT_INTERVAL: Duration = Duration::from_millis(300);
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
    Sqlite(#[expect(dead_code, reason = "the file is removed with it")] SqliteFile),
}

/// Both services on one database.
pub(crate) struct Environment {
    database: Database,
    /// Without the proxy.
    url: String,
    rest: Service,
    grpc: Service,
}

impl Environment {
    pub(crate) async fn new(kind: Kind) -> Self {
        let (database, url, through) = match kind {
            Kind::Postgres => {
                let server = Arc::new(spawn_blocking(Postgres::own).await.unwrap());
                let url = server.url("postgres");
                let (proxy, through) = Proxy::for_database(&url).await;
                (Database::Postgres { server, proxy }, url, through)
            }
            Kind::Sqlite => {
                let file = producer_test_support::sqlite_file();
                let url = file.url();
                (Database::Sqlite(file), url.clone(), url)
            }
        };
        let (rest, grpc) = Service::start_both(&[("DATABASE_URL", &through)]).await;
        Self { database, url, rest, grpc }
    }

    /// The database's URL, without the proxy.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn peers(&self) -> Peers {
        Peers { rest: self.rest.rest(), grpc: self.grpc.grpc() }
    }

    /// Injects the faults, and restarts services that have ended.
    pub(crate) async fn inject(&mut self, injection: &Injection, entity_type: &str) {
        let database = async {
            match injection.database {
                Some(fault) => {
                    self.inject_database_fault(fault, injection.duration, entity_type).await
                }
                None => sleep(injection.duration).await,
            }
        };
        let service = async {
            sleep(injection.service_after).await;
            if let Some((fault, target)) = injection.service {
                self.signal(target, signal_for(fault));
                if fault == ServiceFault::Frozen {
                    // by time: a frozen writer holds locks that the database's fault may wait for
                    sleep(injection.duration.saturating_sub(injection.service_after)).await;
                    self.signal(target, Signal::CONT);
                }
            }
        };
        tokio::join!(database, service);
        if let Some((fault, target)) = injection.service
            && fault != ServiceFault::Frozen
        {
            self.restart_service(fault, target).await;
        }
    }

    /// Stops both services and runs `rebuild`, which compares the states with the log; returns its
    /// differences.
    pub(crate) async fn end(self) -> Option<String> {
        self.rest.stop().await;
        self.grpc.stop().await;
        let folder = tempfile::tempdir().unwrap();
        let settings = [("DATABASE_URL", &*self.url)];
        let mut rebuild = Binary::Rest.command(folder.path(), &settings);
        let output = rebuild.arg("rebuild").output().await.unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        (!output.status.success()).then(|| format!("rebuild: {} {printed}", output.status))
    }

    async fn inject_database_fault(
        &self,
        fault: DatabaseFault,
        duration: Duration,
        entity_type: &str,
    ) {
        let Database::Postgres { server, proxy } = &self.database else {
            return self.lock_file(duration).await;
        };
        match fault {
            DatabaseFault::Stopped => {
                begin_and_end(server, Postgres::stop, Postgres::start, duration).await
            }
            DatabaseFault::Killed => {
                begin_and_end(server, Postgres::kill, Postgres::start, duration).await
            }
            DatabaseFault::Frozen => {
                begin_and_end(server, Postgres::freeze, Postgres::thaw, duration).await
            }
            DatabaseFault::Stalled => {
                set_conditions(proxy, NetworkConditions::stalled(), duration).await;
            }
            DatabaseFault::Slow => {
                set_conditions(proxy, NetworkConditions::slow(SLOW), duration).await;
            }
            DatabaseFault::Resets => {
                let end = Instant::now() + duration;
                while Instant::now() < end {
                    proxy.reset();
                    sleep(REPEAT_INTERVAL).await;
                }
            }
            DatabaseFault::SessionsEnded => self.end_sessions(duration).await,
            DatabaseFault::RowLocked => {
                let row = format!("entity_type = '{entity_type}' AND entity_id = '{HOT_PREFIX}0'");
                self.lock(&format!("SELECT FROM entities WHERE {row} FOR UPDATE"), duration).await;
            }
            DatabaseFault::TableLocked => {
                self.lock("LOCK TABLE entities IN EXCLUSIVE MODE", duration).await;
            }
            DatabaseFault::FileLocked => {}
        }
    }

    /// Takes a lock in another session.
    async fn lock(&self, lock: &str, duration: Duration) {
        let mut session = PgConnection::connect(&self.url).await.unwrap();
        session.execute("BEGIN").await.unwrap();
        session.execute(AssertSqlSafe(lock.to_owned())).await.unwrap();
        sleep(duration).await;
        session.execute("ROLLBACK").await.unwrap();
    }

    async fn end_sessions(&self, duration: Duration) {
        let mut session = PgConnection::connect(&self.url).await.unwrap();
        let end = Instant::now() + duration;
        while Instant::now() < end {
            let all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
            session.execute(all).await.unwrap();
            sleep(REPEAT_INTERVAL).await;
        }
    }

    /// Keeps a write transaction open on another connection.
    async fn lock_file(&self, duration: Duration) {
        let options: SqliteConnectOptions = self.url.parse().unwrap();
        let mut other = options.busy_timeout(END_TIMEOUT).connect().await.unwrap();
        other.execute("BEGIN IMMEDIATE").await.unwrap();
        sleep(duration).await;
        other.execute("ROLLBACK").await.unwrap();
    }

    fn signal(&self, target: Target, signal: Signal) {
        if target != Target::Grpc {
            self.rest.signal(signal);
        }
        if target != Target::Rest {
            self.grpc.signal(signal);
        }
    }

    async fn restart_service(&mut self, fault: ServiceFault, target: Target) {
        let (rest, grpc) = (&mut self.rest, &mut self.grpc);
        let services = match target {
            Target::Rest => vec![rest],
            Target::Grpc => vec![grpc],
            Target::Both => vec![rest, grpc],
        };
        for service in services {
            let status = service.exit(END_TIMEOUT).await;
            let expected = fault == ServiceFault::Killed || status.success();
            assert!(expected, "{status} after SIGTERM:\n{}", service.log_tail());
            service.restart().await;
        }
    }
}

fn signal_for(fault: ServiceFault) -> Signal {
    match fault {
        ServiceFault::Killed => Signal::KILL,
        ServiceFault::Terminated => Signal::TERM,
        ServiceFault::Frozen => Signal::STOP,
    }
}

/// Calls `begin`, and `end` after the duration, both on blocking threads.
async fn begin_and_end(
    server: &Arc<Postgres>,
    begin: fn(&Postgres),
    end: fn(&Postgres),
    duration: Duration,
) {
    let act = async |act: fn(&Postgres)| {
        let server = Arc::clone(server);
        spawn_blocking(move || act(&server)).await.unwrap();
    };
    act(begin).await;
    sleep(duration).await;
    act(end).await;
}

async fn set_conditions(proxy: &Proxy, conditions: NetworkConditions, duration: Duration) {
    proxy.set(conditions);
    sleep(duration).await;
    proxy.set(NetworkConditions::default());
}
