//! The REST API of `producer`: decode, call core, encode. [`app`] is the router apart from serving.

mod accept;
mod body;
mod count;
mod docs;
mod drain;
mod ndjson;
mod problem;
mod report;
mod routes;

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use clap::Args;
use http::{HeaderName, HeaderValue, Method, header};
use producer_core::ProblemKind;
use producer_server::serve::{HttpService, ServeLimits, serve};
use producer_server::{Api, App, request_id};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::body::BodyLimits;
use crate::count::Count;
use crate::problem::{Failure, Finish, INTERNAL, Logged};
use crate::report::{Listing, Report};

/// Answers below this size are not worth compressing.
const COMPRESS_ABOVE_BYTES: u64 = 1024;

/// Settings that this binary alone has.
#[derive(Debug, Clone, Args)]
pub struct RestArgs {
    /// Port to listen on
    #[arg(long, env = "SERVER_PORT", default_value_t = 9083, value_parser = producer_core::config::port, value_name = "PORT", global = true)]
    pub server_port: u16,
    /// Origins whose scripts may call, separated by commas, or * for all
    #[arg(
        long,
        env = "CORS_ALLOWED_ORIGINS",
        default_value = "*",
        value_parser = origins,
        value_name = "ORIGINS",
        global = true
    )]
    pub cors_allowed_origins: Origins,
}

/// Origins whose scripts may call; none named means all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins(Vec<HeaderValue>);

fn origins(text: &str) -> Result<Origins, String> {
    if text.trim() == "*" {
        return Ok(Origins(Vec::new()));
    }
    let origin = |part: &str| {
        let part = part.trim();
        let host = part.split_once("://").map_or("", |(_, host)| host);
        let is_origin = !host.is_empty() && !host.contains(['/', '*', '?', '#', ' ']);
        HeaderValue::from_str(part).ok().filter(|_| is_origin)
    };
    text.split(',')
        .map(origin)
        .collect::<Option<_>>()
        .map(Origins)
        .ok_or_else(|| "allowed is * or origins such as https://a.example,https://b.example".into())
}

/// What the handlers work with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AppState(Arc<App<RestArgs>>);

impl Deref for AppState {
    type Target = App<RestArgs>;

    fn deref(&self) -> &App<RestArgs> {
        &self.0
    }
}

impl AppState {
    fn body_limits(&self) -> BodyLimits {
        BodyLimits { bytes: self.settings.max_body_bytes, timeout: self.settings.body_timeout }
    }

    fn report(&self, listing: Listing) -> Report {
        Report::new(listing, self.settings.max_body_bytes)
    }
}

/// The routes with all that every request and answer goes through. The layers stand outside of the
/// router, as one type: a router's own layers are boxed and cloned for every request, each with all
/// that it holds.
pub fn app(app: App<RestArgs>) -> impl HttpService {
    let layers = ServiceBuilder::new()
        .layer(Finish::new(&app.settings))
        .layer(cors(&app.args.cors_allowed_origins))
        .layer(CompressionLayer::new().compress_when(SizeAbove::new(COMPRESS_ABOVE_BYTES)));
    layers.service(router(app))
}

fn router(app: App<RestArgs>) -> Router {
    let requests = app.metrics.requests().clone();
    let state = AppState(Arc::new(app));
    let (api, mut document) = OpenApiRouter::with_openapi(docs::document())
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
    let (metrics, its_document) = metrics(state);
    document.merge(its_document);
    let count = Count::routes_of(&document, &requests);
    api.layer(accept::JsonLayer)
        .merge(metrics)
        .merge(docs::pages(document))
        .fallback(|| async { Failure::new(ProblemKind::NotFound, "no such route") })
        .layer(
            ServiceBuilder::new()
                .layer(count)
                .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| panicked())),
        )
}

/// `/metrics`, where `ADMIN_PORT` hasn't taken it.
fn metrics(state: AppState) -> (Router, OpenApi) {
    let mut router = OpenApiRouter::new();
    if state.settings.admin_port.is_none() {
        router = router.routes(routes!(routes::metrics::get));
    }
    router.with_state(state).split_for_parts()
}

/// The panic's message is in the log, where the panic hook put it.
fn panicked() -> Response {
    let mut response = Failure::new(ProblemKind::Internal, INTERNAL).into_response();
    response.extensions_mut().insert(Logged);
    response
}

fn cors(origins: &Origins) -> CorsLayer {
    let allowed = match origins.0.as_slice() {
        [] => AllowOrigin::any(),
        named => AllowOrigin::list(named.iter().cloned()),
    };
    const EXPOSED: [HeaderName; 3] = [header::ETAG, header::RETRY_AFTER, request_id::HEADER];
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers(Any)
        .expose_headers(EXPOSED)
}

/// The REST binary.
pub struct Rest;

impl Api for Rest {
    const NAME: &'static str = "producer-rest";
    const API: &'static str = "rest";
    type Args = RestArgs;

    fn port(args: &RestArgs) -> u16 {
        args.server_port
    }

    async fn serve(parts: App<RestArgs>, listener: TcpListener) -> std::io::Result<()> {
        let (limits, shutdown) = (ServeLimits::from(&parts.settings), parts.shutdown.clone());
        serve(listener, app(parts), limits, shutdown).await
    }

    async fn healthcheck(address: SocketAddr) -> Result<(), String> {
        ask_readyz(address).await.map_err(|error| error.to_string())?
    }
}

async fn ask_readyz(address: SocketAddr) -> std::io::Result<Result<(), String>> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(body.to_owned()) })
}
