//! When a client sends: in a closed loop as soon as it has its response, in an open loop when the
//! next arrival of a constant rate is due.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use crate::meter::{Meter, SendTime};

/// How long an arrival waits for a free connection before it is counted as not sent.
const CONNECTION_TIMEOUT: Duration = Duration::from_millis(100);

/// Shared by the clients of a cell. Cheap to clone; for one thread.
#[derive(Clone)]
pub(crate) struct Schedule(Option<Rc<Arrivals>>);

/// Arrivals at a constant rate.
struct Arrivals {
    start: Instant,
    per_second: f64,
    next: Cell<u64>,
    meter: Meter,
}

impl Schedule {
    /// An open loop at that rate from now on, or a closed loop.
    pub(crate) fn new(per_second: Option<f64>, meter: &Meter) -> Self {
        Self(per_second.map(|per_second| {
            let (start, next, meter) = (Instant::now(), Cell::new(0), meter.clone());
            Rc::new(Arrivals { start, per_second, next, meter })
        }))
    }

    /// Waits until the next request may be sent.
    pub(crate) async fn next(&self) -> SendTime {
        let Some(arrivals) = &self.0 else { return Instant::now().into() };
        let due = arrivals.take(Instant::now());
        // even a timer that is already due costs a round through the runtime
        if due > Instant::now() {
            sleep_until(due.into()).await;
        }
        SendTime { due: Some(due), sent: Instant::now() }
    }
}

impl Arrivals {
    /// The due time of the next arrival that has not been given up by now.
    fn take(&self, now: Instant) -> Instant {
        let elapsed = now.saturating_duration_since(self.start);
        let oldest = elapsed.saturating_sub(CONNECTION_TIMEOUT).as_secs_f64() * self.per_second;
        let next = self.next.get();
        let taken = next.max(oldest as u64);
        self.meter.unsent(taken - next);
        self.next.set(taken + 1);
        self.start + Duration::from_secs_f64(taken as f64 / self.per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_without_a_connection_in_time_are_counted() {
        let meter = Meter::new().expect("a meter");
        meter.open();
        let start = Instant::now();
        let arrivals =
            Arrivals { start, per_second: 1000.0, next: Cell::new(0), meter: meter.clone() };
        let after = |millis| start + Duration::from_millis(millis);
        assert_eq!([arrivals.take(start), arrivals.take(start)], [after(0), after(1)]);
        assert_eq!(meter.admission().unsent, 0);
        assert_eq!(arrivals.take(after(50)), after(2), "a late one waits for a connection");
        assert_eq!(arrivals.take(after(150)), after(50), "earlier ones were given up");
        assert_eq!(meter.admission().unsent, 47);
    }
}
