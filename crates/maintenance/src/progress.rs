//! The progress of a long run.

/// What a long run reports while it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// How much there is to do, approximately.
    Total(u64),
    /// How much is done.
    Done(u64),
    /// A line for the operator.
    Line(String),
}
