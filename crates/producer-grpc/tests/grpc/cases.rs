//! The table of cases that both APIs are tested with: by every rpc that takes events, and those about
//! operations and conditions with the attributes in every form.

use std::collections::{BTreeMap, HashMap};

use producer_core::Operation as CoreOperation;
use producer_grpc::proto::v1::event_service_client::EventServiceClient;
use producer_grpc::proto::v1::{
    EntityUpdate, EventBody, EventHeader, EventRequest, EventResult, EventStatus, Operation,
    ProcessEventsRequest,
};
use producer_test_support::event_cases::{Case, Expect, cases};
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde::Deserialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;
use tokio_stream::iter;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::app::{error_info, on_both};

type Client = EventServiceClient<Channel>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    event_header: Header,
    event_body: Body,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Header {
    uuid: String,
    event_name: String,
    event_type: String,
    created_date: String,
    saved_date: String,
    source: String,
    actor: String,
}

#[derive(Deserialize)]
struct Body {
    entities: Vec<Entity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entity {
    entity_type: String,
    entity_id: String,
    updated_attributes: Option<Box<RawValue>>,
    operation: Option<String>,
    expected_version: Option<u64>,
    exists: Option<bool>,
    #[serde(default)]
    condition: String,
}

/// The field that carries the attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Struct,
    Map,
}

/// The rpc that takes the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Alone,
    Item,
    AtomicItem,
    Stream,
}

const WAYS: [Way; 4] = [Way::Alone, Way::Item, Way::AtomicItem, Way::Stream];

/// The event in protobuf; `None` if this form can't carry its attributes.
fn message(event: &str, form: Form) -> Option<EventRequest> {
    let event: Event = serde_json::from_str(event).expect("a typed event");
    let header = event.event_header;
    let entities = event.event_body.entities.into_iter().map(|entity| update(entity, form));
    Some(EventRequest {
        event_header: Some(EventHeader {
            uuid: header.uuid,
            event_name: header.event_name,
            event_type: header.event_type,
            created_date: header.created_date,
            saved_date: header.saved_date,
            source: header.source,
            actor: header.actor,
        }),
        event_body: Some(EventBody { entities: entities.collect::<Option<_>>()? }),
    })
}

fn update(entity: Entity, form: Form) -> Option<EntityUpdate> {
    let operation = entity.operation.map(|name| match CoreOperation::from_name(&name) {
        Some(CoreOperation::Merge) => Operation::Merge,
        Some(CoreOperation::Replace) => Operation::Replace,
        Some(CoreOperation::Delete) => Operation::Delete,
        None => unreachable!("no typed case: {name}"),
    });
    let update = EntityUpdate {
        entity_type: entity.entity_type,
        entity_id: entity.entity_id,
        operation: operation.unwrap_or_default().into(),
        expected_version: entity.expected_version,
        exists: entity.exists,
        condition: entity.condition,
        ..EntityUpdate::default()
    };
    let Some(json) = entity.updated_attributes.as_deref().map(RawValue::get) else {
        return Some(update);
    };
    Some(match form {
        Form::Json => EntityUpdate { attributes_json: Some(json.into()), ..update },
        Form::Struct => {
            let fields: BTreeMap<String, Json> = serde_json::from_str(json).ok()?;
            let fields = fields.into_iter().map(|(key, json)| (key, value(json))).collect();
            EntityUpdate { attributes: Some(Struct { fields }), ..update }
        }
        Form::Map => {
            let map: HashMap<String, String> = serde_json::from_str(json).ok()?;
            EntityUpdate { updated_attributes: map, ..update }
        }
    })
}

fn value(json: Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(value),
        Json::Number(number) => Kind::NumberValue(number.as_f64().expect("a double")),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(values) => {
            Kind::ListValue(ListValue { values: values.into_iter().map(value).collect() })
        }
        Json::Object(object) => {
            let fields = object.into_iter().map(|(key, json)| (key, value(json))).collect();
            Kind::StructValue(Struct { fields })
        }
    };
    Value { kind: Some(kind) }
}

/// The verdict of one rpc.
async fn verdict(mut client: Client, message: EventRequest, way: Way) -> Expect {
    match way {
        Way::Alone => match client.process_event(message).await {
            Ok(_) => Expect::Stored,
            Err(status) => of_status(&status),
        },
        Way::Item | Way::AtomicItem => {
            let call =
                ProcessEventsRequest { events: vec![message], atomic: way == Way::AtomicItem };
            match client.process_events(call).await {
                Ok(answer) => of_result(&answer.into_inner().results[0]),
                Err(status) => of_status(&status),
            }
        }
        Way::Stream => {
            let results = client.stream_events(iter([message])).await.expect("a stream");
            let result = results.into_inner().message().await.expect("no error");
            of_result(&result.expect("a result"))
        }
    }
}

fn of_result(result: &EventResult) -> Expect {
    let mut pointers = result.violations.iter().map(|one| one.pointer.clone());
    match result.status() {
        EventStatus::Processed | EventStatus::Duplicate => Expect::Stored,
        EventStatus::Invalid => Expect::Refused("validation", pointers.collect()),
        EventStatus::PreconditionFailed => Expect::Unmet {
            pointer: pointers.next().expect("the update"),
            current_version: result.violations[0].current_version,
        },
        _ => unreachable!("{result:?}"),
    }
}

/// Without the pointers of broken rules: their details name fields of the message instead.
fn of_status(status: &Status) -> Expect {
    let info = error_info(status);
    match (status.code(), info.reason.as_str()) {
        (Code::InvalidArgument, "VALIDATION") => Expect::Refused("validation", vec![]),
        (Code::InvalidArgument, "MALFORMED") => Expect::Refused("malformed", vec![]),
        (Code::Aborted, "PRECONDITION_FAILED") => {
            let details = status.get_details_bad_request().expect("a BadRequest");
            let field = &details.field_violations[0].field;
            let field = field.strip_prefix("events[0].").unwrap_or(field);
            let version = info.metadata.get("current_version");
            Expect::Unmet {
                pointer: field
                    .replace("event_body.entities[", "/eventBody/entities/")
                    .replace(']', ""),
                current_version: version.map(|version| version.parse().expect("a version")),
            }
        }
        other => unreachable!("{other:?}: {status}"),
    }
}

/// What is wrong, if anything.
async fn check(client: &Client, case: &Case, form: Form, way: Way) -> Option<String> {
    let case = case.on_own_entities(&format!("{form:?} {way:?}"));
    let message = message(&case.event, form)?;
    for event in &case.before {
        let event = self::message(event, Form::Json).expect(case.name);
        client.clone().process_event(event).await.expect(case.name);
    }
    let expected = match (way, case.expect.clone()) {
        (Way::Alone, Expect::Refused(problem, _)) => Expect::Refused(problem, vec![]),
        (Way::AtomicItem, Expect::Refused(..)) => Expect::Refused("validation", vec![]),
        (_, Expect::Refused(_, pointers)) => Expect::Refused("validation", pointers),
        (_, expected) => expected,
    };
    let got = verdict(client.clone(), message, way).await;
    let is_wrong = got != expected;
    is_wrong.then(|| format!("{}, {form:?}, {way:?}: {got:?} instead of {expected:?}", case.name))
}

#[tokio::test]
async fn every_case_gets_its_verdict() {
    on_both(|service| async move {
        let (client, mut wrong) = (service.client().await, Vec::new());
        for case in cases().iter().filter(|case| case.is_typed()) {
            // cases about the values of attributes are about JSON
            let forms: &[Form] = match case.depends_on_state() {
                true => &[Form::Json, Form::Struct, Form::Map],
                false => &[Form::Json],
            };
            for &form in forms {
                for way in WAYS {
                    wrong.extend(check(&client, case, form, way).await);
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    })
    .await;
}
