//! The request that the current task serves: its id, its stopwatch, its span. A transport
//! [scopes](RequestContext::scope) its work; the code below it finds the request here, and so do the
//! log lines.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use opentelemetry::trace::{SpanContext, TraceId};
use pin_project_lite::pin_project;
use tokio::task::futures::TaskLocalFuture;
use tokio::time::Instant;

use super::refusal::Refusal;
use super::slow_request;
use super::spans::RequestSpan;
use super::stopwatch::{Part, Parts, RequestEnd, Stopwatch};

tokio::task_local! {
    static CURRENT: Arc<RequestContext>;
}

/// A future that is work of a request.
pub type Scoped<F> = TaskLocalFuture<Arc<RequestContext>, F>;

/// What is known about one request.
pub struct RequestContext {
    id: Box<str>,
    /// The address that the connection comes from.
    client: Option<SocketAddr>,
    begun: Instant,
    /// `SLOW_REQUEST`; zero logs none as slow.
    slow_after: Duration,
    watch: Mutex<Stopwatch>,
    /// The request's span or, where spans are off, its caller's.
    trace: SpanContext,
    span: Option<RequestSpan>,
    refusal: OnceLock<Box<Refusal>>,
}

impl fmt::Debug for RequestContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestContext").field("id", &self.id).finish_non_exhaustive()
    }
}

impl RequestContext {
    /// Begins a request. `client` is the address that its connection comes from, `caller` the span that
    /// it was sent from, invalid where there is none.
    pub fn begin(
        id: &str,
        client: Option<SocketAddr>,
        caller: SpanContext,
        slow_after: Duration,
    ) -> Arc<Self> {
        let span = RequestSpan::begin(&caller);
        let trace = span.as_ref().map_or(caller, |span| span.context().clone());
        let begun = Instant::now();
        let watch = Mutex::new(Stopwatch::new(begun));
        let (id, refusal) = (id.into(), OnceLock::new());
        Arc::new(Self { id, client, begun, slow_after, watch, trace, span, refusal })
    }

    /// When it began.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// The id, as in the `x-request-id` of the answer.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The trace that it belongs to.
    pub fn trace_id(&self) -> Option<TraceId> {
        self.trace.is_valid().then(|| self.trace.trace_id())
    }

    /// Runs a future as work of this request.
    pub fn scope<F: Future>(self: Arc<Self>, work: F) -> Scoped<F> {
        CURRENT.scope(self, work)
    }

    /// As [`RequestContext::scope`], for a function.
    pub fn sync_scope<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(Arc::clone(self), work)
    }

    /// From now on the request's time counts as `part`.
    pub fn enter(&self, part: Part) {
        self.enter_at(part, Instant::now());
    }

    fn enter_at(&self, part: Part, at: Instant) {
        self.watch().enter(part, at);
    }

    /// The client decides how long it takes (NDJSON, streams): it is never logged as slow.
    pub fn mark_long(&self) {
        self.watch().is_long = true;
    }

    /// Notes why the request, or events of it, were refused; the first reason is logged at its end.
    pub fn refuse(&self, refusal: Refusal) {
        let _later_reason = self.refusal.set(Box::new(refusal));
    }

    /// Ends the request and its span, and logs it if it was refused or slow.
    pub fn end(self: &Arc<Self>, request_end: &RequestEnd<'_>) {
        if let Some(span) = &self.span {
            span.end(&self.id, request_end);
        }
        if let Some(refusal) = self.refusal.get() {
            self.sync_scope(|| refusal.log(request_end, self.client));
        }
        if !self.slow_after.is_zero()
            && request_end.took >= self.slow_after
            && let Some(parts) = self.parts()
        {
            self.sync_scope(|| slow_request::log(request_end, &parts));
        }
    }

    /// Where its time went until now; `None` of a request marked as long.
    fn parts(&self) -> Option<Parts> {
        let mut watch = self.watch();
        watch.enter(Part::Rest, Instant::now());
        (!watch.is_long).then_some(watch.spent)
    }

    fn watch(&self) -> MutexGuard<'_, Stopwatch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The request that the current task serves.
pub fn current() -> Option<Arc<RequestContext>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// Looks at the current request, if there is one.
pub(crate) fn with<T>(look: impl FnOnce(&RequestContext) -> T) -> Option<T> {
    CURRENT.try_with(|context| look(context)).ok()
}

pin_project! {
    /// See [`measure`].
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Measured<F> {
        part: Part,
        waits: bool,
        #[pin]
        work: F,
    }
}

/// Runs a future. From its first wait to its end, the current request's time counts as `part`.
pub fn measure<F: Future>(part: Part, work: F) -> Measured<F> {
    Measured { part, waits: false, work }
}

impl<F: Future> Future for Measured<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let polled = this.work.poll(cx);
        if polled.is_pending() != *this.waits {
            enter(if polled.is_pending() { *this.part } else { Part::Rest });
            *this.waits = polled.is_pending();
        }
        polled
    }
}

/// From now on the current request's time counts as `part`.
pub fn enter(part: Part) {
    with(|context| context.enter(part));
}

/// As [`enter`], from `at` on.
pub fn enter_at(part: Part, at: Instant) {
    with(|context| context.enter_at(part, at));
}

/// As [`RequestContext::mark_long`], of the current request.
pub fn mark_long() {
    with(RequestContext::mark_long);
}

/// As [`RequestContext::refuse`], of the current request, where there is a refusal.
pub fn refuse(refusal: Option<Refusal>) {
    if let Some(refusal) = refusal {
        with(|context| context.refuse(refusal));
    }
}

/// Wraps a future that another task will run for the current request.
pub fn with_current_request<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let context = current();
    async move {
        match context {
            Some(context) => context.scope(work).await,
            None => work.await,
        }
    }
}

/// Divides the wait of an event of the current request: until a writer has `taken` it, it waited in
/// the queue; from then until it was `applied`, for the database.
pub fn record_wait(taken: Option<Instant>, applied: Option<Instant>) {
    with(|context| {
        let mut watch = context.watch();
        if let Some(taken) = taken {
            watch.enter(Part::Database, taken);
        }
        watch.enter(Part::Rest, applied.unwrap_or_else(Instant::now));
    });
}

/// The current request's span, where it is recorded.
pub fn span() -> Option<Box<SpanContext>> {
    let recorded = |context: &RequestContext| {
        context.span.as_ref().filter(|span| span.is_recorded()).map(|span| span.context().clone())
    };
    with(recorded).flatten().map(Box::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_part_lasts_from_the_first_wait_to_the_end() {
        let context = RequestContext::begin("r1", None, SpanContext::NONE, Duration::ZERO);
        let seconds = |part| context.watch().spent.millis(part) / 1000;
        let wait = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
        let work = async {
            wait(1).await;
            measure(Part::Body, async {}).await;
            wait(2).await;
            let two_waits = async {
                wait(4).await;
                wait(8).await;
            };
            measure(Part::Database, two_waits).await;
            wait(16).await;
            enter(Part::Rest);
        };
        Arc::clone(&context).scope(work).await;
        let parts = [Part::Body, Part::Queue, Part::Database, Part::Rest];
        assert_eq!(parts.map(seconds), [0, 0, 12, 19]);
    }

    #[tokio::test]
    async fn another_task_can_work_for_the_request() {
        let context = RequestContext::begin("r1", None, SpanContext::NONE, Duration::ZERO);
        let id = || with(|context| context.id().to_owned());
        let spawned = async move { tokio::spawn(with_current_request(async move { id() })).await };
        assert_eq!(context.scope(spawned).await.unwrap().as_deref(), Some("r1"));
        assert!(current().is_none());
    }
}
