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
    /// Whether refusals are counted by themselves; else they are errors.
    takes_refusals: bool,
    /// Latencies of requests that were refused.
    refusals: Histogram<u64>,
    /// Latencies from when a request was meant to go out.
    since_due: Histogram<u64>,
    unsent: u64,
}

/// When a request went out, and when it was meant to, where a rate says so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) due: Option<Instant>,
    pub(crate) sent: Instant,
}

impl From<Instant> for Turn {
    fn from(sent: Instant) -> Self {
        Self { due: None, sent }
    }
}

/// What was refused, and what never went out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Admission {
    /// Requests that were answered 503.
    pub(crate) refused: u64,
    /// How long that took.
    pub(crate) refusal_us: Option<Latency>,
    /// Arrivals of a rate that found no free connection in time.
    pub(crate) unsent: u64,
    /// Of admitted requests of a rate, from when they were meant to go out.
    pub(crate) since_due_us: Option<Latency>,
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
    /// A closed meter. A refusal is an error.
    pub(crate) fn new() -> Result<Self> {
        let latencies = Histogram::new_with_bounds(1, LONGEST, 3)?;
        let state = State {
            open: false,
            refusals: latencies.clone(),
            since_due: latencies.clone(),
            latencies,
            events: 0,
            answered: 0,
            errors: 0,
            first_error: None,
            takes_refusals: false,
            unsent: 0,
        };
        Ok(Self(Rc::new(RefCell::new(state))))
    }

    /// From now on refusals are no errors.
    pub(crate) fn take_refusals(&self) {
        self.0.borrow_mut().takes_refusals = true;
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
    pub(crate) fn done(&self, turn: impl Into<Turn>, events: usize) {
        let mut state = self.0.borrow_mut();
        state.answered += events as u64;
        if state.open {
            let turn = turn.into();
            state.events += events as u64;
            record(&mut state.latencies, turn.sent.elapsed());
            if let Some(due) = turn.due {
                record(&mut state.since_due, due.elapsed());
            }
        }
    }

    /// A request was refused: nothing of it is stored.
    pub(crate) fn refused(&self, turn: Turn, why: impl FnOnce() -> String) {
        let mut state = self.0.borrow_mut();
        if !state.takes_refusals {
            drop(state);
            self.failed(why);
        } else if state.open {
            record(&mut state.refusals, turn.sent.elapsed());
        }
    }

    /// So many arrivals of a rate were given up before they went out.
    pub(crate) fn unsent(&self, arrivals: u64) {
        let mut state = self.0.borrow_mut();
        if state.open {
            state.unsent += arrivals;
        }
    }

    /// So many transactions with latencies known from elsewhere.
    pub(crate) fn add(&self, events: u64, latencies: impl Iterator<Item = Duration>) {
        let mut state = self.0.borrow_mut();
        state.events += events;
        state.answered += events;
        for latency in latencies {
            record(&mut state.latencies, latency);
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
        Latency::of(&self.state().latencies)
    }

    /// What was refused or never went out while the meter was open.
    pub(crate) fn admission(&self) -> Admission {
        let state = self.state();
        Admission {
            refused: state.refusals.len(),
            refusal_us: Latency::of(&state.refusals),
            unsent: state.unsent,
            since_due_us: Latency::of(&state.since_due),
        }
    }

    fn state(&self) -> Ref<'_, State> {
        self.0.borrow()
    }
}

impl Latency {
    fn of(latencies: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| latencies.value_at_quantile(quantile) as f64;
        (!latencies.is_empty()).then(|| Self {
            mean: latencies.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: latencies.max() as f64,
        })
    }
}

fn record(latencies: &mut Histogram<u64>, latency: Duration) {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(LONGEST);
    latencies.saturating_record(micros.max(1));
}
