//! Readiness, by `HealthCheck` and by `grpc.health.v1`.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, stream};
use hyper_util::rt::{TokioExecutor, TokioIo};
use producer_server::{App, Connection};
use producer_telemetry::request;
use producer_telemetry::stopwatch::Part;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::args::Args;
use crate::proto::server::{legacy, v1};
use crate::proto::v1::HealthResponse;

/// How often the status is checked for each watcher.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Whether events can be accepted; the error says why not.
pub(crate) async fn ready(app: &App<Args>) -> Result<(), &'static str> {
    let health = request::measure(Part::Database, app.readiness.check()).await;
    health.problem().map_or(Ok(()), Err)
}

/// `HealthCheck`.
pub(crate) async fn health_check(app: &App<Args>) -> Response<HealthResponse> {
    let ready = ready(app).await;
    let message = match ready {
        Ok(()) => "Producer gRPC API is healthy".into(),
        Err(reason) => format!("Producer gRPC API is unhealthy: {reason}"),
    };
    Response::new(HealthResponse { healthy: ready.is_ok(), message })
}

/// `grpc.health.v1.Health`: the status follows readiness.
#[derive(Clone)]
pub(crate) struct HealthService {
    pub(crate) app: App<Args>,
}

impl HealthService {
    async fn status(&self, service: &str) -> ServingStatus {
        if !is_known(service) {
            ServingStatus::ServiceUnknown
        } else if ready(&self.app).await.is_ok() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    }

    /// Waits until the status differs from `known`.
    async fn changed(&self, service: &str, known: Option<ServingStatus>) -> ServingStatus {
        loop {
            let status = self.status(service).await;
            if Some(status) != known {
                return status;
            }
            tokio::select! {
                () = tokio::time::sleep(WATCH_EVERY) => {}
                () = self.app.shutdown.cancelled(), if !self.app.shutdown.is_cancelled() => {}
            }
        }
    }
}

/// The empty name means the server as a whole.
fn is_known(service: &str) -> bool {
    [
        "",
        v1::event_service_server::SERVICE_NAME,
        v1::entity_service_server::SERVICE_NAME,
        v1::change_service_server::SERVICE_NAME,
        v1::type_service_server::SERVICE_NAME,
        v1::search_service_server::SERVICE_NAME,
        legacy::event_service_server::SERVICE_NAME,
    ]
    .contains(&service)
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match self.status(&request.get_ref().service).await {
            ServingStatus::ServiceUnknown => Err(Status::not_found("no such service")),
            status => Ok(Response::new(response(status))),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let state = (self.clone(), service, None);
        let statuses = stream::unfold(state, |(health, service, known)| async move {
            // a watcher must not delay a shutdown: after NOT_SERVING its stream ends
            if known == Some(ServingStatus::NotServing) && health.app.shutdown.is_cancelled() {
                return None;
            }
            let status = health.changed(&service, known).await;
            Some((Ok(response(status)), (health, service, Some(status))))
        });
        Ok(Response::new(Box::pin(statuses)))
    }
}

/// Asks the service at `address` over its health service; the error says why it is not ready.
pub(crate) async fn ask(address: SocketAddr, connection: Connection) -> Result<(), String> {
    let failed =
        |error: &dyn std::fmt::Display| format!("the health check of {address} failed: {error}");
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(connection))
            .await
            .map_err(|error| failed(&error))?;
    let connection = tokio::spawn(connection);
    let transport = tower::service_fn(move |request| {
        let mut sender = sender.clone();
        async move { sender.send_request(request).await }
    });
    let origin = http::Uri::builder().scheme("http").authority(address.to_string());
    let origin = origin.path_and_query("/").build().map_err(|error| failed(&error))?;
    let answer =
        HealthClient::with_origin(transport, origin).check(HealthCheckRequest::default()).await;
    connection.abort();
    match answer {
        Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => Ok(()),
        Ok(answer) => Err(format!("{address} answers {}", answer.get_ref().status().as_str_name())),
        Err(status) => Err(failed(&status)),
    }
}
