//! What runs connectors: one task each.

pub mod lease;
