//! Readers of the change feed. They use little CPU: of an item they look at its first bytes only.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, sleep};

use super::clients::Clients;
use super::lines::Lines;
use crate::Result;
use crate::meter::Meter;

/// How an item that is a change begins, and one that says where the reader is. Any other ends a stream.
const CHANGE: &[u8] = br#"{"kind":"change","#;
const BOOKMARK: &[u8] = br#"{"kind":"bookmark","#;
/// How the data of a server-sent event begins.
const SSE_DATA: &[u8] = b"data: ";
/// Readers that are opened at the same time: each waits until the service has looked at the log.
const OPENED_AT_ONCE: usize = 64;
/// How long readers may take for what is left when the last event is acknowledged.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A stream of changes.
pub(crate) struct Reader(Lines);

impl Reader {
    /// Server-sent events of all that is committed from when this returns.
    async fn follow(address: SocketAddr) -> Result<Self> {
        let path = "/api/v1/changes?from=now";
        let mut reader = Self(Lines::open(address, path, "text/event-stream").await?);
        let mut has_begun = false;
        while !has_begun {
            let is_open =
                reader.0.read(|line| has_begun |= sse_item(line).starts_with(BOOKMARK)).await?;
            if !is_open {
                return Err("a stream of changes ended before it began".into());
            }
        }
        Ok(reader)
    }

    /// Lines of all that is in the log.
    pub(crate) async fn of_log(address: SocketAddr) -> Result<Self> {
        let path = "/api/v1/changes?from=start&until=now";
        Ok(Self(Lines::open(address, path, "application/x-ndjson").await?))
    }

    /// Waits for more, and calls `each` for every change. False at the end.
    pub(crate) async fn read(&mut self, mut each: impl FnMut(&[u8])) -> Result<bool> {
        let mut problem = None;
        let is_open = self.0.read(|line| match sse_item(line) {
            item if item.starts_with(CHANGE) => each(item),
            item if item.starts_with(b"{") && !item.starts_with(BOOKMARK) => {
                problem = Some(String::from_utf8_lossy(item).into_owned());
            }
            _ => {}
        });
        let is_open = is_open.await?;
        problem.map_or(Ok(is_open), |problem| Err(problem.into()))
    }
}

/// The item of a line, in either form; of the other lines of an event something that is none.
fn sse_item(line: &[u8]) -> &[u8] {
    line.strip_prefix(SSE_DATA).unwrap_or(line)
}

/// Readers of server-sent events, each in a task of its own. They stop when this is dropped.
pub(crate) struct Followers {
    received: Vec<Rc<Cell<u64>>>,
    _tasks: Clients,
}

impl Followers {
    /// So many readers of all that is committed from when this returns; `each` is called for every
    /// change of each of them. Their errors go to the meter. Needs a `LocalSet`.
    pub(crate) async fn start(
        address: SocketAddr,
        count: usize,
        meter: &Meter,
        each: impl Fn(&[u8]) + Clone + 'static,
    ) -> Result<Self> {
        let (mut received, mut tasks) = (Vec::with_capacity(count), Clients::default());
        let readers = stream::repeat_with(|| Reader::follow(address)).take(count);
        let mut readers = readers.buffer_unordered(OPENED_AT_ONCE);
        while let Some(reader) = readers.try_next().await? {
            let changes = Rc::<Cell<u64>>::default();
            received.push(Rc::clone(&changes));
            tasks.spawn(follow(reader, changes, meter.clone(), each.clone()));
        }
        Ok(Self { received, _tasks: tasks })
    }

    /// Waits until every reader has so many changes.
    ///
    /// # Errors
    /// One of them is still behind after some seconds.
    pub(crate) async fn catch_up(&self, changes: u64) -> Result<()> {
        let deadline = Instant::now() + CATCH_UP_TIMEOUT;
        let behind = || self.received.iter().filter(|received| received.get() < changes);
        while behind().next().is_some() {
            if Instant::now() > deadline {
                let (count, all) = (behind().count(), self.received.len());
                let missing = behind().map(|received| changes - received.get()).max();
                return Err(format!(
                    "{count} of {all} readers are behind {CATCH_UP_TIMEOUT:?} after the last of \
                     {changes} events, by up to {}",
                    missing.unwrap_or_default()
                )
                .into());
            }
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }
}

async fn follow(mut reader: Reader, received: Rc<Cell<u64>>, meter: Meter, each: impl Fn(&[u8])) {
    loop {
        let more = reader.read(|change| {
            received.set(received.get() + 1);
            each(change);
        });
        match more.await {
            Ok(true) => {}
            Ok(false) => return meter.record_error(|| "a stream of changes ended".to_owned()),
            Err(error) => return meter.record_error(|| format!("a stream of changes: {error}")),
        }
    }
}
