//! The request that the present task serves: its id, where its time goes, its place in a trace.
//! A transport [scopes](RequestContext::scope) its work; what works below it finds the request here,
//! and so do the log lines.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::trace::{SpanContext, TraceId};
use tokio::time::Instant;

use super::slow;
use super::spans::RequestSpan;

tokio::task_local! {
    static CURRENT: Arc<RequestContext>;
}

/// Where a request's time goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Reading its body.
    Body,
    /// Its events wait for their turn, or aside for a lock.
    Queue,
    /// The batch of its events, or its read.
    Database,
    /// Everything else.
    Rest,
}

/// How long each [`Part`] took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Parts([Duration; 4]);

impl Parts {
    pub(super) fn millis(&self, part: Part) -> u64 {
        millis(self.0[part as usize])
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A stopwatch that always runs for one part.
#[derive(Debug)]
struct Watch {
    part: Part,
    since: Instant,
    spent: Parts,
    /// Long by nature: never slow.
    long: bool,
}

impl Watch {
    fn new() -> Self {
        Self { part: Part::Rest, since: Instant::now(), spent: Parts::default(), long: false }
    }

    /// From `at` on it runs for `part`. A time that is past and told already changes nothing.
    fn enter(&mut self, part: Part, at: Instant) {
        if at > self.since {
            self.spent.0[self.part as usize] += at - self.since;
            self.since = at;
        }
        self.part = part;
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub struct Ending<'a> {
    /// The route that matched, with its parameters' names instead of values.
    pub route: &'a str,
    /// The method, of HTTP.
    pub method: &'a str,
    /// The status, as the API calls it.
    pub status: &'a str,
    /// From its head to its answer.
    pub took: Duration,
}

/// What is known about one request.
pub struct RequestContext {
    id: Box<str>,
    /// `SLOW_REQUEST`; zero is off.
    slow_after: Duration,
    watch: Mutex<Watch>,
    /// The span of the request or, where spans are off, its caller's.
    trace: SpanContext,
    span: Option<RequestSpan>,
}

impl fmt::Debug for RequestContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestContext").field("id", &self.id).finish_non_exhaustive()
    }
}

impl RequestContext {
    /// A request begins. `caller` is the span that it was sent from, invalid where none was told.
    pub fn begin(id: &str, caller: SpanContext, slow_after: Duration) -> Arc<Self> {
        let span = RequestSpan::begin(&caller);
        let trace = span.as_ref().map_or(caller, |span| span.context().clone());
        let watch = Mutex::new(Watch::new());
        Arc::new(Self { id: id.into(), slow_after, watch, trace, span })
    }

    /// Its id, as its answer carries it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The trace that it belongs to.
    pub fn trace_id(&self) -> Option<TraceId> {
        self.trace.is_valid().then(|| self.trace.trace_id())
    }

    /// Does the work of the request.
    pub fn scope<F: Future>(self: Arc<Self>, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// As [`RequestContext::scope`], for what is no future.
    pub fn sync_scope<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(Arc::clone(self), work)
    }

    /// From now on its time counts for `part`.
    pub fn enter(&self, part: Part) {
        self.watch().enter(part, Instant::now());
    }

    /// It is as long as its client makes it (NDJSON, streams), and so never named as slow.
    pub fn is_long(&self) {
        self.watch().long = true;
    }

    /// The request is over: ends its span, and names it in the log if it was slow.
    pub fn end(self: &Arc<Self>, ending: &Ending<'_>) {
        if let Some(span) = &self.span {
            span.end(&self.id, ending);
        }
        if !self.slow_after.is_zero()
            && ending.took >= self.slow_after
            && let Some(parts) = self.parts()
        {
            self.sync_scope(|| slow::tell(ending, &parts));
        }
    }

    /// Where its time went until now; `None` of one that is long by nature.
    fn parts(&self) -> Option<Parts> {
        let mut watch = self.watch();
        watch.enter(Part::Rest, Instant::now());
        (!watch.long).then_some(watch.spent)
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The request that the present task serves.
pub fn current() -> Option<Arc<RequestContext>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// Whatever is known about the present request.
pub(super) fn with<T>(look: impl FnOnce(&RequestContext) -> T) -> Option<T> {
    CURRENT.try_with(|context| look(context)).ok()
}

/// The time of `work` counts for `part` of the present request.
pub async fn during<F: Future>(part: Part, work: F) -> F::Output {
    enter(part);
    let output = work.await;
    enter(Part::Rest);
    output
}

/// From now on the present request's time counts for `part`.
pub fn enter(part: Part) {
    with(|context| context.enter(part));
}

/// The present request is as long as its client makes it, and so never named as slow.
pub fn is_long() {
    with(RequestContext::is_long);
}

/// Work on another task, for the present request.
pub fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let context = current();
    async move {
        match context {
            Some(context) => context.scope(work).await,
            None => work.await,
        }
    }
}

/// An event of the present request was `taken` by a writer and `applied`, as far as it came.
pub(crate) fn waited(taken: Option<Instant>, applied: Option<Instant>) {
    with(|context| {
        let mut watch = context.watch();
        if let Some(taken) = taken {
            watch.enter(Part::Database, taken);
        }
        watch.enter(Part::Rest, applied.unwrap_or_else(Instant::now));
    });
}

/// The present request's span, where it is recorded.
pub(crate) fn span() -> Option<Box<SpanContext>> {
    let recorded = |context: &RequestContext| {
        context.span.as_ref().filter(|span| span.is_recorded()).map(|span| span.context().clone())
    };
    with(recorded).flatten().map(Box::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn time_counts_once_whatever_is_told_twice() {
        let mut watch = Watch::new();
        let start = watch.since;
        watch.enter(Part::Body, at(start, 1));
        watch.enter(Part::Queue, at(start, 11));
        // two events of one batch, then one of the next
        for (taken, applied) in [(31, 61), (31, 61), (71, 101)] {
            watch.enter(Part::Queue, watch.since);
            watch.enter(Part::Database, at(start, taken));
            watch.enter(Part::Rest, at(start, applied));
        }
        watch.enter(Part::Rest, at(start, 106));
        let told = [Part::Body, Part::Queue, Part::Database, Part::Rest];
        assert_eq!(told.map(|part| watch.spent.millis(part)), [10, 30, 60, 6]);
    }

    #[tokio::test]
    async fn work_on_another_task_knows_its_request() {
        let context = RequestContext::begin("r1", SpanContext::NONE, Duration::ZERO);
        let id = || with(|context| context.id().to_owned());
        let spawned = async move { tokio::spawn(carried(async move { id() })).await };
        assert_eq!(context.scope(spawned).await.unwrap().as_deref(), Some("r1"));
        assert!(current().is_none());
    }
}
