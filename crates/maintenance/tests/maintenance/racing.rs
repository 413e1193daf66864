//! Pruning removes a deleted entity at the moment when a writer makes it anew. PostgreSQL only: SQLite
//! has one writer.

use std::time::Duration;

use producer_core::Operation::{Delete, Merge};
use producer_core::ingest::{ApplyMode, Verdict};
use producer_core::model::NewVersion;
use producer_core::{Clock, Event};
use producer_maintenance::prune;
use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor};
use tokio::time::timeout;

use super::fixture::{Fixture, event};

/// Only a failing test waits so long.
const DEADLINE: Duration = Duration::from_secs(30);

/// A database with an entity that was deleted with version 2, in 2025.
async fn deleted() -> Fixture {
    let [fixture, _] = Fixture::both_migrated().await;
    fixture.history("a", &[(2024, true, Merge, r#"{"x":1}"#), (2025, false, Delete, "{}")]).await;
    fixture.rebuild(true).await;
    fixture
}

/// Merges into it.
fn merge(attributes: Value) -> Event {
    event(json!([{"entityType": "Car", "entityId": "a", "updatedAttributes": attributes}]))
}

/// A transaction that has done this and not ended.
async fn transaction(fixture: &Fixture, statements: &str) -> PgConnection {
    let mut session = fixture.postgres().await;
    let statements = AssertSqlSafe(format!("BEGIN; {statements}"));
    session.execute(statements).await.expect("begun");
    session
}

async fn somebody_waits(fixture: &Fixture) {
    let waiting = async {
        while fixture.text("SELECT count(*) FROM pg_locks WHERE NOT granted").await == "0" {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, waiting).await.expect("somebody waits for a lock");
}

async fn is_clean(fixture: &Fixture) {
    let (summary, lines) = fixture.rebuild(false).await;
    assert_eq!((summary.differing, summary.unexplained), (0, 0), "{lines:?}");
}

/// What pruning does in its transaction: the writer meets the row's lock.
const REMOVE: &str = "DELETE FROM entities; DELETE FROM event_log";

/// Both paths: a flat patch and a deep one.
fn patches() -> [Value; 2] {
    [json!({"y": 1}), json!({"y": {"z": 1}})]
}

#[tokio::test]
async fn a_writer_that_waits_for_the_removal_begins_with_version_1() {
    for patch in patches() {
        let fixture = deleted().await;
        let store = fixture.open(Clock::system()).await;
        let (mut writer, batch) = (store.writer(), [merge(patch.clone())]);
        let mut removal = transaction(&fixture, REMOVE).await;
        let applied = writer.apply(&batch, ApplyMode::Normal);
        let remove = async {
            somebody_waits(&fixture).await;
            removal.execute("COMMIT").await.expect("removed");
        };
        let (verdicts, ()) = tokio::join!(applied, remove);
        let first = NewVersion { version: 1, created: true };
        assert_eq!(verdicts, Ok(vec![Verdict::Applied(vec![first])]), "{patch}");
        is_clean(&fixture).await;
    }
}

#[tokio::test]
async fn a_writer_that_waits_for_a_removal_that_fails_goes_on() {
    for patch in patches() {
        let fixture = deleted().await;
        let store = fixture.open(Clock::system()).await;
        let (mut writer, batch) = (store.writer(), [merge(patch.clone())]);
        let mut removal = transaction(&fixture, REMOVE).await;
        let applied = writer.apply(&batch, ApplyMode::Normal);
        let fail = async {
            somebody_waits(&fixture).await;
            removal.execute("ROLLBACK").await.expect("undone");
        };
        let (verdicts, ()) = tokio::join!(applied, fail);
        let next = NewVersion { version: 3, created: true };
        assert_eq!(verdicts, Ok(vec![Verdict::Applied(vec![next])]), "{patch}");
        is_clean(&fixture).await;
    }
}

#[tokio::test]
async fn a_writer_that_waits_for_no_lock_leaves_the_event_aside_during_the_removal() {
    let fixture = deleted().await;
    let store = fixture.open(Clock::system()).await;
    let (mut writer, batch) = (store.writer(), [merge(json!({}))]);
    let mut removal = transaction(&fixture, REMOVE).await;
    let during = writer.apply(&batch, ApplyMode::SkipLocked).await;
    assert_eq!(during, Ok(vec![Verdict::Locked]));
    removal.execute("COMMIT").await.expect("removed");
    let first = NewVersion { version: 1, created: true };
    let after = writer.apply(&batch, ApplyMode::SkipLocked).await;
    assert_eq!(after, Ok(vec![Verdict::Applied(vec![first])]));
    is_clean(&fixture).await;
}

/// A writer holds the row, as one does that makes the entity anew: pruning neither waits for it nor
/// removes what it has read.
#[tokio::test]
async fn pruning_does_not_remove_what_a_writer_holds() {
    let removed = |deleted, checkpointed, removed| prune::Summary {
        deleted,
        checkpointed,
        removed,
        ..prune::Summary::default()
    };
    let log = "SELECT string_agg(version || '/' || kind || '/' || operation, ' ' ORDER BY version)
               FROM event_log WHERE entity_type <> 'Last'";
    for makes_anew in [false, true] {
        let fixture = deleted().await;
        fixture.end_log().await;
        let mut writer = transaction(&fixture, "SELECT FROM entities FOR NO KEY UPDATE").await;
        let pruned = timeout(DEADLINE, fixture.prune(2026)).await.expect("it does not wait");
        assert_eq!(pruned.0, removed(2, 1, 0));
        assert_eq!(fixture.text(log).await, "2/2/2");
        writer.execute("COMMIT").await.expect("ended");
        is_clean(&fixture).await;
        if makes_anew {
            let store = fixture.open(Clock::system()).await;
            let verdicts = store.writer().apply(&[merge(json!({}))], ApplyMode::Normal).await;
            let next = NewVersion { version: 3, created: true };
            assert_eq!(verdicts, Ok(vec![Verdict::Applied(vec![next])]));
            assert_eq!(fixture.prune(2026).await.0, removed(0, 0, 0));
            assert_eq!(fixture.text(log).await, "2/2/2 3/0/0");
        } else {
            assert_eq!(fixture.prune(2026).await.0, removed(0, 0, 1));
            assert_eq!(fixture.text(log).await, "");
        }
        is_clean(&fixture).await;
    }
}
