//! The core of `producer`: events that cannot be invalid, the merge, the ingest queue and the
//! stores behind it. It knows neither HTTP nor gRPC.
//!
//! The road of one event: [`parse`] → [`Event`] → [`Ingest`] → [`store::Writer`] → [`Receipt`].

pub mod bulk;
pub mod clock;
pub mod config;
mod error;
mod event;
pub mod ingest;
pub mod maintenance;
pub mod merge;
pub mod metrics;
pub mod parse;
pub mod store;
pub mod telemetry;
mod timestamp;

pub use clock::Clock;
pub use error::{Location, Problem, ProblemKind, Step, Violation, Violations};
pub use event::{
    Draft, EntityKey, EntityUpdate, EntityVersion, Event, Field, Header, Patch, Receipt,
};
pub use ingest::Ingest;
pub use timestamp::Timestamp;
