//! hyper alone: it reads each request to its end and answers with the same receipt. What our routes take
//! beyond that is ours.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use axum::body::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::signal::unix::{SignalKind, signal};

use crate::Result;

/// As long as the receipt of an event.
const RECEIPT: &str = r#"{"success":true,"message":"Event processed successfully","eventId":"00000000-0000-4000-8000-000000000000","duplicate":false,"entities":[{"entityType":"Car","entityId":"00000000-0000-4000-8000-000000000000","version":1,"created":true}]}"#;

/// Where to serve, under the names that `producer-rest` has for it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The port, on loopback
    #[arg(long, env = "SERVER_PORT")]
    server_port: u16,
}

/// Serves until SIGTERM.
pub(super) async fn serve(args: &Args) -> Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.server_port));
    let listener = producer_server::serve::bind(address)?;
    let mut terminated = signal(SignalKind::terminate())?;
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            _ = terminated.recv() => return Ok(()),
        };
        stream.set_nodelay(true)?;
        let connection =
            http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
        tokio::spawn(connection);
    }
}

async fn answer(
    request: Request<Incoming>,
) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    // a body that breaks off ends its connection
    let _read = request.into_body().collect().await;
    let mut response = Response::new(Full::from(RECEIPT));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}
