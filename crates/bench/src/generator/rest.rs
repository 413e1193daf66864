//! Clients of the REST API.

use std::net::SocketAddr;
use std::time::Instant;

use super::http::{Answer, Connection};
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
) -> Result<()> {
    let request = request(cell);
    for _ in 0..cell.connections {
        let connection = Connection::open(address).await?;
        clients.add(client(connection, template(request.clone(), cell), meter.clone()));
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

async fn client(mut connection: Connection, mut template: Template, meter: Meter) {
    let events = template.events();
    loop {
        let request = template.next();
        let sent = Instant::now();
        match connection.call(request).await {
            Ok(answer) if is_success(&answer) => meter.done(sent, events),
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
