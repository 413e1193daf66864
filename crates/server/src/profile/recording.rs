//! Samples the stacks of all threads.

use std::io::Error;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use pprof::{ProfilerGuard, ProfilerGuardBuilder};

use super::stacks::Stacks;

/// Samples per second of CPU time. Not 100, or it would keep step with what runs 100 times a second.
pub(super) const FREQUENCY: i32 = 99;
/// The lowest frequency.
const LOWEST_FREQUENCY: i32 = 1;

/// Samples every thread for `length`, or until the other end of `cancelled` is dropped, which is an
/// error. Blocks.
pub(super) fn record(length: Duration, cancelled: &Receiver<()>) -> Result<Stacks, Error> {
    prepare()?;
    let guard = start(FREQUENCY)?;
    if cancelled.recv_timeout(length) != Err(RecvTimeoutError::Timeout) {
        return Err(Error::other("the client has closed the request"));
    }
    let report = guard.report().build().map_err(Error::other)?;
    Ok(Stacks::from_report(&report))
}

fn start(frequency: i32) -> Result<ProfilerGuard<'static>, Error> {
    let builder = ProfilerGuardBuilder::default().frequency(frequency);
    builder.build().map_err(Error::other)
}

/// The first sample loads the unwind tables, inside the signal handler, which allocates. It must not
/// interrupt a thread that is allocating itself: so the first sample of the process is raised here, on
/// a thread that does nothing else, a second of CPU time before the timer's first.
fn prepare() -> Result<(), Error> {
    static PREPARED: Mutex<bool> = Mutex::new(false);
    let mut prepared = PREPARED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*prepared {
        let _guard = start(LOWEST_FREQUENCY)?;
        raise(Signal::SIGPROF)?;
        *prepared = true;
    }
    Ok(())
}
