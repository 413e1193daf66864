//! End-to-end tests: real processes, real databases, real faults.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests, and helpers that only tests call")]

mod clients;
mod crash;
mod entities;
mod examples;
mod finding;
mod macros;
mod network;
mod outage;
mod poison;
mod pooler;
mod profile;
mod prune;
mod refusals;
mod replica;
mod settings;
mod slow;
mod start;
mod tls;
mod together;
mod traces;
mod unready;
mod worker;

use futures_util::{StreamExt, stream};
use producer_e2e::{Api, Binary, Database, History, Outcome, Record};

/// Runs `rebuild`, and expects every entity to equal the fold of its log.
async fn rebuild_is_clean(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Binary::Rest.command(folder.path(), &database.settings());
    let output = command.arg("rebuild").output().await.unwrap();
    assert!(
        output.status.success(),
        "rebuild found differences: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Sends the matching events again; each must be acknowledged.
async fn send_again(history: &History, matches: impl Fn(&Record) -> bool, api: &Api) {
    let failures = history.take(matches);
    assert!(!failures.is_empty());
    let mut again = stream::iter(failures)
        .map(async |mut record| {
            record.outcome = api.send(&record.event).await;
            record
        })
        .buffer_unordered(8);
    while let Some(record) = again.next().await {
        assert!(matches!(record.outcome, Outcome::Done { .. }), "{record:?}");
        history.add(record);
    }
}
