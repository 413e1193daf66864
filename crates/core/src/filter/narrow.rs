//! What a filter demands of single fields, by which lists look up candidates. Each candidate is still judged
//! by the whole filter.

use std::borrow::Cow;

use super::expression::{Comparison, Expression, Operand, Parsed, Place, Source, TextTest};
use super::names::{Field, Name};
use super::value::{Literal, before};
use crate::json::{Path, PathStep, Selection};
use crate::time::Timestamp;

/// A value that a field is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar<'f> {
    /// `true` or `false`.
    Bool(bool),
    /// The text of a JSON number.
    Number(&'f str),
    /// A string.
    Text(Cow<'f, str>),
    /// A time.
    Time(Timestamp),
}

/// What a field must fulfil wherever the filter holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Constraint<'f> {
    /// It is one of these.
    OneOf(Vec<Scalar<'f>>),
    /// It is less than this, of the same kind.
    Less(Scalar<'f>),
    /// It is less than this or equal to it.
    LessOrEqual(Scalar<'f>),
    /// It is greater than this.
    Greater(Scalar<'f>),
    /// It is greater than this or equal to it.
    GreaterOrEqual(Scalar<'f>),
    /// It is a string that begins with this.
    StartsWith(&'f str),
}

/// What a filter demands of a field: the conditions over it that are joined by `&&` at the top.
pub(super) fn constraints<'f>(
    parsed: &'f Parsed,
    field: Field<'_>,
    now: Timestamp,
) -> Vec<Constraint<'f>> {
    top(&parsed.condition).filter_map(|part| constraint(parsed, part, field, now)).collect()
}

/// A filter without those conditions that are joined by `&&` at the top and read this path alone; `None`
/// where nothing is left.
pub(super) fn without(parsed: &Parsed, path: &Path) -> Option<Parsed> {
    let is_kept = |part: &&Expression| !reads_only(parsed, part, path);
    let mut kept: Vec<Expression> = top(&parsed.condition).filter(is_kept).cloned().collect();
    let condition = match kept.len() {
        0 => return None,
        1 => kept.remove(0),
        _ => Expression::All(kept),
    };
    let text = format!("{} without {path}", parsed.text).into();
    Some(Parsed { text, condition, ..parsed.clone() })
}

/// The conditions that are joined by `&&` at the top.
fn top(condition: &Expression) -> Box<dyn Iterator<Item = &Expression> + '_> {
    match condition {
        Expression::All(parts) => Box::new(parts.iter().flat_map(top)),
        other => Box::new(std::iter::once(other)),
    }
}

fn constraint<'f>(
    parsed: &'f Parsed,
    part: &'f Expression,
    field: Field<'_>,
    now: Timestamp,
) -> Option<Constraint<'f>> {
    let is_it = |operand: &Operand| match operand {
        Operand::Source(source) => is_field(parsed, *source, field),
        _ => false,
    };
    match part {
        Expression::Compare(left, comparison, Operand::Literal(literal)) if is_it(left) => {
            compared(*comparison, scalar(literal, now)?)
        }
        Expression::Compare(Operand::Literal(literal), comparison, right) if is_it(right) => {
            compared(comparison.swapped(), scalar(literal, now)?)
        }
        Expression::OneOf(operand, literals) if is_it(operand) => {
            let scalars = literals.iter().map(|literal| scalar(literal, now));
            Some(Constraint::OneOf(scalars.collect::<Option<_>>()?))
        }
        Expression::Text(source, TextTest::StartsWith, text)
            if is_field(parsed, *source, field) =>
        {
            Some(Constraint::StartsWith(text))
        }
        _ => None,
    }
}

fn compared(comparison: Comparison, scalar: Scalar<'_>) -> Option<Constraint<'_>> {
    match comparison {
        Comparison::Equal => Some(Constraint::OneOf(vec![scalar])),
        Comparison::NotEqual => None,
        Comparison::Less => Some(Constraint::Less(scalar)),
        Comparison::LessOrEqual => Some(Constraint::LessOrEqual(scalar)),
        Comparison::Greater => Some(Constraint::Greater(scalar)),
        Comparison::GreaterOrEqual => Some(Constraint::GreaterOrEqual(scalar)),
    }
}

/// `None` for `null`, which no index has.
fn scalar(literal: &Literal, now: Timestamp) -> Option<Scalar<'_>> {
    Some(match literal {
        Literal::Text(text) => Scalar::Text(Cow::Borrowed(text)),
        Literal::Number { text, .. } => Scalar::Number(text),
        Literal::Bool(value) => Scalar::Bool(*value),
        Literal::Time(time) => Scalar::Time(*time),
        Literal::Before(duration) => Scalar::Time(before(now, *duration)),
        Literal::Null => return None,
    })
}

fn is_field(parsed: &Parsed, source: Source, field: Field<'_>) -> bool {
    match (source, field) {
        (Source::Name(Name::Type), Field::Type)
        | (Source::Name(Name::Id), Field::Id)
        | (Source::Name(Name::CreatedAt), Field::CreatedAt)
        | (Source::Name(Name::UpdatedAt), Field::UpdatedAt) => true,
        (Source::Place(Place::Data(slot)), Field::Data(path)) => is_path(&parsed.data, slot, path),
        _ => false,
    }
}

fn is_path(data: &Selection, slot: usize, path: &Path) -> bool {
    let keys = data.paths()[slot].iter().map(|step| match step {
        PathStep::Key(key) => Some(&**key),
        PathStep::Index(_) => None,
    });
    keys.eq(path.keys().map(Some))
}

/// Whether a condition reads this path of the document and nothing else. Elements belong to the array that they
/// are in.
fn reads_only(parsed: &Parsed, part: &Expression, path: &Path) -> bool {
    let is_it =
        |source: Source| source.is_of_element() || is_field(parsed, source, Field::Data(path));
    let is_operand = |operand: &Operand| match operand {
        Operand::Source(source) | Operand::Size(source) | Operand::Time(source) => is_it(*source),
        Operand::Literal(_) => true,
    };
    match part {
        Expression::All(parts) | Expression::Any(parts) => {
            parts.iter().all(|part| reads_only(parsed, part, path))
        }
        Expression::Not(inner) | Expression::Once(_, inner) => reads_only(parsed, inner, path),
        Expression::Compare(left, _, right) => is_operand(left) && is_operand(right),
        Expression::OneOf(operand, _) => is_operand(operand),
        Expression::Has(source) | Expression::Text(source, ..) => is_it(*source),
        Expression::Elements(elements) => {
            is_it(Source::Place(elements.array)) && reads_only(parsed, &elements.condition, path)
        }
        Expression::Touches(_) => false,
    }
}
