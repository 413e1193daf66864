//! `ProcessEvent` and `GetEvent`.

use std::collections::BTreeMap;

use producer_grpc::proto::legacy::event_service_client::EventServiceClient as LegacyClient;
use producer_grpc::proto::v1::{
    EntityUpdate, EventHeader, GetEventRequest, HealthRequest, Operation,
};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tonic::Code;
use tonic_types::StatusExt;

use crate::app::{Service, error_info, event, event_of, on_both};

const UUID: &str = "550e8400-e29b-41d4-a716-446655440000";

fn number(number: f64) -> Value {
    Value { kind: Some(Kind::NumberValue(number)) }
}

#[tokio::test]
async fn an_event_is_applied_once_and_answered_again() {
    on_both(|service| async move {
        let mut client = service.client().await;
        let first = client.process_event(event(UUID, "1", r#"{"a":1.0}"#)).await;
        let first = first.expect("a receipt").into_inner();
        assert!(first.success && !first.duplicate);
        assert_eq!(first.message, "Event processed successfully");
        assert_eq!((first.entities[0].version, first.entities[0].created), (1, true));

        // the same content in another field, the uuid in another form
        let typed = EntityUpdate {
            entity_type: "Loan".into(),
            entity_id: "1".into(),
            attributes: Some(Struct { fields: BTreeMap::from([("a".into(), number(1.0))]) }),
            ..EntityUpdate::default()
        };
        let again = event_of(&UUID.replace('-', "").to_uppercase(), vec![typed]);
        let again = client.process_event(again).await.expect("a receipt").into_inner();
        assert!(again.duplicate);
        assert_eq!((again.event_id.as_str(), &again.entities), (UUID, &first.entities));
        assert_eq!(service.entity("Loan", "1").await.map(|found| found.0), Some(1));

        let other = client.process_event(event(UUID, "1", r#"{"a":2}"#)).await.expect_err("409");
        assert_eq!(other.code(), Code::AlreadyExists);
        let info = error_info(&other);
        assert_eq!((info.reason.as_str(), info.metadata["event_id"].as_str()), ("CONFLICT", UUID));
    })
    .await;
}

#[tokio::test]
async fn the_legacy_path_has_the_same_messages() {
    let service = Service::start().await;
    let mut client = LegacyClient::new(service.channel().await);
    let update = EntityUpdate {
        entity_type: "Loan".into(),
        entity_id: "1".into(),
        updated_attributes: [("balance".to_owned(), "1.0".to_owned())].into(),
        ..EntityUpdate::default()
    };
    let answer = client.process_event(event_of(UUID, vec![update])).await.expect("a receipt");
    assert_eq!(answer.into_inner().event_id, UUID);
    let stored = service.entity("Loan", "1").await;
    assert_eq!(stored, Some((1, r#"{"balance":"1.0"}"#.into())), "a string stays one");
    let health = client.health_check(HealthRequest::default()).await.expect("health").into_inner();
    assert_eq!((health.healthy, health.message.as_str()), (true, "Producer gRPC API is healthy"));
}

#[tokio::test]
async fn violations_have_their_proto_paths() {
    let service = Service::start().await;
    let mut broken = event("no", "", r#"{"a":{"b":1e400}}"#);
    let map = [("x".to_owned(), "1".to_owned())].into();
    let both = EntityUpdate {
        updated_attributes: map,
        ..broken.event_body.clone().expect("one").entities[0].clone()
    };
    broken.event_body.as_mut().expect("a body").entities.push(both);
    broken.event_header.as_mut().expect("a header").event_name.clear();
    let status = service.client().await.process_event(broken).await.expect_err("422");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(error_info(&status).reason, "VALIDATION");
    let details = status.get_details_bad_request().expect("a BadRequest");
    let fields: Vec<_> = details.field_violations.iter().map(|one| one.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "event_header.uuid",
            "event_header.event_name",
            "event_body.entities[0].entity_id",
            "event_body.entities[0].attributes_json.a.b",
            "event_body.entities[1].entity_id",
            "event_body.entities[1].updated_attributes",
        ]
    );
}

#[tokio::test]
async fn an_event_comes_as_the_log_has_it() {
    on_both(|service| async move {
        let mut client = service.client().await;
        let mut sent = event(UUID, "1", r#"{"a":9007199254740993}"#);
        sent.event_header.as_mut().expect("a header").created_date = "1705314600000".into();
        client.process_event(sent).await.expect("a receipt");
        let logged = client.get_event(GetEventRequest { uuid: UUID.into() }).await;
        let logged = logged.expect("200").into_inner();
        let header = logged.event_header.expect("a header");
        assert_eq!(header.created_date, "2024-01-15T10:30:00Z");
        assert!(!header.saved_date.is_empty() && logged.committed_at.is_some());
        assert_eq!(logged.entities[0].attributes_json, r#"{"a":9007199254740993}"#);

        let uuid = UUID.replace('0', "1");
        let status = client.get_event(GetEventRequest { uuid }).await.expect_err("404");
        assert_eq!(
            (status.code(), error_info(&status).reason.as_str()),
            (Code::NotFound, "NOT_FOUND")
        );
        let uuid = "no".into();
        let status = client.get_event(GetEventRequest { uuid }).await.expect_err("400");
        assert_eq!(status.code(), Code::InvalidArgument);
    })
    .await;
}

#[tokio::test]
async fn an_event_replaces_and_deletes_and_says_who_did_it() {
    on_both(|service| async move {
        let mut client = service.client().await;
        let update = |operation: Operation, id: &str, json: &str| EntityUpdate {
            operation: operation.into(),
            ..event("", id, json).event_body.expect("a body").entities[0].clone()
        };
        client.process_event(event("", "1", r#"{"old":1}"#)).await.expect("a receipt");
        client.process_event(event("", "2", "{}")).await.expect("a receipt");
        let mut sent = event_of(
            UUID,
            vec![
                update(Operation::Replace, "1", r#"{"new":1}"#),
                update(Operation::Delete, "2", ""),
                update(Operation::Merge, "3", r#"{"c":1}"#),
            ],
        );
        sent.event_header = Some(EventHeader {
            source: "shop".into(),
            actor: "me".into(),
            ..sent.event_header.expect("a header")
        });
        let answer = client.process_event(sent.clone()).await.expect("a receipt").into_inner();
        let made: Vec<_> =
            answer.entities.iter().map(|made| (made.version, made.created)).collect();
        assert_eq!(made, [(2, false), (2, false), (1, true)]);
        let text = service.entity("Loan", "1").await.map(|(_, text)| text.replace(' ', ""));
        assert_eq!(text.as_deref(), Some(r#"{"new":1}"#));
        assert_eq!(service.entity("Loan", "2").await, None);

        let logged = client.get_event(GetEventRequest { uuid: UUID.into() }).await;
        let logged = logged.expect("200").into_inner();
        let header = logged.event_header.expect("a header");
        assert_eq!((header.source.as_str(), header.actor.as_str()), ("shop", "me"));
        let operations: Vec<_> = logged.entities.iter().map(|update| update.operation()).collect();
        // a merge is what most updates are
        assert_eq!(operations, [Operation::Replace, Operation::Delete, Operation::Unspecified]);

        // source and actor are no content, the operation is
        sent.event_header.as_mut().expect("a header").actor = "you".into();
        assert!(client.process_event(sent.clone()).await.expect("200").into_inner().duplicate);
        let entities = &mut sent.event_body.as_mut().expect("a body").entities;
        entities[0].operation = Operation::Merge.into();
        let status = client.process_event(sent).await.expect_err("409");
        assert_eq!(status.code(), Code::AlreadyExists);
    })
    .await;
}

#[tokio::test]
async fn an_operation_of_no_known_number_is_invalid() {
    let service = Service::start().await;
    for operation in [4, -1, i32::MAX] {
        let mut sent = event("", "1", "{}");
        sent.event_body.as_mut().expect("a body").entities[0].operation = operation;
        let status = service.client().await.process_event(sent).await.expect_err("422");
        let details = status.get_details_bad_request().expect("a BadRequest");
        assert_eq!(details.field_violations[0].field, "event_body.entities[0].operation");
    }
}

#[tokio::test]
async fn a_failed_condition_names_the_update_and_the_current_version() {
    on_both(|service| async move {
        let mut client = service.client().await;
        client.process_event(event("", "1", r#"{"a":1}"#)).await.expect("a receipt");
        let mut sent = event(UUID, "2", "{}");
        let entities = &mut sent.event_body.as_mut().expect("a body").entities;
        let stale = event("", "1", r#"{"a":2}"#).event_body.expect("a body").entities[0].clone();
        entities.push(EntityUpdate { expected_version: Some(7), ..stale });
        let status = client.process_event(sent.clone()).await.expect_err("412");
        assert_eq!(status.code(), Code::Aborted);
        let info = error_info(&status);
        assert_eq!(info.reason, "PRECONDITION_FAILED");
        assert_eq!((&*info.metadata["current_version"], &*info.metadata["event_id"]), ("1", UUID));
        let details = status.get_details_bad_request().expect("a BadRequest");
        let found = &details.field_violations[0];
        assert_eq!(found.field, "event_body.entities[1]");
        assert_eq!(found.description, "has version 1; expected version 7");
        // the whole event is refused, and its uuid stays free
        assert_eq!(service.entity("Loan", "2").await, None);
        sent.event_body.as_mut().expect("a body").entities[1].expected_version = Some(1);
        assert!(!client.process_event(sent).await.expect("200").into_inner().duplicate);
    })
    .await;
}
