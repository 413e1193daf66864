//! Counts what the generators were answered, while it is open.

use std::cell::{Ref, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::Result;

/// Longer than any answer may take, in microseconds.
const LONGEST: u64 = 120_000_000;

/// A shared count. Cheap to clone; for one thread.
#[derive(Clone)]
pub(crate) struct Meter(Rc<RefCell<State>>);

struct State {
    open: bool,
    latencies: Histogram<u64>,
    events: u64,
    answered: u64,
    errors: u64,
    first_error: Option<String>,
}

/// Latencies of requests, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Meter {
    /// A closed meter.
    pub(crate) fn new() -> Result<Self> {
        let latencies = Histogram::new_with_bounds(1, LONGEST, 3)?;
        let (events, answered, errors, first_error) = (0, 0, 0, None);
        let state = State { open: false, latencies, events, answered, errors, first_error };
        Ok(Self(Rc::new(RefCell::new(state))))
    }

    /// From now on answers count.
    pub(crate) fn open(&self) {
        self.0.borrow_mut().open = true;
    }

    /// From now on answers don't count any more.
    pub(crate) fn close(&self) {
        self.0.borrow_mut().open = false;
    }

    /// A request of so many events, sent then, was answered with success.
    pub(crate) fn done(&self, sent: Instant, events: usize) {
        let mut state = self.0.borrow_mut();
        state.answered += events as u64;
        if state.open {
            state.events += events as u64;
            let micros = u64::try_from(sent.elapsed().as_micros()).unwrap_or(LONGEST);
            state.latencies.saturating_record(micros.max(1));
        }
    }

    /// So many transactions with latencies known from elsewhere.
    pub(crate) fn add(&self, events: u64, latencies: impl Iterator<Item = Duration>) {
        let mut state = self.0.borrow_mut();
        state.events += events;
        state.answered += events;
        for latency in latencies {
            let micros = u64::try_from(latency.as_micros()).unwrap_or(LONGEST);
            state.latencies.saturating_record(micros.max(1));
        }
    }

    /// A request failed, or was answered with another thing than success. Counts always.
    pub(crate) fn failed(&self, why: impl FnOnce() -> String) {
        let mut state = self.0.borrow_mut();
        state.errors += 1;
        if state.first_error.is_none() {
            state.first_error = Some(why());
        }
    }

    /// Events answered with success while the meter was open.
    pub(crate) fn events(&self) -> u64 {
        self.state().events
    }

    /// Events answered with success ever.
    pub(crate) fn answered(&self) -> u64 {
        self.state().answered
    }

    /// What went wrong, if anything did.
    pub(crate) fn error(&self) -> Option<String> {
        let state = self.state();
        let first = state.first_error.as_ref()?;
        Some(format!("{} failed requests; the first: {first}", state.errors))
    }

    /// Of the requests that counted; `None` where there was none.
    pub(crate) fn latency(&self) -> Option<Latency> {
        let latencies = &self.state().latencies;
        let at = |quantile| latencies.value_at_quantile(quantile) as f64;
        (!latencies.is_empty()).then(|| Latency {
            mean: latencies.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: latencies.max() as f64,
        })
    }

    fn state(&self) -> Ref<'_, State> {
        self.0.borrow()
    }
}
