//! `EntityService`: writes of single entities.

use std::collections::BTreeMap;

use producer_core::decode::IdempotencyKey;
use producer_grpc::proto::legacy::event_service_client::EventServiceClient as LegacyClient;
use producer_grpc::proto::v1::{
    CreateEntityRequest, DeleteEntityRequest, EntityView, EventHeader, GetEntityRequest,
    GetEventRequest, MergeEntityRequest, Operation, ProcessEventsRequest, ReplaceEntityRequest,
    WriteEntityResponse,
};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

use crate::app::{Service, error_info, event, on_both};

pub(crate) const UUID: &str = "550e8400-e29b-41d4-a716-446655440000";

pub(crate) fn create(json: &str) -> CreateEntityRequest {
    CreateEntityRequest {
        entity_type: "Car".into(),
        attributes_json: Some(json.into()),
        ..CreateEntityRequest::default()
    }
}

pub(crate) fn replace(id: &str, json: &str) -> ReplaceEntityRequest {
    ReplaceEntityRequest {
        entity_type: "Car".into(),
        entity_id: id.into(),
        attributes_json: Some(json.into()),
        ..ReplaceEntityRequest::default()
    }
}

pub(crate) fn merge(id: &str, json: &str) -> MergeEntityRequest {
    MergeEntityRequest {
        entity_type: "Car".into(),
        entity_id: id.into(),
        attributes_json: Some(json.into()),
        ..MergeEntityRequest::default()
    }
}

pub(crate) fn delete(id: &str) -> DeleteEntityRequest {
    DeleteEntityRequest {
        entity_type: "Car".into(),
        entity_id: id.into(),
        ..DeleteEntityRequest::default()
    }
}

pub(crate) fn uuid(uuid: &str) -> Option<EventHeader> {
    Some(EventHeader { uuid: uuid.into(), ..EventHeader::default() })
}

fn with_keys<T>(message: T, keys: &[(&'static str, &str)]) -> Request<T> {
    let mut request = Request::new(message);
    for (name, key) in keys {
        request.metadata_mut().append(*name, key.parse().expect("ASCII"));
    }
    request
}

/// Version and `created`.
#[track_caller]
pub(crate) fn made(answer: Result<Response<WriteEntityResponse>, Status>) -> (u64, bool) {
    let answer = answer.expect("a committed write").into_inner();
    assert_eq!(answer.entity_type, "Car");
    (answer.version, answer.created)
}

/// The fields that the details of an error name.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    let details = status.get_details_bad_request();
    details.into_iter().flat_map(|it| it.field_violations).map(|one| one.field).collect()
}

/// The status of a write that is refused, its reason, and the fields that its details name.
#[track_caller]
fn refused(answer: Result<Response<WriteEntityResponse>, Status>) -> (Code, String, Vec<String>) {
    let status = answer.expect_err("a refusal");
    (status.code(), error_info(&status).reason, fields(&status))
}

pub(crate) async fn document(service: &Service, id: &str) -> Option<(u64, String)> {
    let (version, text) = service.entity("Car", id).await?;
    Some((version, text.replace(' ', "")))
}

#[tokio::test]
async fn an_entity_is_created_merged_replaced_and_deleted() {
    on_both(|service| async move {
        let mut client = service.entities().await;
        let created = client.create_entity(create(r#"{"a":1,"b":1}"#)).await.expect("created");
        let created = created.into_inner();
        assert_eq!((created.version, created.created, created.duplicate), (1, true, false));
        assert_eq!((created.entity_id.as_str(), created.entity), (&*created.event_id, None));
        let id = created.event_id.as_str();

        assert_eq!(made(client.merge_entity(merge(id, r#"{"a":2}"#)).await), (2, false));
        assert_eq!(document(&service, id).await, Some((2, r#"{"a":2,"b":1}"#.into())));
        let read = GetEntityRequest {
            entity_type: "Car".into(),
            entity_id: id.into(),
            ..GetEntityRequest::default()
        };
        let entity = client.get_entity(read.clone()).await.expect("200").into_inner();
        let same = service.client().await.get_entity(read.clone()).await.expect("200").into_inner();
        assert_eq!(entity, same);

        assert_eq!(made(client.replace_entity(replace(id, r#"{"c":3}"#)).await), (3, false));
        assert_eq!(document(&service, id).await, Some((3, r#"{"c":3}"#.into())));
        assert_eq!(made(client.delete_entity(delete(id)).await), (4, false));
        let status = client.get_entity(read).await.expect_err("404");
        assert_eq!(status.code(), Code::NotFound);

        let status = client.merge_entity(merge(id, "{}")).await.expect_err("404");
        assert!(error_info(&status).metadata.contains_key("event_id"));
        for answer in [
            client.merge_entity(merge(id, "{}")).await,
            client.delete_entity(delete(id)).await,
            client.merge_entity(merge("never", "{}")).await,
            client.delete_entity(delete("never")).await,
        ] {
            assert_eq!(refused(answer), (Code::NotFound, "NOT_FOUND".into(), vec![]));
        }
        // made anew: the version goes on
        assert_eq!(made(client.replace_entity(replace(id, r#"{"d":4}"#)).await), (5, true));
        assert_eq!(document(&service, id).await, Some((5, r#"{"d":4}"#.into())));
    })
    .await;
}

#[tokio::test]
async fn attributes_come_in_each_form() {
    on_both(|service| async move {
        let mut client = service.entities().await;
        let map = ReplaceEntityRequest {
            updated_attributes: [("a".to_owned(), "1".to_owned())].into(),
            ..replace("1", "")
        };
        assert_eq!(made(client.replace_entity(map).await), (1, true));
        let number = Value { kind: Some(Kind::NumberValue(2.5)) };
        let fields = BTreeMap::from([("b".to_owned(), number)]);
        let typed = MergeEntityRequest { attributes: Some(Struct { fields }), ..merge("1", "") };
        assert_eq!(made(client.merge_entity(typed).await), (2, false));
        assert_eq!(made(client.merge_entity(merge("1", r#"{"c":1e399}"#)).await), (3, false));
        let (_, text) = document(&service, "1").await.expect("it is there");
        assert!(text.starts_with(r#"{"a":"1","b":2.5,"c":1"#), "{text}");
    })
    .await;
}

#[tokio::test]
async fn broken_rules_have_the_paths_of_their_fields() {
    let service = Service::start().await;
    let mut client = service.entities().await;
    let refusal = |reason: &str, fields: &[&str]| {
        let fields = fields.iter().map(|&field| field.to_owned()).collect();
        (Code::InvalidArgument, reason.to_owned(), fields)
    };
    let invalid = |fields: &[&str]| refusal("VALIDATION", fields);
    let long = "x".repeat(256);
    let all = ReplaceEntityRequest {
        entity_type: String::new(),
        entity_id: "..".into(),
        attributes_json: Some(r#"{"eventName":{"b":1e400},"eventName":1}"#.into()),
        expected_version: Some(0),
        exists: Some(true),
        condition: "version = 1".into(),
        event_header: Some(EventHeader {
            uuid: "no".into(),
            event_name: long.clone(),
            created_date: "soon".into(),
            actor: long.clone(),
            ..EventHeader::default()
        }),
        ..ReplaceEntityRequest::default()
    };
    assert_eq!(
        refused(client.replace_entity(all).await),
        refusal(
            "MALFORMED",
            &[
                "event_header.uuid",
                "event_header.event_name",
                "event_header.created_date",
                "event_header.actor",
                "entity_type",
                "entity_id",
                "condition",
                "attributes_json.eventName.b",
                "attributes_json.eventName",
                "expected_version",
            ]
        )
    );
    let both =
        MergeEntityRequest { expected_version: Some(1), exists: Some(false), ..merge("1", "{}") };
    assert_eq!(refused(client.merge_entity(both).await), invalid(&["exists"]));
    let none = DeleteEntityRequest { expected_version: Some(0), ..delete("1") };
    assert_eq!(refused(client.delete_entity(none).await), invalid(&["expected_version"]));
    let no_filter = DeleteEntityRequest { condition: "has(data.a".into(), ..delete("1") };
    let status = client.delete_entity(no_filter).await.expect_err("400");
    assert_eq!(
        (status.code(), error_info(&status).reason.as_str()),
        (Code::InvalidArgument, "MALFORMED")
    );
    assert!(status.message().starts_with("/condition column 11: expected "), "{status}");
    assert_eq!(fields(&status), ["condition"]);
    let map = [("x".to_owned(), "\0".to_owned())].into();
    let map = CreateEntityRequest { updated_attributes: map, ..create("") };
    assert_eq!(refused(client.create_entity(map).await), invalid(&["updated_attributes.x"]));
    let fields = [("x".to_owned(), Value { kind: None })].into();
    let typed = MergeEntityRequest { attributes: Some(Struct { fields }), ..merge("1", "") };
    assert_eq!(refused(client.merge_entity(typed).await), invalid(&["attributes.x"]));
    let two = [("x".to_owned(), "1".to_owned())].into();
    let two = ReplaceEntityRequest { updated_attributes: two, ..replace("1", r#"{"x":1}"#) };
    assert_eq!(refused(client.replace_entity(two).await), invalid(&["updated_attributes"]));
    let no_object = refused(client.replace_entity(replace("1", "[]")).await);
    assert_eq!(no_object, invalid(&["attributes_json"]));
    assert_eq!(document(&service, "1").await, None);

    // the event is known where the client has named it
    let named = MergeEntityRequest {
        expected_version: Some(0),
        event_header: uuid(UUID),
        ..merge("1", "{}")
    };
    let status = client.merge_entity(named).await.expect_err("422");
    assert_eq!(error_info(&status).metadata["event_id"], UUID);
}

#[tokio::test]
async fn a_document_over_the_limit_is_refused() {
    on_both(|service| async move {
        let mut client = service.entities().await;
        let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(2 << 20));
        let expected =
            (Code::InvalidArgument, "VALIDATION".to_owned(), vec!["attributes_json".to_owned()]);
        assert_eq!(refused(client.create_entity(create(&large)).await), expected);
        assert_eq!(made(client.replace_entity(replace("1", r#"{"a":1}"#)).await), (1, true));
        assert_eq!(refused(client.replace_entity(replace("1", &large)).await), expected);
        assert_eq!(refused(client.merge_entity(merge("1", &large)).await), expected);
        assert_eq!(document(&service, "1").await, Some((1, r#"{"a":1}"#.into())));
    })
    .await;
}

/// As events are.
#[tokio::test]
async fn a_write_counts_towards_the_limits_of_messages() {
    let json = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes));
    let limited = Service::start_with(&["--max-body-bytes", "64KiB"]).await;
    let answer = limited.entities().await.replace_entity(replace("1", &json(70_000))).await;
    assert_eq!(refused(answer), (Code::OutOfRange, "TOO_LARGE".into(), vec![]));

    let limited = Service::start_with(&["--body-buffer-bytes", "64KiB"]).await;
    let mut client = limited.entities().await;
    let answer = client.replace_entity(replace("1", &json(70_000))).await;
    assert_eq!(refused(answer), (Code::Unavailable, "OVERLOADED".into(), vec![]));
    for version in 1..=4 {
        let answer = client.replace_entity(replace("1", &json(30_000))).await;
        assert_eq!(made(answer), (version, version == 1), "the leased bytes are returned");
    }
}

#[tokio::test]
async fn a_draining_service_refuses_writes_as_retryable() {
    let service = Service::start().await;
    let mut client = service.entities().await;
    made(client.replace_entity(replace("1", "{}")).await);
    service.app.ingest.drain();
    let status = client.merge_entity(merge("1", "{}")).await.expect_err("503");
    assert_eq!((status.code(), &*error_info(&status).reason), (Code::Unavailable, "UNAVAILABLE"));
    assert!(status.get_details_retry_info().is_some());
    assert!(error_info(&status).metadata.contains_key("event_id"));
}

#[tokio::test]
async fn the_entity_is_returned_as_it_is_after_the_commit() {
    on_both(|service| async move {
        let mut client = service.entities().await;
        let request = CreateEntityRequest { return_entity: true, ..create(r#"{"a":1}"#) };
        let answer = client.create_entity(request).await.expect("created").into_inner();
        let entity = answer.entity.expect("the entity");
        assert_eq!((entity.entity_id.as_str(), entity.version), (answer.entity_id.as_str(), 1));
        assert_eq!(entity.attributes_json.replace(' ', ""), r#"{"a":1}"#);
        assert!(entity.attributes.is_none() && entity.created_at == entity.updated_at);
        let id = answer.entity_id.as_str();

        let typed = MergeEntityRequest {
            return_entity: true,
            view: EntityView::Struct.into(),
            event_header: uuid(UUID),
            ..merge(id, r#"{"b":2}"#)
        };
        let answer = client.merge_entity(typed.clone()).await.expect("merged").into_inner();
        let entity = answer.entity.expect("the entity");
        assert_eq!((entity.version, entity.attributes.expect("a Struct").fields.len()), (2, 2));
        assert!(entity.attributes_json.is_empty());

        // the write stands: no error where a Struct can't carry the document
        let deep = format!("{}1{}", r#"{"a":"#.repeat(31), "}".repeat(31));
        let request = ReplaceEntityRequest {
            return_entity: true,
            view: EntityView::Struct.into(),
            ..replace(id, &deep)
        };
        let answer = client.replace_entity(request).await.expect("replaced").into_inner();
        let entity = answer.entity.expect("the entity");
        assert_eq!((entity.attributes, entity.attributes_json.replace(' ', "")), (None, deep));

        // a duplicate has the present entity beside the first answer
        let again = client.merge_entity(typed.clone()).await.expect("a duplicate").into_inner();
        assert!(again.duplicate);
        assert_eq!((again.version, again.entity.map(|entity| entity.version)), (2, Some(3)));
        made(client.delete_entity(delete(id)).await);
        let again = client.merge_entity(typed).await.expect("a duplicate").into_inner();
        assert_eq!((again.version, again.entity), (2, None), "there is none any more");
    })
    .await;
}

#[tokio::test]
async fn a_write_is_applied_once_and_answered_again() {
    on_both(|service| async move {
        let mut client = service.entities().await;
        let ids: Vec<_> = (0..4).map(|n| UUID.replace("000", &format!("00{n}"))).collect();
        let create = || CreateEntityRequest { event_header: uuid(&ids[0]), ..create("{}") };
        let replace = || ReplaceEntityRequest {
            exists: Some(false),
            event_header: uuid(&ids[1]),
            ..replace("1", r#"{"a":1}"#)
        };
        let merge = |json| MergeEntityRequest {
            expected_version: Some(1),
            event_header: uuid(&ids[2]),
            ..merge("1", json)
        };
        let delete = || DeleteEntityRequest {
            expected_version: Some(2),
            event_header: uuid(&ids[3]),
            ..delete("1")
        };
        let first = [
            client.create_entity(create()).await,
            client.replace_entity(replace()).await,
            client.merge_entity(merge(r#"{"b":2}"#)).await,
            client.delete_entity(delete()).await,
        ];
        // whatever the conditions say now
        let again = [
            client.create_entity(create()).await,
            client.replace_entity(replace()).await,
            client.merge_entity(merge(r#"{"b":2.0}"#)).await,
            client.delete_entity(delete()).await,
        ];
        for ((first, again), id) in first.into_iter().zip(again).zip(&ids) {
            let first = first.expect("a receipt").into_inner();
            let again = again.expect("a receipt").into_inner();
            assert_eq!((first.duplicate, &first.event_id), (false, id));
            assert_eq!(again, WriteEntityResponse { duplicate: true, ..first });
        }
        let other = client.merge_entity(merge(r#"{"b":3}"#)).await;
        assert_eq!(refused(other), (Code::AlreadyExists, "CONFLICT".into(), vec![]));
        let other = DeleteEntityRequest { event_header: uuid(&ids[1]), ..delete() };
        let other = refused(client.delete_entity(other).await);
        assert_eq!(other, (Code::AlreadyExists, "CONFLICT".into(), vec![]));
    })
    .await;
}

/// The uuids are those that REST makes of its header: one function makes them.
#[tokio::test]
async fn a_key_in_the_metadata_makes_the_uuid() {
    const KEY: &[(&str, &str)] = &[("idempotency-key", "order-7")];
    const QUOTED: &[(&str, &str)] = &[("x-idempotency-key", "\"order-7\"")];
    let uuid_of = |operation: &str, entity_type: &str, id: Option<&str>| {
        let key = IdempotencyKey::parse("order-7").expect("a key");
        key.event_uuid(operation, entity_type, id).to_string()
    };
    on_both(|service| async move {
        let (mut client, mut events) = (service.entities().await, service.client().await);
        for (keys, duplicate) in [(KEY, false), (QUOTED, true)] {
            let created = client.create_entity(with_keys(create("{}"), keys)).await;
            let replaced = client.replace_entity(with_keys(replace("1", "{}"), keys)).await;
            let merged = client.merge_entity(with_keys(merge("1", "{}"), keys)).await;
            let deleted = client.delete_entity(with_keys(delete("1"), keys)).await;
            let answers = [
                (created, uuid_of("create", "Car", None)),
                (replaced, uuid_of("replace", "Car", Some("1"))),
                (merged, uuid_of("merge", "Car", Some("1"))),
                (deleted, uuid_of("delete", "Car", Some("1"))),
            ];
            for (answer, uuid) in answers {
                let answer = answer.expect("a receipt").into_inner();
                assert_eq!((answer.event_id, answer.duplicate), (uuid, duplicate));
            }
            let answer = events.process_event(with_keys(event("", "1", "{}"), keys)).await;
            let answer = answer.expect("a receipt").into_inner();
            assert_eq!(answer.event_id, uuid_of("event", "", None));
            assert_eq!(answer.duplicate, duplicate);
        }
        let created = service.entity("Car", &uuid_of("create", "Car", None)).await;
        assert_eq!(created, Some((1, "{}".into())), "the key makes the id");

        let given = with_keys(delete("1"), &[("idempotency-key", UUID)]);
        made(client.replace_entity(replace("1", "{}")).await);
        let answer = client.delete_entity(given).await.expect("a receipt").into_inner();
        assert_eq!(answer.event_id, UUID, "a UUID is used as it is");
        let other = client.merge_entity(with_keys(merge("2", "{}"), &[("idempotency-key", UUID)]));
        assert_eq!(refused(other.await).0, Code::AlreadyExists, "also by another rpc");

        let mut legacy = LegacyClient::new(service.channel().await);
        let answer = legacy.process_event(with_keys(event("", "1", "{}"), KEY)).await;
        assert!(answer.expect("a receipt").into_inner().duplicate);
    })
    .await;
}

#[tokio::test]
async fn keys_that_contradict_each_other_or_a_uuid_are_refused() {
    let service = Service::start().await;
    let (mut client, mut events) = (service.entities().await, service.client().await);
    let several = [
        &[("idempotency-key", "a"), ("idempotency-key", "b")][..],
        &[("idempotency-key", "a"), ("x-idempotency-key", "b")],
        &[("x-idempotency-key", "a b")],
    ];
    for keys in several {
        let status = client.replace_entity(with_keys(replace("1", "{}"), keys)).await;
        let status = status.expect_err("400");
        assert_eq!(
            (status.code(), &*error_info(&status).reason),
            (Code::InvalidArgument, "MALFORMED")
        );
        assert!(status.message().contains("x-idempotency-key"), "{status}");
        let status = events.process_event(with_keys(event("", "1", "{}"), keys)).await;
        assert!(status.expect_err("400").message().contains("x-idempotency-key"));
    }
    let key = &[("idempotency-key", "a")];
    let with_uuid = MergeEntityRequest { event_header: uuid(UUID), ..merge("1", "{}") };
    let status = client.merge_entity(with_keys(with_uuid, key)).await.expect_err("400");
    assert_eq!((status.code(), &*error_info(&status).reason), (Code::InvalidArgument, "MALFORMED"));
    assert!(status.message().contains("idempotency key and a uuid"), "{status}");
    let status = events.process_event(with_keys(event(UUID, "1", "{}"), key)).await;
    let status = status.expect_err("400");
    assert!(status.message().contains("idempotency key and a uuid"), "{status}");
    assert_eq!(service.entity("Loan", "1").await, None);

    // calls of many events have a uuid for each
    let call = ProcessEventsRequest { events: vec![event(UUID, "1", "{}"); 2], atomic: false };
    let answer = events.process_events(with_keys(call, key)).await.expect("200").into_inner();
    assert_eq!((answer.processed_count, answer.results[0].event_id.as_str()), (2, UUID));
}

#[tokio::test]
async fn a_write_is_an_event_in_the_log() {
    on_both(|service| async move {
        let mut client = service.entities().await;
        let header = EventHeader {
            created_date: "1705314600000".into(),
            event_type: "Sale".into(),
            source: "shop".into(),
            actor: "me".into(),
            ..EventHeader::default()
        };
        let named = EventHeader { event_name: "CarSold".into(), ..header.clone() };
        let event_header = || Some(header.clone());
        let created = CreateEntityRequest { event_header: event_header(), ..create("{}") };
        let replaced =
            ReplaceEntityRequest { event_header: event_header(), ..replace("1", r#"{"a":1}"#) };
        let merged = MergeEntityRequest { event_header: event_header(), ..merge("1", "{}") };
        let deleted = DeleteEntityRequest { event_header: event_header(), ..delete("1") };
        let renamed = ReplaceEntityRequest { event_header: Some(named), ..replace("1", "{}") };
        for (answer, name, operation) in [
            (client.create_entity(created).await, "EntityCreated", Operation::Replace),
            (client.replace_entity(replaced).await, "EntityReplaced", Operation::Replace),
            (client.merge_entity(merged).await, "EntityUpdated", Operation::Unspecified),
            (client.delete_entity(deleted).await, "EntityDeleted", Operation::Delete),
            (client.replace_entity(renamed).await, "CarSold", Operation::Replace),
        ] {
            let answer = answer.expect(name).into_inner();
            let request = GetEventRequest { uuid: answer.event_id };
            let logged = service.client().await.get_event(request).await.expect(name).into_inner();
            let header = logged.event_header.expect("a header");
            assert_eq!((header.event_name.as_str(), header.event_type.as_str()), (name, "Sale"));
            assert_eq!((header.source.as_str(), header.actor.as_str()), ("shop", "me"));
            assert_eq!(header.created_date, "2024-01-15T10:30:00Z");
            let update = &logged.entities[0];
            assert_eq!((update.operation(), &update.entity_id), (operation, &answer.entity_id));
            assert_eq!((update.version, update.created), (answer.version, answer.created));
        }
    })
    .await;
}
