//! Definitions of types by the REST API.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::cars;
use super::clients::request;
use crate::Result;
use crate::generator::{Connection, to_text};
use crate::progress::Occasionally;

const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Declares it for the cars, and waits until all of it works.
pub(super) async fn define(address: SocketAddr, definition: &str) -> Result<()> {
    put(address, definition).await?;
    wait_until_ready(address).await
}

/// Declares it for the cars.
pub(super) async fn put(address: SocketAddr, definition: &str) -> Result<()> {
    let (kind, length) = (cars::TYPE, definition.len());
    let request = format!(
        "PUT /api/v1/types/{kind} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{definition}"
    );
    let mut connection = Connection::open(address).await?;
    let response = connection.call(request.as_bytes()).await?;
    match response.status {
        200 | 201 => Ok(()),
        _ => Err(format!("PUT of a type: {}", to_text(&response)).into()),
    }
}

/// Polls until everything that is declared for the cars is built.
pub(super) async fn wait_until_ready(address: SocketAddr) -> Result<()> {
    let mut connection = Connection::open(address).await?;
    let request = request("GET", &format!("/api/v1/types/{}", cars::TYPE));
    let mut progress = Occasionally::from_now();
    loop {
        let response = connection.call(request.as_bytes()).await?;
        if response.status != 200 {
            return Err(format!("GET of a type: {}", to_text(&response)).into());
        }
        let answer: Value = serde_json::from_slice(response.body)?;
        if is_ready(&answer) {
            return Ok(());
        }
        progress.print(|| answer["parts"].to_string());
        sleep(POLL_INTERVAL).await;
    }
}

/// Whether every part of a definition works.
fn is_ready(answer: &Value) -> bool {
    let parts = answer["parts"].as_array();
    parts.is_some_and(|parts| parts.iter().all(|part| part["status"] == "ready"))
}
