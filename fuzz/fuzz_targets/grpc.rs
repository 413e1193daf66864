#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oracles::check("grpc", bytes));
