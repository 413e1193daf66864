//! The limit of open files. Each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::settings::Settings;

/// Files other than connections: listeners, an embedded database, the runtime.
const OTHERS: u64 = 64;

/// Raises the soft limit to the hard one, and warns where that isn't enough.
pub(super) fn raise_limit(settings: &Settings) {
    let limit = getrlimit(Resource::Nofile);
    // some systems refuse their own hard limit: then the limit stays as it was
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
    connections.saturating_add(u64::from(settings.common.database_max_connections) + OTHERS)
}
