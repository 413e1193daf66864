//! Events and writes of one entity read in place from protobuf, compared with `prost`, and with the same
//! event as REST's JSON.

use bytes::Bytes;
use producer_core::{Event, Problem, ProblemKind, decode};
use producer_grpc::proto::v1::{
    EntityUpdate, EventBody, EventRequest, Operation, ProcessEventsRequest, ReplaceEntityRequest,
};
use producer_grpc::{read_event, read_events, read_replace};
use prost::Message;
use prost_types::value::Kind as ValueKind;
use prost_types::{Struct, Value};
use serde_json::value::RawValue;
use serde_json::{Map, json, to_string};

use crate::clock::clock;
use crate::map_wire_type::{Message as Kind, has_map_of_other_type};

/// Levels that a Struct may have.
const MAX_LEVELS: usize = 30;

/// The same bytes are an event, a bulk call or a write of one entity, with the same content.
pub(crate) fn oracle(bytes: &[u8]) {
    let ours = |bytes: &[u8]| read_event(Bytes::copy_from_slice(bytes));
    if let Some((ours, theirs)) = read_by_both::<EventRequest, _>(Kind::Event, bytes, ours) {
        same_event(ours.finish(&clock()), &theirs);
    }
    let ours = |bytes: &[u8]| read_events(Bytes::copy_from_slice(bytes));
    if let Some((ours, theirs)) = read_by_both::<ProcessEventsRequest, _>(Kind::Call, bytes, ours) {
        let (atomic, events) = ours;
        assert_eq!((atomic, events.len()), (theirs.atomic, theirs.events.len()));
        for (ours, theirs) in events.into_iter().zip(&theirs.events) {
            same_event(ours.finish(&clock()), theirs);
        }
    }
    if let Some((ours, theirs)) =
        read_by_both::<ReplaceEntityRequest, _>(Kind::Replace, bytes, replace)
    {
        same_event(ours, &as_event(theirs));
    }
}

/// The event of a write, or the problem of one that can be decoded.
fn replace(bytes: &[u8]) -> Result<Result<Event, Problem>, Problem> {
    match read_replace(Bytes::copy_from_slice(bytes), &clock()) {
        // with violations it was decoded, and has a condition that is no filter
        Err(problem) if is_undecodable(&problem) => Err(problem),
        write => Ok(write.map(|write| write.event().clone())),
    }
}

fn is_undecodable(problem: &Problem) -> bool {
    problem.kind == ProblemKind::Malformed && problem.violations.is_empty()
}

/// The event that a write is, with its fields in the places where an event has them.
fn as_event(write: ReplaceEntityRequest) -> EventRequest {
    let mut header = write.event_header.unwrap_or_default();
    if header.event_name.is_empty() {
        header.event_name = "EntityReplaced".into();
    }
    let update = EntityUpdate {
        entity_type: write.entity_type,
        entity_id: write.entity_id,
        updated_attributes: write.updated_attributes,
        attributes: write.attributes,
        attributes_json: write.attributes_json,
        operation: Operation::Replace.into(),
        expected_version: write.expected_version,
        exists: write.exists,
        condition: write.condition,
    };
    let body = EventBody { entities: vec![update] };
    EventRequest { event_header: Some(header), event_body: Some(body) }
}

/// What both read, if both can. They may differ in two points only. Prost limits the depth also of
/// groups in unknown fields, which ours skips. And it accepts maps of another wire type: of such a
/// message, ours must read what prost encodes after reading it.
fn read_by_both<M: Message + Default, O: std::fmt::Debug>(
    kind: Kind,
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<O, Problem>,
) -> Option<(O, M)> {
    match (read(bytes), M::decode(bytes)) {
        (Ok(ours), Ok(theirs)) => Some((ours, theirs)),
        (Err(error), Ok(theirs)) => {
            assert!(has_map_of_other_type(kind, bytes), "only prost reads it: {error}");
            let ours = read(&theirs.encode_to_vec()).expect("what prost encodes");
            Some((ours, theirs))
        }
        (Ok(_), Err(error)) => {
            assert!(error.to_string().contains("recursion limit reached"), "{error}");
            None
        }
        (Err(_), Err(_)) => None,
    }
}

fn same_event(ours: Result<Event, Problem>, theirs: &EventRequest) {
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
                    event.source().map(str::to_owned),
                    event.actor().map(str::to_owned),
                )
            };
            assert_eq!(given(&ours), given(&theirs));
            assert_eq!(ours.updates().len(), theirs.updates().len());
            for (ours, theirs) in ours.updates().iter().zip(theirs.updates()) {
                assert_eq!(ours.key(), theirs.key());
                assert_eq!(ours.operation(), theirs.operation());
                assert_eq!(ours.precondition(), theirs.precondition());
                assert_eq!(ours.condition(), theirs.condition());
                let (ours, theirs) = (ours.patch().text(), theirs.patch().text());
                assert!(producer_core::json::same_value(ours, theirs), "{ours} {theirs}");
            }
        }
        (Err(_), None) => {}
        (Err(ours), Some(Err(theirs))) => {
            assert_eq!(ours.kind, theirs.kind);
            assert_eq!(locations(&ours), locations(&theirs));
        }
        (ours, theirs) => unreachable!("they differ: {ours:?} {theirs:?}"),
    }
}

/// Where rules are broken. Order isn't compared, since our JSON has the header's members sorted; so
/// of more violations than are listed, only the number is.
fn locations(problem: &Problem) -> (usize, Vec<String>) {
    let violations = &problem.violations;
    let all =
        violations.listed().iter().filter(|_| violations.listed().len() == violations.count());
    // a write has its only entity at its root
    let pointer = |pointer: String| match pointer.strip_prefix("/eventBody/entities/0") {
        Some(within) => within.to_owned(),
        None => pointer,
    };
    let mut locations: Vec<_> =
        all.map(|violation| pointer(violation.location.pointer())).collect();
    locations.sort_unstable();
    (violations.count(), locations)
}

/// The event as a REST client would send it; `None` if it has no JSON form, or if the contract refuses
/// it only on gRPC.
fn as_json(event: &EventRequest) -> Option<String> {
    let mut parts = Vec::new();
    if let Some(header) = &event.event_header {
        let fields = [
            ("uuid", &header.uuid),
            ("eventName", &header.event_name),
            ("createdDate", &header.created_date),
            ("savedDate", &header.saved_date),
            ("eventType", &header.event_type),
            ("source", &header.source),
            ("actor", &header.actor),
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
    let optional = [
        ("operation", operation(entity.operation)),
        ("expectedVersion", entity.expected_version.map(|version| version.to_string())),
        ("exists", entity.exists.map(|exists| exists.to_string())),
        (
            "condition",
            Some(&entity.condition).filter(|it| !it.is_empty()).map(|it| json!(it).to_string()),
        ),
    ];
    let given = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let given: String = given.map(|(name, value)| format!(r#","{name}":{value}"#)).collect();
    Some(format!(
        r#"{{"entityType":{entity_type},"entityId":{id}{given},"updatedAttributes":{attributes}}}"#
    ))
}

fn operation(number: i32) -> Option<String> {
    let name = match Operation::try_from(number) {
        Ok(Operation::Unspecified) => return None,
        Ok(Operation::Merge) => "merge",
        Ok(Operation::Replace) => "replace",
        Ok(Operation::Delete) => "delete",
        Err(_) => "unknown",
    };
    Some(format!("\"{name}\""))
}

fn attributes(entity: &EntityUpdate) -> Option<String> {
    let mut given = Vec::new();
    if !entity.updated_attributes.is_empty() {
        given.push(to_string(&entity.updated_attributes).ok());
    }
    if let Some(object) = entity.attributes.as_ref().filter(|object| !object.fields.is_empty()) {
        given.push(struct_to_json(object, 1));
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

fn struct_to_json(object: &Struct, level: usize) -> Option<String> {
    let member = |(key, value): (&String, &Value)| {
        Some(format!("{}:{}", to_string(key).ok()?, value_to_json(value, level)?))
    };
    let members: Vec<_> = object.fields.iter().map(member).collect::<Option<_>>()?;
    (level <= MAX_LEVELS).then(|| format!("{{{}}}", members.join(",")))
}

fn value_to_json(value: &Value, level: usize) -> Option<String> {
    match value.kind.as_ref()? {
        ValueKind::NullValue(_) => Some("null".into()),
        ValueKind::BoolValue(value) => Some(value.to_string()),
        // Debug, since Display writes no exponents
        ValueKind::NumberValue(number) => number.is_finite().then(|| format!("{number:?}")),
        ValueKind::StringValue(text) => to_string(text).ok(),
        ValueKind::StructValue(object) => struct_to_json(object, level + 1),
        ValueKind::ListValue(list) => {
            let values: Vec<_> = list
                .values
                .iter()
                .map(|value| value_to_json(value, level + 1))
                .collect::<Option<_>>()?;
            (level < MAX_LEVELS).then(|| format!("[{}]", values.join(",")))
        }
    }
}

#[cfg(test)]
mod tests {
    use producer_grpc::proto::v1::EventHeader;
    use proptest::collection::{btree_map, hash_map, vec};
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::Index;
    use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
    use prost_types::ListValue;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(ValueKind::NullValue(0)),
            any::<bool>().prop_map(ValueKind::BoolValue),
            any::<i32>().prop_map(|number| ValueKind::NumberValue(number.into())),
            "[a-z]{0,3}".prop_map(ValueKind::StringValue),
        ];
        let value = |kind| Value { kind: Some(kind) };
        leaf.prop_map(value).prop_recursive(3, 10, 3, move |inner| {
            prop_oneof![
                vec(inner.clone(), 0..3)
                    .prop_map(move |values| value(ValueKind::ListValue(ListValue { values }))),
                btree_map("[a-z]{1,2}", inner, 0..3)
                    .prop_map(move |fields| value(ValueKind::StructValue(Struct { fields }))),
            ]
        })
    }

    fn entity() -> impl Strategy<Value = EntityUpdate> {
        let attributes = prop_oneof![
            hash_map("[a-z]{1,2}", "[a-z]{0,2}", 0..3).prop_map(|updated_attributes| {
                EntityUpdate { updated_attributes, ..EntityUpdate::default() }
            }),
            btree_map("[a-z]{1,2}", value(), 0..3).prop_map(|fields| {
                EntityUpdate { attributes: Some(Struct { fields }), ..EntityUpdate::default() }
            }),
            r#"\{"a":[0-9]\}"#.prop_map(|json| {
                EntityUpdate { attributes_json: Some(json), ..EntityUpdate::default() }
            }),
        ];
        let conditions =
            (0..5, option::of(0..3_u64), option::of(any::<bool>()), "(|||version == 1|[a-z])");
        ("[A-Z]{1,3}", "[a-z]{1,3}", attributes, conditions).prop_map(
            |(entity_type, entity_id, attributes, conditions)| {
                let (operation, expected_version, exists, condition) = conditions;
                EntityUpdate {
                    entity_type,
                    entity_id,
                    operation,
                    expected_version,
                    exists,
                    condition,
                    ..attributes
                }
            },
        )
    }

    fn header() -> impl Strategy<Value = EventHeader> {
        ("[A-Z]{1,3}", "[A-Z]{0,3}", "[A-Z]{0,3}", "[A-Z]{0,3}").prop_map(
            |(event_name, event_type, source, actor)| EventHeader {
                event_name,
                event_type,
                source,
                actor,
                ..EventHeader::default()
            },
        )
    }

    /// An event of the right types, whose entities may break rules.
    fn event() -> impl Strategy<Value = EventRequest> {
        (header(), vec(entity(), 1..4)).prop_map(|(header, entities)| EventRequest {
            event_header: Some(header),
            event_body: Some(EventBody { entities }),
        })
    }

    fn write() -> impl Strategy<Value = ReplaceEntityRequest> {
        (option::of(header()), entity(), any::<bool>(), 0..4).prop_map(
            |(event_header, entity, return_entity, view)| ReplaceEntityRequest {
                entity_type: entity.entity_type,
                entity_id: entity.entity_id,
                updated_attributes: entity.updated_attributes,
                attributes: entity.attributes,
                attributes_json: entity.attributes_json,
                expected_version: entity.expected_version,
                exists: entity.exists,
                condition: entity.condition,
                event_header,
                return_entity,
                view,
            },
        )
    }

    /// A varint in more bytes than it needs.
    fn put_varint(out: &mut Vec<u8>, mut value: u64, padding: usize) {
        while value > 0x7f {
            out.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        out.push(value.to_le_bytes()[0]);
        for _ in 0..padding {
            *out.last_mut().expect("the last byte") |= 0x80;
            out.push(0);
        }
    }

    fn put_field(out: &mut Vec<u8>, number: u32, content: &[u8], padding: usize) {
        put_varint(out, u64::from(number << 3 | 2), padding);
        put_varint(out, content.len() as u64, padding);
        out.extend_from_slice(content);
    }

    /// Whether several fields of this number merge instead of being several messages.
    fn merges(kind: Kind, number: u32) -> bool {
        let is_repeated = [(Kind::Call, 1), (Kind::Body, 1), (Kind::Struct, 1), (Kind::List, 1)];
        !is_repeated.contains(&(kind, number))
    }

    /// The same message in an encoding that no library would choose: varints with padding, unknown
    /// fields, messages in two pieces, each as `choices` say.
    fn unusual(kind: Kind, mut bytes: &[u8], choices: &mut impl Iterator<Item = u8>) -> Vec<u8> {
        let mut out = Vec::new();
        while !bytes.is_empty() {
            let choice = choices.next().unwrap_or_default();
            let padding = usize::from(choice & 3);
            match choice >> 2 & 3 {
                1 => put_field(&mut out, 15, b"unknown", padding),
                2 => out.extend([0x7b, 0x08, 0x01, 0x7c]), // a group with a field
                _ => {}
            }
            let whole = bytes;
            let (number, wire_type) = decode_key(&mut bytes).expect("a key");
            if wire_type != WireType::LengthDelimited {
                skip_field(wire_type, number, &mut bytes, DecodeContext::default())
                    .expect("a field");
                out.extend_from_slice(&whole[..whole.len() - bytes.len()]);
                continue;
            }
            let len = usize::try_from(decode_varint(&mut bytes).expect("a length")).expect("short");
            let (content, rest) = bytes.split_at(len);
            bytes = rest;
            let Some(child) = kind.child(number) else {
                put_field(&mut out, number, content, padding);
                continue;
            };
            let content = unusual(child, content, choices);
            if choice >> 4 & 1 == 1 && merges(kind, number) {
                let (first, second) = content.split_at(first_field(&content));
                put_field(&mut out, number, first, padding);
                put_field(&mut out, number, second, 0);
            } else {
                put_field(&mut out, number, &content, padding);
            }
        }
        out
    }

    /// The length of the first field of a message.
    fn first_field(message: &[u8]) -> usize {
        let mut rest = message;
        if !rest.is_empty() {
            let (number, wire_type) = decode_key(&mut rest).expect("a key");
            skip_field(wire_type, number, &mut rest, DecodeContext::default()).expect("a field");
        }
        message.len() - rest.len()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn an_unusual_encoding_of_an_event_is_that_event(
            event in event(),
            choices in vec(any::<u8>(), 0..60),
        ) {
            let bytes = unusual(Kind::Event, &event.encode_to_vec(), &mut choices.into_iter());
            prop_assert_eq!(EventRequest::decode(&*bytes).expect("valid protobuf"), event);
            prop_assert!(read_event(Bytes::copy_from_slice(&bytes)).is_ok());
            oracle(&bytes);
            let mut call = Vec::new();
            put_field(&mut call, 1, &bytes, 1);
            put_field(&mut call, 1, &bytes, 0);
            oracle(&call);
        }

        #[test]
        fn an_unusual_encoding_of_a_write_is_that_write(
            write in write(),
            choices in vec(any::<u8>(), 0..60),
        ) {
            let bytes = unusual(Kind::Replace, &write.encode_to_vec(), &mut choices.into_iter());
            prop_assert_eq!(ReplaceEntityRequest::decode(&*bytes).expect("valid protobuf"), write);
            prop_assert!(replace(&bytes).is_ok());
            oracle(&bytes);
        }

        #[test]
        fn any_bytes_are_read_as_prost_reads_them(
            event in event(),
            write in write(),
            choices in vec(any::<u8>(), 0..60),
            changes in vec((any::<Index>(), any::<u8>()), 1..4),
        ) {
            let mut choices = choices.into_iter();
            let event = unusual(Kind::Event, &event.encode_to_vec(), &mut choices);
            let write = unusual(Kind::Replace, &write.encode_to_vec(), &mut choices);
            for mut bytes in [event, write] {
                for (at, byte) in &changes {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
                oracle(&bytes);
            }
        }
    }

    #[test]
    fn a_map_of_another_wire_type_is_the_only_exception() {
        let map = [("a".to_owned(), "b".to_owned())].into();
        let entity = EntityUpdate { updated_attributes: map, ..EntityUpdate::default() };
        let body = EventBody { entities: vec![entity] };
        let event = EventRequest { event_header: None, event_body: Some(body) }.encode_to_vec();
        assert!(!has_map_of_other_type(Kind::Event, &event));
        let tag = |wire_type: u8| 3 << 3 | wire_type;
        let other = event.iter().map(|&byte| if byte == tag(2) { tag(5) } else { byte });
        let other: Vec<u8> = other.collect();
        assert!(EventRequest::decode(&*other).is_ok());
        assert!(has_map_of_other_type(Kind::Event, &other));
        assert!(read_event(other.into()).is_err());
    }
}
