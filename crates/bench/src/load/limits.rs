//! Open files: each virtual user holds a connection, in k6 and in the service.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Result;

/// Connections of 2,000 users, with room for the files and the database beside them.
const WANTED: u64 = 4096;

/// Raises our own limit, which k6 and the service inherit, as far as we may.
pub(super) fn raise_open_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    if limit.current.is_none_or(|current| current >= WANTED) {
        return Ok(());
    }
    let current = Some(WANTED.min(allowed));
    setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum })?;
    if allowed < WANTED {
        eprintln!(
            "only {allowed} open files are allowed here: 2,000 users need {WANTED} \
             (`ulimit -Hn {WANTED}` as root, or LimitNOFILE, or docker's --ulimit)"
        );
    }
    Ok(())
}
