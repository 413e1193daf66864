//! The threads of a process.

use std::num::NonZero;

use tokio::runtime::{Builder, Runtime};

/// Runs everything but the writers, on as many threads as there are cores, less one for the writers.
/// With a thread more, half of the wake-ups on two cores find nothing to do.
///
/// # Errors
/// Those of the operating system: no thread can be started.
pub fn connections_runtime() -> std::io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(cores.saturating_sub(1).max(1)).enable_all().build()
}

/// Runs the writers, on a thread of their own. On a thread shared with the connections a writer would
/// see the database's answer only after dozens of requests, and the database would idle meanwhile.
///
/// # Errors
/// Those of the operating system: no thread can be started.
pub fn writers_runtime() -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).thread_name("writers").enable_all().build()
}
