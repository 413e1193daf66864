//! The core of `producer`: events that cannot be invalid, the merge, the ingest queue and the
//! databases. It knows neither HTTP nor gRPC.
//!
//! An event goes through [`decode`] → [`Event`] → [`Ingest`] → [`ingest::Writer`] → [`Receipt`].
//! Modules import downwards only: `json`, `time`, `filter`, `model`, `decode`, `types`, then `ingest`,
//! `query`, `feed`, `search` and `worker` with their ports, then `store`, which implements the ports.

pub mod decode;
pub mod feed;
pub mod filter;
pub mod ingest;
pub mod json;
pub mod model;
pub mod query;
pub mod search;
pub mod store;
pub mod time;
pub mod types;
pub mod worker;

pub use decode::{Draft, EntityFields, Field, Header};
pub use ingest::Ingest;
pub use json::{Location, Patch, Step, Violation, Violations};
pub use model::{
    Clock, Condition, EntityKey, EntityUpdate, EntityVersion, Event, Operation, Outcome,
    Precondition, Problem, ProblemKind, Receipt, Timestamp,
};
