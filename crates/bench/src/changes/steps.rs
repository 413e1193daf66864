//! What is measured of the change feed, in the order of a round: what is compared is measured one after
//! the other.

use std::fmt;

use super::logs::Log;
use crate::cells::{Cell, Interface, cell};

/// One measurement of a round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    /// The log by COPY to the client.
    Copy,
    /// As many changes of a log as the first has rows, by NDJSON.
    Backlog(Log),
    /// Time from sending an event to its change, at half of the rate that saturates.
    Delivery,
    /// The same at a fixed rate, with a filled log.
    DeliveryFrom(Log),
    /// The same at a fixed rate, for many readers.
    FanOut,
    /// Events as fast as they are taken, with or without a reader.
    Writes(Cell),
    /// The service's memory with so many readers while nothing is written.
    Idle(usize),
    /// Pages of the history of an entity.
    History,
}

/// Readers that are idle.
const IDLE_READERS: usize = 1000;

impl Step {
    /// All of them.
    pub(super) fn all() -> Vec<Self> {
        let writes = cell(Interface::Single, 256);
        vec![
            Self::Copy,
            Self::Backlog(Log::Backlog),
            Self::Backlog(Log::Small),
            Self::Backlog(Log::Large),
            Self::DeliveryFrom(Log::Small),
            Self::DeliveryFrom(Log::Large),
            Self::Delivery,
            Self::FanOut,
            Self::Writes(writes),
            Self::Writes(writes.with_reader()),
            Self::Idle(0),
            Self::Idle(IDLE_READERS),
            Self::History,
        ]
    }

    /// The log that it reads.
    pub(super) fn log(self) -> Option<Log> {
        match self {
            Self::Copy => Some(Log::Backlog),
            Self::Backlog(log) | Self::DeliveryFrom(log) => Some(log),
            Self::History => Some(Log::OneEntity),
            Self::Delivery | Self::FanOut | Self::Writes(_) | Self::Idle(_) => None,
        }
    }
}

impl fmt::Display for Step {
    /// The name on the command line and in the results.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |log: &Log| match log {
            Log::Small => "-small",
            Log::Large => "-large",
            Log::Backlog | Log::OneEntity => "",
        };
        match self {
            Self::Copy => f.write_str("copy"),
            Self::Backlog(log) => write!(f, "backlog{}", of(log)),
            Self::Delivery => f.write_str("delivery"),
            Self::DeliveryFrom(log) => write!(f, "delivery{}", of(log)),
            Self::FanOut => f.write_str("fan-out"),
            Self::Writes(cell) => cell.fmt(f),
            Self::Idle(readers) => write!(f, "idle-{readers}"),
            Self::History => f.write_str("history"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_a_name_of_its_own() {
        let mut names: Vec<String> = Step::all().iter().map(Step::to_string).collect();
        assert!(names.contains(&"backlog-large".to_owned()), "{names:?}");
        assert!(names.contains(&"rest-256-read".to_owned()), "{names:?}");
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
