//! Writers that send one event after the other until they are stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::{Api, History, Outcome, Record, SentEvent};

/// The pause of a writer after an event that was not acknowledged.
const BACKOFF: Duration = Duration::from_millis(20);

/// Running writers.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    writers: JoinSet<()>,
    history: Arc<History>,
}

impl Load {
    /// Starts `writers` for each API, which together update `entities` entities. The index of an API
    /// in `apis` is the sender's number in the history.
    pub fn start(apis: &[Api], writers: usize, entities: usize) -> Self {
        Self::with_pause(apis, writers, entities, Duration::ZERO)
    }

    /// As [`Load::start`], with a pause of each writer after each event: for what shares the machine with the
    /// service and has to keep up with it. Documents grow by an attribute an event, and a stream has them all.
    pub fn with_pause(apis: &[Api], writers: usize, entities: usize, pause: Duration) -> Self {
        let (stop, history) = (Arc::new(AtomicBool::new(false)), Arc::new(History::default()));
        let mut set = JoinSet::new();
        for (sender, api) in apis.iter().enumerate() {
            for writer in 0..writers {
                let writer = Writer { api: api.clone(), sender, writer, entities, pause };
                set.spawn(writer.write(Arc::clone(&stop), Arc::clone(&history)));
            }
        }
        Self { stop, writers: set, history }
    }

    /// The requests so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Stops every writer after its current request.
    pub async fn stop(mut self) -> Arc<History> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.writers.join_next().await {
            ended.expect("a writer doesn't panic");
        }
        self.history
    }
}

struct Writer {
    api: Api,
    sender: usize,
    writer: usize,
    entities: usize,
    pause: Duration,
}

impl Writer {
    async fn write(self, stop: Arc<AtomicBool>, history: Arc<History>) {
        let mut n = 0;
        while !stop.load(Ordering::Relaxed) {
            let (event, start) = (self.event(n), Instant::now());
            let outcome = self.api.send(&event).await;
            let failed = !matches!(outcome, Outcome::Done { .. });
            history.add(Record { event, outcome, took: start.elapsed(), sender: self.sender });
            let pause = if failed { self.pause.max(BACKOFF) } else { self.pause };
            if !pause.is_zero() {
                sleep(pause).await;
            }
            n += 1;
        }
    }

    /// The `n`th event of this writer: a unique attribute for one entity, or for two in every fourth
    /// event.
    fn event(&self, n: usize) -> SentEvent {
        let attribute = format!("s{}w{}n{n}", self.sender, self.writer);
        let id = |place: usize| format!("car-{}", place % self.entities);
        let event = SentEvent::new("Car", &id(self.writer + n), json!({ &attribute: n }));
        if n % 4 == 3 { event.and("Loan", &id(n), json!({ attribute: n })) } else { event }
    }
}
