//! What the tests of sinks share.

pub(crate) mod opensearch;
