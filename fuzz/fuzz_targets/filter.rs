#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| producer_oracles::check("filter", bytes));
