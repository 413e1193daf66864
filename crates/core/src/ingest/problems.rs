//! The problems that the ingest itself answers.

use crate::model::{Problem, ProblemKind};

pub(super) fn too_old_problem() -> Problem {
    Problem::new(
        ProblemKind::Overloaded,
        "the event waited too long for its turn and was not stored; send it again later",
    )
}

pub(super) fn unavailable() -> Problem {
    Problem::new(
        ProblemKind::Unavailable,
        "the database can't be reached; the event was not stored, send it again later",
    )
}

pub(super) fn outcome_unknown() -> Problem {
    Problem::new(
        ProblemKind::OutcomeUnknown,
        "the event may or may not be stored; send it again with eventId as its uuid",
    )
}

pub(super) fn internal() -> Problem {
    Problem::new(ProblemKind::Internal, "the event could not be stored because of a defect here")
}
