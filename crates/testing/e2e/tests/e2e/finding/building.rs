//! How far building is, as the database says, and what keeps it from its end.

use std::time::Duration;

use producer_e2e::{Database, eventually};
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use tokio::time::{Instant, sleep};

use super::writers::HELD;

/// Another process takes over within 15 s by contract, plus slack.
const TAKEOVER_DEADLINE: Duration = Duration::from_secs(17);

/// The lease of what is being built, and how many entities are done.
const POSTGRES: &str =
    "SELECT lease::text, done FROM type_parts WHERE state = 0 AND lease IS NOT NULL";
const SQLITE: &str =
    "SELECT hex(lease), done FROM type_parts WHERE state = 0 AND lease IS NOT NULL";

const UNFINISHED: &str = "SELECT count(*) FROM type_parts WHERE state <> 1";

/// Watches building through connections of its own. On PostgreSQL it also holds a lock on an entity in the
/// middle, which building waits for; SQLite has no such locks, and there the number of entities must do.
pub(super) enum Building {
    Sqlite(SqliteConnection),
    Postgres { watching: PgConnection, holding: PgConnection },
}

impl Building {
    /// Before something is declared.
    pub(super) async fn watch(database: &Database) -> Self {
        let url = database.url();
        match database {
            Database::Sqlite(..) => Self::Sqlite(SqliteConnection::connect(url).await.unwrap()),
            Database::Postgres(_) => {
                let mut holding = PgConnection::connect(url).await.unwrap();
                holding.execute("BEGIN").await.unwrap();
                let lock =
                    "SELECT FROM entities WHERE entity_type = 'Car' AND entity_id = $1 FOR UPDATE";
                let locked = sqlx::query(lock).bind(HELD).fetch_all(&mut holding).await.unwrap();
                assert_eq!(locked.len(), 1);
                Self::Postgres { watching: PgConnection::connect(url).await.unwrap(), holding }
            }
        }
    }

    async fn leases(&mut self) -> Vec<(String, i64)> {
        match self {
            Self::Sqlite(watching) => sqlx::query_as(SQLITE).fetch_all(watching).await,
            Self::Postgres { watching, .. } => sqlx::query_as(POSTGRES).fetch_all(watching).await,
        }
        .unwrap()
    }

    /// Waits until some entities are done, and returns the lease.
    pub(super) async fn middle(&mut self) -> String {
        let mut lease = None;
        eventually("building is in the middle", async || {
            let begun = self.leases().await.into_iter().find(|(_, done)| *done > 0);
            lease = begun.map(|(lease, _)| lease);
            lease.is_some()
        })
        .await;
        lease.expect("it was found")
    }

    /// Whether this lease is still the one. Fails where all is built.
    pub(super) async fn is_under(&mut self, lease: &str) -> bool {
        let leases = self.leases().await;
        assert!(!leases.is_empty(), "all was built before anybody was killed");
        leases.iter().all(|(of, _)| of == lease)
    }

    /// Whoever had this lease was killed: another process gets one in time. Then nothing holds building any
    /// more.
    pub(super) async fn is_taken_over(&mut self, lease: &str, killed: Instant) {
        loop {
            let leases = self.leases().await;
            assert!(!leases.is_empty(), "finished without having been taken over");
            if leases.iter().all(|(of, _)| of != lease) {
                break;
            }
            assert!(killed.elapsed() < TAKEOVER_DEADLINE, "not taken over: {leases:?}");
            sleep(Duration::from_millis(5)).await;
        }
        println!("FIGURES taken over {:.1?} after the builder was killed", killed.elapsed());
        if let Self::Postgres { holding, .. } = self {
            holding.execute("ROLLBACK").await.unwrap();
        }
    }

    /// All that was declared is ready.
    pub(super) async fn is_finished(&mut self) {
        let unfinished: i64 = match self {
            Self::Sqlite(watching) => sqlx::query_scalar(UNFINISHED).fetch_one(watching).await,
            Self::Postgres { watching, .. } => {
                sqlx::query_scalar(UNFINISHED).fetch_one(watching).await
            }
        }
        .unwrap();
        assert_eq!(unfinished, 0);
    }
}
