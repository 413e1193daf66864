//! What both binaries share around the core: command line, start and stop, readiness, metrics, and an
//! accept loop with limits. An [`Api`] is what a binary adds.

pub mod admin;
mod api;
mod app;
pub mod budget;
pub mod cli;
pub mod metrics;
mod problem;
mod profile;
pub mod readiness;
pub mod request;
pub mod request_id;
mod runtime;
pub mod serve;
pub mod settings;
pub mod traces;

pub use api::{Api, Connection};
pub use app::App;
pub use runtime::{connections_runtime, writers_runtime};
