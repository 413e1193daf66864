//! OpenSearch 2 and newer, and Elasticsearch 8 and newer: what the worker's sink and the services share.
//!
//! The sink keeps an index for each type and a [`Marker`], which says what it has. The services read the marker
//! and search in the indexes ([`Engine`]). [`template`] and [`document`] say what an index and a document look
//! like.

pub mod bulk;
mod client;
pub mod document;
mod engine;
mod error;
mod marker;
mod query;
mod scroll;
mod states;
mod stems;
pub mod template;

pub use client::{Body, Client};
pub use engine::{Engine, Target};
pub use error::Error;
pub use marker::{IndexIdentity, Marker, SnapshotMarker};
pub use scroll::{Found, Hit, Hits, Scroll};
