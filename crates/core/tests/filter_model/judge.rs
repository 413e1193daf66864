//! What a condition means, over a tree.

use std::cmp::Ordering;

use producer_core::filter::{Constraint, Field, Scalar, Scope};

use crate::condition::{Comparison, Condition, Literal, Operand, Root, Source, Step, Test};
use crate::document::Json;
use crate::random::Random;

pub(crate) struct Subject {
    pub(crate) entity_type: &'static str,
    pub(crate) entity_id: &'static str,
    pub(crate) version: u64,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) committed_at: i64,
    pub(crate) now: i64,
    pub(crate) operation: &'static str,
    pub(crate) created: bool,
    pub(crate) event_name: &'static str,
    pub(crate) event_type: Option<&'static str>,
    pub(crate) data: Json,
    pub(crate) patch: Json,
    pub(crate) is_change: bool,
}

/// 2024-01-15T09:30:00Z
const MOMENT: i64 = 1_705_311_000_000_000;

impl Subject {
    pub(crate) fn new(random: &mut Random, data: Json, patch: Json, scope: Scope) -> Self {
        let mut moment = || MOMENT + [-1, 0, 1, 3_600_000_000][random.below(4)];
        Self {
            created_at: moment(),
            updated_at: moment(),
            committed_at: moment(),
            now: moment(),
            entity_type: random.pick::<&str>(&["Car", "Book"]),
            entity_id: random.pick::<&str>(&["c-1", "ä'\""]),
            version: *random.pick(&[1, 2, 100]),
            operation: random.pick::<&str>(&["merge", "merge", "replace", "delete"]),
            created: random.percent(50),
            event_name: random.pick::<&str>(&["Paid", "Ordered"]),
            event_type: *random.pick(&[None, Some("Paid")]),
            data,
            patch,
            is_change: scope == Scope::Change,
        }
    }

    pub(crate) fn field(&self, field: Field<'_>) -> Option<Value> {
        match field {
            Field::Type => self.name("type"),
            Field::Id => self.name("id"),
            Field::CreatedAt => self.name("createdAt"),
            Field::UpdatedAt => self.name("updatedAt"),
            Field::Data(path) => {
                let steps: Vec<Step> = path.keys().map(|key| Step::Key(key.to_owned())).collect();
                Some(value(walk(&self.data, &steps)?))
            }
        }
    }

    fn name(&self, name: &str) -> Option<Value> {
        let text = |text: &str| Value::Text(text.to_owned());
        Some(match name {
            "type" | "entityType" => text(self.entity_type),
            "id" | "entityId" => text(self.entity_id),
            "version" => Value::Number(Decimal::new(&self.version.to_string())),
            "createdAt" => Value::Time(self.created_at),
            "updatedAt" => Value::Time(self.updated_at),
            "operation" => text(self.operation),
            "created" => Value::Bool(self.created),
            "committedAt" => Value::Time(self.committed_at),
            "eventName" => text(self.event_name),
            "eventType" => text(self.event_type?),
            "eventActor" => text("ann"),
            other => {
                assert_eq!(other, "eventSource");
                return None;
            }
        })
    }

    fn json<'s>(&'s self, source: &Source, element: Option<&'s Json>) -> Option<&'s Json> {
        match source {
            Source::Path(Root::Data, steps) => walk(&self.data, steps),
            Source::Path(Root::Patch, steps) => walk(&self.patch, steps),
            Source::Path(Root::Element, steps) => walk(element?, steps),
            Source::Name(_) => None,
        }
    }

    fn value(&self, source: &Source, element: Option<&Json>) -> Option<Value> {
        match source {
            Source::Name(name) => self.name(name),
            Source::Path(..) => self.json(source, element).map(value),
        }
    }

    fn operand(&self, operand: &Operand, element: Option<&Json>) -> Option<Value> {
        match operand {
            Operand::Source(source) => self.value(source, element),
            Operand::Size(source) => {
                let size = match (self.json(source, element), self.value(source, element)?) {
                    (Some(Json::Array(elements)), _) => elements.len(),
                    (Some(Json::Object(members)), _) => members.len(),
                    (_, Value::Text(text)) => text.chars().count(),
                    _ => return None,
                };
                Some(Value::Number(Decimal::new(&size.to_string())))
            }
            Operand::Time(source) => time(&self.value(source, element)?).map(Value::Time),
            Operand::Literal(literal) => Some(self.literal(literal)),
        }
    }

    fn literal(&self, literal: &Literal) -> Value {
        match literal {
            Literal::Null => Value::Null,
            Literal::Bool(value) => Value::Bool(*value),
            Literal::Number(text) => Value::Number(Decimal::new(text)),
            Literal::Text(text) => Value::Text(text.clone()),
            Literal::Time(text) => {
                Value::Time(time(&Value::Text(text.clone())).expect("the text of a time"))
            }
            Literal::Ago(seconds) => Value::Time(self.now - seconds * 1_000_000),
        }
    }
}

#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(Decimal),
    Text(String),
    Time(i64),
    Container,
}

pub(crate) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(text) => Value::Number(Decimal::new(text)),
        Json::Text(text) => Value::Text(text.clone()),
        Json::Array(_) | Json::Object(_) => Value::Container,
    }
}

/// A number written out: so many digits on both sides of the point.
#[derive(Debug)]
pub(crate) struct Decimal {
    negative: bool,
    whole: String,
    fraction: String,
}

const PLACES: usize = 400;

impl Decimal {
    fn new(text: &str) -> Self {
        let (negative, text) = match text.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i64 = exponent.parse().expect("an exponent");
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let zeros = "0".repeat(PLACES);
        let digits = format!("{zeros}{whole}{fraction}{zeros}");
        let point = PLACES + whole.len();
        let point = usize::try_from(i64::try_from(point).expect("small") + exponent).expect("in");
        let (whole, fraction) = digits.split_at(point);
        let whole = whole.trim_start_matches('0').to_owned();
        let fraction = fraction.trim_end_matches('0').to_owned();
        let is_zero = whole.is_empty() && fraction.is_empty();
        Self { negative: negative && !is_zero, whole, fraction }
    }

    fn order(&self, other: &Self) -> Ordering {
        let magnitude = self.whole.len().cmp(&other.whole.len());
        let magnitude = magnitude.then_with(|| self.whole.cmp(&other.whole));
        let magnitude = magnitude.then_with(|| self.fraction.cmp(&other.fraction));
        match (self.negative, other.negative) {
            (false, false) => magnitude,
            (true, true) => magnitude.reverse(),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }

    fn whole(&self) -> Option<i64> {
        let digits = if self.whole.is_empty() { "0" } else { &self.whole };
        let magnitude: i64 = self.fraction.is_empty().then(|| digits.parse().ok())??;
        Some(if self.negative { -magnitude } else { magnitude })
    }
}

fn time(value: &Value) -> Option<i64> {
    let of_millis = |millis: i64| {
        (-62_135_596_800_000..=253_402_300_799_999).contains(&millis).then(|| millis * 1000)
    };
    match value {
        Value::Time(micros) => Some(*micros),
        Value::Number(number) => of_millis(number.whole()?),
        Value::Text(text) => match text.parse() {
            Ok(millis) => of_millis(millis),
            Err(_) => {
                let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
                Some(time.timestamp_micros())
            }
        },
        _ => None,
    }
}

pub(crate) fn walk<'j>(json: &'j Json, steps: &[Step]) -> Option<&'j Json> {
    steps.iter().try_fold(json, |json, step| match (json, step) {
        (Json::Object(members), Step::Key(key)) => {
            members.iter().find(|(known, _)| known == key).map(|(_, value)| value)
        }
        (Json::Array(elements), Step::Index(index)) => elements.get(*index),
        _ => None,
    })
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => Some(left.order(right)),
        (Value::Text(left), Value::Text(right)) => Some(left.chars().cmp(right.chars())),
        (Value::Time(left), Value::Time(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

pub(crate) fn equal(left: &Value, right: &Value) -> bool {
    matches!((left, right), (Value::Null, Value::Null))
        || order(left, right) == Some(Ordering::Equal)
}

/// Whether a condition holds; `element` is the value of its variable.
pub(crate) fn holds(condition: &Condition, subject: &Subject, element: Option<&Json>) -> bool {
    let holds_here = |condition: &Condition| holds(condition, subject, element);
    match condition {
        Condition::All(parts) => parts.iter().all(holds_here),
        Condition::Any(parts) => parts.iter().any(holds_here),
        Condition::Not(inner) => !holds_here(inner),
        Condition::Compare(left, comparison, right) => {
            let (left, right) = (subject.operand(left, element), subject.operand(right, element));
            let sides = left.zip(right);
            let equal = sides.as_ref().is_some_and(|(left, right)| equal(left, right));
            let order = sides.as_ref().and_then(|(left, right)| order(left, right));
            match comparison {
                Comparison::Equal => equal,
                Comparison::NotEqual => !equal,
                Comparison::Less => order.is_some_and(Ordering::is_lt),
                Comparison::LessOrEqual => order.is_some_and(Ordering::is_le),
                Comparison::Greater => order.is_some_and(Ordering::is_gt),
                Comparison::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
            }
        }
        Condition::In(operand, literals) => {
            let Some(value) = subject.operand(operand, element) else { return false };
            literals.iter().any(|literal| equal(&value, &subject.literal(literal)))
        }
        Condition::Has(Source::Name(name)) => subject.name(name).is_some(),
        Condition::Has(source) => subject.json(source, element).is_some(),
        Condition::Text(source, test, text) => match (subject.value(source, element), test) {
            (Some(Value::Text(value)), Test::StartsWith) => value.starts_with(text),
            (Some(Value::Text(value)), Test::EndsWith) => value.ends_with(text),
            (Some(Value::Text(value)), Test::Contains) => value.contains(text),
            _ => false,
        },
        Condition::Elements { array, all, condition } => match subject.json(array, element) {
            Some(Json::Array(elements)) => {
                let mut verdicts =
                    elements.iter().map(|element| holds(condition, subject, Some(element)));
                if *all { verdicts.all(|it| it) } else { verdicts.any(|it| it) }
            }
            _ => false,
        },
        Condition::Touches(keys) => {
            subject.is_change && (subject.operation != "merge" || names(&subject.patch, keys))
        }
    }
}

/// Whether a patch names the member at these keys, one above or one below.
fn names(patch: &Json, keys: &[String]) -> bool {
    let Some((key, rest)) = keys.split_first() else { return true };
    match patch {
        Json::Object(members) => {
            members.iter().any(|(known, value)| known == key && names(value, rest))
        }
        _ => true,
    }
}

/// Whether a field's value fulfils what a filter demands of it.
pub(crate) fn satisfies(value: &Value, constraint: &Constraint<'_>) -> bool {
    let of_scalar = |scalar: &Scalar<'_>| match scalar {
        Scalar::Bool(value) => Value::Bool(*value),
        Scalar::Number(text) => Value::Number(Decimal::new(text)),
        Scalar::Text(text) => Value::Text(text.to_string()),
        Scalar::Time(time) => Value::Time(time.micros()),
    };
    let order = |scalar: &Scalar<'_>| order(value, &of_scalar(scalar));
    match constraint {
        Constraint::OneOf(scalars) => {
            scalars.iter().any(|scalar| order(scalar) == Some(Ordering::Equal))
        }
        Constraint::Less(scalar) => order(scalar).is_some_and(Ordering::is_lt),
        Constraint::LessOrEqual(scalar) => order(scalar).is_some_and(Ordering::is_le),
        Constraint::Greater(scalar) => order(scalar).is_some_and(Ordering::is_gt),
        Constraint::GreaterOrEqual(scalar) => order(scalar).is_some_and(Ordering::is_ge),
        Constraint::StartsWith(start) => {
            matches!(value, Value::Text(text) if text.starts_with(start))
        }
    }
}
