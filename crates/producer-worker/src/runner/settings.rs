//! Which settings a connector runs with, compared with those that it ran with before.

use std::fmt::Debug;

use producer_core::worker::{LastError, Role, WorkerStore};

use crate::names::hash;

/// A digest of a connector's settings. `Debug` of secrets shows nothing of them.
pub(super) fn digest(config: &impl Debug) -> String {
    hash(&format!("{config:?}"), 8)
}

/// What failed last in an earlier run of a connector. Says where that had other settings.
pub(super) async fn read_last_error(
    store: &dyn WorkerStore,
    role: Role,
    name: &str,
    settings: &str,
) -> Option<LastError> {
    let found = store.connectors(role, Some(name)).await;
    let report = found.ok()?.into_iter().next()?.report;
    if report.settings.is_some_and(|before| before != settings) {
        tracing::warn!(
            role = role.as_str(),
            connector = name,
            "the settings are not those that it ran with before: where several workers run, give all of them the \
             same file"
        );
    }
    report.last_error
}
