//! Which part of an index a list has to look at.

use std::slice::from_ref;

use crate::filter::{Constraint, Field, Filter, Scalar};
use crate::model::Timestamp;
use crate::query::list_order::{ListOrder, OrderBy};
use crate::types::index_key::{self, Condition, IndexValue, Range, range};
use crate::types::{IndexDefinition, IndexPath};

/// Ranges of one index that a list looks at, at most.
const MAX_RANGES: usize = 1000;

/// The part of an index that has all entities that may be in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexRanges {
    /// In the order of the index; they do not overlap.
    pub(super) ranges: Vec<Range>,
    /// How much the list is narrowed: by so many paths with equality, and then by a range.
    pub(super) narrowed: (usize, Narrowing),
}

/// How the last path of an index narrows a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Narrowing {
    /// By nothing but that there is a value.
    Order,
    /// From or to a value.
    Half,
    /// By both, or by the beginning of a string.
    Both,
    /// By equality.
    Equal,
}

/// The ranges of an index that a filter leaves: it must demand equality of all but the last path, and anything
/// of the last one, unless `order` lists the entities by that. `None` where the index does not serve. An entity in
/// which one of the paths is absent is not in the index.
pub(super) fn ranges(
    index: &IndexDefinition,
    filter: Option<&Filter>,
    order: Option<&ListOrder>,
    now: Timestamp,
) -> Option<IndexRanges> {
    let (last, first) = index.paths.split_last()?;
    let constraints =
        |path| filter.map_or(Vec::new(), |filter| filter.constraints(field(path), now));
    if order.is_some_and(|order| !is_by(order, last)) {
        return None;
    }
    let mut combinations: Vec<Vec<IndexValue<'_>>> = vec![Vec::new()];
    for path in first {
        let values = equalities(constraints(path))?;
        // in the order of several runs there is none
        if order.is_some() && values.len() > 1 || values.len() * combinations.len() > MAX_RANGES {
            return None;
        }
        combinations = with_each(&combinations, &values);
    }
    let (conditions, narrowing) = last_path(constraints(last))?;
    if narrowing == Narrowing::Order && order.is_none()
        || conditions.len() * combinations.len() > MAX_RANGES
    {
        return None;
    }
    let mut ranges = Vec::new();
    for equal in &combinations {
        for all_of in &conditions {
            let parts = all_of.iter().map(|condition| range(index, equal, condition));
            ranges.extend(parts.reduce(intersection).flatten());
        }
    }
    let equal = first.len() + usize::from(narrowing == Narrowing::Equal);
    Some(IndexRanges { ranges: merged(ranges), narrowed: (equal, narrowing) })
}

/// Each of these combinations with each of these values behind it.
fn with_each<'v>(
    combinations: &[Vec<IndexValue<'v>>],
    values: &[IndexValue<'v>],
) -> Vec<Vec<IndexValue<'v>>> {
    let all = combinations.iter().flat_map(|combination| {
        values.iter().map(|value| [&combination[..], from_ref(value)].concat())
    });
    all.collect()
}

fn field(path: &IndexPath) -> Field<'_> {
    match path {
        IndexPath::CreatedAt => Field::CreatedAt,
        IndexPath::UpdatedAt => Field::UpdatedAt,
        IndexPath::Data(path) => Field::Data(path),
    }
}

/// Whether an order is by a path of an index.
pub(super) fn is_by(order: &ListOrder, path: &IndexPath) -> bool {
    match (&order.by, path) {
        (OrderBy::CreatedAt, IndexPath::CreatedAt) | (OrderBy::UpdatedAt, IndexPath::UpdatedAt) => {
            true
        }
        (OrderBy::Data(by), IndexPath::Data(path)) => by == path,
        _ => false,
    }
}

/// The values that a path may have: the fewest that one condition leaves.
fn equalities(constraints: Vec<Constraint<'_>>) -> Option<Vec<IndexValue<'_>>> {
    let one_of = constraints.into_iter().filter_map(|constraint| match constraint {
        Constraint::OneOf(scalars) => Some(scalars),
        _ => None,
    });
    let fewest = one_of.min_by_key(Vec::len)?;
    Some(fewest.into_iter().map(value).collect())
}

/// What must hold of the last path: all conditions of one of these lists.
fn last_path(constraints: Vec<Constraint<'_>>) -> Option<(Vec<Vec<Condition<'_>>>, Narrowing)> {
    if let Some(values) = equalities(constraints.clone()) {
        let equal = values.into_iter().map(|value| vec![Condition::Equal(value)]);
        return Some((equal.collect(), Narrowing::Equal));
    }
    let conditions: Vec<_> = constraints.into_iter().filter_map(condition).collect();
    let narrowing = match &conditions[..] {
        [] => return Some((vec![vec![Condition::Any]], Narrowing::Order)),
        [Condition::StartsWith(_)] | [_, _, ..] => Narrowing::Both,
        [_] => Narrowing::Half,
    };
    Some((vec![conditions], narrowing))
}

fn condition(constraint: Constraint<'_>) -> Option<Condition<'_>> {
    Some(match constraint {
        Constraint::OneOf(_) => return None,
        Constraint::Less(scalar) => Condition::Less(value(scalar)),
        Constraint::LessOrEqual(scalar) => Condition::AtMost(value(scalar)),
        Constraint::Greater(scalar) => Condition::Greater(value(scalar)),
        Constraint::GreaterOrEqual(scalar) => Condition::AtLeast(value(scalar)),
        Constraint::StartsWith(text) => Condition::StartsWith(text),
    })
}

fn value(scalar: Scalar<'_>) -> IndexValue<'_> {
    match scalar {
        Scalar::Bool(value) => index_key::Scalar::Bool(value).into(),
        Scalar::Number(text) => index_key::Scalar::Number(text).into(),
        Scalar::Text(text) => index_key::Scalar::String(text).into(),
        Scalar::Time(time) => time.into(),
    }
}

fn intersection(a: Option<Range>, b: Option<Range>) -> Option<Range> {
    let (a, b) = (a?, b?);
    Some(Range { from: a.from.max(b.from), to: a.to.min(b.to) })
}

/// In order, without overlaps: long strings that differ may have the same key.
fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.retain(|range| range.from < range.to);
    ranges.sort_by(|a, b| a.from.cmp(&b.from));
    let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.to >= range.from => {
                if range.to > last.to {
                    last.to = range.to;
                }
            }
            _ => merged.push(range),
        }
    }
    merged
}
