//! Why a read that goes over many rows failed.

use super::port::ReadError;
use crate::json::{Location, Step, Violations};
use crate::model::{Problem, ProblemKind};

/// Why a list or a read of the history failed.
#[derive(Debug)]
pub enum QueryError {
    /// The database.
    Read(ReadError),
    /// What was asked for: `Malformed`, `NotFound`, `Gone`, `TooExpensive` or `Overloaded`.
    Refused(Problem),
}

/// Why a list failed.
pub type ListError = QueryError;

/// Why a read of the history failed.
pub type HistoryError = QueryError;

impl From<ReadError> for QueryError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<Problem> for QueryError {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

/// A parameter breaks a rule, which is the end of a sentence: `must …`. The violation's place is the
/// parameter's name in JSON.
pub(crate) fn bad_parameter(name: &'static str, rule: impl Into<String>) -> Problem {
    let place = Location(vec![Step::Key(name.into())]);
    let violations = Violations::one(place, rule.into());
    Problem { kind: ProblemKind::Malformed, ..Problem::validation(violations) }
}
