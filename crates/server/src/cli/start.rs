//! Steps of a start that the services and the worker share.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use producer_core::store::{self, Store};
use producer_maintenance::{Database, MaintenanceError, migrate as schema};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::error::ExitError;
use crate::readiness::Readiness;
use crate::settings::CommonSettings;

/// The pause before another attempt to migrate a database that can't be reached.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The pause before another attempt where another session holds a lock. While a migration waits for a
/// table, every later statement on it waits too; in the pause they run.
const LOCK_PAUSE: Duration = Duration::from_secs(2);

/// The database of the settings. PostgreSQL need not be reachable yet.
///
/// # Errors
/// The settings name no database that can be opened.
pub async fn connect(settings: &CommonSettings) -> Result<Arc<dyn Store>, ExitError> {
    store::connect(&settings.database()).await.map_err(ExitError::new)
}

/// Listens on the port for operators.
///
/// # Errors
/// It can't: one line that names the setting to change.
pub fn listen_for_operators(ip: IpAddr, port: u16) -> Result<TcpListener, ExitError> {
    let address = SocketAddr::new(ip, port);
    let listener = crate::serve::bind(address)
        .map_err(|error| cannot_listen(("ADMIN_PORT", "ADMIN_BIND_ADDRESS"), address, &error))?;
    let address = listener.local_addr().map_err(ExitError::new)?;
    tracing::info!(%address, "serving the admin port");
    Ok(listener)
}

/// Names the setting to change: the port's or the address's.
pub(super) fn cannot_listen(
    (port, ip): (&str, &str),
    address: SocketAddr,
    error: &std::io::Error,
) -> ExitError {
    let setting = if error.kind() == ErrorKind::AddrNotAvailable { ip } else { port };
    ExitError::new(format!("{setting}: can't listen on {address}: {error}"))
}

/// Migrates as soon as the database can be reached and no other session holds a lock; the process isn't
/// ready until then. The first attempt that fails notifies `blocked`.
///
/// # Errors
/// The migration failed, and would again.
pub async fn migrate(
    database: &Database,
    readiness: &Readiness,
    blocked: &Notify,
) -> Result<(), ExitError> {
    readiness.set_migrating(true);
    let mut logged = None;
    loop {
        let pause = match prepare(database).await {
            Ok(()) => break,
            Err(MaintenanceError::Locked(held_by)) => {
                tracing::warn!(held_by, "the migration waits for a lock: answering 503");
                LOCK_PAUSE
            }
            Err(error) if error.is_transient() => {
                let text = Some(error.to_string());
                if logged != text {
                    tracing::warn!(%error, "the migration waits for the database: answering 503");
                    logged = text;
                }
                RETRY_PAUSE
            }
            Err(error) => return Err(ExitError::new(error)),
        };
        blocked.notify_one();
        sleep(pause).await;
    }
    readiness.set_migrating(false);
    tracing::debug!("the schema is up to date");
    Ok(())
}

async fn prepare(database: &Database) -> Result<(), MaintenanceError> {
    schema::attempt_up(database).await?;
    if database.has_older_table().await? {
        tracing::warn!(
            "found the older services' table car_entities: run `migrate adopt` to adopt it"
        );
    }
    Ok(())
}
