//! Clients that disconnect in the middle of a request.

use producer_e2e::{Binary, Database, Load, Outcome, SentEvent, Service, eventually};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::macros::on_both_databases;
use crate::rebuild_is_clean;

on_both_databases!(clients_that_disconnect_leave_nothing_incomplete);

/// How a client disconnects.
#[derive(Clone, Copy)]
enum Exit {
    /// It closes the connection.
    Close,
    /// It resets it, as a crashed machine does.
    Reset,
}

async fn clients_that_disconnect_leave_nothing_incomplete(database: &Database) {
    let rest = Service::start(Binary::Rest, &database.settings()).await;
    let load = Load::start(&[rest.rest().into()], 4, 3);
    for round in 0..30 {
        let exit = if round % 2 == 0 { Exit::Close } else { Exit::Reset };
        let event = pair(&format!("half-{round}")).json().to_string();
        send_and_disconnect(&rest, &request("", event.len(), &event[..event.len() / 2]), exit)
            .await;
        let event = pair("unread").json().to_string();
        send_and_disconnect(&rest, &request("", event.len(), &event), exit).await;
        let lines = format!("{event}\n{}", &event[..event.len() / 2]);
        send_and_disconnect(&rest, &request("/bulk", lines.len() + 100, &lines), exit).await;
    }
    let history = load.stop().await;
    history.assert_all_done();
    history.check(&rest.rest()).await;

    let client = rest.rest();
    eventually("an event of a disconnected client is applied", async || {
        client.entity("Car", "unread").await.0 > 0
    })
    .await;
    let event = pair("after");
    let versions = vec![1, 1];
    assert_eq!(client.send(&event).await, Outcome::Done { duplicate: false, versions });
    rest.stop().await;

    // without load: incomplete events are not stored, complete ones for both of their entities
    let rest = Service::start(Binary::Rest, &database.settings()).await;
    assert_eq!(rest.rest().entity("Car", "half-0").await.0, 0);
    let car = rest.rest().entity("Car", "unread").await;
    let loan = rest.rest().entity("Loan", "unread").await;
    assert_eq!(car, loan);
    rest.stop().await;
    rebuild_is_clean(database).await;
}

/// An event with the same update for two entities.
fn pair(id: &str) -> SentEvent {
    let attributes = json!({ uuid::Uuid::new_v4().to_string(): {"deep": [1, 2, 3]} });
    SentEvent::new("Car", id, attributes.clone()).and("Loan", id, attributes)
}

fn request(path: &str, length: usize, body: &str) -> String {
    let kind = if path.is_empty() { "json" } else { "x-ndjson" };
    format!(
        "POST /api/v1/events{path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/{kind}\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

async fn send_and_disconnect(service: &Service, bytes: &str, exit: Exit) {
    let mut connection = TcpStream::connect(service.address()).await.unwrap();
    connection.write_all(bytes.as_bytes()).await.unwrap();
    if let Exit::Reset = exit {
        connection.set_zero_linger().unwrap();
    }
}
