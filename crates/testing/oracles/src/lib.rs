//! What must hold for any bytes: each oracle reads them by our code and by a reference, and panics
//! if the two differ. `fuzz/` runs them on inputs that libFuzzer generates, the tests of this crate
//! on the corpus that it kept and on mutations of it.

mod clock;
mod exact;
mod filter;
mod grpc;
mod map_wire_type;
mod merge;
mod ndjson;
mod scanner;
mod timestamp;

/// Panics if our code and the reference differ.
pub type Oracle = fn(&[u8]);

/// The oracles by the names of their fuzz targets and corpora.
pub const ALL: [(&str, Oracle); 6] = [
    ("scanner", scanner::oracle),
    ("ndjson", ndjson::oracle),
    ("timestamp", timestamp::oracle),
    ("merge", merge::oracle),
    ("grpc", grpc::oracle),
    ("filter", filter::oracle),
];

/// Runs the oracle of this name on `bytes`.
///
/// # Panics
/// If our code and the reference differ, or there is no such oracle.
pub fn check(name: &str, bytes: &[u8]) {
    let found = ALL.iter().find(|(known, _)| *known == name);
    let (_, oracle) = found.expect("an oracle of this name");
    oracle(bytes);
}
