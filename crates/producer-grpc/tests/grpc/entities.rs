//! `GetEntity`.

use producer_grpc::proto::v1::{EntityView, GetEntityRequest};
use tonic::Code;

use crate::app::{Service, event};

#[tokio::test]
async fn an_entity_comes_in_the_requested_view() {
    let service = Service::start().await;
    let mut client = service.client().await;
    let deep = format!("{}1{}", r#"{"a":"#.repeat(31), "}".repeat(31));
    for (id, text) in [("plain", r#"{"a":[1.5,null]}"#), ("deep", &deep), ("big", r#"{"a":1e399}"#)]
    {
        client.process_event(event("", id, text)).await.expect("a receipt");
    }
    let mut view = async |id: &str| {
        let (entity_type, entity_id) = ("Loan".into(), id.into());
        let view = EntityView::Struct.into();
        let request =
            GetEntityRequest { entity_type, entity_id, view, ..GetEntityRequest::default() };
        client.get_entity(request).await
    };
    let plain = view("plain").await.expect("200").into_inner();
    assert!(plain.attributes_json.is_empty());
    assert_eq!(plain.attributes.expect("a Struct").fields.len(), 1);
    for id in ["deep", "big"] {
        let status = view(id).await.expect_err("it can't be a Struct");
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains("ENTITY_VIEW_JSON"));
    }
    let status = view("..").await.expect_err("no id");
    assert_eq!(status.code(), Code::InvalidArgument);
}
