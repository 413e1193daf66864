//! Requests by route, method and status, their durations, and the number in flight.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use producer_telemetry::metrics::{Metrics, SECONDS};
use producer_telemetry::refusal::Refusal;
use producer_telemetry::request::RequestContext;
use producer_telemetry::stopwatch::RequestEnd;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge};
use tokio::time::Instant;

/// The route of requests that match none.
const OTHER: &str = "other";

/// Methods by name; others are counted as one, or a client could make endless series.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Counts requests. Cheap to clone.
#[derive(Clone)]
pub struct Requests {
    families: Families,
    /// Handles of the routes that [`Requests::with_routes`] named, so that nothing is locked for
    /// them.
    known: Arc<HashMap<String, Vec<Arc<Handles>>, RandomState>>,
}

#[derive(Clone)]
struct Families {
    requests: IntCounterVec,
    duration: HistogramVec,
    in_flight: IntGauge,
    api: &'static str,
}

/// The metrics of one route and method.
struct Handles {
    families: Families,
    route: String,
    method: &'static str,
    duration: Histogram,
    /// The counter of the status that most answers have.
    success: IntCounter,
}

impl Requests {
    pub(super) fn new(group: &Metrics, api: &'static str) -> Self {
        let requests = group.counters(
            "producer_requests_total",
            "Requests answered, or cancelled by their clients (status cancelled)",
            &["api", "route", "method", "status"],
        );
        let duration = group.histograms(
            "producer_request_duration_seconds",
            "Time from a request's head to its answer's; of gRPC to the end of the answer",
            SECONDS,
            &["api", "route", "method"],
        );
        let in_flight = group.gauge("producer_requests_in_flight", "Requests not answered yet");
        let families = Families { requests, duration, in_flight, api };
        Self { families, known: Arc::default() }
    }

    /// The same, fast for these routes and their methods.
    #[must_use]
    pub fn with_routes<'a>(&self, routes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut known = HashMap::<String, Vec<Arc<Handles>>, RandomState>::default();
        for (route, method) in routes {
            let handles = self.families.handles(route, method);
            known.entry(route.to_owned()).or_default().push(Arc::new(handles));
        }
        Self { families: self.families.clone(), known: Arc::new(known) }
    }

    /// Whether [`Requests::with_routes`] named the route.
    pub fn knows(&self, route: &str) -> bool {
        self.known.contains_key(route)
    }

    /// Begins a request. `route` is the route that matched, with its parameters' names instead of
    /// values; `None` where none did. `context` is ended with the request.
    pub fn begin(
        &self,
        route: Option<&str>,
        method: &str,
        context: Option<Arc<RequestContext>>,
    ) -> InFlight {
        let route = route.unwrap_or(OTHER);
        let known = self.known.get(route).map_or(&[][..], Vec::as_slice);
        let handles = match known.iter().find(|handles| handles.method == method) {
            Some(known) => Arc::clone(known),
            None => Arc::new(self.families.handles(route, method)),
        };
        self.families.in_flight.inc();
        let started = context.as_deref().map_or_else(Instant::now, RequestContext::begun);
        InFlight { handles, context, started, ended: false }
    }
}

impl Families {
    fn handles(&self, route: &str, method: &str) -> Handles {
        let method = METHODS.into_iter().find(|&known| known == method).unwrap_or(OTHER);
        Handles {
            duration: self.duration.with_label_values(&[self.api, route, method]),
            success: self.counter(route, method, self.success()),
            route: route.to_owned(),
            method,
            families: self.clone(),
        }
    }

    fn counter(&self, route: &str, method: &str, status: &str) -> IntCounter {
        self.requests.with_label_values(&[self.api, route, method, status])
    }

    fn success(&self) -> &'static str {
        if self.api == "grpc" { "OK" } else { "200" }
    }

    /// The status of a request whose client cancelled it before the answer. HTTP has none.
    fn cancelled(&self) -> &'static str {
        if self.api == "grpc" { "CANCELLED" } else { "cancelled" }
    }
}

impl Handles {
    fn count(&self, status: &str) {
        if status == self.families.success() {
            self.success.inc();
        } else {
            self.families.counter(&self.route, self.method, status).inc();
        }
    }
}

/// A request in flight. One that is dropped without an answer counts as cancelled.
pub struct InFlight {
    handles: Arc<Handles>,
    context: Option<Arc<RequestContext>>,
    started: Instant,
    ended: bool,
}

impl InFlight {
    /// The request is answered with this status.
    pub fn answered(mut self, status: &str) {
        self.end(status);
    }

    /// The request is refused; its end logs why.
    pub fn refuse(&self, refusal: Refusal) {
        if let Some(context) = &self.context {
            context.refuse(refusal);
        }
    }

    /// Runs a part of the request's work in its context.
    pub fn scope<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.context {
            Some(context) => context.sync_scope(work),
            None => work(),
        }
    }

    fn end(&mut self, status: &str) {
        self.ended = true;
        let took = self.started.elapsed();
        self.handles.count(status);
        self.handles.duration.observe(took.as_secs_f64());
        if let Some(context) = &self.context {
            let Handles { route, method, .. } = &*self.handles;
            context.end(&RequestEnd { route, method, status, took });
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.ended {
            self.end(self.handles.families.cancelled());
        }
        self.handles.families.in_flight.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_its_client_cancels_is_counted_and_over() {
        let requests = Requests::new(&Metrics::default(), "rest").with_routes([("/a", "GET")]);
        let in_flight = requests.begin(Some("/a"), "GET", None);
        assert_eq!(requests.families.in_flight.get(), 1);
        drop(in_flight);
        assert_eq!(requests.families.in_flight.get(), 0);
        assert_eq!(requests.families.counter("/a", "GET", "cancelled").get(), 1);
        requests.begin(Some("/a"), "GET", None).answered("200");
        assert_eq!(requests.families.counter("/a", "GET", "cancelled").get(), 1);
        assert_eq!(requests.families.counter("/a", "GET", "200").get(), 1);
    }

    #[test]
    fn a_client_cannot_make_series() {
        let requests = Requests::new(&Metrics::default(), "rest").with_routes([("/a", "GET")]);
        requests.begin(None, "BREW", None).answered("404");
        requests.begin(Some("/a"), "STIR", None).answered("405");
        assert_eq!(requests.families.counter(OTHER, OTHER, "404").get(), 1);
        assert_eq!(requests.families.counter("/a", OTHER, "405").get(), 1);
    }
}
