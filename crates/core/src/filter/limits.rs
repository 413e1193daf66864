//! How large a filter may be.

/// Bytes of its text.
pub(super) const MAX_BYTES: usize = 4096;
/// Conditions and operators.
pub(super) const MAX_NODES: usize = 64;
/// Levels of parentheses, negations, and conditions over elements.
pub(super) const MAX_LEVELS: usize = 8;
