//! What a long run reports while it goes on.

/// What a long piece of work tells while it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// How much there is to do, roughly.
    Total(u64),
    /// How much is done.
    Done(u64),
    /// Something to list.
    Line(String),
}
