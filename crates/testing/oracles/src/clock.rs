//! The time that the oracles read events at.

use producer_core::{Clock, Timestamp};

pub(crate) fn clock() -> Clock {
    Clock::from_fn(|| Timestamp::from_micros(1_705_314_605_000_000))
}
