//! The problems that the ingest itself answers.

use crate::model::{Problem, ProblemKind, UnavailableKind};

pub(super) fn too_old() -> Problem {
    Problem::new(
        ProblemKind::Overloaded,
        "the event waited too long for its turn and was not stored; send it again later",
    )
}

pub(super) fn queue_full() -> Problem {
    Problem::new(
        ProblemKind::Overloaded,
        "the queue is full; the event was not stored, send it again later",
    )
}

pub(super) fn draining() -> Problem {
    Problem::new(
        ProblemKind::Unavailable,
        "the service is shutting down; the event was not stored, send it again later",
    )
}

pub(super) fn unavailable(kind: UnavailableKind) -> Problem {
    let why = kind.detail();
    Problem::new(
        ProblemKind::Unavailable,
        format!("{why}; the event was not stored, send it again later"),
    )
}

/// The problem of an event that follows a failed one of the same call.
pub(super) fn after_failure() -> Problem {
    Problem::new(
        ProblemKind::Unavailable,
        "an earlier event of this call could not be stored; this one was not tried",
    )
}

pub(super) fn outcome_unknown() -> Problem {
    Problem::new(
        ProblemKind::OutcomeUnknown,
        "the event may or may not be stored; send it again with eventId as its uuid",
    )
}

pub(super) fn conflict() -> Problem {
    Problem::new(
        ProblemKind::Conflict,
        "the uuid or idempotency key is already used by an event with other content",
    )
}

/// The database refuses the event.
pub(super) fn internal() -> Problem {
    Problem::new(
        ProblemKind::Internal,
        "the event could not be stored because of an internal error",
    )
}

/// The attempts to store the event panicked.
pub(super) fn panicked() -> Problem {
    Problem::new(
        ProblemKind::Internal,
        "an internal error stopped the event; it may or may not be stored",
    )
}
