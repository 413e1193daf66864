//! From the settings to a store.

use std::sync::Arc;

use super::port::{ConnectError, Store};
use super::postgres::PostgresStore;
use super::settings::DatabaseSettings;
use super::sqlite::SqliteStore;
use super::url::{DEFAULT_FILE, DatabaseUrl};
use crate::model::Clock;

/// The store that `DATABASE_URL` names. A PostgreSQL that is down is no error: the store reaches it
/// as soon as it is back.
///
/// # Errors
/// An invalid URL, a PostgreSQL that is too old, a pooler that `DATABASE_POOLER` does not name, an
/// SQLite file that can't be opened.
pub async fn connect(settings: &DatabaseSettings) -> Result<Arc<dyn Store>, ConnectError> {
    match DatabaseUrl::parse(settings.url.as_deref()).map_err(ConnectError)? {
        DatabaseUrl::Postgres(base) => {
            let store = PostgresStore::new(*base, settings, Clock::system());
            store.check().await?;
            Ok(Arc::new(store))
        }
        DatabaseUrl::Sqlite(file) => {
            if settings.url.is_none() {
                tracing::info!(file = DEFAULT_FILE, "DATABASE_URL is not set: embedded database");
            }
            let store = SqliteStore::open(&file, settings, Clock::system()).await?;
            Ok(Arc::new(store))
        }
    }
}
