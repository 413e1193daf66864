//! The service as its users meet it: real processes, real databases, real faults.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests, and helpers that only tests call")]

mod both_databases;
mod clients;
mod crash;
mod examples;
mod network;
mod outage;
mod poison;
mod prune;
mod slow;
mod start;
mod together;
mod traces;

use e2e::{Binary, Database};

/// Folds the log as an operator does after an accident, and expects that it explains every entity.
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
