//! Waits until a target has everything.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::process::Worker;
use crate::Result;

/// How often a target is asked.
const POLL: Duration = Duration::from_millis(20);
/// A count that does not rise for so long won't.
const STALLED: Duration = Duration::from_secs(60);

/// Waits until the count is reached. `check` fails where nothing more can come.
///
/// # Errors
/// It does not rise any more.
pub(super) async fn until(
    expected: u64,
    mut check: impl FnMut() -> Result<()>,
    mut count: impl AsyncFnMut() -> Result<u64>,
) -> Result<()> {
    let (mut last, mut risen) = (0, Instant::now());
    loop {
        let now = count().await?;
        if now >= expected {
            return Ok(());
        }
        if now > last {
            (last, risen) = (now, Instant::now());
        }
        check()?;
        if risen.elapsed() > STALLED {
            return Err(format!("{now} of {expected} came, and no more for {STALLED:?}").into());
        }
        sleep(POLL).await;
    }
}

/// The same for what a worker carries; the error has the end of its log.
pub(super) async fn until_carried(
    worker: &mut Worker,
    expected: u64,
    count: impl AsyncFnMut() -> Result<u64>,
) -> Result<()> {
    let waited = until(expected, || worker.check(), count).await;
    waited.map_err(|error| format!("{error}\n{}", worker.log()).into())
}
