//! The routes, and the layers that every request and answer goes through.

use axum::Router;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, Method, header};
use producer_core::ProblemKind;
use producer_server::serve::HttpService;
use producer_server::{App, request_id};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::accept::AcceptJsonLayer;
use crate::args::{Origins, RestArgs};
use crate::openapi::document::document;
use crate::openapi::page::pages;
use crate::problem::{AlreadyLogged, INTERNAL, ProblemResponse};
use crate::problem_layer::ProblemLayer;
use crate::request_metrics::CountLayer;
use crate::routes;
use crate::state::AppState;

/// Answers below this size are not worth compressing.
const COMPRESS_ABOVE_BYTES: u64 = 1024;

/// The routes behind all layers. These are outside of the router, as one type: a router's own layers
/// are boxed, and cloned with everything in them for each request.
pub fn app(app: App<RestArgs>) -> impl HttpService {
    let layers = ServiceBuilder::new()
        .layer(ProblemLayer::new(&app.settings))
        .layer(cors(&app.args.cors_allowed_origins))
        .layer(CompressionLayer::new().compress_when(SizeAbove::new(COMPRESS_ABOVE_BYTES)));
    layers.service(router(app))
}

fn router(app: App<RestArgs>) -> Router {
    let requests = app.metrics.requests().clone();
    let document = document(&app.settings);
    let state = AppState::new(app);
    let (api, mut document) = OpenApiRouter::with_openapi(document)
        .routes(routes!(routes::events::post))
        .routes(routes!(routes::bulk::post))
        .routes(routes!(routes::events::get))
        .routes(routes!(routes::entities::get))
        .route("/api/v1/entities/{type}/", axum::routing::get(routes::entities::no_id))
        .routes(routes!(routes::health::health))
        .routes(routes!(routes::health::livez))
        .routes(routes!(routes::health::readyz))
        .with_state(state.clone())
        .split_for_parts();
    let (metrics, metrics_document) = metrics(state);
    document.merge(metrics_document);
    let count = CountLayer::new(&document, &requests);
    api.layer(AcceptJsonLayer)
        .merge(metrics)
        .merge(pages(document))
        .fallback(|| async { ProblemResponse::new(ProblemKind::NotFound, "no such route") })
        .layer(
            ServiceBuilder::new()
                .layer(count)
                .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| panicked())),
        )
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

fn cors(origins: &Origins) -> CorsLayer {
    let allowed = match origins.0.as_slice() {
        [] => AllowOrigin::any(),
        listed => AllowOrigin::list(listed.iter().cloned()),
    };
    const EXPOSED: [HeaderName; 3] = [header::ETAG, header::RETRY_AFTER, request_id::HEADER];
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers(Any)
        .expose_headers(EXPOSED)
}
