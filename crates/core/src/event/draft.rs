//! The door of the core.

/// An event in the making.
#[derive(Debug)]
pub struct Draft;
