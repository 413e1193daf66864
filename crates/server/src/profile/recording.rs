//! Samples stacks for a while.

use std::io::Error;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use pprof::{ProfilerGuard, ProfilerGuardBuilder};

use super::stacks::Stacks;

/// Samples for a second of CPU time: off the beat of what happens a hundred times a second.
pub(super) const FREQUENCY: i32 = 99;
/// The fewest that can be had.
const SELDOM: i32 = 1;

/// Samples every thread for `length`, or until the other end of `asker_left` is dropped, which is an
/// error. Blocks.
pub(super) fn record(length: Duration, asker_left: &Receiver<()>) -> Result<Stacks, Error> {
    prepare()?;
    let guard = start(FREQUENCY)?;
    if asker_left.recv_timeout(length) != Err(RecvTimeoutError::Timeout) {
        return Err(Error::other("the asker has left"));
    }
    let report = guard.report().build().map_err(Error::other)?;
    Ok(Stacks::from_report(&report))
}

fn start(frequency: i32) -> Result<ProfilerGuard<'static>, Error> {
    let builder = ProfilerGuardBuilder::default().frequency(frequency);
    builder.build().map_err(Error::other)
}

/// The first sample reads the unwind tables into memory, inside the signal handler. A thread that
/// was interrupted in the midst of allocating must not be the one: so the first sample of the
/// process is taken here, where this thread does nothing else, a CPU second before the timer's own.
fn prepare() -> Result<(), Error> {
    static PREPARED: Mutex<bool> = Mutex::new(false);
    let mut prepared = PREPARED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*prepared {
        let _guard = start(SELDOM)?;
        raise(Signal::SIGPROF)?;
        *prepared = true;
    }
    Ok(())
}
