//! The sink `webhook` with real receivers on this machine.

mod connections;
mod outcomes;
mod receiver;
mod signatures;
mod sinks;
