//! `ProcessEvents`.

use producer_grpc::proto::v1::{EntityUpdate, EventRequest, EventStatus, ProcessEventsRequest};
use tonic::Code;
use tonic_types::StatusExt;

use crate::app::{Service, error_info, event, event_of, on_both};

const UUID: &str = "550e8400-e29b-41d4-a716-446655440000";

#[tokio::test]
async fn a_bulk_call_has_a_result_for_each_item() {
    on_both(|service| async move {
        let mut client = service.client().await;
        let events = vec![
            event(UUID, "1", "{}"),
            EventRequest::default(),
            event(UUID, "1", "{}"),
            event(UUID, "2", "{}"),
        ];
        let call = ProcessEventsRequest { events, atomic: false };
        let answer = client.process_events(call).await.expect("200").into_inner();
        let statuses: Vec<_> = answer.results.iter().map(|result| result.status()).collect();
        use EventStatus::{Conflict, Duplicate, Invalid, Processed};
        assert_eq!(statuses, [Processed, Invalid, Duplicate, Conflict]);
        assert_eq!((answer.success, answer.processed_count, answer.failed_count), (false, 2, 2));
        assert_eq!(answer.duplicate_count, 1);
        assert_eq!(answer.message, "Processed 2 events, 2 failed");
        assert_eq!(answer.results[1].violations[0].pointer, "/eventHeader");
    })
    .await;
}

#[tokio::test]
async fn an_atomic_call_is_all_or_nothing() {
    on_both(|service| async move {
        let mut client = service.client().await;
        let call = |events| ProcessEventsRequest { events, atomic: true };
        let broken = call(vec![event("", "1", "{}"), event("", "", "{}")]);
        let status = client.process_events(broken).await.expect_err("422");
        let details = status.get_details_bad_request().expect("a BadRequest");
        let field = &details.field_violations[0].field;
        assert_eq!(field, "events[1].event_body.entities[0].entity_id");
        assert_eq!(service.entity("Loan", "1").await, None);

        let whole = call(vec![event("", "1", r#"{"a":1}"#), event("", "1", r#"{"b":2}"#)]);
        let answer = client.process_events(whole).await.expect("200").into_inner();
        assert!(answer.success);
        assert_eq!(service.entity("Loan", "1").await.map(|found| found.0), Some(2));
    })
    .await;
}

#[tokio::test]
async fn a_call_of_no_events_or_of_too_many_is_refused() {
    let service = Service::start().await;
    for count in [0, 10_001] {
        let events = vec![EventRequest::default(); count];
        let call = ProcessEventsRequest { events, atomic: false };
        let status = service.client().await.process_events(call).await.expect_err("422");
        assert_eq!(error_info(&status).reason, "VALIDATION");
    }
}

#[tokio::test]
async fn a_call_lists_a_thousand_violations_at_most() {
    let service = Service::start().await;
    let bad = event_of("", vec![EntityUpdate::default(); 60]);
    let call = ProcessEventsRequest { events: vec![bad; 20], atomic: false };
    let answer = service.client().await.process_events(call).await.expect("200").into_inner();
    let listed: usize = answer.results.iter().map(|result| result.violations.len()).sum();
    assert_eq!((answer.results.len(), listed), (20, 1000));
    assert!(answer.results[19].message.ends_with("(and 119 more)"), "all stay counted");
}

/// An event that expects another version than the entity has, or that it exists.
fn expecting(version: u64, id: &str) -> EventRequest {
    let mut sent = event("", id, "{}");
    sent.event_body.as_mut().expect("a body").entities[0].expected_version = Some(version);
    sent
}

#[tokio::test]
async fn an_item_whose_condition_fails_is_refused_alone() {
    on_both(|service| async move {
        let mut client = service.client().await;
        let events = vec![
            event("", "1", "{}"),
            expecting(1, "1"),
            expecting(1, "1"),
            expecting(1, "none"),
            expecting(2, "1"),
        ];
        let call = ProcessEventsRequest { events, atomic: false };
        let answer = client.process_events(call).await.expect("200").into_inner();
        let statuses: Vec<_> = answer.results.iter().map(|result| result.status()).collect();
        use EventStatus::{PreconditionFailed, Processed};
        assert_eq!(
            statuses,
            [Processed, Processed, PreconditionFailed, PreconditionFailed, Processed]
        );
        assert_eq!((answer.success, answer.processed_count, answer.failed_count), (false, 3, 2));
        let violations: Vec<_> =
            answer.results.iter().flat_map(|result| &result.violations).collect();
        assert_eq!(violations[0].pointer, "/eventBody/entities/0");
        assert_eq!(violations[0].description, "has version 2; expected version 1");
        let versions: Vec<_> = violations.iter().map(|one| one.current_version).collect();
        assert_eq!(versions, [Some(2), None]);
    })
    .await;
}

/// 422 before 409 before 412.
#[tokio::test]
async fn an_atomic_call_fails_with_what_is_worst() {
    on_both(|service| async move {
        let mut client = service.client().await;
        client.process_event(event(UUID, "1", "{}")).await.expect("a receipt");
        let unmet = || expecting(5, "1");
        let conflict = || event(UUID, "1", r#"{"other":1}"#);
        let too_large = || event("", "2", &format!(r#"{{"a":"{}"}}"#, "x".repeat(2 << 20)));
        let broken = || event("", "", "{}");
        let good = || event("", "3", "{}");
        for (events, code, reason, field) in [
            (
                vec![good(), unmet(), conflict(), broken()],
                Code::InvalidArgument,
                "VALIDATION",
                "events[3].event_body.entities[0].entity_id",
            ),
            (
                vec![good(), unmet(), conflict(), too_large()],
                Code::InvalidArgument,
                "VALIDATION",
                "events[3].event_body.entities[0].attributes_json",
            ),
            (
                vec![good(), unmet(), conflict()],
                Code::AlreadyExists,
                "CONFLICT",
                "events[2].event_header.uuid",
            ),
            (
                vec![good(), unmet(), expecting(1, "none")],
                Code::Aborted,
                "PRECONDITION_FAILED",
                "events[1].event_body.entities[0]",
            ),
        ] {
            let call = ProcessEventsRequest { events, atomic: true };
            let status = client.process_events(call).await.expect_err(reason);
            let info = error_info(&status);
            assert_eq!((status.code(), info.reason.as_str()), (code, reason));
            let details = status.get_details_bad_request().expect("a BadRequest");
            assert_eq!(details.field_violations[0].field, field);
            let current = info.metadata.get("current_version").map(String::as_str);
            assert_eq!(current, (code == Code::Aborted).then_some("1"));
            assert_eq!(service.entity("Loan", "3").await, None);
        }
    })
    .await;
}
