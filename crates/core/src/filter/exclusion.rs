//! What a filter says where the state is not known: the conditions that read it may hold or not.

use super::evaluate::{Facts, Judge};
use super::expression::{Expression, Operand, Parsed, Place, Source};
use super::names::Name;

/// Whether a filter can't hold, whatever the state is.
pub(super) fn excludes(filter: &Parsed, facts: &Facts<'_>) -> bool {
    verdict(&Judge::new(filter, facts), &filter.condition) == Some(false)
}

/// What a condition says; `None` where that depends on the state.
fn verdict(judge: &Judge<'_, '_>, condition: &Expression) -> Option<bool> {
    match condition {
        Expression::All(parts) => joined(judge, parts, false),
        Expression::Any(parts) => joined(judge, parts, true),
        Expression::Not(inner) => verdict(judge, inner).map(|holds| !holds),
        other if reads_state(other) => None,
        other => Some(judge.holds(other, &[])),
    }
}

/// What conditions say together of which one decides alone where it says `decisive`.
fn joined(judge: &Judge<'_, '_>, parts: &[Expression], decisive: bool) -> Option<bool> {
    let mut all = Some(!decisive);
    for part in parts {
        match verdict(judge, part) {
            Some(holds) if holds == decisive => return Some(decisive),
            Some(_) => {}
            None => all = None,
        }
    }
    all
}

fn reads_state(condition: &Expression) -> bool {
    let is_of_state = |source: Source| match source {
        Source::Name(name) => Name::is_of_state(name),
        Source::Place(place) => matches!(place, Place::Data(_)),
    };
    let operand = |operand: &Operand| match operand {
        Operand::Source(source) | Operand::Size(source) | Operand::Time(source) => {
            is_of_state(*source)
        }
        Operand::Literal(_) => false,
    };
    match condition {
        Expression::All(parts) | Expression::Any(parts) => parts.iter().any(reads_state),
        Expression::Not(inner) | Expression::Once(_, inner) => reads_state(inner),
        Expression::Compare(left, _, right) => operand(left) || operand(right),
        Expression::OneOf(left, _) => operand(left),
        Expression::Has(source) | Expression::Text(source, ..) => is_of_state(*source),
        Expression::Elements(elements) => {
            is_of_state(Source::Place(elements.array)) || reads_state(&elements.condition)
        }
        Expression::Touches(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{ChangeFacts, Filter, Scope};
    use crate::time::Timestamp;

    #[test]
    fn only_what_no_state_can_alter_is_excluded() {
        let time = Timestamp::from_micros(0);
        let change = ChangeFacts {
            operation: "merge",
            is_total: false,
            created: false,
            committed_at: time,
            event_name: "Paid",
            event_type: None,
            event_source: None,
            event_actor: None,
            patch: r#"{"a":1,"list":[1]}"#,
        };
        let (entity_type, entity_id, version) = ("Car", "c", 3);
        let change = Some(change);
        let facts = Facts { entity_type, entity_id, version, state: None, change, now: time };
        for (text, is_excluded) in [
            ("data.a == 1", false),
            ("!(data.a == 1)", false),
            ("type == 'Loan' && data.a == 1", true),
            ("data.a == 1 && type == 'Loan'", true),
            ("type == 'Loan' || data.a == 1", false),
            ("type == 'Loan' || operation == 'delete' || patch.a > 1", true),
            ("!(type == 'Car' || data.a == 1)", true),
            ("!(type == 'Car' && data.a == 1)", false),
            ("!(type == 'Loan' && data.a == 1)", false),
            ("createdAt < committedAt && type in ['Loan']", true),
            ("createdAt < committedAt", false),
            ("timestamp(data.at) > committedAt && has(eventType)", true),
            ("data.list.exists(x, x == 1)", false),
            ("patch.list.exists(x, x == 2)", true),
            ("patch.list.exists(x, x == data.a)", false),
            ("size(data.a) == 1 || touches('data.b')", false),
            ("data.a.startsWith('x') && touches('data.b')", true),
            ("version == 3 && touches('data.a')", false),
        ] {
            let filter = Filter::parse(text, Scope::Change).expect(text);
            assert_eq!(filter.excludes(&facts), is_excluded, "{text}");
        }
    }
}
