//! The limit of open files. Each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::settings::Settings;

/// Files beside connections: listeners, an embedded database's, the runtime's own.
const OTHERS: u64 = 64;

/// Raises the limit as far as it may be raised from within, and warns where that isn't enough.
pub(super) fn raise_limit(settings: &Settings) {
    let limit = getrlimit(Resource::Nofile);
    // refused where a system allows less than it says: then the limit is as it was
    let _refused = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let needed = needed(settings);
    if limit < needed {
        tracing::warn!(
            limit,
            needed,
            "the limit of open files is too low for MAX_CONNECTIONS: \
             raise it (ulimit -Hn, LimitNOFILE=, --ulimit nofile=) or lower MAX_CONNECTIONS"
        );
    }
}

fn needed(settings: &Settings) -> u64 {
    let connections = u64::try_from(settings.max_connections).unwrap_or(u64::MAX);
    connections.saturating_add(u64::from(settings.database_max_connections) + OTHERS)
}
