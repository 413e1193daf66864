//! Load: clients that send, wait for the answer, check it and send again. They cost little, so that
//! two cores are left to what is measured.

mod grpc;
mod http;
pub(crate) mod pace;
mod rest;

use std::net::SocketAddr;

use pace::Pace;
use tokio::task::JoinSet;

use crate::Result;
use crate::cells::{Cell, Way};
use crate::events::Template;
use crate::meter::Meter;

/// Clients at work; they stop when this is dropped.
pub(crate) struct Clients {
    tasks: JoinSet<()>,
}

/// Connects every client of the cell to the service and lets them send, at the cell's rate where it
/// has one (single requests alone can). Needs a `LocalSet`.
pub(crate) async fn start(cell: &Cell, address: SocketAddr, meter: &Meter) -> Result<Clients> {
    let pace = || Pace::new(cell.rate, meter);
    let mut clients = Clients { tasks: JoinSet::new() };
    match cell.way {
        Way::Pgbench | Way::Copy => return Err(format!("{cell} talks to no service").into()),
        Way::Single | Way::Bulk(_) | Way::Ndjson(_) => {
            rest::start(&mut clients, cell, address, meter, pace).await?;
        }
        Way::Unary => grpc::start_unary(&mut clients, cell, address, meter, pace).await?,
        Way::Stream(in_flight) => {
            grpc::start_streams(&mut clients, cell, in_flight, address, meter).await?;
        }
    }
    Ok(clients)
}

impl Clients {
    fn add(&mut self, client: impl Future<Output = ()> + 'static) {
        self.tasks.spawn_local(client);
    }
}

/// Bytes of requests for one client; no two clients of a run send the same uuids.
fn template(bytes: Vec<u8>, cell: &Cell) -> Template {
    Template::new(bytes, cell.keys, crate::next_seed())
}
