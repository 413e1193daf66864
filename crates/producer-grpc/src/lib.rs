//! The gRPC API: decode, call the core, encode.

mod admission;
mod body;
mod bulk;
mod codec;
mod convert;
mod count;
mod health;
mod message;
mod paths;
mod pending;
pub mod proto;
mod service;
mod status;
mod stream;
mod structs;
mod wire;

use std::net::SocketAddr;

use axum::Router;
use bytes::Bytes;
use producer_core::{Draft, Problem};
use producer_server::serve::{Listener, ServeLimits, serve};
use producer_server::{Api, App, Connection, settings as config};
use proto::server::{legacy, v1};
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;

/// The settings of this binary alone.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Port to listen on
    #[arg(long, env = "GRPC_SERVER_PORT", default_value = "9092", value_parser = config::port, value_name = "PORT")]
    pub grpc_server_port: u16,
}

/// The gRPC API of the service.
pub struct Grpc;

impl Api for Grpc {
    const NAME: &'static str = "producer-grpc";
    const API: &'static str = "grpc";
    const PROTOCOLS: &'static [&'static [u8]] = &[b"h2"];
    type Args = Args;

    fn port(args: &Args) -> u16 {
        args.grpc_server_port
    }

    async fn serve(app: App<Args>, listener: Listener) -> std::io::Result<()> {
        let limits = ServeLimits::from(&app.settings);
        let shutdown = app.shutdown.clone();
        serve(listener, routes(app)?, limits, shutdown).await
    }

    async fn healthcheck(address: SocketAddr, connection: Connection) -> Result<(), String> {
        health::ask(address, connection).await
    }
}

/// Every service of the API.
///
/// # Errors
/// None but a defect of the build: descriptors that reflection can't read.
pub fn routes(app: App<Args>) -> std::io::Result<Router> {
    let rpcs = proto::rpcs().map_err(std::io::Error::other)?;
    let admission = admission::Admission {
        requests: app.metrics.requests().with_routes(rpcs.iter().map(|rpc| (rpc.as_str(), "POST"))),
        budget: app.budget.clone(),
        in_hand: app.in_hand.clone(),
        max_message: app.settings.max_body_bytes,
        body_timeout: app.settings.body_timeout,
        slow_request: app.settings.slow_request,
    };
    let max = app.settings.max_body_bytes;
    let events = service::EventService { app: app.clone() };
    let legacy = legacy::event_service_server::EventServiceServer::new(events.clone())
        .max_decoding_message_size(max);
    let events =
        v1::event_service_server::EventServiceServer::new(events).max_decoding_message_size(max);
    let routes = Routes::new(events)
        .add_service(legacy)
        .add_service(HealthServer::new(health::HealthService { app }));
    let router = proto::with_reflection(routes).map_err(std::io::Error::other)?.into_axum_router();
    Ok(router.layer(axum::middleware::from_fn_with_state(admission, admission::pass)))
}

/// Reads an `EventRequest` as the service does. For the oracles of hostile input alone.
#[doc(hidden)]
pub fn read_event(bytes: Bytes) -> Result<Draft, Problem> {
    Ok(message::EventMessage(bytes).draft(|_| {})?)
}

/// Reads a `ProcessEventsRequest` as the service does: whether it is atomic, and its events. For
/// the oracles of hostile input alone.
#[doc(hidden)]
pub fn read_events(bytes: Bytes) -> Result<(bool, Vec<Draft>), Problem> {
    let call = message::EventsMessage(bytes);
    let events =
        call.drafts().map(|event| Ok(event?.0)).collect::<Result<_, wire::DecodeError>>()?;
    Ok((call.is_atomic()?, events))
}
