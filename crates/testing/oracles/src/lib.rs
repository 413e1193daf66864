//! What must hold for any bytes: each oracle reads them by our code and by a reference, and panics
//! where the two differ. `fuzz/` feeds them what libFuzzer makes up, this crate's test replays the
//! corpus that it kept.

mod exact;
mod grpc;
mod merge;
mod ndjson;
mod scanner;
mod timestamp;

use producer_core::{Clock, Timestamp};

/// Panics where our code and the reference differ.
pub type Oracle = fn(&[u8]);

/// The oracles by the names of their fuzz targets and corpora.
pub const ALL: [(&str, Oracle); 5] = [
    ("scanner", scanner::oracle),
    ("ndjson", ndjson::oracle),
    ("timestamp", timestamp::oracle),
    ("merge", merge::oracle),
    ("grpc", grpc::oracle),
];

/// Holds `bytes` against the oracle of this name.
///
/// # Panics
/// Where our code and the reference differ, or there is no such oracle.
pub fn check(name: &str, bytes: &[u8]) {
    let found = ALL.iter().find(|(known, _)| *known == name);
    let (_, oracle) = found.expect("an oracle of this name");
    oracle(bytes);
}

fn clock() -> Clock {
    Clock::from_fn(|| Timestamp::from_micros(1_705_314_605_000_000))
}
