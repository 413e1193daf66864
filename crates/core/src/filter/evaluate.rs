//! Whether a condition holds.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::cmp::Ordering;

use super::expression::{
    Comparison, Elements, Expression, Literal, Operand, Parsed, Place, Source, TextTest,
};
use super::names::Name;
use crate::json::{Found, RawValue, compare_numbers, elements, patch_names};
use crate::time::Timestamp;

/// What a filter judges.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The entity's type.
    pub entity_type: &'a str,
    /// The entity's id.
    pub entity_id: &'a str,
    /// The version of the entity, or of the change.
    pub version: u64,
    /// The entity's state; `None` where it does not exist (any more).
    pub state: Option<State<'a>>,
    /// The change; `None` where an entity alone is judged.
    pub change: Option<ChangeFacts<'a>>,
    /// The time of the request.
    pub now: Timestamp,
}

/// An entity's state.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// When the entity was created.
    pub created_at: Timestamp,
    /// When it was updated.
    pub updated_at: Timestamp,
    /// Its document: the text of a JSON object.
    pub data: &'a str,
}

/// What an update is.
#[derive(Debug, Clone, Copy)]
pub struct ChangeFacts<'a> {
    /// The operation's name in JSON.
    pub operation: &'a str,
    /// Whether what the document had is gone: a replace or delete.
    pub is_total: bool,
    /// Whether the entity did not exist before.
    pub created: bool,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// The event's name.
    pub event_name: &'a str,
    /// The event's type.
    pub event_type: Option<&'a str>,
    /// The system that sent the event.
    pub event_source: Option<&'a str>,
    /// Who caused the event.
    pub event_actor: Option<&'a str>,
    /// What the update brought: the text of a JSON object.
    pub patch: &'a str,
}

/// Whether a filter's condition holds. A path of a document that is not there is missing.
pub(super) fn holds(filter: &Parsed, facts: &Facts<'_>) -> bool {
    let (data, patch) = (OnceCell::new(), OnceCell::new());
    Judge { filter, facts, data, patch }.holds(&filter.condition, &[])
}

struct Judge<'f, 'a> {
    filter: &'f Parsed,
    facts: &'f Facts<'a>,
    /// What is read of the document and of the patch, as soon as it is needed.
    data: OnceCell<Found<'a>>,
    patch: OnceCell<Found<'a>>,
}

/// A value with an order, or `null`. Arrays and objects equal nothing.
#[derive(Debug, PartialEq)]
enum Value<'a> {
    Bool(bool),
    /// The text of a JSON number.
    Number(Cow<'a, str>),
    Text(Cow<'a, str>),
    Time(i64),
    Null,
}

impl<'a> Judge<'_, 'a> {
    /// `element` is what is read of the element that is looked at.
    fn holds(&self, expression: &Expression, element: &[Option<&'a str>]) -> bool {
        match expression {
            Expression::All(parts) => parts.iter().all(|part| self.holds(part, element)),
            Expression::Any(parts) => parts.iter().any(|part| self.holds(part, element)),
            Expression::Not(inner) => !self.holds(inner, element),
            Expression::Compare(left, comparison, right) => {
                compare(*comparison, self.operand(left, element), self.operand(right, element))
            }
            Expression::OneOf(operand, literals) => {
                let value = self.operand(operand, element);
                literals
                    .iter()
                    .any(|literal| is_equal(value.as_ref(), Some(&self.literal(literal))))
            }
            Expression::Has(Source::Place(place)) => self.raw(*place, element).is_some(),
            Expression::Has(source) => self.source(*source, element).is_some(),
            Expression::Text(source, test, text) => match self.source(*source, element) {
                Some(Value::Text(value)) => match test {
                    TextTest::StartsWith => value.starts_with(&**text),
                    TextTest::EndsWith => value.ends_with(&**text),
                    TextTest::Contains => value.contains(&**text),
                },
                _ => false,
            },
            Expression::Elements(elements) => self.elements(elements, element),
            Expression::Touches(keys) => self.facts.change.is_some_and(|change| {
                change.is_total || patch_names(change.patch, keys.iter().map(|key| &**key))
            }),
        }
    }

    fn elements(&self, over: &Elements, element: &[Option<&'a str>]) -> bool {
        let array = self.raw(over.array, element).filter(|raw| raw.starts_with('['));
        let Some(array) = array else {
            return false;
        };
        let holds = |raw: &'a str| self.holds(&over.condition, &over.paths.find(raw));
        if over.all { elements(array).all(holds) } else { elements(array).any(holds) }
    }

    /// The raw text at a place.
    fn raw(&self, place: Place, element: &[Option<&'a str>]) -> Option<&'a str> {
        match place {
            Place::Data(slot) => {
                let data = self.facts.state?.data;
                self.data.get_or_init(|| self.filter.data.find(data))[slot]
            }
            Place::Patch(slot) => {
                let patch = self.facts.change?.patch;
                self.patch.get_or_init(|| self.filter.patch.find(patch))[slot]
            }
            Place::Element(slot) => element.get(slot).copied().flatten(),
        }
    }

    fn operand<'v>(
        &'v self,
        operand: &'v Operand,
        element: &[Option<&'a str>],
    ) -> Option<Value<'v>> {
        match operand {
            Operand::Source(source) => self.source(*source, element),
            Operand::Size(source) => self.size(*source, element),
            Operand::Time(source) => {
                let time = match self.source(*source, element)? {
                    Value::Text(text) => Timestamp::from_text(&text).ok()?,
                    Value::Number(text) => Timestamp::from_number(&text).ok()?,
                    Value::Time(micros) => return Some(Value::Time(micros)),
                    Value::Bool(_) | Value::Null => return None,
                };
                Some(Value::Time(time.micros()))
            }
            Operand::Literal(literal) => Some(self.literal(literal)),
        }
    }

    fn literal<'v>(&self, literal: &'v Literal) -> Value<'v> {
        match literal {
            Literal::Text(text) => Value::Text(Cow::Borrowed(text)),
            Literal::Number(text) => Value::Number(Cow::Borrowed(text)),
            Literal::Bool(value) => Value::Bool(*value),
            Literal::Null => Value::Null,
            Literal::Time(time) => Value::Time(time.micros()),
            Literal::Before(duration) => {
                let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
                Value::Time(self.facts.now.micros().saturating_sub(micros))
            }
        }
    }

    fn source(&self, source: Source, element: &[Option<&'a str>]) -> Option<Value<'a>> {
        match source {
            Source::Name(name) => self.name(name),
            Source::Place(place) => match RawValue::new(self.raw(place, element)?) {
                RawValue::String(text) => Some(Value::Text(text)),
                RawValue::Number(text) => Some(Value::Number(Cow::Borrowed(text))),
                RawValue::Bool(value) => Some(Value::Bool(value)),
                RawValue::Null => Some(Value::Null),
                RawValue::Object | RawValue::Array => None,
            },
        }
    }

    fn name(&self, name: Name) -> Option<Value<'a>> {
        let Facts { entity_type, entity_id, version, state, change, .. } = *self.facts;
        let text = |text: &'a str| Value::Text(Cow::Borrowed(text));
        let time = |time: Timestamp| Value::Time(time.micros());
        Some(match name {
            Name::Type => text(entity_type),
            Name::Id => text(entity_id),
            Name::Version => Value::Number(Cow::Owned(version.to_string())),
            Name::CreatedAt => time(state?.created_at),
            Name::UpdatedAt => time(state?.updated_at),
            Name::Operation => text(change?.operation),
            Name::Created => Value::Bool(change?.created),
            Name::CommittedAt => time(change?.committed_at),
            Name::EventName => text(change?.event_name),
            Name::EventType => text(change?.event_type?),
            Name::EventSource => text(change?.event_source?),
            Name::EventActor => text(change?.event_actor?),
        })
    }

    fn size(&self, source: Source, element: &[Option<&'a str>]) -> Option<Value<'a>> {
        let count = match source {
            Source::Place(place) => {
                let raw = self.raw(place, element)?;
                match RawValue::new(raw) {
                    RawValue::Object | RawValue::Array => elements(raw).count(),
                    RawValue::String(text) => text.chars().count(),
                    RawValue::Number(_) | RawValue::Bool(_) | RawValue::Null => return None,
                }
            }
            Source::Name(name) => match self.name(name)? {
                Value::Text(text) => text.chars().count(),
                _ => return None,
            },
        };
        Some(Value::Number(Cow::Owned(count.to_string())))
    }
}

fn compare(comparison: Comparison, left: Option<Value<'_>>, right: Option<Value<'_>>) -> bool {
    let (left, right) = (left.as_ref(), right.as_ref());
    let order = || left.zip(right).and_then(|(left, right)| order(left, right));
    match comparison {
        Comparison::Equal => is_equal(left, right),
        Comparison::NotEqual => !is_equal(left, right),
        Comparison::Less => order() == Some(Ordering::Less),
        Comparison::LessOrEqual => order().is_some_and(Ordering::is_le),
        Comparison::Greater => order() == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => order().is_some_and(Ordering::is_ge),
    }
}

fn is_equal(left: Option<&Value<'_>>, right: Option<&Value<'_>>) -> bool {
    match (left, right) {
        (Some(Value::Null), Some(Value::Null)) => true,
        (Some(left), Some(right)) => order(left, right) == Some(Ordering::Equal),
        _ => false,
    }
}

/// The order of two values of one kind. `null` has none.
fn order(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => Some(compare_numbers(left, right)),
        // UTF-8 sorts as code points do
        (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
        (Value::Time(left), Value::Time(right)) => Some(left.cmp(right)),
        _ => None,
    }
}
