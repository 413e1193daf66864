//! The load generator: clients that send, wait for the response, check it and send again. They use
//! little CPU, so that the cores are left to what is measured.

mod clients;
mod entities;
mod grpc;
mod http;
mod lines;
mod reader;
mod rest;
mod schedule;
mod writers;

use std::net::SocketAddr;

pub(crate) use clients::Clients;
pub(crate) use http::Connection;
pub(crate) use reader::{Followers, Reader};
pub(crate) use rest::{connect, is_success, send, to_text};
pub(crate) use schedule::Schedule;
pub(crate) use writers::{Sent, Writers};

use crate::Result;
use crate::cells::{Cell, Interface};
use crate::meter::Meter;

/// Connects every client of the cell to the service and starts sending, at the cell's rate where it
/// has one (only for single events). The clients stop when the value is dropped. Needs a `LocalSet`.
pub(crate) async fn start(cell: &Cell, address: SocketAddr, meter: &Meter) -> Result<Clients> {
    let schedule = || Schedule::new(cell.rate, meter);
    let mut clients = Clients::default();
    match cell.interface {
        Interface::Pgbench | Interface::Copy => return Err(format!("{cell} has no service").into()),
        Interface::Single | Interface::Bulk(_) | Interface::Ndjson(_) => {
            rest::start(&mut clients, cell, address, meter, schedule).await?;
        }
        Interface::Entity(requests) => {
            entities::start(&mut clients, cell, requests, address, meter, schedule).await?;
        }
        Interface::Unary => grpc::start_unary(&mut clients, cell, address, meter, schedule).await?,
        Interface::Stream(in_flight) => {
            grpc::start_streams(&mut clients, cell, in_flight, address, meter).await?;
        }
    }
    Ok(clients)
}
