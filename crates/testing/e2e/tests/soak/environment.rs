//! The services, their database, and the injection of faults.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
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
pub(crate) const END_TIMEOUT: Duration = Duration::from_secs(30);
/// The interval of repeated faults.
const REPEAT_INTERVAL: Duration = Duration::from_millis(300);
const SLOW: Duration = Duration::from_millis(60);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

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
    Postgres { server: Mutex<Arc<Postgres>>, proxy: Proxy },
    Sqlite(#[expect(dead_code, reason = "the file is removed with it")] SqliteFile),
}

/// The services on one database.
pub(crate) struct Environment {
    database: Database,
    url: DatabaseUrl,
    /// The same through the proxy, whichever server has the database.
    through: String,
    /// REST and gRPC in turn. The first of each get the events.
    services: Vec<Service>,
}

/// The database's URL, without the proxy; another one after a failover.
#[derive(Debug, Clone)]
pub(crate) struct DatabaseUrl(Arc<Mutex<String>>);

impl DatabaseUrl {
    pub(crate) fn get(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

/// Where the services are.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    pub(crate) rest: Vec<SocketAddr>,
    pub(crate) grpc: Vec<SocketAddr>,
}

impl Environment {
    pub(crate) async fn new(kind: Kind) -> Self {
        let (database, url, through) = match kind {
            Kind::Postgres => {
                let server = Arc::new(spawn_blocking(Postgres::own).await.unwrap());
                let url = server.url("postgres");
                let (proxy, through) = Proxy::for_database(&url).await;
                (Database::Postgres { server: Mutex::new(server), proxy }, url, through)
            }
            Kind::Sqlite => {
                let file = producer_test_support::sqlite_file();
                let url = file.url();
                (Database::Sqlite(file), url.clone(), url)
            }
        };
        let mut services = Vec::new();
        // an SQLite file has two processes, since each more of them makes writers wait longer
        for _ in 0..if kind == Kind::Postgres { 2 } else { 1 } {
            let both = Service::start_both(&[("DATABASE_URL", &through)]).await;
            services.extend(<[Service; 2]>::from(both));
        }
        Self { database, url: DatabaseUrl(Arc::new(Mutex::new(url))), through, services }
    }

    /// The database's URL, without the proxy.
    pub(crate) fn url(&self) -> DatabaseUrl {
        self.url.clone()
    }

    /// The database's URL through the proxy.
    pub(crate) fn through(&self) -> &str {
        &self.through
    }

    pub(crate) fn peers(&self) -> Peers {
        Peers { rest: self.services[0].rest(), grpc: self.services[1].grpc() }
    }

    pub(crate) fn addresses(&self) -> Addresses {
        let every_second =
            |first| self.services.iter().skip(first).step_by(2).map(Service::address).collect();
        Addresses { rest: every_second(0), grpc: every_second(1) }
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
            self.restart_services(fault, target).await;
        }
    }

    /// Stops the services and runs `rebuild`, which compares the states with the log; returns its
    /// differences.
    pub(crate) async fn end(self) -> Option<String> {
        for service in self.services {
            service.stop().await;
        }
        let folder = tempfile::tempdir().unwrap();
        let url = self.url.get();
        let settings = [("DATABASE_URL", &*url)];
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
        let Database::Postgres { server: current, proxy } = &self.database else {
            return self.lock_file(duration).await;
        };
        let server = Arc::clone(&current.lock().unwrap());
        match fault {
            DatabaseFault::Stopped => {
                begin_and_end(&server, Postgres::stop, Postgres::start, duration).await
            }
            DatabaseFault::Killed => {
                begin_and_end(&server, Postgres::kill, Postgres::start, duration).await
            }
            DatabaseFault::Frozen => {
                begin_and_end(&server, Postgres::freeze, Postgres::thaw, duration).await
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
            DatabaseFault::FailedOver => {
                let standby = fail_over(&server, duration).await;
                let url = standby.url("postgres");
                proxy.set_database(&url).await;
                *self.url.0.lock().unwrap() = url;
                *current.lock().unwrap() = standby;
                spawn_blocking(move || drop(server)).await.unwrap();
            }
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
        let mut session = PgConnection::connect(&self.url.get()).await.unwrap();
        session.execute("BEGIN").await.unwrap();
        session.execute(AssertSqlSafe(lock.to_owned())).await.unwrap();
        sleep(duration).await;
        session.execute("ROLLBACK").await.unwrap();
    }

    async fn end_sessions(&self, duration: Duration) {
        let mut session = PgConnection::connect(&self.url.get()).await.unwrap();
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
        let options: SqliteConnectOptions = self.url.get().parse().unwrap();
        let mut other = options.busy_timeout(END_TIMEOUT).connect().await.unwrap();
        other.execute("BEGIN IMMEDIATE").await.unwrap();
        sleep(duration).await;
        other.execute("ROLLBACK").await.unwrap();
    }

    fn signal(&self, target: Target, signal: Signal) {
        self.services[target.services()].iter().for_each(|service| service.signal(signal));
    }

    async fn restart_services(&mut self, fault: ServiceFault, target: Target) {
        for service in &mut self.services[target.services()] {
            let status = service.exit(END_TIMEOUT).await;
            let expected = fault == ServiceFault::Killed || status.success();
            assert!(expected, "{status} after SIGTERM:\n{}", service.log_tail());
            service.restart().await;
        }
    }
}

pub(crate) fn signal_for(fault: ServiceFault) -> Signal {
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
    act_on(server, begin).await;
    sleep(duration).await;
    act_on(server, end).await;
}

async fn act_on(server: &Arc<Postgres>, act: fn(&Postgres)) {
    let server = Arc::clone(server);
    spawn_blocking(move || act(&server)).await.unwrap();
}

/// Starts a synchronous standby, kills the server, and promotes the standby after the duration.
async fn fail_over(primary: &Arc<Postgres>, duration: Duration) -> Arc<Postgres> {
    let server = Arc::clone(primary);
    let standby = spawn_blocking(move || Arc::new(server.standby())).await.unwrap();
    wait_until_synchronous(&primary.url("postgres")).await;
    act_on(primary, Postgres::kill).await;
    sleep(duration).await;
    act_on(&standby, Postgres::promote).await;
    standby
}

/// Waits until each commit waits for the standby, and the standby has all earlier ones.
async fn wait_until_synchronous(url: &str) {
    const BEHIND: &str = "SELECT count(*) = 0 FROM pg_stat_replication \
                          WHERE sync_state = 'sync' AND flush_lsn >= $1::pg_lsn";
    let mut session = PgConnection::connect(url).await.unwrap();
    let mut is_behind = async |position: &str| -> bool {
        sqlx::query_scalar(BEHIND).bind(position).fetch_one(&mut session).await.unwrap()
    };
    while is_behind("0/0").await {
        sleep(POLL_INTERVAL).await;
    }
    let mut other = PgConnection::connect(url).await.unwrap();
    // writers know it from the checkpointer, which reads its new setting before it answers
    other.execute("CHECKPOINT").await.unwrap();
    let position = sqlx::query_scalar("SELECT pg_current_wal_flush_lsn()::text");
    let position: String = position.fetch_one(&mut other).await.unwrap();
    while is_behind(&position).await {
        sleep(POLL_INTERVAL).await;
    }
}

async fn set_conditions(proxy: &Proxy, conditions: NetworkConditions, duration: Duration) {
    proxy.set(conditions);
    sleep(duration).await;
    proxy.set(NetworkConditions::default());
}
