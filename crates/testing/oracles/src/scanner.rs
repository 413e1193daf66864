//! The parse of events against `serde_json` and the contract's rules.

use producer_core::json::{same_value, write_string};
use producer_core::{
    EntityUpdate, Event, Patch, Problem, ProblemKind, Step, Timestamp, Violation, decode,
};
use uuid::Uuid;

use crate::clock::clock;
use crate::exact::{Exact, Number, all_members, elements, is_json, members, string};

/// Our parser accepts the same bytes as JSON and the same JSON as an event, with the same content.
pub(crate) fn oracle(bytes: &[u8]) {
    let verdict = decode::event(bytes, &clock());
    assert_eq!(!is_malformed(&verdict), is_json(bytes), "{verdict:?}");
    let bulk = decode::events(bytes, &clock());
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|_| is_json(bytes)) else {
        assert!(bulk.is_err());
        return;
    };
    assert!(!is_malformed(&bulk));
    attributes_agree(text);
    an_item_has_the_same_result(text, &verdict);
    let expected = expected_event(text);
    assert_eq!(verdict.is_ok(), expected.is_some(), "{verdict:?}");
    match (verdict, expected) {
        (Ok(event), Some(expected)) => {
            assert!(expected.is(&event), "{event:?}");
            assert_eq!(decode::event(to_json(&event).as_bytes(), &clock()), Ok(event));
        }
        (Err(problem), _) => every_violation_has_its_location(text, &problem),
        _ => {}
    }
}

/// Whether the bytes are no JSON. With violations they are, and have a condition that is no filter.
fn is_malformed<T>(verdict: &Result<T, Problem>) -> bool {
    matches!(verdict, Err(problem) if problem.kind == ProblemKind::Malformed
        && problem.violations.is_empty())
}

fn attributes_agree(text: &str) {
    let expected = Exact::read(text).filter(Exact::is_object);
    let patch = Patch::parse(text);
    assert_eq!(patch.is_ok(), expected.is_some(), "{patch:?}");
    if let (Ok(patch), Some(expected)) = (patch, expected) {
        assert_eq!(Exact::read(patch.text()).as_ref(), Some(&expected));
        assert_eq!(patch.size(), expected.written().len());
        assert_eq!(patch.is_flat(), expected.is_flat());
        assert!(same_value(text, &expected.written()));
    }
}

fn an_item_has_the_same_result(text: &str, alone: &Result<Event, Problem>) {
    let items = decode::events(format!("[{text},\n{text} ]").as_bytes(), &clock());
    let items = items.expect("an array of two");
    assert_eq!(items.len(), 2);
    for item in &items {
        match (item, alone) {
            (Ok(item), Ok(alone)) => assert_eq!(item.updates(), alone.updates()),
            (Err(item), Err(alone)) => assert_eq!(item.violations, alone.violations),
            _ => unreachable!("they differ: {item:?}, {alone:?}"),
        }
    }
}

/// The fields of an event as the reference reads them.
struct Expected {
    uuid: Option<Uuid>,
    name: String,
    event_type: Option<String>,
    created: Option<Timestamp>,
    saved: Option<Timestamp>,
    updates: Vec<(String, String, Exact)>,
}

impl Expected {
    fn is(&self, event: &Event) -> bool {
        self.uuid.is_none_or(|uuid| uuid == event.uuid())
            && self.name == event.name()
            && self.event_type.as_deref() == event.event_type()
            && (self.created, self.saved) == (event.created(), event.saved())
            && self.updates.len() == event.updates().len()
            && self.updates.iter().zip(event.updates()).all(is_update)
    }
}

fn is_update(both: (&(String, String, Exact), &EntityUpdate)) -> bool {
    let ((entity_type, entity_id, attributes), update) = both;
    update.key().entity_type() == entity_type
        && update.key().entity_id() == entity_id
        && Exact::read(update.patch().text()).as_ref() == Some(attributes)
}

/// The contract's table of fields; `None` if a rule is broken.
fn expected_event(text: &str) -> Option<Expected> {
    let [header, body] = fields(text, ["eventHeader", "eventBody"])?;
    let [uuid, name, event_type, created, saved] =
        fields(header?, ["uuid", "eventName", "eventType", "createdDate", "savedDate"])?;
    let [entities] = fields(body?, ["entities"])?;
    let updates: Vec<_> = elements(entities?)?.into_iter().map(update).collect::<Option<_>>()?;
    let uuid = optional(uuid, |text| decode::uuid(&string(text)?))?;
    let event_type = optional(event_type, string)?.filter(|text| !text.is_empty());
    let is_short = event_type.as_ref().is_none_or(|text| text.chars().count() <= 255);
    (is_short && (1..=1000).contains(&updates.len())).then_some(Expected {
        uuid,
        name: name_of(name?)?,
        event_type,
        created: optional(created, date)?,
        saved: optional(saved, date)?,
        updates,
    })
}

fn update(text: &str) -> Option<(String, String, Exact)> {
    let [entity_type, entity_id, attributes] =
        fields(text, ["entityType", "entityId", "updatedAttributes"])?;
    let id = |text| name_of(text).filter(|id| id != "." && id != "..");
    let attributes = Exact::read(attributes?).filter(Exact::is_object)?;
    Some((id(entity_type?)?, id(entity_id?)?, attributes))
}

/// The members of these names; null counts as absent. The others must break no rule.
fn fields<'a, const N: usize>(object: &'a str, names: [&str; N]) -> Option<[Option<&'a str>; N]> {
    let mut members = members(object)?;
    let found = names.map(|name| members.remove(name).filter(|text| *text != "null"));
    members.values().all(|ignored| Exact::read(ignored).is_some()).then_some(found)
}

fn optional<'a, T>(
    field: Option<&'a str>,
    read: impl FnOnce(&'a str) -> Option<T>,
) -> Option<Option<T>> {
    field.map_or(Some(None), |text| read(text).map(Some))
}

fn name_of(text: &str) -> Option<String> {
    string(text).filter(|name| (1..=255).contains(&name.chars().count()))
}

fn date(text: &str) -> Option<Timestamp> {
    match string(text) {
        Some(written) => Timestamp::from_text(&written).ok(),
        None if text.starts_with(['"', '{', '[', 't', 'f']) => None,
        None => Number::read(text).and_then(|_| Timestamp::from_number(text).ok()),
    }
}

fn to_json(event: &Event) -> String {
    let quoted = |text: &str| {
        let mut out = String::new();
        write_string(&mut out, text);
        out
    };
    let date = |date: Option<Timestamp>| {
        date.map_or("null".into(), |date: Timestamp| quoted(&date.to_string()))
    };
    let update = |update: &EntityUpdate| {
        let (entity_type, id) = (update.key().entity_type(), update.key().entity_id());
        let (entity_type, id) = (quoted(entity_type), quoted(id));
        let attributes = update.patch().text();
        format!(
            r#"{{"entityType":{entity_type},"entityId":{id},"updatedAttributes":{attributes}}}"#
        )
    };
    let updates: Vec<_> = event.updates().iter().map(update).collect();
    format!(
        r#"{{"eventHeader":{{"uuid":"{}","eventName":{},"eventType":{},"createdDate":{},"savedDate":{}}},"eventBody":{{"entities":[{}]}}}}"#,
        event.uuid(),
        quoted(event.name()),
        quoted(event.event_type().unwrap_or_default()),
        date(event.created()),
        date(event.saved()),
        updates.join(",")
    )
}

fn every_violation_has_its_location(text: &str, problem: &Problem) {
    let listed = problem.violations.listed();
    assert_eq!(listed.len(), problem.violations.count().min(100));
    assert!(!listed.is_empty());
    for violation in listed {
        assert!(exists(text, &violation.location.0, violation), "{violation} in {text}");
    }
}

/// Whether the location exists in the text. Of a required member that is missing, the parent does.
fn exists(text: &str, steps: &[Step], violation: &Violation) -> bool {
    let Some((step, rest)) = steps.split_first() else { return true };
    match step {
        Step::Index(index) => elements(text)
            .and_then(|elements| elements.get(*index).copied())
            .is_some_and(|element| exists(element, rest, violation)),
        // clipped, or not readable for the reference
        Step::Key(key) if key.ends_with('…') || key.contains('\u{fffd}') => true,
        Step::Key(key) => match all_members(text) {
            None => text.trim_start().starts_with('{'),
            Some(members) => {
                let is_missing = rest.is_empty() && violation.detail.starts_with("is required");
                let mut same = members.iter().filter(|(name, _)| name == key);
                is_missing || same.any(|(_, value)| exists(value, rest, violation))
            }
        },
    }
}
