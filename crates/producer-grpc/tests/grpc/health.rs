//! `grpc.health.v1` and the healthcheck of the command line.

use producer_grpc::Grpc;
use producer_server::{Api, Connection};
use tokio_stream::StreamExt;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::app::Service;

#[tokio::test]
async fn health_follows_readiness() {
    let service = Service::start().await;
    let mut client = HealthClient::new(service.channel().await);
    for name in [
        "",
        "producer.v1.EventService",
        "producer.v1.EntityService",
        "producer.v1.ChangeService",
        "producer.v1.TypeService",
        "producer.v1.SearchService",
        "com.example.grpc.EventService",
    ] {
        let answer = client.check(HealthCheckRequest { service: name.into() }).await;
        assert_eq!(answer.expect("known").get_ref().status(), ServingStatus::Serving);
    }
    let unknown = client.check(HealthCheckRequest { service: "no".into() }).await;
    assert_eq!(unknown.expect_err("unknown").code(), Code::NotFound);
    let stream = tokio::net::TcpStream::connect(service.address).await.expect("a connection");
    let healthy = Grpc::healthcheck(service.address, Connection::Left(stream)).await;
    assert_eq!(healthy, Ok(()));

    let watch = client.watch(HealthCheckRequest::default()).await.expect("a watch");
    let mut watch = watch.into_inner();
    let mut next = async || watch.next().await.map(|answer| answer.expect("a status").status());
    assert_eq!(next().await, Some(ServingStatus::Serving));
    service.drain();
    assert_eq!(next().await, Some(ServingStatus::NotServing));
    assert_eq!(next().await, None, "a watcher doesn't delay the shutdown");
    service.stopped().await;
}
