//! The benchmark: the same durable work through `producer` and straight onto PostgreSQL, side by
//! side. `make bench` runs all of it, `make bench-quick` what is worth a look every day.

mod postgres;
mod report;
mod sample;
mod service;

use std::process::ExitCode;

/// What can go wrong here ends the tool, or the cell, with its text.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::SUCCESS
}
