//! The gRPC API of `producer`: decode, call the core, encode. [`routes`] is the router apart from
//! serving.

mod admission;
mod args;
mod body;
mod call;
mod connectors;
mod convert;
mod definition;
mod field_paths;
mod idempotency;
pub mod proto;
mod request_id;
mod request_metrics;
mod router;
mod services;
mod status;
mod stream;
mod violation_budget;
mod wire;

use std::net::SocketAddr;

pub use args::Args;
use bytes::Bytes;
use producer_core::decode::{EntityMethod, EntityWrite};
use producer_core::{Clock, Draft, Problem};
use producer_server::serve::{Listener, ServeLimits, serve};
use producer_server::{Api, App, Connection};
pub use router::routes;
use tonic::metadata::MetadataMap;
use tower::util::MapRequest;

use crate::services::{entity_writes, health};
use crate::wire::entity_write::EntityWriteMessage;
use crate::wire::event::{EventMessage, EventsMessage};
use crate::wire::fields::DecodeError;

/// The gRPC API of the service.
pub struct Grpc;

impl Api for Grpc {
    const NAME: &'static str = "producer-grpc";
    const API: &'static str = "grpc";
    const PORT_SETTING: &'static str = "GRPC_SERVER_PORT";
    const PROTOCOLS: &'static [&'static [u8]] = &[b"h2"];
    type Args = Args;

    fn port(args: &Args) -> u16 {
        args.grpc_server_port
    }

    async fn serve(app: App<Args>, listener: Listener) -> std::io::Result<()> {
        let limits = ServeLimits::from(&app.settings);
        let shutdown = app.shutdown.clone();
        let service = MapRequest::new(routes(app)?, admission::note_client);
        serve(listener, service, limits, shutdown).await
    }

    async fn healthcheck(address: SocketAddr, connection: Connection) -> Result<(), String> {
        health::ask(address, connection).await
    }
}

/// Reads an `EventRequest` as the service does. Only for the oracles of hostile input.
#[doc(hidden)]
pub fn read_event(bytes: Bytes) -> Result<Draft, Problem> {
    Ok(EventMessage(bytes).draft(|_| {})?)
}

/// Reads a `ProcessEventsRequest` as the service does: whether it is atomic, and its events. Only
/// for the oracles of hostile input.
#[doc(hidden)]
pub fn read_events(bytes: Bytes) -> Result<(bool, Vec<Draft>), Problem> {
    let call = EventsMessage(bytes);
    let events = call.drafts().map(|event| Ok(event?.0)).collect::<Result<_, DecodeError>>()?;
    Ok((call.is_atomic()?, events))
}

/// Reads a `ReplaceEntityRequest` as the service does. Only for the oracles of hostile input.
#[doc(hidden)]
pub fn read_replace(bytes: Bytes, clock: &Clock) -> Result<EntityWrite, Problem> {
    let (message, metadata) = (EntityWriteMessage(bytes), MetadataMap::new());
    entity_writes::parse(EntityMethod::Replace, &message, &metadata, clock).write
}
