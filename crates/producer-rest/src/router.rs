//! The routes, and the layers that every request and answer goes through.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use futures_util::FutureExt;
use http::Method;
use producer_core::ProblemKind;
use producer_server::App;
use producer_server::serve::HttpService;
use tower::{Layer, ServiceBuilder};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::accept::AcceptJsonLayer;
use crate::args::RestArgs;
use crate::compression::{CompressLayer, may_be_compressed};
use crate::cross_origin::{CrossOriginLayer, WriteOriginLayer, may_be_of_script};
use crate::hot_route::{HotRoute, RouteService};
use crate::openapi::document::document;
use crate::openapi::page::pages;
use crate::problem::{AlreadyLogged, INTERNAL, ProblemResponse};
use crate::problem_layer::ProblemLayer;
use crate::request_metrics::CountLayer;
use crate::routes::{self, entity_writes};
use crate::state::AppState;

/// The routes behind all layers. These are outside of the router, as one type: a router's own layers
/// are boxed, and cloned with everything in them for each request.
pub fn app(app: App<RestArgs>) -> impl HttpService {
    let problems = ProblemLayer::new(&app.settings);
    let layers = ServiceBuilder::new()
        // boxed: what it needs must not be the size of every request's future
        .map_future(Box::pin)
        .map_response(|response: http::Response<_>| response.map(Body::new))
        .layer(CompressLayer::new())
        .layer(CrossOriginLayer::new(&app.args.cors_allowed_origins));
    let (post_event, router) = routes(app);
    let routes = HotRoute::new(is_post_event, post_event.clone(), router);
    let is_hot = |request: &Request| is_post_event(request) && !needs_layers(request);
    problems.layer(HotRoute::new(is_hot, post_event, layers.service(routes)))
}

fn is_post_event(request: &Request) -> bool {
    *request.method() == Method::POST && request.uri().path() == routes::events::PATH
}

/// Whether the layers may have something to do for a request.
fn needs_layers(request: &Request) -> bool {
    may_be_of_script(request) || may_be_compressed(request)
}

/// `POST /api/v1/events`, and the router of all routes.
fn routes(app: App<RestArgs>) -> (impl RouteService, impl RouteService) {
    let requests = app.metrics.requests().clone();
    let document = document(&app.settings);
    let write_origins = WriteOriginLayer::new(&app.args.cors_allowed_origins);
    let state = AppState::new(app);
    let (api, mut document) = OpenApiRouter::with_openapi(document)
        .routes(routes!(routes::events::post))
        .routes(routes!(routes::bulk::post))
        .routes(routes!(routes::events::get))
        .routes(routes!(routes::lists::of_type, entity_writes::create))
        .routes(routes!(routes::lists::of_all_types))
        .routes(routes!(
            routes::entities::get,
            entity_writes::replace,
            entity_writes::merge,
            entity_writes::delete
        ))
        .routes(routes!(routes::history::list))
        .routes(routes!(routes::history::diff))
        .routes(routes!(routes::history::provenance))
        .route("/api/v1/entities/{type}/", no_id())
        .route("/api/v1/entities/", no_type())
        .routes(routes!(routes::types::list))
        .routes(routes!(routes::types::get, routes::types::replace, routes::types::delete))
        .route("/api/v1/types/", no_type())
        .routes(routes!(routes::search::get))
        .routes(routes!(routes::sinks::list))
        .routes(routes!(routes::sinks::get, routes::sinks::delete))
        .routes(routes!(routes::sinks::pause))
        .routes(routes!(routes::sinks::resume))
        .routes(routes!(routes::sinks::skip))
        .routes(routes!(routes::sinks::reset))
        .routes(routes!(routes::sources::list))
        .routes(routes!(routes::sources::get, routes::sources::delete))
        .routes(routes!(routes::sources::pause))
        .routes(routes!(routes::sources::resume))
        .routes(routes!(routes::dead_letters::list, routes::dead_letters::delete_many))
        .routes(routes!(routes::dead_letters::replay_many))
        .routes(routes!(routes::dead_letters::get, routes::dead_letters::delete))
        .routes(routes!(routes::dead_letters::replay))
        .routes(routes!(routes::health::health))
        .routes(routes!(routes::health::livez))
        .routes(routes!(routes::health::readyz))
        .with_state(state.clone())
        .split_for_parts();
    // without the layer that wants JSON: its answers have other media types too
    let (changes, changes_document) = OpenApiRouter::new()
        .routes(routes!(routes::changes::get))
        .with_state(state.clone())
        .split_for_parts();
    document.merge(changes_document);
    let (metrics, metrics_document) = metrics(state.clone());
    document.merge(metrics_document);
    let count = CountLayer::new(&document, &requests);
    let hot = ServiceBuilder::new()
        .layer(count.of_route(routes::events::PATH))
        .layer(AcceptJsonLayer)
        // boxed: the layers would copy the future again and again
        .service_fn(move |request| Box::pin(post_event(state.clone(), request)));
    let router = api
        .layer(ServiceBuilder::new().layer(write_origins).layer(AcceptJsonLayer))
        .merge(changes)
        .merge(metrics)
        .merge(pages(document))
        .fallback(|| async { ProblemResponse::new(ProblemKind::NotFound, "no such route") })
        .layer(
            ServiceBuilder::new()
                .layer(count)
                .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| panicked())),
        );
    (hot, router)
}

/// The route as a service. It answers panics as the router's layer does, without boxing bodies.
// no async function: that would keep the request twice
fn post_event(
    state: AppState,
    request: Request,
) -> impl Future<Output = Result<Response, Infallible>> {
    let answer = AssertUnwindSafe(routes::events::post(State(state), request)).catch_unwind();
    answer.map(|answer| Ok(answer.map_or_else(|_| panicked(), IntoResponse::into_response)))
}

/// The methods that an entity's route has, and the one that makes an entity.
fn no_id() -> MethodRouter<AppState> {
    let no_id = routes::entities::no_id;
    axum::routing::get(no_id).post(no_id).put(no_id).patch(no_id).delete(no_id)
}

/// The methods of the routes that begin with a type.
fn no_type() -> MethodRouter<AppState> {
    let no_type = routes::entities::no_type;
    axum::routing::get(no_type).post(no_type).put(no_type).delete(no_type)
}

/// `/metrics`, unless `ADMIN_PORT` serves it.
fn metrics(state: AppState) -> (Router, OpenApi) {
    let mut router = OpenApiRouter::new();
    if state.settings.admin_port.is_none() {
        router = router.routes(routes!(routes::metrics::get));
    }
    router.with_state(state).split_for_parts()
}

/// The panic hook has logged the panic's message.
fn panicked() -> Response {
    let mut response = ProblemResponse::new(ProblemKind::Internal, INTERNAL).into_response();
    response.extensions_mut().insert(AlreadyLogged);
    response
}
