//! What a reader can be refused with.

use crate::model::{Problem, ProblemKind};

pub(super) fn pruned() -> Problem {
    gone(
        "the changes that follow on the token were pruned; begin again, for instance with from=snapshot",
    )
}

pub(super) fn of_another_log() -> Problem {
    gone("the token is of another log; begin again, for instance with from=snapshot")
}

pub(super) fn ahead() -> Problem {
    gone(
        "the token is ahead of the log, which was restored to an earlier time; begin again, for instance \
         with from=snapshot",
    )
}

pub(super) fn time_pruned() -> Problem {
    gone("the changes from that time on were pruned; begin with from=start or from=snapshot")
}

fn gone(detail: &'static str) -> Problem {
    Problem::new(ProblemKind::Gone, detail)
}

pub(super) fn too_many(most: usize) -> Problem {
    let detail = format!("there are {most} readers of changes already (MAX_CHANGE_READERS)");
    Problem::new(ProblemKind::Overloaded, detail)
}

/// What ends readers when the service stops.
pub fn draining() -> Problem {
    Problem::new(ProblemKind::Unavailable, "the service is draining; go on with the last token")
}

/// The log was not looked at in time.
pub(super) fn not_looked() -> Problem {
    Problem::new(ProblemKind::Unavailable, "the database does not answer in time; try again later")
}
