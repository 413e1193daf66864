//! Whether a database has the schema of this release.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::model::UnavailableKind;
use crate::query::ReadError;

/// The newest step of `migrations/`: with it, none that this release knows is pending.
pub const SCHEMA_VERSION: i64 = 20_261_121_000_000;

/// Checks the record of migrations. A record that can't be read is no reason to refuse events where the
/// tables are there; that is logged once.
#[derive(Debug, Default)]
pub(crate) struct SchemaCheck {
    logged: AtomicBool,
}

impl SchemaCheck {
    /// `applied` says whether the step [`SCHEMA_VERSION`] is recorded, or why that can't be read.
    pub(crate) fn check(&self, applied: Result<bool, String>) -> Result<(), ReadError> {
        match applied {
            Ok(true) => {
                self.logged.store(false, Ordering::Relaxed);
                Ok(())
            }
            Ok(false) => Err(ReadError {
                kind: UnavailableKind::Schema,
                text: format!("step {SCHEMA_VERSION} is pending"),
            }),
            Err(error) => {
                if !self.logged.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        error,
                        "_producer_migrations can't be read: the schema is taken as up to date"
                    );
                }
                Ok(())
            }
        }
    }
}
