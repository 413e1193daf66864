//! The sink `webhook` with real receivers on this machine.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

mod connections;
mod outcomes;
mod receiver;
mod signatures;
mod sinks;
