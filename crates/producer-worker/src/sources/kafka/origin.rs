//! What a source reads.

use std::collections::BTreeMap;

use crate::config::{Secret, SourceStart};

/// What a source reads.
#[derive(Clone)]
pub(crate) struct Origin {
    /// `host:port`, with commas between several.
    pub(crate) servers: Secret,
    pub(crate) topic: String,
    pub(crate) group: String,
    /// Where a new group begins.
    pub(crate) from: SourceStart,
    pub(crate) properties: BTreeMap<String, Secret>,
}
