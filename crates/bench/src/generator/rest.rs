//! Clients of the REST API.

use std::net::SocketAddr;

use super::http::{Answer, Connection};
use super::pace::Pace;
use super::{Clients, template};
use crate::Result;
use crate::cells::{Cell, Way};
use crate::events::{self, Template};
use crate::meter::Meter;

pub(super) async fn start(
    clients: &mut Clients,
    cell: &Cell,
    address: SocketAddr,
    meter: &Meter,
    pace: impl FnOnce() -> Pace,
) -> Result<()> {
    let request = request(cell);
    let mut connections = Vec::with_capacity(cell.connections);
    for _ in 0..cell.connections {
        connections.push(Connection::open(address).await?);
    }
    let pace = pace();
    for connection in connections {
        let template = template(request.clone(), cell);
        clients.add(client(connection, template, meter.clone(), pace.clone()));
    }
    Ok(())
}

fn request(cell: &Cell) -> Vec<u8> {
    let event = events::json(cell.keys, cell.size);
    let bulk = "/api/v1/events/bulk";
    match cell.way {
        Way::Bulk(items) => {
            let array = format!("[{}]", vec![event; items].join(","));
            events::request(bulk, "application/json", &array)
        }
        Way::Ndjson(lines) => {
            let lines = vec![event; lines].join("\n");
            events::request(bulk, "application/x-ndjson", &lines)
        }
        _ => events::request("/api/v1/events", "application/json", &event),
    }
}

async fn client(mut connection: Connection, mut template: Template, meter: Meter, pace: Pace) {
    let events = template.events();
    loop {
        let turn = pace.turn().await;
        match connection.call(template.next()).await {
            Ok(answer) if is_success(&answer) => meter.done(turn, events),
            Ok(answer) if answer.status == 503 => meter.refused(turn, || shown(&answer)),
            Ok(answer) => meter.failed(|| shown(&answer)),
            Err(error) => return meter.failed(|| format!("the connection broke: {error}")),
        }
    }
}

/// Every event of the request is stored.
fn is_success(answer: &Answer<'_>) -> bool {
    answer.status == 200 && answer.body.starts_with(br#"{"success":true"#)
}

fn shown(answer: &Answer<'_>) -> String {
    let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]);
    format!("{} {body}", answer.status)
}
