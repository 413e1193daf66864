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
use crate::services::worker::WorkerService;
use crate::services::{ChangeService, EntityService, EventService, SearchService, TypeService};
use crate::wire::small_request::MAX_SMALL_REQUEST;

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
        max_message: app.settings.common.max_body_bytes,
        body_timeout: app.settings.body_timeout,
        slow_request: app.settings.slow_request,
    };
    let max = app.settings.common.max_body_bytes;
    let events = EventService::new(app.clone());
    let legacy = legacy::event_service_server::EventServiceServer::new(events.clone())
        .max_decoding_message_size(max);
    let events =
        v1::event_service_server::EventServiceServer::new(events).max_decoding_message_size(max);
    let entities = EntityService::new(app.clone());
    let entities = v1::entity_service_server::EntityServiceServer::new(entities)
        .max_decoding_message_size(max);
    let changes = ChangeService::new(app.clone());
    let max_small = max.min(MAX_SMALL_REQUEST);
    let changes = v1::change_service_server::ChangeServiceServer::new(changes)
        .max_decoding_message_size(max_small);
    let types = TypeService::new(app.clone());
    let types =
        v1::type_service_server::TypeServiceServer::new(types).max_decoding_message_size(max_small);
    let search = SearchService::new(app.clone());
    let search = v1::search_service_server::SearchServiceServer::new(search)
        .max_decoding_message_size(max_small);
    let worker = v1::worker_service_server::WorkerServiceServer::new(WorkerService::new(&app))
        .max_decoding_message_size(max_small);
    let routes = Routes::new(events)
        .add_service(entities)
        .add_service(changes)
        .add_service(types)
        .add_service(search)
        .add_service(worker)
        .add_service(legacy)
        .add_service(HealthServer::new(HealthService { app }));
    let router = proto::with_reflection(routes).map_err(std::io::Error::other)?.into_axum_router();
    Ok(router.layer(axum::middleware::from_fn_with_state(admission, admission::admit)))
}
