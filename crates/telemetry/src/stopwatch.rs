//! Where the time of a request goes.

use std::time::Duration;

use tokio::time::Instant;

/// A part of a request's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Reading its body.
    Body,
    /// Its events wait for a writer, or for a lock.
    Queue,
    /// Its events are applied, or its read runs.
    Database,
    /// Everything else.
    Rest,
}

/// The duration of each [`Part`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Parts([Duration; 4]);

impl Parts {
    pub(crate) fn millis(&self, part: Part) -> u64 {
        millis(self.0[part as usize])
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A stopwatch that always runs for exactly one part.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    part: Part,
    since: Instant,
    pub(crate) spent: Parts,
    /// The client decides how long the request takes: it is never logged as slow.
    pub(crate) is_long: bool,
}

impl Stopwatch {
    pub(crate) fn new(begun: Instant) -> Self {
        Self { part: Part::Rest, since: begun, spent: Parts::default(), is_long: false }
    }

    /// From `at` on it runs for `part`. Time that was counted before is not counted again.
    pub(crate) fn enter(&mut self, part: Part, at: Instant) {
        if at > self.since {
            self.spent.0[self.part as usize] += at - self.since;
            self.since = at;
        }
        self.part = part;
    }
}

/// The end of a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestEnd<'a> {
    /// The route that matched, with names instead of values of its parameters.
    pub route: &'a str,
    /// The HTTP method.
    pub method: &'a str,
    /// The status: a number in REST, a name in gRPC.
    pub status: &'a str,
    /// From its head to the end of its answer.
    pub took: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn no_time_is_counted_twice() {
        let start = Instant::now();
        let mut watch = Stopwatch::new(start);
        watch.enter(Part::Body, at(start, 1));
        watch.enter(Part::Queue, at(start, 11));
        // two events of one batch, then one of the next
        for (taken, applied) in [(31, 61), (31, 61), (71, 101)] {
            watch.enter(Part::Queue, watch.since);
            watch.enter(Part::Database, at(start, taken));
            watch.enter(Part::Rest, at(start, applied));
        }
        watch.enter(Part::Rest, at(start, 106));
        let parts = [Part::Body, Part::Queue, Part::Database, Part::Rest];
        assert_eq!(parts.map(|part| watch.spent.millis(part)), [10, 30, 60, 6]);
    }
}
