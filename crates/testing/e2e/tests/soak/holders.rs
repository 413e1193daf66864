//! Sessions that write to the log as the services do, and stay open for a while before they commit or
//! roll back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Builder;

use crate::environment::{DatabaseUrl, Kind};
use crate::random::Random;

/// The type of their entities, which no event of a service has.
pub(crate) const HELD_TYPE: &str = "Held";
/// Each session has its own entities, so many: it waits for no other.
const ENTITIES: u64 = 3;
/// Sessions of PostgreSQL at the same time.
const SESSIONS: u64 = 3;
const SECOND: Duration = Duration::from_secs(1);

/// Counts of a whole run.
#[derive(Default)]
pub(crate) struct HeldTotals {
    committed: AtomicU64,
    rolled_back: AtomicU64,
    /// Ended by a fault.
    broken: AtomicU64,
}

impl HeldTotals {
    /// The counts in one line.
    pub(crate) fn summary(&self) -> String {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (committed, rolled_back) = (get(&self.committed), get(&self.rolled_back));
        format!("committed {committed}, rolled back {rolled_back}, broken {}", get(&self.broken))
    }
}

/// Running sessions.
pub(crate) struct Holders {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Holders {
    pub(crate) fn start(
        kind: Kind,
        url: &DatabaseUrl,
        seed: u64,
        totals: &Arc<HeldTotals>,
    ) -> Self {
        let (stop, mut tasks) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        // SQLite has one writer at a time
        let sessions = if kind == Kind::Postgres { SESSIONS } else { 1 };
        for number in 0..sessions {
            // other numbers than those of the senders, which make uuids of them too
            let random = Random::new(seed.wrapping_mul(1000) + 500 + number);
            let holder = Holder { kind, url: url.clone(), number, random };
            tasks.spawn(holder.hold_until(Arc::clone(&stop), Arc::clone(totals)));
        }
        Self { stop, tasks }
    }

    /// Stops every session after its current transaction.
    pub(crate) async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a session doesn't panic");
        }
    }
}

struct Holder {
    kind: Kind,
    url: DatabaseUrl,
    number: u64,
    random: Random,
}

impl Holder {
    async fn hold_until(mut self, stop: Arc<AtomicBool>, totals: Arc<HeldTotals>) {
        while !stop.load(Ordering::Relaxed) {
            let commits = self.random.percent(50);
            let held = match self.kind {
                Kind::Postgres => self.hold_postgres(commits).await,
                Kind::Sqlite => self.hold_sqlite(commits).await,
            };
            let count = match held {
                Ok(()) if commits => &totals.committed,
                Ok(()) => &totals.rolled_back,
                Err(_) => &totals.broken,
            };
            count.fetch_add(1, Ordering::Relaxed);
            sleep(self.random.between(SECOND / 100, SECOND)).await;
        }
    }

    async fn hold_postgres(&mut self, commits: bool) -> Result<(), sqlx::Error> {
        let mut session = PgConnection::connect(&self.url.get()).await?;
        let mut transaction = session.begin().await?;
        for _ in 0..1 + self.random.below(3) {
            let (id, uuid) = (self.entity_id(), self.uuid());
            sqlx::query(UPDATE_POSTGRES)
                .bind(HELD_TYPE)
                .bind(id)
                .bind(uuid)
                .execute(&mut *transaction)
                .await?;
            sleep(self.random.between(Duration::ZERO, SECOND)).await;
        }
        if commits { transaction.commit().await } else { transaction.rollback().await }
    }

    async fn hold_sqlite(&mut self, commits: bool) -> Result<(), sqlx::Error> {
        let options: SqliteConnectOptions = self.url.get().parse()?;
        let mut file = options.busy_timeout(10 * SECOND).connect().await?;
        let mut transaction = file.begin_with("BEGIN IMMEDIATE").await?;
        let (id, uuid) = (self.entity_id(), self.uuid());
        for statement in UPDATE_SQLITE {
            let statement = sqlx::query(statement).bind(HELD_TYPE).bind(&id).bind(uuid);
            transaction.execute(statement).await?;
        }
        // for short: nobody else can write
        sleep(self.random.between(Duration::ZERO, SECOND / 5)).await;
        if commits { transaction.commit().await } else { transaction.rollback().await }
    }

    fn entity_id(&mut self) -> String {
        format!("{}-{}", self.number, self.random.below(ENTITIES))
    }

    fn uuid(&mut self) -> uuid::Uuid {
        let bits = u128::from(self.random.next()) << 64 | u128::from(self.random.next());
        Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }
}

/// Counts an entity's updates in its document, which makes it if it does not exist.
const UPDATE_POSTGRES: &str = "\
    WITH state AS ( \
        INSERT INTO entities AS old (entity_type, entity_id, version, size, data, created_at, updated_at) \
        VALUES ($1, $2, 1, 100, '{\"n\": 1}', now(), now()) \
        ON CONFLICT (entity_type, entity_id) DO UPDATE SET version = old.version + 1, \
            data = jsonb_build_object('n', old.version + 1), updated_at = greatest(old.updated_at, now()) \
        RETURNING version, updated_at) \
    INSERT INTO event_log (event_uuid, ordinal, version, committed_at, created, entity_type, entity_id, \
        event_name, patch) \
    SELECT $3, 0, version, updated_at, version = 1, $1, $2, 'Held', json_build_object('n', version) \
    FROM state";

const UPDATE_SQLITE: [&str; 2] = [
    "INSERT INTO entities AS old (entity_type, entity_id, version, size, data, created_at, updated_at) \
     VALUES (?1, ?2, 1, 100, '{\"n\":1}', unixepoch() * 1000000, unixepoch() * 1000000) \
     ON CONFLICT (entity_type, entity_id) DO UPDATE SET version = old.version + 1, \
         data = json_object('n', old.version + 1), \
         updated_at = max(old.updated_at, unixepoch() * 1000000)",
    "INSERT INTO event_log (event_uuid, ordinal, version, committed_at, created, entity_type, entity_id, \
         event_name, patch) \
     SELECT ?3, 0, version, updated_at, version = 1, entity_type, entity_id, 'Held', \
         json_object('n', version) \
     FROM entities WHERE entity_type = ?1 AND entity_id = ?2",
];
