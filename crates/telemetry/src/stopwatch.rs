//! Where the time of a request goes: a stopwatch that always runs for exactly one part.

use std::time::Duration;

use tokio::time::Instant;

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
pub(crate) struct Parts([Duration; 4]);

impl Parts {
    pub(crate) fn millis(&self, part: Part) -> u64 {
        millis(self.0[part as usize])
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A stopwatch that always runs for one part.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    part: Part,
    since: Instant,
    pub(crate) spent: Parts,
    /// Set for requests that are as long as the client makes them: they are never logged as slow.
    pub(crate) long: bool,
}

impl Stopwatch {
    pub(crate) fn new() -> Self {
        Self { part: Part::Rest, since: Instant::now(), spent: Parts::default(), long: false }
    }

    /// From `at` on it runs for `part`. A time that is past and told already changes nothing.
    pub(crate) fn enter(&mut self, part: Part, at: Instant) {
        if at > self.since {
            self.spent.0[self.part as usize] += at - self.since;
            self.since = at;
        }
        self.part = part;
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub struct RequestEnd<'a> {
    /// The route that matched, with its parameters' names instead of values.
    pub route: &'a str,
    /// The method, of HTTP.
    pub method: &'a str,
    /// The status, as the API calls it.
    pub status: &'a str,
    /// From its head to its answer.
    pub took: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn time_counts_once_whatever_is_told_twice() {
        let mut watch = Stopwatch::new();
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
}
