//! The request that the present task serves: its id, where its time goes, its place in a trace.
//! A transport [scopes](RequestContext::scope) its work; what works below it finds the request here,
//! and so do the log lines.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::trace::{SpanContext, TraceId};
use tokio::time::Instant;

use super::slow_request;
use super::spans::RequestSpan;
use super::stopwatch::{Part, Parts, RequestEnd, Stopwatch};

tokio::task_local! {
    static CURRENT: Arc<RequestContext>;
}

/// What is known about one request.
pub struct RequestContext {
    id: Box<str>,
    /// `SLOW_REQUEST`; zero is off.
    slow_after: Duration,
    watch: Mutex<Stopwatch>,
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
        let watch = Mutex::new(Stopwatch::new());
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
    pub fn end(self: &Arc<Self>, request_end: &RequestEnd<'_>) {
        if let Some(span) = &self.span {
            span.end(&self.id, request_end);
        }
        if !self.slow_after.is_zero()
            && request_end.took >= self.slow_after
            && let Some(parts) = self.parts()
        {
            self.sync_scope(|| slow_request::log(request_end, &parts));
        }
    }

    /// Where its time went until now; `None` of one that is long by nature.
    fn parts(&self) -> Option<Parts> {
        let mut watch = self.watch();
        watch.enter(Part::Rest, Instant::now());
        (!watch.long).then_some(watch.spent)
    }

    fn watch(&self) -> MutexGuard<'_, Stopwatch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The request that the present task serves.
pub fn current() -> Option<Arc<RequestContext>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// Whatever is known about the present request.
pub(crate) fn with<T>(look: impl FnOnce(&RequestContext) -> T) -> Option<T> {
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
pub fn waited(taken: Option<Instant>, applied: Option<Instant>) {
    with(|context| {
        let mut watch = context.watch();
        if let Some(taken) = taken {
            watch.enter(Part::Database, taken);
        }
        watch.enter(Part::Rest, applied.unwrap_or_else(Instant::now));
    });
}

/// The present request's span, where it is recorded.
pub fn span() -> Option<Box<SpanContext>> {
    let recorded = |context: &RequestContext| {
        context.span.as_ref().filter(|span| span.is_recorded()).map(|span| span.context().clone())
    };
    with(recorded).flatten().map(Box::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_on_another_task_knows_its_request() {
        let context = RequestContext::begin("r1", SpanContext::NONE, Duration::ZERO);
        let id = || with(|context| context.id().to_owned());
        let spawned = async move { tokio::spawn(carried(async move { id() })).await };
        assert_eq!(context.scope(spawned).await.unwrap().as_deref(), Some("r1"));
        assert!(current().is_none());
    }
}
