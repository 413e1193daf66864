//! Connectors whose names are those of others.

use std::fmt::Display;
use std::time::Duration;

use producer_core::worker::{Registered, Role};

use super::DATABASE_PAUSE;

/// How often it is said that a connector can't run because its name is that of another kind.
const OTHER_KIND_PAUSE: Duration = Duration::from_secs(60);

/// How long to wait before a connector is registered again; `None` where it is known.
pub(super) fn pause_after(
    registered: Result<Registered, impl Display>,
    role: Role,
    name: &str,
    kind: &str,
) -> Option<Duration> {
    let role = role.as_str();
    match registered {
        Ok(Registered::Known) => None,
        Ok(Registered::OtherKind(other)) => {
            tracing::error!(
                role,
                connector = name,
                kind,
                "the database has a {role} of this name and of the kind {other}: choose another name, or delete \
                 that one (DELETE /api/v1/{role}s/{name})"
            );
            Some(OTHER_KIND_PAUSE)
        }
        Err(error) => {
            tracing::warn!(role, connector = name, %error, "the {role} can't begin yet");
            Some(DATABASE_PAUSE)
        }
    }
}
