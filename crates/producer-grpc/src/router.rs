//! Every service of the API behind the admission of calls.

use axum::Router;
use producer_server::App;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;

use crate::admission::{self, Admission};
use crate::args::Args;
use crate::proto;
use crate::proto::server::{legacy, v1};
use crate::services::health::HealthService;
use crate::services::{ChangeService, EntityService, EventService};

/// Bytes of a request for changes: one full of empty types takes a dozen times its size when it is decoded.
/// The longest token and the most types that are allowed have less.
const MAX_CHANGES_REQUEST: usize = 256 << 10;

/// Every service of the API.
///
/// # Errors
/// Only if the build is broken: reflection can't read the descriptors.
pub fn routes(app: App<Args>) -> std::io::Result<Router> {
    let rpcs = proto::rpcs().map_err(std::io::Error::other)?;
    let admission = Admission {
        requests: app.metrics.requests().with_routes(rpcs.iter().map(|rpc| (rpc.as_str(), "POST"))),
        budget: app.budget.clone(),
        request_slots: app.request_slots.clone(),
        max_message: app.settings.max_body_bytes,
        body_timeout: app.settings.body_timeout,
        slow_request: app.settings.slow_request,
    };
    let max = app.settings.max_body_bytes;
    let events = EventService::new(app.clone());
    let legacy = legacy::event_service_server::EventServiceServer::new(events.clone())
        .max_decoding_message_size(max);
    let events =
        v1::event_service_server::EventServiceServer::new(events).max_decoding_message_size(max);
    let entities = EntityService::new(app.clone());
    let entities = v1::entity_service_server::EntityServiceServer::new(entities)
        .max_decoding_message_size(max);
    let changes = ChangeService::new(app.clone());
    let changes = v1::change_service_server::ChangeServiceServer::new(changes)
        .max_decoding_message_size(max.min(MAX_CHANGES_REQUEST));
    let routes = Routes::new(events)
        .add_service(entities)
        .add_service(changes)
        .add_service(legacy)
        .add_service(HealthServer::new(HealthService { app }));
    let router = proto::with_reflection(routes).map_err(std::io::Error::other)?.into_axum_router();
    Ok(router.layer(axum::middleware::from_fn_with_state(admission, admission::admit)))
}
