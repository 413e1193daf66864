//! The service's metrics.

use producer_grpc::proto::legacy::event_service_client::EventServiceClient as Legacy;
use producer_grpc::proto::v1;
use producer_grpc::proto::v1::event_service_client::EventServiceClient;
use tonic::codegen::tokio_stream::{self, StreamExt};
use tonic::transport::Channel;

use crate::app::{Service, event};

const UUID: &str = "550e8400-e29b-41d4-a716-446655440000";

fn requests(service: &str, rpc: &str, status: &str) -> String {
    let route = format!("/{service}/{rpc}");
    let labels = format!("api=\"grpc\",method=\"POST\",route=\"{route}\",status=\"{status}\"");
    format!("producer_requests_total{{{labels}}}")
}

#[tokio::test]
async fn calls_are_counted_by_rpc_and_final_status() {
    let service = Service::start().await;
    let mut client = service.client().await;
    client.process_event(event(UUID, "l1", "{}")).await.expect("stored");
    client.process_event(event(UUID, "l1", "{\"a\":1}")).await.expect_err("a conflict");
    let mut entities = service.entities().await;
    let missing = || v1::DeleteEntityRequest {
        entity_type: "Loan".into(),
        entity_id: "l9".into(),
        ..Default::default()
    };
    entities.delete_entity(missing()).await.expect_err("there is none");
    let demanded = v1::DeleteEntityRequest { expected_version: Some(1), ..missing() };
    entities.delete_entity(demanded).await.expect_err("there is none");
    let loans = v1::ListEntitiesRequest { entity_type: "Loan".into(), ..Default::default() };
    entities.list_entities(loans.clone()).await.expect("a page");
    let malformed = v1::ListEntitiesRequest { filter: "balance > 1".into(), ..loans };
    entities.list_entities(malformed).await.expect_err("an unknown name");
    let unknown = v1::GetTypeRequest { r#type: "Loan".into() };
    service.types().await.get_type(unknown).await.expect_err("no definition");
    let all = v1::SearchRequest::default();
    service.search().await.search(all).await.expect("nothing is searched");
    let events = [event("", "l2", "{}"), event("", "", "{}")];
    let results = client.stream_events(tokio_stream::iter(events)).await.expect("a stream");
    let results: Vec<_> = results.into_inner().collect().await;
    assert_eq!(results.len(), 2);
    let mut legacy = Legacy::new(service.channel().await);
    legacy.health_check(v1::HealthRequest::default()).await.expect("healthy");
    let path = "/no.Such/Thing".parse().expect("a path");
    let mut raw = tonic::client::Grpc::new(service.channel().await);
    raw.ready().await.expect("connected");
    let codec = tonic_prost::ProstCodec::<v1::HealthRequest, v1::HealthResponse>::default();
    let unknown = tonic::Request::new(v1::HealthRequest::default());
    raw.unary(unknown, path, codec).await.expect_err("no such method");

    let text = service.app.metrics.exposition().text().await.expect("metrics");
    let expected = [
        (requests("producer.v1.EventService", "ProcessEvent", "OK"), 1),
        (requests("producer.v1.EventService", "ProcessEvent", "ALREADY_EXISTS"), 1),
        (requests("producer.v1.EventService", "StreamEvents", "OK"), 1),
        (requests("producer.v1.EntityService", "DeleteEntity", "NOT_FOUND"), 1),
        (requests("producer.v1.EntityService", "DeleteEntity", "ABORTED"), 1),
        (requests("producer.v1.EntityService", "MergeEntity", "OK"), 0),
        (requests("producer.v1.EntityService", "BatchGetEntities", "OK"), 0),
        (requests("producer.v1.EntityService", "ListEntities", "OK"), 1),
        (requests("producer.v1.EntityService", "ListEntities", "INVALID_ARGUMENT"), 1),
        (requests("producer.v1.TypeService", "GetType", "NOT_FOUND"), 1),
        (requests("producer.v1.SearchService", "Search", "OK"), 1),
        (requests("com.example.grpc.EventService", "HealthCheck", "OK"), 1),
        (requests("grpc.health.v1.Health", "Check", "OK"), 0),
        ("producer_events_total{result=\"created\"}".into(), 2),
        ("producer_events_total{result=\"conflict\"}".into(), 1),
        ("producer_events_total{result=\"invalid\"}".into(), 1),
        ("producer_requests_in_flight".into(), 0),
    ];
    for (series, count) in expected {
        assert!(text.contains(&format!("{series} {count}\n")), "{series} {count} in {text}");
    }
    assert!(text.contains("route=\"other\",status=\"UNIMPLEMENTED\"} 1\n"), "{text}");
    assert!(!text.contains("no.Such"), "a client can't make series: {text}");
}

/// Opens a stream that never ends, waits for its first result and closes the connection.
fn abandon_a_stream(address: std::net::SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let endpoint = Channel::from_shared(format!("http://{address}")).expect("a URL");
        let endless = tokio_stream::iter([event("", "l1", "{}")]).chain(tokio_stream::pending());
        let mut client = EventServiceClient::new(endpoint.connect().await.expect("it listens"));
        let results = client.stream_events(endless).await;
        let result = results.expect("a stream").into_inner().message().await;
        result.expect("no error").expect("a result");
    });
}

#[tokio::test]
async fn a_stream_that_the_client_abandons_is_counted() {
    let service = Service::start().await;
    let address = service.address;
    tokio::task::spawn_blocking(move || abandon_a_stream(address)).await.expect("no panic");
    let left = requests("producer.v1.EventService", "StreamEvents", "CANCELLED");
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while !service
        .app
        .metrics
        .exposition()
        .text()
        .await
        .expect("metrics")
        .contains(&format!("{left} 1\n"))
    {
        assert!(tokio::time::Instant::now() < deadline, "it is never counted");
    }
}
