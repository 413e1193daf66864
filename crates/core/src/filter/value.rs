//! Values that filters compare, and their order.

use std::cmp::Ordering;
use std::time::Duration;

use crate::json::{Decimal, Number};
use crate::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Literal {
    Text(Box<str>),
    /// A number: its JSON text, and its value.
    Number {
        text: Box<str>,
        value: Decimal,
    },
    Bool(bool),
    Null,
    Time(Timestamp),
    /// So long before the request.
    Before(Duration),
}

/// A value with an order, or `null`. Arrays and objects equal nothing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Bool(bool),
    Number(Number<'a>),
    /// A number that no text has: a version or size.
    Whole(u64),
    Text(&'a str),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Time(i64),
    Null,
}

impl<'a> Value<'a> {
    /// The value of a literal; times relative to the request are relative to `now`.
    pub(super) fn of_literal(literal: &'a Literal, now: Timestamp) -> Self {
        match literal {
            Literal::Text(text) => Self::Text(text),
            Literal::Number { value, .. } => Self::Number(value.as_number()),
            Literal::Bool(value) => Self::Bool(*value),
            Literal::Null => Self::Null,
            Literal::Time(time) => Self::Time(time.micros()),
            Literal::Before(duration) => Self::Time(before(now, *duration).micros()),
        }
    }

    /// The order of two values of one kind. `null` has none.
    pub(super) fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(left), Self::Bool(right)) => Some(left.cmp(&right)),
            (Self::Number(left), Self::Number(right)) => Some(left.compare(right)),
            (Self::Whole(left), Self::Whole(right)) => Some(left.cmp(&right)),
            (Self::Whole(left), Self::Number(right)) => {
                Some(Number::new(&left.to_string()).compare(right))
            }
            (Self::Number(_), Self::Whole(_)) => other.order(self).map(Ordering::reverse),
            // UTF-8 sorts as code points do
            (Self::Text(left), Self::Text(right)) => Some(left.cmp(right)),
            (Self::Time(left), Self::Time(right)) => Some(left.cmp(&right)),
            _ => None,
        }
    }

    /// An order of all values, in which only equal ones are equal.
    pub(super) fn total_order(self, other: Self) -> Ordering {
        self.order(other).unwrap_or_else(|| self.rank().cmp(&other.rank()))
    }

    /// Whether both are of one kind and equal.
    pub(super) fn equals(self, other: Self) -> bool {
        match (self, other) {
            // most texts differ in their length
            (Self::Text(left), Self::Text(right)) => left == right,
            _ => self.total_order(other).is_eq(),
        }
    }

    const fn rank(self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Number(_) | Self::Whole(_) => 2,
            Self::Text(_) => 3,
            Self::Time(_) => 4,
        }
    }
}

/// So long before a time.
pub(super) fn before(now: Timestamp, duration: Duration) -> Timestamp {
    let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.micros().saturating_sub(micros))
}

/// Literals in which a value is looked up: a list has room for 2,000 of them, and is asked for each element of
/// an array.
#[derive(Debug, Clone)]
pub(super) struct Literals {
    /// By [`Value::total_order`], each once.
    sorted: Vec<Literal>,
    /// Those whose order depends on the time of the request.
    relative: Vec<Literal>,
}

impl Literals {
    pub(super) fn new(literals: Vec<Literal>) -> Self {
        let is_relative = |literal: &Literal| matches!(literal, Literal::Before(_));
        let (mut relative, mut sorted): (Vec<_>, Vec<_>) =
            literals.into_iter().partition(is_relative);
        // none of these depends on it
        let now = Timestamp::from_micros(0);
        let order = |one: &Literal, other: &Literal| {
            Value::of_literal(one, now).total_order(Value::of_literal(other, now))
        };
        sorted.sort_by(order);
        sorted.dedup_by(|one, other| order(one, other).is_eq());
        relative.dedup();
        Self { sorted, relative }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Literal> {
        self.sorted.iter().chain(&self.relative)
    }

    pub(super) fn contain(&self, wanted: Value<'_>, now: Timestamp) -> bool {
        let value = |literal| Value::of_literal(literal, now);
        self.sorted.binary_search_by(|literal| value(literal).total_order(wanted)).is_ok()
            || self.relative.iter().any(|literal| value(literal).equals(wanted))
    }
}
