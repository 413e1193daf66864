//! Counts and times the responses that the generators receive while it is open.

use std::cell::{Ref, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::Result;

/// The largest latency that is recorded, in microseconds.
const MAX_LATENCY: u64 = 120_000_000;

/// A shared count. Cheap to clone; for one thread.
#[derive(Clone)]
pub(crate) struct Meter(Rc<RefCell<State>>);

struct State {
    open: bool,
    latencies: Histogram<u64>,
    events: u64,
    acknowledged: u64,
    errors: u64,
    first_error: Option<String>,
    /// Whether refusals are counted separately; else they are errors.
    counts_refusals: bool,
    /// Latencies of requests that were refused.
    refusals: Histogram<u64>,
    /// Latencies from when a request was due.
    since_due: Histogram<u64>,
    unsent: u64,
    preconditions: Preconditions,
}

/// When a request was sent and, at a constant rate, when it was due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SendTime {
    pub(crate) due: Option<Instant>,
    pub(crate) sent: Instant,
}

impl From<Instant> for SendTime {
    fn from(sent: Instant) -> Self {
        Self { due: None, sent }
    }
}

/// Requests that were refused or never sent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Admission {
    /// Requests with the response 503 or UNAVAILABLE.
    pub(crate) refused: u64,
    /// Their latency.
    pub(crate) refusal_us: Option<Latency>,
    /// Arrivals without a free connection in time.
    pub(crate) unsent: u64,
    /// Latency of the admitted requests from when they were due.
    pub(crate) since_due_us: Option<Latency>,
}

/// Answers to writes with a condition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Preconditions {
    /// The writes that were applied.
    pub(crate) met: u64,
    /// Those with the response 412, which are no errors and no events.
    pub(crate) failed: u64,
}

/// Latencies of requests, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Meter {
    /// A closed meter. A refusal is an error.
    pub(crate) fn new() -> Result<Self> {
        let latencies = Histogram::new_with_bounds(1, MAX_LATENCY, 3)?;
        let state = State {
            open: false,
            refusals: latencies.clone(),
            since_due: latencies.clone(),
            latencies,
            events: 0,
            acknowledged: 0,
            errors: 0,
            first_error: None,
            counts_refusals: false,
            unsent: 0,
            preconditions: Preconditions::default(),
        };
        Ok(Self(Rc::new(RefCell::new(state))))
    }

    /// Counts refusals separately from now on, instead of as errors.
    pub(crate) fn count_refusals(&self) {
        self.0.borrow_mut().counts_refusals = true;
    }

    /// Starts counting responses.
    pub(crate) fn open(&self) {
        self.0.borrow_mut().open = true;
    }

    /// Stops counting responses.
    pub(crate) fn close(&self) {
        self.0.borrow_mut().open = false;
    }

    /// Records the success of a request with this many events.
    pub(crate) fn success(&self, time: impl Into<SendTime>, events: usize) {
        let mut state = self.0.borrow_mut();
        state.acknowledged += events as u64;
        state.count(time.into(), events as u64);
    }

    /// Records the success of a request that stores nothing. It counts among the events, but not
    /// among those that must be in the log.
    pub(crate) fn read(&self, time: SendTime) {
        self.0.borrow_mut().count(time, 1);
    }

    /// Records whether the condition of a write was met.
    pub(crate) fn precondition(&self, met: bool) {
        let mut state = self.0.borrow_mut();
        if state.open {
            let Preconditions { met: accepted, failed } = &mut state.preconditions;
            *if met { accepted } else { failed } += 1;
        }
    }

    /// Records a refusal: nothing of the request is stored.
    pub(crate) fn refusal(&self, time: SendTime, why: impl FnOnce() -> String) {
        let mut state = self.0.borrow_mut();
        if !state.counts_refusals {
            drop(state);
            self.record_error(why);
        } else if state.open {
            record(&mut state.refusals, time.sent.elapsed());
        }
    }

    /// Records arrivals that were given up before they were sent.
    pub(crate) fn unsent(&self, arrivals: u64) {
        let mut state = self.0.borrow_mut();
        if state.open {
            state.unsent += arrivals;
        }
    }

    /// Adds transactions that another program has counted and timed.
    pub(crate) fn add(&self, events: u64, latencies: impl Iterator<Item = Duration>) {
        let mut state = self.0.borrow_mut();
        state.events += events;
        state.acknowledged += events;
        for latency in latencies {
            record(&mut state.latencies, latency);
        }
    }

    /// Records an error: no response, or one that isn't a success. Counts even while closed.
    pub(crate) fn record_error(&self, why: impl FnOnce() -> String) {
        let mut state = self.0.borrow_mut();
        state.errors += 1;
        if state.first_error.is_none() {
            state.first_error = Some(why());
        }
    }

    /// Events acknowledged, and requests answered that store nothing, while the meter was open.
    pub(crate) fn events(&self) -> u64 {
        self.state().events
    }

    /// All acknowledged events, without requests that store nothing.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.state().acknowledged
    }

    /// The number of errors and the first one, where there are any.
    pub(crate) fn error(&self) -> Option<String> {
        let state = self.state();
        let first = state.first_error.as_ref()?;
        Some(format!("{} failed requests; the first: {first}", state.errors))
    }

    /// Of the successful requests; `None` where there was none.
    pub(crate) fn latency(&self) -> Option<Latency> {
        Latency::from_histogram(&self.state().latencies)
    }

    /// The longest one, in microseconds; `None` where there was none.
    pub(crate) fn slowest(&self) -> Option<f64> {
        let latencies = &self.state().latencies;
        (!latencies.is_empty()).then(|| latencies.max() as f64)
    }

    /// What was refused or not sent while the meter was open.
    pub(crate) fn admission(&self) -> Admission {
        let state = self.state();
        Admission {
            refused: state.refusals.len(),
            refusal_us: Latency::from_histogram(&state.refusals),
            unsent: state.unsent,
            since_due_us: Latency::from_histogram(&state.since_due),
        }
    }

    /// The conditional writes while the meter was open.
    pub(crate) fn preconditions(&self) -> Preconditions {
        self.state().preconditions
    }

    fn state(&self) -> Ref<'_, State> {
        self.0.borrow()
    }
}

impl State {
    /// Counts events and times their request.
    fn count(&mut self, time: SendTime, events: u64) {
        if self.open {
            self.events += events;
            record(&mut self.latencies, time.sent.elapsed());
            if let Some(due) = time.due {
                record(&mut self.since_due, due.elapsed());
            }
        }
    }
}

impl Latency {
    fn from_histogram(latencies: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| latencies.value_at_quantile(quantile) as f64;
        (!latencies.is_empty()).then(|| Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
        })
    }
}

fn record(latencies: &mut Histogram<u64>, latency: Duration) {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(MAX_LATENCY);
    latencies.saturating_record(micros.max(1));
}
