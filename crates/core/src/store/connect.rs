//! From the settings to a store.

use std::sync::Arc;

use super::port::{ConnectError, Store};
use super::postgres::PostgresStore;
use super::settings::DatabaseSettings;
use super::sqlite::SqliteStore;
use super::url::{DEFAULT_FILE, DatabaseUrl, parse_replica};
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

/// The replica that `READ_DATABASE_URL` names, with connections of its own. One that is down is no error: what
/// reads from it fails until it is back.
///
/// # Errors
/// An invalid URL, no PostgreSQL that it could be a replica of, a server that is too old, a pooler that
/// `DATABASE_POOLER` does not name.
pub async fn connect_replica(
    url: &str,
    settings: &DatabaseSettings,
) -> Result<Arc<dyn Store>, ConnectError> {
    let options = parse_replica(url).map_err(ConnectError)?;
    if let Ok(DatabaseUrl::Sqlite(_)) = DatabaseUrl::parse(settings.url.as_deref()) {
        let error = "READ_DATABASE_URL: SQLite has no replica; unset it, or set DATABASE_URL to the primary";
        return Err(ConnectError(error.to_owned()));
    }
    let store = PostgresStore::new(options, settings, Clock::system());
    store
        .check()
        .await
        .map_err(|ConnectError(error)| ConnectError(format!("READ_DATABASE_URL: {error}")))?;
    Ok(Arc::new(store))
}
