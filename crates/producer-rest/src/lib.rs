//! The REST API of `producer`: decode, call core, encode. [`app`] is the router apart from serving.

mod accept;
mod answers;
mod args;
mod body;
mod bulk_report;
mod change_stream;
mod compression;
mod cross_origin;
mod drain;
mod entity_json;
mod hot_route;
mod ndjson;
mod openapi;
mod problem;
mod problem_layer;
mod query_parameters;
mod request_metrics;
mod router;
mod routes;
mod state;
mod write_headers;

use std::net::SocketAddr;
use std::time::Duration;

pub use args::{Origins, RestArgs};
use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use producer_server::budget::Budget;
use producer_server::cli::ask_readyz;
use producer_server::serve::{Listener, ServeLimits, serve};
use producer_server::{Api, App, Connection};
pub use router::app;

use crate::body::{BodyLimits, BodyStream};
use crate::ndjson::{Line, Lines};

/// The REST API of the service.
pub struct Rest;

impl Api for Rest {
    const NAME: &'static str = "producer-rest";
    const API: &'static str = "rest";
    const PORT_SETTING: &'static str = "SERVER_PORT";
    const DOCS: Option<&'static str> = Some("/docs");
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
        ask_readyz(address, connection).await
    }
}

/// A line of NDJSON from [`ndjson_lines`].
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NdjsonLine {
    /// A line that isn't blank.
    Text(Bytes),
    /// A line over the limit.
    TooLong,
    /// The body ends here with an error.
    Broken,
}

/// Splits a body into lines as the bulk route does. Only for the oracles of hostile input.
#[doc(hidden)]
pub async fn ndjson_lines(body: Body, headers: &HeaderMap, max_line: usize) -> Vec<NdjsonLine> {
    let limits = BodyLimits { bytes: max_line, timeout: Duration::MAX };
    let Ok(body) = BodyStream::new(body, limits).decoded(headers) else {
        return vec![NdjsonLine::Broken];
    };
    let lease = Budget::new(usize::MAX).lease();
    let mut lines = Lines::new(body, lease, max_line, limits.timeout);
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
