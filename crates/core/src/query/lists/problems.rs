//! What a list can be refused with.

use crate::json::write_string;
use crate::model::{Problem, ProblemKind};
use crate::query::error::bad_parameter;
use crate::query::list_order::{ListOrder, OrderBy};
use crate::query::page_token::NOT_OURS;

pub(super) fn bad_token() -> Problem {
    bad_parameter("pageToken", NOT_OURS)
}

pub(super) fn index_is_gone() -> Problem {
    bad_parameter(
        "pageToken",
        "is of a list by an index that is no longer there, or is being built again; begin again without it",
    )
}

pub(super) fn order_over_all_types() -> Problem {
    bad_parameter("orderBy", "must not be given for all types; it orders the entities of one type")
}

/// An index serves, but is not ready.
pub(super) fn index_is_building((done, total): (u64, Option<u64>)) -> Problem {
    let of = total.map(|total| format!(" of about {total}")).unwrap_or_default();
    let rule = format!(
        "must wait for an index that is being built: it has {done}{of} entities, and the others are too many to \
         sort"
    );
    bad_parameter("orderBy", rule)
}

/// No index serves.
pub(super) fn no_index(entity_type: &str, order: &ListOrder) -> Problem {
    let many = "more than 10,000 entities or a second of looking at them are too many to sort";
    if order.by == OrderBy::Version {
        let detail =
            format!("{many}; there is no index of versions, so narrow the list by a filter");
        return Problem::new(ProblemKind::TooExpensive, detail);
    }
    let mut path = String::new();
    write_string(&mut path, &order.by.to_string());
    let detail = format!(
        "{many}; declare an index for the order: add {path} to the indexes in the definition of the type \
         {entity_type}"
    );
    Problem::new(ProblemKind::TooExpensive, detail)
}

/// An index ceased to be ready just now.
pub(super) fn definitions_change() -> Problem {
    Problem::new(ProblemKind::Unavailable, "the definition of the type has just changed; try again")
}

/// Entities that were asked for by their keys are too large together.
pub(super) fn too_large(fitting: usize) -> Problem {
    let detail =
        format!("only the first {fitting} of these entities fit into an answer; ask for fewer");
    Problem::new(ProblemKind::TooExpensive, detail)
}
