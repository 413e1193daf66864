//! Whether a condition holds.

use std::cell::{Cell, OnceCell};
use std::cmp::Ordering;

use smallvec::SmallVec;

use super::expression::{
    Comparison, Elements, Expression, Operand, Parsed, Place, Source, TextTest,
};
use super::names::Name;
use super::slot::{Slot, Slots, fill, slots};
use super::value::Value;
use crate::json::{Named, elements};
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

impl Facts<'_> {
    /// Bytes of the document and of the patch.
    pub(super) fn bytes(&self) -> usize {
        let document = self.state.map_or(0, |state| state.data.len());
        document + self.change.map_or(0, |change| change.patch.len())
    }
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
    Judge::new(filter, facts).holds(&filter.condition, &[])
}

pub(super) struct Judge<'f, 'a> {
    filter: &'f Parsed,
    facts: &'f Facts<'a>,
    /// What is read of the document and of the patch, as soon as it is needed.
    data: OnceCell<Slots<'a>>,
    patch: OnceCell<Slots<'a>>,
    touched: OnceCell<Named>,
    /// The verdicts of [`Expression::Once`].
    once: SmallVec<[Cell<Option<bool>>; 8]>,
}

impl<'f, 'a> Judge<'f, 'a> {
    pub(super) fn new(filter: &'f Parsed, facts: &'f Facts<'a>) -> Self {
        Self {
            filter,
            facts,
            data: OnceCell::new(),
            patch: OnceCell::new(),
            touched: OnceCell::new(),
            once: SmallVec::from_elem(Cell::new(None), filter.once),
        }
    }
}

impl<'a> Judge<'_, 'a> {
    /// `element` is what is read of the element that is looked at.
    pub(super) fn holds(&self, expression: &Expression, element: &[Slot<'a>]) -> bool {
        match expression {
            Expression::All(parts) => parts.iter().all(|part| self.holds(part, element)),
            Expression::Any(parts) => parts.iter().any(|part| self.holds(part, element)),
            Expression::Not(inner) => !self.holds(inner, element),
            Expression::Compare(left, comparison, right) => {
                compare(*comparison, self.operand(left, element), self.operand(right, element))
            }
            Expression::OneOf(operand, literals) => {
                let value = self.operand(operand, element);
                value.is_some_and(|value| literals.contain(value, self.facts.now))
            }
            Expression::Has(Source::Place(place)) => {
                self.slot(*place, element).is_some_and(|slot| slot.raw().is_some())
            }
            Expression::Has(Source::Name(name)) => self.name(*name).is_some(),
            Expression::Text(source, test, text) => match self.source(*source, element) {
                Some(Value::Text(value)) => match test {
                    TextTest::StartsWith => value.starts_with(&**text),
                    TextTest::EndsWith => value.ends_with(&**text),
                    TextTest::Contains => value.contains(&**text),
                },
                _ => false,
            },
            Expression::Elements(elements) => self.elements(elements, element),
            Expression::Touches(slot) => self.touches(*slot),
            Expression::Once(slot, condition) => {
                let verdict = &self.once[*slot];
                let holds = verdict.get().unwrap_or_else(|| self.holds(condition, element));
                verdict.set(Some(holds));
                holds
            }
        }
    }

    fn elements(&self, over: &Elements, element: &[Slot<'a>]) -> bool {
        let array = self.slot(over.array, element).and_then(Slot::raw);
        let Some(array) = array.filter(|raw| raw.starts_with('[')) else {
            return false;
        };
        let mut element = Slots::new();
        let mut holds = |raw: &'a str| {
            fill(&mut element, &over.paths, raw);
            self.holds(&over.condition, &element)
        };
        if over.all { elements(array).all(&mut holds) } else { elements(array).any(&mut holds) }
    }

    fn touches(&self, slot: usize) -> bool {
        self.facts.change.is_some_and(|change| {
            let named = || self.filter.touched.named_by(change.patch);
            change.is_total || self.touched.get_or_init(named)[slot]
        })
    }

    /// What is at a place; `None` where there is no document at all.
    fn slot<'s>(&'s self, place: Place, element: &'s [Slot<'a>]) -> Option<&'s Slot<'a>> {
        match place {
            Place::Data(slot) => {
                let data = self.facts.state?.data;
                self.data.get_or_init(|| slots(&self.filter.data, data)).get(slot)
            }
            Place::Patch(slot) => {
                let patch = self.facts.change?.patch;
                self.patch.get_or_init(|| slots(&self.filter.patch, patch)).get(slot)
            }
            Place::Element(slot) => element.get(slot),
        }
    }

    fn operand<'s>(&'s self, operand: &'s Operand, element: &'s [Slot<'a>]) -> Option<Value<'s>> {
        match operand {
            Operand::Source(source) => self.source(*source, element),
            Operand::Size(Source::Place(place)) => {
                self.slot(*place, element)?.size().map(Value::Whole)
            }
            Operand::Size(Source::Name(name)) => match self.name(*name)? {
                Value::Text(text) => u64::try_from(text.chars().count()).ok().map(Value::Whole),
                _ => None,
            },
            Operand::Time(Source::Place(place)) => {
                self.slot(*place, element)?.time().map(Value::Time)
            }
            Operand::Time(Source::Name(name)) => match self.name(*name)? {
                Value::Text(text) => {
                    Timestamp::from_text(text).ok().map(|time| Value::Time(time.micros()))
                }
                Value::Whole(millis) => {
                    let time = Timestamp::from_number(&millis.to_string()).ok();
                    time.map(|time| Value::Time(time.micros()))
                }
                Value::Time(micros) => Some(Value::Time(micros)),
                _ => None,
            },
            Operand::Literal(literal) => Some(Value::of_literal(literal, self.facts.now)),
        }
    }

    fn source<'s>(&'s self, source: Source, element: &'s [Slot<'a>]) -> Option<Value<'s>> {
        match source {
            Source::Name(name) => self.name(name),
            Source::Place(place) => self.slot(place, element)?.value(),
        }
    }

    fn name(&self, name: Name) -> Option<Value<'a>> {
        let Facts { entity_type, entity_id, version, state, change, .. } = *self.facts;
        let time = |time: Timestamp| Value::Time(time.micros());
        Some(match name {
            Name::Type => Value::Text(entity_type),
            Name::Id => Value::Text(entity_id),
            Name::Version => Value::Whole(version),
            Name::CreatedAt => time(state?.created_at),
            Name::UpdatedAt => time(state?.updated_at),
            Name::Operation => Value::Text(change?.operation),
            Name::Created => Value::Bool(change?.created),
            Name::CommittedAt => time(change?.committed_at),
            Name::EventName => Value::Text(change?.event_name),
            Name::EventType => Value::Text(change?.event_type?),
            Name::EventSource => Value::Text(change?.event_source?),
            Name::EventActor => Value::Text(change?.event_actor?),
        })
    }
}

fn compare(comparison: Comparison, left: Option<Value<'_>>, right: Option<Value<'_>>) -> bool {
    let sides = left.zip(right);
    let order = || sides.and_then(|(left, right)| left.order(right));
    let equals = || sides.is_some_and(|(left, right)| left.equals(right));
    match comparison {
        Comparison::Equal => equals(),
        Comparison::NotEqual => !equals(),
        Comparison::Less => order() == Some(Ordering::Less),
        Comparison::LessOrEqual => order().is_some_and(Ordering::is_le),
        Comparison::Greater => order() == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => order().is_some_and(Ordering::is_ge),
    }
}
