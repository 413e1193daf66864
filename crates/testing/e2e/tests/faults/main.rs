//! Faults that need root or minutes: `make test-faults`. Each test prints its results in one line.
#![expect(clippy::unwrap_used, reason = "tests, and helpers that only tests call")]

mod abuse;
mod disk;
mod failover;
mod locks;
mod network;

use std::time::{Duration, Instant};

use producer_e2e::{History, Load, Outcome, RECOVERY_DEADLINE, Record, Rest};

fn done(record: &Record) -> bool {
    matches!(record.outcome, Outcome::Done { .. })
}

fn failed(record: &Record) -> bool {
    !done(record)
}

/// Waits until every API acknowledges events again; returns the time that took.
async fn recovery(load: &Load, apis: usize) -> Duration {
    let start = Instant::now();
    for sender in 0..apis {
        let served = |record: &Record| record.sender == sender && done(record);
        load.history().more("events after the fault", 20, served).await;
    }
    let took = start.elapsed();
    assert!(took < RECOVERY_DEADLINE, "{took:?}");
    took
}

/// Stops the load and compares its history with what is stored.
async fn stop_and_check(load: Load, rest: &Rest, what: &str) -> std::sync::Arc<History> {
    let history = load.stop().await;
    history.print_summary(what);
    history.assert_all_answered();
    history.check(rest).await;
    history
}
