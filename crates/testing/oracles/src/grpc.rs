//! Events read in place from protobuf against `prost`, and against the same event as REST's JSON.

use bytes::Bytes;
use producer_core::{Draft, Event, Problem, decode};
use producer_grpc::proto::v1::{EntityUpdate, EventRequest, ProcessEventsRequest};
use producer_grpc::{read_event, read_events};
use prost::Message;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use serde_json::value::RawValue;
use serde_json::{Map, json, to_string};

use crate::clock;

/// Levels that a Struct may have.
const MAX_LEVELS: usize = 30;

/// The same bytes are an event or a bulk call, and the same one.
pub(crate) fn oracle(bytes: &[u8]) {
    let ours = |bytes: &[u8]| read_event(Bytes::copy_from_slice(bytes));
    if let Some((ours, theirs)) = same_reading::<EventRequest, _>(bytes, ours) {
        same_event(ours, &theirs);
    }
    let ours = |bytes: &[u8]| read_events(Bytes::copy_from_slice(bytes));
    if let Some(((atomic, ours), theirs)) = same_reading::<ProcessEventsRequest, _>(bytes, ours) {
        assert_eq!((atomic, ours.len()), (theirs.atomic, theirs.events.len()));
        ours.into_iter().zip(&theirs.events).for_each(|(ours, theirs)| same_event(ours, theirs));
    }
}

/// What both read, if both do. They agree on that but for two things: prost gives up on the depth of
/// what nobody looks at, and it doesn't look at the wire type of maps; then ours must read the same
/// message as prost writes it.
fn same_reading<M: Message + Default, O: std::fmt::Debug>(
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<O, Problem>,
) -> Option<(O, M)> {
    match (read(bytes), M::decode(bytes)) {
        (Ok(ours), Ok(theirs)) => Some((ours, theirs)),
        (Err(refusal), Ok(theirs)) => {
            let ours = read(&theirs.encode_to_vec());
            assert!(ours.is_ok(), "{refusal}, {ours:?}");
            None
        }
        (Ok(_), Err(error)) => {
            assert!(error.to_string().contains("recursion limit reached"), "{error}");
            None
        }
        (Err(_), Err(_)) => None,
    }
}

fn same_event(ours: Draft, theirs: &EventRequest) {
    let ours = ours.finish(&clock());
    let theirs = as_json(theirs).map(|json| decode::event(json.as_bytes(), &clock()));
    let theirs: Option<Result<Event, Problem>> = theirs;
    match (ours, theirs) {
        (Ok(ours), Some(Ok(theirs))) => {
            let given = |event: &Event| {
                (
                    event.name().to_owned(),
                    event.event_type().map(str::to_owned),
                    event.created(),
                    event.saved(),
                )
            };
            assert_eq!(given(&ours), given(&theirs));
            assert_eq!(ours.updates().len(), theirs.updates().len());
            for (ours, theirs) in ours.updates().iter().zip(theirs.updates()) {
                assert_eq!(ours.key(), theirs.key());
                let (ours, theirs) = (ours.patch().text(), theirs.patch().text());
                assert!(producer_core::json::same_value(ours, theirs), "{ours} {theirs}");
            }
        }
        (Err(_), None | Some(Err(_))) => {}
        (ours, theirs) => unreachable!("two verdicts: {ours:?} {theirs:?}"),
    }
}

/// The event as a REST client would send it; `None` where no JSON can say it, or the contract
/// refuses it on gRPC alone.
fn as_json(event: &EventRequest) -> Option<String> {
    let mut parts = Vec::new();
    if let Some(header) = &event.event_header {
        let fields = [
            ("uuid", &header.uuid),
            ("eventName", &header.event_name),
            ("createdDate", &header.created_date),
            ("savedDate", &header.saved_date),
            ("eventType", &header.event_type),
        ];
        let given = fields.into_iter().filter(|(_, value)| !value.is_empty());
        let given: Map<_, _> = given.map(|(name, value)| (name.into(), json!(value))).collect();
        parts.push(format!(r#""eventHeader":{}"#, to_string(&given).ok()?));
    }
    if let Some(body) = &event.event_body {
        let entities: Vec<_> = body.entities.iter().map(entity).collect::<Option<_>>()?;
        parts.push(format!(r#""eventBody":{{"entities":[{}]}}"#, entities.join(",")));
    }
    Some(format!("{{{}}}", parts.join(",")))
}

fn entity(entity: &EntityUpdate) -> Option<String> {
    let (entity_type, id) =
        (to_string(&entity.entity_type).ok()?, to_string(&entity.entity_id).ok()?);
    let attributes = attributes(entity)?;
    Some(format!(
        r#"{{"entityType":{entity_type},"entityId":{id},"updatedAttributes":{attributes}}}"#
    ))
}

fn attributes(entity: &EntityUpdate) -> Option<String> {
    let mut given = Vec::new();
    if !entity.updated_attributes.is_empty() {
        given.push(to_string(&entity.updated_attributes).ok());
    }
    if let Some(object) = entity.attributes.as_ref().filter(|object| !object.fields.is_empty()) {
        given.push(of_struct(object, 1));
    }
    if let Some(text) = entity.attributes_json.as_deref().filter(|text| !text.is_empty()) {
        given.push(serde_json::from_str::<&RawValue>(text).ok().map(|json| json.get().to_owned()));
    }
    match given.as_slice() {
        [] => Some("{}".into()),
        [one] => one.clone(),
        _ => None,
    }
}

fn of_struct(object: &Struct, level: usize) -> Option<String> {
    let member = |(key, value): (&String, &Value)| {
        Some(format!("{}:{}", to_string(key).ok()?, of_value(value, level)?))
    };
    let members: Vec<_> = object.fields.iter().map(member).collect::<Option<_>>()?;
    (level <= MAX_LEVELS).then(|| format!("{{{}}}", members.join(",")))
}

fn of_value(value: &Value, level: usize) -> Option<String> {
    match value.kind.as_ref()? {
        Kind::NullValue(_) => Some("null".into()),
        Kind::BoolValue(value) => Some(value.to_string()),
        // Debug, since Display writes no exponents
        Kind::NumberValue(number) => number.is_finite().then(|| format!("{number:?}")),
        Kind::StringValue(text) => to_string(text).ok(),
        Kind::StructValue(object) => of_struct(object, level + 1),
        Kind::ListValue(list) => {
            let values: Vec<_> = list
                .values
                .iter()
                .map(|value| of_value(value, level + 1))
                .collect::<Option<_>>()?;
            (level < MAX_LEVELS).then(|| format!("[{}]", values.join(",")))
        }
    }
}
