//! A source in memory, as a stream with one consumer group.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use producer_worker::config::{Secret, SourceConfig, SourceKind, SourceStart};
use producer_worker::runner::parts::Parts;
use producer_worker::runner::source;
use producer_worker::sink::Failure;
use producer_worker::sinks::OpenError;
use producer_worker::source::{Body, Message, Place, Source, SourceLag};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::Running;

/// A stream. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Stream(Arc<Inner>);

#[derive(Default)]
struct Inner {
    entries: Mutex<Vec<Body>>,
    acknowledged: Mutex<HashSet<usize>>,
    added: Notify,
    fails: Mutex<Fails>,
    opened: Mutex<usize>,
    closed: Mutex<usize>,
}

#[derive(Clone, Copy, Default)]
struct Fails {
    open: bool,
    receive: bool,
    acknowledge: bool,
}

impl Stream {
    pub(crate) fn add(&self, body: Body) {
        self.0.entries.lock().expect("lock").push(body);
        self.0.added.notify_waiters();
    }

    /// Adds an event that merges `{"n": n}` into a car.
    pub(crate) fn add_merge(&self, id: &str, n: usize) {
        self.add_event(&format!(r#""entityId":"{id}","updatedAttributes":{{"n":{n}}}"#));
    }

    pub(crate) fn add_event(&self, update: &str) {
        let text = format!(
            r#"{{"eventHeader":{{"eventName":"Set"}},"eventBody":{{"entities":[{{"entityType":"Car",{update}}}]}}}}"#
        );
        self.add(Body::Fields(vec![("data".into(), text.into_bytes())]));
    }

    pub(crate) fn fail_to_open(&self, fails: bool) {
        self.0.fails.lock().expect("lock").open = fails;
    }

    pub(crate) fn fail_to_receive(&self, fails: bool) {
        self.0.fails.lock().expect("lock").receive = fails;
    }

    pub(crate) fn fail_to_acknowledge(&self, fails: bool) {
        self.0.fails.lock().expect("lock").acknowledge = fails;
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.0.acknowledged.lock().expect("lock").len()
    }

    /// How many readers were opened and closed.
    pub(crate) fn readers(&self) -> (usize, usize) {
        (*self.0.opened.lock().expect("lock"), *self.0.closed.lock().expect("lock"))
    }

    /// Runs a source over this stream.
    pub(crate) fn run(&self, config: &SourceConfig, parts: Parts) -> Running {
        let (shutdown, stream) = (CancellationToken::new(), self.clone());
        let open = move || {
            if stream.0.fails.lock().expect("lock").open {
                return Err(OpenError("the settings can't work".into()));
            }
            *stream.0.opened.lock().expect("lock") += 1;
            Ok(Box::new(Reader { stream: stream.clone(), next: 0 }) as Box<dyn Source>)
        };
        let run = source::run(Arc::new(config.clone()), open, parts, shutdown.clone());
        Running::new(shutdown, run)
    }
}

pub(crate) fn config(name: &str) -> SourceConfig {
    let kind = SourceKind::RedisStream {
        url: Secret::from(String::new()),
        stream: "cars".into(),
        group: "producer".into(),
        from: SourceStart::Start,
    };
    SourceConfig { name: name.into(), kind, map: None }
}

/// Reads what is not acknowledged, from the beginning, each once.
struct Reader {
    stream: Stream,
    next: usize,
}

impl Reader {
    fn read(&mut self, most: usize) -> Vec<Message> {
        let entries = self.stream.0.entries.lock().expect("lock");
        let acknowledged = self.stream.0.acknowledged.lock().expect("lock");
        let mut messages = Vec::new();
        while self.next < entries.len() && messages.len() < most {
            if !acknowledged.contains(&self.next) {
                let place = Place { stream: "cars".into(), id: self.next.to_string() };
                let body = entries[self.next].clone();
                messages.push(Message { place, body, deliveries: 1 });
            }
            self.next += 1;
        }
        messages
    }
}

impl Source for Reader {
    fn receive(&mut self, most: usize) -> BoxFuture<'_, Result<Vec<Message>, Failure>> {
        async move {
            if self.stream.0.fails.lock().expect("lock").receive {
                return Err(Failure::new("the stream is away"));
            }
            let inner = Arc::clone(&self.stream.0);
            let added = inner.added.notified();
            let messages = self.read(most);
            if !messages.is_empty() {
                return Ok(messages);
            }
            let _ = timeout(Duration::from_millis(200), added).await;
            Ok(self.read(most))
        }
        .boxed()
    }

    fn acknowledge<'a>(&'a mut self, places: &'a [Place]) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            if self.stream.0.fails.lock().expect("lock").acknowledge {
                return Err(Failure::new("the stream takes no acknowledgement"));
            }
            let mut acknowledged = self.stream.0.acknowledged.lock().expect("lock");
            for place in places {
                assert!(acknowledged.insert(place.id.parse().expect("a number")), "{place:?} once");
            }
            Ok(())
        }
        .boxed()
    }

    fn lag(&mut self) -> BoxFuture<'_, Option<SourceLag>> {
        let entries = self.stream.0.entries.lock().expect("lock").len();
        let messages = (entries - self.stream.acknowledged()) as u64;
        async move { Some(SourceLag { messages, age: Some(Duration::from_secs(messages)) }) }
            .boxed()
    }

    fn check(&mut self) -> BoxFuture<'_, Result<(), Failure>> {
        async { Ok(()) }.boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        *self.stream.0.closed.lock().expect("lock") += 1;
        async {}.boxed()
    }
}
