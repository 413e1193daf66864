//! The table of cases that both APIs are tested with, the attributes as `attributes_json`.

use producer_grpc::proto::v1::{
    EntityUpdate, EventBody, EventHeader, EventRequest, EventStatus, ProcessEventsRequest,
};
use producer_test_support::event_cases::{Case, Expect, cases};
use serde::Deserialize;
use serde_json::value::RawValue;
use tonic::Code;

use crate::app::{Service, on_both};

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
    updated_attributes: Box<RawValue>,
}

/// The event of the case in protobuf.
fn message(case: &Case) -> EventRequest {
    let event: Event = serde_json::from_str(&case.event).expect(case.name);
    let header = event.event_header;
    let entity = |entity: Entity| EntityUpdate {
        entity_type: entity.entity_type,
        entity_id: entity.entity_id,
        attributes_json: Some(entity.updated_attributes.get().into()),
        ..EntityUpdate::default()
    };
    EventRequest {
        event_header: Some(EventHeader {
            uuid: header.uuid,
            event_name: header.event_name,
            event_type: header.event_type,
            created_date: header.created_date,
            saved_date: header.saved_date,
            source: header.source,
            actor: header.actor,
        }),
        event_body: Some(EventBody {
            entities: event.event_body.entities.into_iter().map(entity).collect(),
        }),
    }
}

/// The verdict on an event alone, and with its pointers as an item of a bulk call.
async fn verdict(service: &Service, message: EventRequest) -> Expect {
    let mut client = service.client().await;
    let alone = client.process_event(message.clone()).await.map_err(|status| status.code());
    let call = ProcessEventsRequest { events: vec![message], atomic: false };
    let answer = client.process_events(call).await.expect("an answer").into_inner();
    let result = &answer.results[0];
    match (alone, result.status()) {
        (Ok(_), EventStatus::Processed | EventStatus::Duplicate) => Expect::Stored,
        (Err(Code::InvalidArgument), EventStatus::Invalid) => {
            let pointers = result.violations.iter().map(|one| one.pointer.clone());
            Expect::Refused("validation", pointers.collect())
        }
        other => Expect::Refused("two verdicts", vec![format!("{other:?}")]),
    }
}

#[tokio::test]
async fn every_case_gets_its_verdict() {
    on_both(|service| async move {
        let mut wrong = Vec::new();
        for case in cases().iter().filter(|case| case.is_typed()) {
            let verdict = verdict(&service, message(case)).await;
            if verdict != case.expect {
                wrong.push(format!("{}: {verdict:?} instead of {:?}", case.name, case.expect));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    })
    .await;
}
