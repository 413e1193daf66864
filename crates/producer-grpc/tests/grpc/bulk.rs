//! `ProcessEvents`.

use producer_grpc::proto::v1::{EntityUpdate, EventRequest, EventStatus, ProcessEventsRequest};
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
