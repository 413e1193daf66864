//! Clients of the REST API.

use std::net::SocketAddr;

use super::clients::{Clients, template};
use super::http::{Connection, Response};
use super::schedule::Schedule;
use crate::Result;
use crate::cells::{Cell, Interface};
use crate::events::{self, Template};
use crate::meter::Meter;

pub(super) async fn start(
    clients: &mut Clients,
    cell: &Cell,
    address: SocketAddr,
    meter: &Meter,
    schedule: impl FnOnce() -> Schedule,
) -> Result<()> {
    let request = request(cell);
    let connections = open(cell, address).await?;
    let schedule = schedule();
    for connection in connections {
        let template = template(request.clone(), cell);
        clients.spawn(send(connection, template, meter.clone(), schedule.clone()));
    }
    Ok(())
}

/// All connections of the cell.
pub(super) async fn open(cell: &Cell, address: SocketAddr) -> Result<Vec<Connection>> {
    connect(address, cell.connections).await
}

/// So many connections.
pub(crate) async fn connect(address: SocketAddr, count: usize) -> Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.push(Connection::open(address).await?);
    }
    Ok(connections)
}

/// The request of a cell, of one or more events.
pub(super) fn request(cell: &Cell) -> Vec<u8> {
    let event = events::json(cell.keys, cell.size);
    let bulk = "/api/v1/events/bulk";
    match cell.interface {
        Interface::Bulk(items) => {
            let array = format!("[{}]", vec![event; items].join(","));
            events::request(bulk, "application/json", &array)
        }
        Interface::Ndjson(lines) => {
            let lines = vec![event; lines].join("\n");
            events::request(bulk, "application/x-ndjson", &lines)
        }
        _ => events::request("/api/v1/events", "application/json", &event),
    }
}

/// Sends the events of a template as often as the schedule lets it; returns only on an error.
pub(crate) async fn send(
    mut connection: Connection,
    mut template: Template,
    meter: Meter,
    schedule: Schedule,
) {
    let events = template.events();
    loop {
        let time = schedule.next().await;
        match connection.call(template.next()).await {
            Ok(response) if is_success(&response) => meter.success(time, events),
            Ok(response) if response.status == 503 => meter.refusal(time, || to_text(&response)),
            Ok(response) => meter.record_error(|| to_text(&response)),
            Err(error) => return meter.record_error(|| format!("connection error: {error}")),
        }
    }
}

/// Every event of the request is stored.
pub(crate) fn is_success(response: &Response<'_>) -> bool {
    response.status == 200 && response.body.starts_with(br#"{"success":true"#)
}

/// For an error message.
pub(crate) fn to_text(response: &Response<'_>) -> String {
    let body = String::from_utf8_lossy(&response.body[..response.body.len().min(300)]);
    format!("{} {body}", response.status)
}
