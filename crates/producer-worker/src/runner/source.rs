//! A source from its worker's start to its end: where its kind needs a lease it waits for that, and brings in
//! messages until the lease is lost or the worker stops.

mod backoff;
mod call;
mod replay;
mod session;
mod work;

use std::sync::Arc;
use std::time::Duration;

use producer_core::worker::{LastError, Lease, Report, Role};
use session::Session;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use work::{End, Work};

use super::lease::{self, Claim, Held};
use super::parts::Parts;
use super::register::pause_after;
use super::settings::{digest, read_last_error};
use crate::config::SourceConfig;
use crate::sinks::OpenError;
use crate::source::Source;

/// The pause after a source that can't be opened.
const OPEN_PAUSE: Duration = Duration::from_secs(5);

/// Runs a source until the shutdown: whenever no other worker does, or beside them where its kind shares the work.
/// `open` makes a new reader of its stream or topic, which connects when it is first used.
pub async fn run(
    config: Arc<SourceConfig>,
    open: impl Fn() -> Result<Box<dyn Source>, OpenError> + Send + Sync,
    parts: Parts,
    shutdown: CancellationToken,
) {
    let claim = Claim {
        store: parts.store.clone(),
        role: Role::Source,
        name: config.name.clone(),
        worker: parts.worker.to_string(),
        times: parts.lease_times,
    };
    let settings = digest(&*config);
    while !shutdown.is_cancelled() {
        // again each time, since it may have been deleted
        if !register(&config, &parts, &shutdown).await {
            continue;
        }
        let (lease, held) = if config.kind.is_shared() {
            (None, lease::share(&claim))
        } else {
            let Some((lease, held)) = lease::take(&claim, &shutdown).await else { continue };
            (Some(lease), held)
        };
        let last_error =
            read_last_error(&*parts.store, Role::Source, &config.name, &settings).await;
        tracing::info!(source = config.name, kind = config.kind.as_str(), "running the source");
        run_held(&config, &open, &parts, (lease, &held), (&settings, last_error), &shutdown).await;
        held.release().await;
        tracing::info!(source = config.name, "no longer running the source");
    }
}

/// Makes the source known. False where it can't be now, after a pause.
async fn register(config: &SourceConfig, parts: &Parts, shutdown: &CancellationToken) -> bool {
    let (name, kind) = (config.name.as_str(), config.kind.as_str());
    let registered = parts.store.register(Role::Source, name, kind, None).await;
    let Some(pause) = pause_after(registered, Role::Source, name, kind) else { return true };
    let _ = shutdown.run_until_cancelled(sleep(pause)).await;
    false
}

/// Runs the source until its lease is lost or the worker stops.
async fn run_held(
    config: &Arc<SourceConfig>,
    open: &(impl Fn() -> Result<Box<dyn Source>, OpenError> + Send + Sync),
    parts: &Parts,
    (lease, held): (Option<Lease>, &Held),
    (settings, mut last_error): (&str, Option<LastError>),
    shutdown: &CancellationToken,
) {
    let report = |retrying, last_error: Option<&LastError>| {
        let (last_error, settings) = (last_error.cloned(), Some(settings.to_owned()));
        held.report(Report { retrying, last_error, settings, ..Report::default() });
    };
    loop {
        if held.control().borrow().paused {
            tracing::info!(source = config.name, "the source is paused");
            report(false, last_error.as_ref());
        }
        let mut control = held.control();
        let resumed = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = held.lost().cancelled() => return,
            resumed = control.wait_for(|control| !control.paused) => resumed.is_ok(),
        };
        if !resumed {
            return;
        }
        let reader = match open() {
            Ok(reader) => reader,
            Err(error) => {
                tracing::error!(source = config.name, %error, "the source can't be opened");
                last_error = Some(LastError::new(parts.clock.now(), error.to_string()));
                report(true, last_error.as_ref());
                let _ = shutdown.run_until_cancelled(sleep(OPEN_PAUSE)).await;
                continue;
            }
        };
        let work = Work::new(config, parts, lease.clone(), held, settings, shutdown, last_error);
        let (end, error) = Session::new(reader, work).run().await;
        last_error = error;
        match end {
            End::Paused => {}
            End::Stopped | End::Lost => return,
        }
    }
}
