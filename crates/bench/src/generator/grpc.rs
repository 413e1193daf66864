//! Clients of the gRPC API, directly on HTTP/2: a gRPC library would take more CPU than the server.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{self, SendRequest};
use http::{HeaderMap, Request};
use producer_grpc::proto::v1::{EntityUpdate, EventBody, EventHeader, EventRequest};
use prost::Message;
use tokio::net::TcpStream;

use super::clients::{Clients, template};
use super::schedule::Schedule;
use crate::Result;
use crate::cells::Cell;
use crate::events::{self, Template};
use crate::meter::Meter;

const UNARY: &str = "http://127.0.0.1/producer.v1.EventService/ProcessEvent";
const STREAM: &str = "http://127.0.0.1/producer.v1.EventService/StreamEvents";

/// Concurrent unary calls share this many connections.
const UNARY_CONNECTIONS: usize = 4;

/// Bytes before each message: the compression flag and the length.
const PREFIX: usize = 5;

/// Starts clients that make one call after the other.
pub(super) async fn start_unary(
    clients: &mut Clients,
    cell: &Cell,
    address: SocketAddr,
    meter: &Meter,
    schedule: impl FnOnce() -> Schedule,
) -> Result<()> {
    let message = message(cell);
    let mut connections = Vec::new();
    for _ in 0..UNARY_CONNECTIONS.min(cell.connections) {
        connections.push(connect(clients, address).await?);
    }
    let schedule = schedule();
    for connection in connections.iter().cycle().take(cell.connections) {
        let (connection, meter, schedule) = (connection.clone(), meter.clone(), schedule.clone());
        clients.spawn(client(connection, template(message.clone(), cell), meter, schedule));
    }
    Ok(())
}

async fn client(
    connection: SendRequest<Bytes>,
    mut template: Template,
    meter: Meter,
    schedule: Schedule,
) {
    loop {
        let time = schedule.next().await;
        match call(connection.clone(), template.next()).await {
            Ok(CallResult::Success) => meter.success(time, 1),
            Ok(CallResult::Status(status)) if status.is_refusal() => {
                meter.refusal(time, || status.to_string());
            }
            Ok(CallResult::Status(status)) => meter.record_error(|| status.to_string()),
            Err(error) => return meter.record_error(|| error.to_string()),
        }
    }
}

/// Starts streams, each on its own connection, with at most `in_flight` events without a result.
pub(super) async fn start_streams(
    clients: &mut Clients,
    cell: &Cell,
    in_flight: usize,
    address: SocketAddr,
    meter: &Meter,
) -> Result<()> {
    let message = message(cell);
    for _ in 0..cell.connections {
        let connection = connect(clients, address).await?;
        let (template, meter) = (template(message.clone(), cell), meter.clone());
        clients.spawn(async move {
            if let Err(error) = stream(connection, template, in_flight, &meter).await {
                meter.record_error(|| error.to_string());
            }
        });
    }
    Ok(())
}

/// An event as a gRPC message with its prefix.
fn message(cell: &Cell) -> Vec<u8> {
    let update = EntityUpdate {
        entity_type: events::ENTITY_TYPE.to_owned(),
        entity_id: events::key_placeholder(cell.keys),
        attributes_json: Some(events::attributes(cell.size)),
        ..EntityUpdate::default()
    };
    let header = EventHeader {
        uuid: events::UUID.to_owned(),
        event_name: events::NAME.to_owned(),
        event_type: events::NAME.to_owned(),
        created_date: events::CREATED.to_owned(),
        ..EventHeader::default()
    };
    let event = EventRequest {
        event_header: Some(header),
        event_body: Some(EventBody { entities: vec![update] }),
    };
    let message = event.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], length.to_be_bytes().as_slice(), &message].concat()
}

async fn connect(clients: &mut Clients, address: SocketAddr) -> Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut builder = client::Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(16 << 20);
    let (sender, connection) = builder.handshake(stream).await?;
    clients.spawn(async move {
        // the calls on it return its error
        let _ended = connection.await;
    });
    Ok(sender)
}

fn request(uri: &'static str) -> Result<Request<()>> {
    let request = Request::post(uri)
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .header(http::header::TE, "trailers");
    Ok(request.body(())?)
}

async fn call(connection: SendRequest<Bytes>, message: &[u8]) -> Result<CallResult> {
    let mut connection = connection.ready().await?;
    let (response, mut body) = connection.send_request(request(UNARY)?, false)?;
    body.send_data(Bytes::copy_from_slice(message), true)?;
    let (head, mut body) = response.await?.into_parts();
    let mut message = Vec::new();
    while let Some(chunk) = next_chunk(&mut body).await? {
        message.extend_from_slice(&chunk);
    }
    let trailers = body.trailers().await?;
    if let Some(status) = Status::unless_ok(trailers.as_ref().unwrap_or(&head.headers)) {
        return Ok(CallResult::Status(status));
    }
    // `success`, the first field
    match message.get(PREFIX..PREFIX + 2) {
        Some([0x08, 1]) => Ok(CallResult::Success),
        _ => Err("a response without success".into()),
    }
}

async fn next_chunk(body: &mut RecvStream) -> Result<Option<Bytes>> {
    let Some(chunk) = body.data().await else { return Ok(None) };
    let chunk = chunk?;
    body.flow_control().release_capacity(chunk.len())?;
    Ok(Some(chunk))
}

/// The result of a call that got a response.
enum CallResult {
    Success,
    Status(Status),
}

/// A status other than OK.
struct Status {
    code: String,
    message: String,
}

impl Status {
    fn unless_ok(headers: &HeaderMap) -> Option<Self> {
        let text = |name| {
            let value = headers.get(name).map(http::HeaderValue::as_bytes);
            String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
        };
        let code = text("grpc-status");
        (code != "0").then(|| Self { code, message: text("grpc-message") })
    }

    /// `UNAVAILABLE`: nothing is stored.
    fn is_refusal(&self) -> bool {
        self.code == "14"
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "grpc-status {:?}: {}", self.code, self.message)
    }
}

/// Sends an event for each result; returns only on an error.
async fn stream(
    connection: SendRequest<Bytes>,
    mut template: Template,
    in_flight: usize,
    meter: &Meter,
) -> Result<()> {
    let mut connection = connection.ready().await?;
    let (response, mut requests) = connection.send_request(request(STREAM)?, false)?;
    let mut pending = VecDeque::with_capacity(in_flight);
    requests.send_data(next_messages(&mut template, &mut pending, in_flight), false)?;
    let (head, mut body) = response.await?.into_parts();
    let mut received = Vec::new();
    while let Some(chunk) = next_chunk(&mut body).await? {
        received.extend_from_slice(&chunk);
        let used = take_results(&received, &mut pending, meter)?;
        received.drain(..used);
        let free = in_flight - pending.len();
        if free > 0 {
            requests.send_data(next_messages(&mut template, &mut pending, free), false)?;
        }
    }
    let trailers = body.trailers().await?;
    match Status::unless_ok(trailers.as_ref().unwrap_or(&head.headers)) {
        Some(status) => Err(status.to_string().into()),
        None => Err("the stream ended".into()),
    }
}

/// The next messages; appends the time of sending for each.
fn next_messages(template: &mut Template, pending: &mut VecDeque<Instant>, count: usize) -> Bytes {
    let now = Instant::now();
    let mut messages = Vec::new();
    for _ in 0..count {
        messages.extend_from_slice(template.next());
        pending.push_back(now);
    }
    messages.into()
}

/// Counts every complete result and returns the length of their bytes. Results are in order.
fn take_results(received: &[u8], pending: &mut VecDeque<Instant>, meter: &Meter) -> Result<usize> {
    let mut used = 0;
    while let Some(&[_, a, b, c, d]) = received.get(used..used + PREFIX).and_then(as_prefix) {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let start = used + PREFIX;
        let Some(result) = received.get(start..start + length) else { break };
        let sent = pending.pop_front().ok_or("more results than events")?;
        if is_processed(result) {
            meter.success(sent, 1);
        } else {
            meter.record_error(|| format!("result: {}", String::from_utf8_lossy(result)));
        }
        used = start + length;
    }
    Ok(used)
}

fn as_prefix(bytes: &[u8]) -> Option<&[u8; PREFIX]> {
    bytes.try_into().ok()
}

/// Whether `status`, the second field, is `PROCESSED`. The first field, `index`, is absent if it is 0.
fn is_processed(result: &[u8]) -> bool {
    let after_index = match result {
        [0x08, rest @ ..] => {
            let last = rest.iter().position(|byte| byte & 0x80 == 0).unwrap_or(0);
            rest.get(last + 1..).unwrap_or_default()
        }
        all => all,
    };
    after_index.starts_with(&[0x10, 1])
}

#[cfg(test)]
mod tests {
    use producer_grpc::proto::v1::{EventResult, EventStatus};

    use super::*;

    fn framed(index: u64, status: EventStatus) -> Vec<u8> {
        let result = EventResult { index, status: status.into(), ..EventResult::default() };
        let bytes = result.encode_to_vec();
        [&[0, 0, 0, 0, bytes.len() as u8], bytes.as_slice()].concat()
    }

    #[test]
    fn results_are_counted_across_chunks() {
        let meter = Meter::new().expect("a meter");
        let mut pending: VecDeque<_> = [Instant::now(); 4].into();
        let all = [
            framed(0, EventStatus::Processed),
            framed(300, EventStatus::Processed),
            framed(301, EventStatus::Conflict),
            framed(302, EventStatus::Processed),
        ]
        .concat();
        let cut = all.len() - 3;
        let used = take_results(&all[..cut], &mut pending, &meter).expect("results");
        assert_eq!((meter.acknowledged(), pending.len()), (2, 1));
        assert!(meter.error().is_some_and(|error| error.starts_with("1 failed")));
        let rest = take_results(&all[used..], &mut pending, &meter).expect("results");
        assert_eq!((used + rest, meter.acknowledged()), (all.len(), 3));
    }
}
