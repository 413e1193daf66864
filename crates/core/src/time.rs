//! Moments, and the clock that they are taken from.

mod clock;
mod timestamp;

pub use clock::Clock;
pub use timestamp::Timestamp;
