//! Definitions of types in tests, and what must hold of the rows that they build.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use producer_core::model::{Entity, Precondition};
use producer_core::query::{EntitiesQuery, KeyRange};
use producer_core::store::Store;
use producer_core::types::index_key::{EntityFacts, key};
use producer_core::types::{
    BuilderSettings, Definition, Part, PartKind, PartState, StoredType, Types,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Db, START, clock};

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Looks often, and works without pauses.
pub(crate) const QUICK: BuilderSettings = BuilderSettings {
    lease: Duration::from_secs(5),
    look_every: Duration::from_millis(20),
    pause_factor: 0.0,
    pause_factor_beside_writers: 0.0,
};

pub(crate) fn types(store: &Arc<dyn Store>) -> Types {
    Types::new(store.clone(), clock(START))
}

/// A definition of indexes alone.
pub(crate) fn indexes(indexes: &str) -> Definition {
    Definition::parse(&format!(r#"{{"indexes":[{indexes}]}}"#)).unwrap()
}

/// Declares indexes of cars.
pub(crate) async fn declare(store: &Arc<dyn Store>, list: &str) -> StoredType {
    types(store).replace("Car", &indexes(list), &Precondition::None).await.unwrap().0
}

/// A builder that runs until it is dropped or stopped.
pub(crate) struct Running {
    pub(crate) task: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl Running {
    pub(crate) fn start(store: &Arc<dyn Store>, settings: BuilderSettings) -> Self {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(types(store).builder(settings, shutdown.clone()).run());
        Self { task, shutdown }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

/// Waits until nothing is to be built or dropped.
pub(crate) async fn settled(db: &Db) {
    let unfinished = "SELECT CAST(count(*) AS text) FROM type_parts WHERE state <> 1";
    until(async || db.texts(unfinished).await == ["0"]).await;
}

/// Polls until it holds.
pub(crate) async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < deadline, "it took too long");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Builds and drops all that is declared.
pub(crate) async fn build(db: &Db) {
    let builder = Running::start(&db.store, QUICK);
    settled(db).await;
    builder.stop().await;
}

/// All cars.
pub(crate) async fn cars(db: &Db) -> Vec<Entity> {
    let (mut cars, mut range) = (Vec::new(), KeyRange::of_type("Car"));
    loop {
        let query = EntitiesQuery { range: &range, descending: false, rows: 500, bytes: 8 << 20 };
        let part = db.store.entities(query).await.unwrap();
        let last = part.rows.last().map(|(key, _)| key.clone());
        cars.extend(part.rows.into_iter().filter_map(|(_, car)| car));
        match last {
            Some(last) if !part.is_last => range = range.after(&last),
            _ => return cars,
        }
    }
}

/// The rows of an index with a key: id and key in hexadecimal.
pub(crate) async fn rows(db: &Db, part: &Part) -> BTreeMap<String, String> {
    let hex = match db.direct_url().starts_with("postgres") {
        true => "encode(key, 'hex')",
        false => "lower(hex(key))",
    };
    let query = format!(
        "SELECT {hex} || ' ' || entity_id FROM entity_index
         WHERE index_id = {} AND key IS NOT NULL",
        part.id
    );
    let pair = |row: String| {
        let (key, id) = row.split_once(' ').unwrap();
        (id.to_owned(), key.to_owned())
    };
    db.texts(&query).await.into_iter().map(pair).collect()
}

/// Each index of cars that is ready has the keys of all cars, and nothing else. Returns how many rows those are.
pub(crate) async fn rows_are_right(db: &Db) -> usize {
    let Some(stored) = types(&db.store).get("Car").await.unwrap() else { return 0 };
    let cars = cars(db).await;
    let mut count = 0;
    for status in stored.parts.iter().filter(|status| status.state == PartState::Ready) {
        let PartKind::Index(index) = &status.part.kind else { continue };
        let expected: BTreeMap<String, String> = cars
            .iter()
            .filter_map(|car| {
                let (created, updated) = (car.created_at, car.updated_at);
                let key = key(index, EntityFacts { created, updated, data: &car.data })?;
                Some((car.key.entity_id().to_owned(), hex(&key)))
            })
            .collect();
        let actual = rows(db, &status.part).await;
        assert_eq!(actual, expected, "{}", status.part.kind.spec());
        count += actual.len();
    }
    count
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}
