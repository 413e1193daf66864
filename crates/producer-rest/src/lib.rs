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
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use producer_core::ProblemKind;
use producer_server::budget::{self, Budget, Lease};
use producer_server::serve::{HttpService, Listener, ServeLimits, serve};
use producer_server::{Api, App, Connection, request_id};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::body::{BodyLimits, BodyStream};
use crate::count::Count;
use crate::ndjson::Line;
use crate::problem::{INTERNAL, Logged, ProblemLayer, ProblemResponse};
use crate::report::{Listing, Report};

/// Answers below this size are not worth compressing.
const COMPRESS_ABOVE_BYTES: u64 = 1024;

/// Settings that this binary alone has.
#[derive(Debug, Clone, Args)]
pub struct RestArgs {
    /// Port to listen on
    #[arg(long, env = "SERVER_PORT", default_value_t = 9083, value_parser = producer_server::settings::port, value_name = "PORT", global = true)]
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

    /// Takes a request in hand, for as long as the lease is there.
    fn enter(&self) -> Result<Lease, ProblemResponse> {
        let too_many = || ProblemResponse::new(ProblemKind::Overloaded, budget::TOO_MANY);
        self.in_hand.one().ok_or_else(too_many)
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
        .layer(ProblemLayer::new(&app.settings))
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
        .fallback(|| async { ProblemResponse::new(ProblemKind::NotFound, "no such route") })
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
    let mut response = ProblemResponse::new(ProblemKind::Internal, INTERNAL).into_response();
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
    const PROTOCOLS: &'static [&'static [u8]] = &[b"h2", b"http/1.1"];
    type Args = RestArgs;

    fn port(args: &RestArgs) -> u16 {
        args.server_port
    }

    async fn serve(parts: App<RestArgs>, listener: Listener) -> std::io::Result<()> {
        let (limits, shutdown) = (ServeLimits::from(&parts.settings), parts.shutdown.clone());
        serve(listener, app(parts), limits, shutdown).await
    }

    async fn healthcheck(address: SocketAddr, connection: Connection) -> Result<(), String> {
        ask_readyz(address, connection).await.map_err(|error| error.to_string())?
    }
}

async fn ask_readyz(
    address: SocketAddr,
    mut connection: Connection,
) -> std::io::Result<Result<(), String>> {
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(body.to_owned()) })
}

/// A line of NDJSON as [`ndjson_lines`] tells it.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NdjsonLine {
    /// A line that isn't blank.
    Text(Bytes),
    /// It is longer than the limit.
    TooLong,
    /// The body ends here, and not as it should.
    Broken,
}

/// Splits a body into lines as the bulk route does. For the oracles of hostile input alone.
#[doc(hidden)]
pub async fn ndjson_lines(body: Body, headers: &HeaderMap, max_line: usize) -> Vec<NdjsonLine> {
    let limits = BodyLimits { bytes: max_line, timeout: Duration::MAX };
    let Ok(source) = BodyStream::new(body, limits).endless(headers) else {
        return vec![NdjsonLine::Broken];
    };
    let lease = Budget::new(usize::MAX).lease();
    let mut lines = ndjson::Lines::new(source, lease, max_line, limits.timeout);
    let mut found = Vec::new();
    while let Some(line) = lines.next().await {
        found.push(match line {
            Line::Text(text) => NdjsonLine::Text(text),
            Line::TooLong => NdjsonLine::TooLong,
            Line::Broken(_) => NdjsonLine::Broken,
        });
    }
    found
}
