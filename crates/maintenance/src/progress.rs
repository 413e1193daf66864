//! The progress of a long run.

/// What a long run reports while it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// How much there is to do, approximately.
    Total(u64),
    /// How much is done.
    Done(u64),
    /// A line for the operator: what was found.
    Line(String),
    /// A line for the operator: something that the run does not do, and what can be done about it.
    Warning(String),
}
