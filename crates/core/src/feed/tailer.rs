//! Follows the end of the log, once for all readers of the process.
//!
//! Positions are drawn before their transactions commit, so the last position in the log is no end: an
//! earlier one may still be committed. The tailer reads the last position that was drawn, then the
//! transactions that have the log locked for writing. As soon as these have ended, all that was drawn up to
//! then is committed, or never will be.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::metrics::FeedMetrics;
use super::pages::with_states;
use super::port::{ChangesQuery, FeedStore, LogBounds, LogHead, LogPage, OpenWriter, PAGE_BYTES};
use super::ring::Ring;
use super::types::Types;
use crate::query::ReadError;

/// The pause between two looks at the log while something comes, or a writer is waited for.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause, which is reached while nothing comes.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// The pause after an error.
const ERROR_PAUSE: Duration = Duration::from_millis(500);
/// How long the tailer goes on after its last reader.
const LINGER: Duration = Duration::from_secs(30);
/// A transaction that holds the feed back for longer is named in the log.
const LONG_WRITER: Duration = Duration::from_secs(10);
/// Rows that are read at once.
const PAGE_ROWS: u32 = 4096;
/// Further behind, the tailer passes over a part of the log, which readers read themselves.
const MOST_BEHIND: u64 = 300_000;

/// What readers share with the tailer.
pub(super) struct Tail {
    store: Arc<dyn FeedStore>,
    ring: Mutex<Option<Ring>>,
    /// Counts what was added to the ring.
    pub(super) added: watch::Sender<u64>,
    /// What the last look at the log found.
    pub(super) looked: watch::Sender<Look>,
    /// Readers that want states.
    pub(super) data_readers: AtomicUsize,
    run: Mutex<Run>,
    /// Somebody waits for a look at the log.
    look_now: Notify,
    /// Something was committed by this process.
    commits: Arc<Notify>,
    metrics: Arc<FeedMetrics>,
    shutdown: CancellationToken,
}

/// A look at the log.
#[derive(Debug, Clone)]
pub(super) struct Look {
    /// The last position that was drawn, and when it was read.
    pub(super) drawn: Option<(u64, Instant)>,
    /// When the position was read up to which the ring has everything.
    pub(super) end_of: Option<Instant>,
    /// Why the last look failed, and when it began.
    pub(super) error: Option<(ReadError, Instant)>,
}

#[derive(Debug)]
struct Run {
    is_running: bool,
    users: usize,
    unused_since: Instant,
}

/// Keeps the tailer running.
pub(super) struct TailUse(Arc<Tail>);

impl Drop for TailUse {
    fn drop(&mut self) {
        let mut run = self.0.run();
        run.users -= 1;
        run.unused_since = Instant::now();
    }
}

impl Tail {
    pub(super) fn new(
        store: Arc<dyn FeedStore>,
        commits: Arc<Notify>,
        metrics: Arc<FeedMetrics>,
        shutdown: CancellationToken,
    ) -> Self {
        let look = Look { drawn: None, end_of: None, error: None };
        let run = Run { is_running: false, users: 0, unused_since: Instant::now() };
        Self {
            store,
            ring: Mutex::new(None),
            added: watch::Sender::new(0),
            looked: watch::Sender::new(look),
            data_readers: AtomicUsize::new(0),
            run: Mutex::new(run),
            look_now: Notify::new(),
            commits,
            metrics,
            shutdown,
        }
    }

    /// The end of the log; `None` until the tailer has found it.
    pub(super) fn ring(&self) -> MutexGuard<'_, Option<Ring>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the tailer where it does not run.
    pub(super) fn start(self: &Arc<Self>) -> TailUse {
        let mut run = self.run();
        run.users += 1;
        if !run.is_running {
            run.is_running = true;
            tokio::spawn(run_until_unused(Arc::clone(self)));
        }
        self.look_now.notify_one();
        TailUse(Arc::clone(self))
    }

    /// Stops the tailer if it was unused for long.
    fn stop_if_unused(&self) -> bool {
        let mut run = self.run();
        if run.users > 0 || run.unused_since.elapsed() < LINGER {
            return false;
        }
        run.is_running = false;
        self.forget();
        true
    }

    fn forget(&self) {
        *self.ring() = None;
        self.looked.send_replace(Look { drawn: None, end_of: None, error: None });
        self.metrics.lag.set(0.0);
        self.metrics.oldest_writer.set(0.0);
    }
}

/// Runs the tailer, and again should it panic.
async fn run_until_unused(tail: Arc<Tail>) {
    loop {
        let tailer = Tailer::new(Arc::clone(&tail));
        match tokio::spawn(tailer.run()).await {
            Err(error) if error.is_panic() => {
                tracing::error!("the reader of the log panicked and is started again");
                tail.forget();
                sleep(ERROR_PAUSE).await;
            }
            Ok(()) | Err(_) => return,
        }
    }
}

struct Tailer {
    tail: Arc<Tail>,
    /// A head whose writers have not all ended.
    awaited: Option<(LogHead, Instant)>,
    /// When each open writer was first seen, and whether the log names it already.
    writers: HashMap<OpenWriter, (Instant, bool)>,
    pause: Duration,
}

impl Tailer {
    fn new(tail: Arc<Tail>) -> Self {
        Self { tail, awaited: None, writers: HashMap::new(), pause: SHORTEST_PAUSE }
    }

    async fn run(mut self) {
        loop {
            let began = Instant::now();
            match self.look().await {
                Ok(has_news) => self.note_success(has_news),
                Err(error) => self.note_failure(error, began),
            }
            self.tail.metrics.lag.set(self.lag());
            if self.tail.stop_if_unused() {
                return;
            }
            tokio::select! {
                () = self.wait(began) => {}
                () = self.tail.shutdown.cancelled() => return,
            }
        }
    }

    /// Until it is time to look again.
    async fn wait(&self, began: Instant) {
        let woken = async {
            tokio::select! {
                () = self.tail.commits.notified() => {}
                () = self.tail.look_now.notified() => {}
            }
            sleep_until(began + SHORTEST_PAUSE).await;
        };
        tokio::select! {
            () = woken => {}
            () = sleep(self.pause) => {}
        }
    }

    fn note_success(&mut self, has_news: bool) {
        let is_busy = has_news || self.awaited.is_some();
        self.pause = if is_busy { SHORTEST_PAUSE } else { LONGEST_PAUSE.min(self.pause * 3 / 2) };
    }

    fn note_failure(&mut self, error: ReadError, began: Instant) {
        let before = self.tail.looked.borrow().error.as_ref().map(|(error, _)| error.clone());
        if before.as_ref() != Some(&error) {
            tracing::warn!(%error, "the end of the log can't be read; readers of changes wait");
        }
        self.pause = ERROR_PAUSE;
        self.tail.looked.send_modify(|look| look.error = Some((error, began)));
    }

    /// For how long the end of the log has not been read.
    fn lag(&self) -> f64 {
        let since = match &self.awaited {
            Some((_, since)) => Some(*since),
            None if self.tail.looked.borrow().error.is_none() => None,
            None => self.tail.looked.borrow().end_of,
        };
        since.map_or(0.0, |since| since.elapsed().as_secs_f64())
    }

    /// Whether the ring has more than before.
    async fn look(&mut self) -> Result<bool, ReadError> {
        let now = Instant::now();
        let head = self.tail.store.head().await?;
        let LogHead { epoch, drawn, generation, .. } = head;
        self.note_writers(&head.writers).await;
        // after a crash positions are drawn again, maybe by transactions that are open now
        self.awaited.take_if(|(awaited, _)| awaited.generation != generation);
        let decided = self.decided(head, now);
        let is_other = self.tail.ring().as_ref().is_some_and(|ring| ring.epoch() != epoch);
        if is_other {
            *self.tail.ring() = None;
        }
        let has_news = match decided {
            Some((drawn, _)) => match self.read_up_to(drawn, generation).await? {
                Some(has_news) => has_news,
                None => return Ok(true),
            },
            None if self.tail.ring().is_none() => self.begin_at_mark().await?,
            None => false,
        };
        self.tail.looked.send_modify(|look| {
            look.drawn = Some((drawn, now));
            look.end_of = decided.map(|(_, at)| at).or(look.end_of);
            look.error = None;
        });
        Ok(has_news)
    }

    /// The last position up to which all that was drawn is committed, or never will be, and when that was
    /// read, where it is known now.
    fn decided(&mut self, head: LogHead, now: Instant) -> Option<(u64, Instant)> {
        if head.writers.is_empty() {
            self.awaited = None;
            return Some((head.drawn, now));
        }
        let ended = self.awaited.as_mut().is_some_and(|(awaited, _)| {
            awaited.writers.retain(|writer| head.writers.contains(writer));
            awaited.writers.is_empty()
        });
        if ended || self.awaited.is_none() {
            let before = self.awaited.replace((head, now));
            return before.map(|(awaited, at)| (awaited.drawn, at));
        }
        None
    }

    /// Measures how long writers are open, and names those that stay in the log.
    async fn note_writers(&mut self, open: &[OpenWriter]) {
        let now = Instant::now();
        self.writers.retain(|writer, _| open.contains(writer));
        for writer in open {
            self.writers.entry(writer.clone()).or_insert((now, false));
        }
        let oldest = self.writers.values().map(|(since, _)| now - *since).max();
        self.tail.metrics.oldest_writer.set(oldest.unwrap_or_default().as_secs_f64());
        for (writer, (since, is_named)) in &mut self.writers {
            if *is_named || since.elapsed() < LONG_WRITER {
                continue;
            }
            *is_named = true;
            let session = self.tail.store.describe(writer).await;
            let session = session.unwrap_or_else(|error| error.text);
            let seconds = since.elapsed().as_secs();
            tracing::warn!(
                session,
                seconds,
                "a session that has written to the log stays open and holds the change feed back"
            );
        }
    }

    /// While the first writers are waited for, what an earlier mark says is decided is there to read.
    async fn begin_at_mark(&self) -> Result<bool, ReadError> {
        let mark = self.tail.store.position_before(None).await?.unwrap_or(0);
        let bounds = self.tail.store.bounds(mark).await?;
        self.begin(&bounds, mark);
        Ok(true)
    }

    /// Begins a ring that has nothing up to `decided`.
    fn begin(&self, bounds: &LogBounds, decided: u64) {
        *self.tail.ring() = Some(Ring::new(bounds.epoch, bounds.last, decided));
        self.tail.added.send_modify(|count| *count += 1);
    }

    /// Reads what the ring does not have, up to `drawn`, and returns whether there was something; `None` where
    /// the server may have crashed meanwhile. Then positions up to `drawn` may have been drawn again, so that
    /// what was read last may have gaps.
    async fn read_up_to(&self, drawn: u64, generation: u64) -> Result<Option<bool>, ReadError> {
        let mut has_news = false;
        loop {
            let ring = self.tail.ring().as_ref().map(|ring| (ring.epoch(), ring.last()));
            let page = match ring {
                Some((_, last)) if last >= drawn => break,
                Some((epoch, last)) => self.read_page(epoch, last, drawn).await?,
                None => None,
            };
            let Some(page) = page else {
                // readers find out themselves what the new ring does not have
                let bounds = self.tail.store.bounds(drawn).await?;
                let is_valid = self.tail.store.generation().await? == generation;
                return Ok(is_valid.then(|| self.begin(&bounds, drawn)).map(|()| true));
            };
            if page.last.is_some() && self.tail.store.generation().await? != generation {
                return Ok(None);
            }
            let is_last = page.is_last;
            has_news |= page.last.is_some();
            if page.last.is_some()
                && let Some(ring) = self.tail.ring().as_mut()
            {
                ring.add(page);
                self.tail.added.send_modify(|count| *count += 1);
            }
            if is_last {
                break;
            }
        }
        if self.tail.ring().as_mut().is_some_and(|ring| ring.decide(drawn)) {
            self.tail.added.send_modify(|count| *count += 1);
        }
        Ok(Some(has_news))
    }

    /// The page that follows on a row; `None` where the ring has to begin anew, since that is too far back,
    /// or pruned, or of another log.
    async fn read_page(
        &self,
        epoch: Uuid,
        after: u64,
        up_to: u64,
    ) -> Result<Option<LogPage>, ReadError> {
        if up_to > after.saturating_add(MOST_BEHIND) {
            return Ok(None);
        }
        let with_data = self.tail.data_readers.load(Ordering::Relaxed) > 0;
        let types = &Types::all();
        let query = ChangesQuery { after, up_to, types, rows: PAGE_ROWS, bytes: PAGE_BYTES };
        let page = self.tail.store.changes(query).await?;
        if page.epoch != epoch || page.floor > after {
            return Ok(None);
        }
        if with_data {
            return with_states(&*self.tail.store, page, None, PAGE_BYTES).await.map(Some);
        }
        Ok(Some(page))
    }
}
