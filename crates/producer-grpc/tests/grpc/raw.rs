//! Calls whose bytes no client library would send.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{iter, pending};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;
use tonic::Status;

pub(crate) const PROCESS: &str = "/producer.v1.EventService/ProcessEvent";
pub(crate) const STREAM: &str = "/producer.v1.EventService/StreamEvents";

/// A message's header and its bytes.
pub(crate) fn framed(flag: u8, bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).expect("a short message");
    [&[flag], &len.to_be_bytes()[..], bytes].concat()
}

/// Sends a body of any bytes and returns the status of the answer.
pub(crate) async fn raw(
    address: SocketAddr,
    path: &str,
    head: &[(&str, &str)],
    body: Vec<u8>,
) -> Status {
    exchange(address, path, head, body).await.0
}

/// The same, and the undecoded messages of the answer.
pub(crate) async fn exchange(
    address: SocketAddr,
    path: &str,
    head: &[(&str, &str)],
    body: Vec<u8>,
) -> (Status, Bytes) {
    answered(send(address, path, head, Full::new(Bytes::from(body))).await).await
}

/// Sends a streaming body.
pub(crate) async fn answered_call<B>(address: SocketAddr, path: &str, body: B) -> (Status, Bytes)
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    answered(send(address, path, &[], body).await).await
}

/// Sends a body that stops after these bytes, without an end.
pub(crate) async fn stalled(address: SocketAddr, path: &str, bytes: Vec<u8>) -> (Status, Bytes) {
    answered_call(address, path, endless(bytes)).await
}

/// A body that stops after these bytes, without an end.
pub(crate) fn endless(
    bytes: Vec<u8>,
) -> impl Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static {
    let frames = iter([Ok(Frame::data(Bytes::from(bytes)))]).chain(pending());
    StreamBody::new(frames)
}

/// Sends a request over a connection of its own and returns the head of the answer.
pub(crate) async fn send<B>(
    address: SocketAddr,
    path: &str,
    head: &[(&str, &str)],
    body: B,
) -> http::Response<Incoming>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let socket = TcpStream::connect(address).await.expect("a socket");
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.expect("a connection");
    tokio::spawn(connection);
    let mut request = http::Request::post(format!("http://{address}{path}"))
        .header("content-type", "application/grpc");
    for (name, value) in head {
        request = request.header(*name, *value);
    }
    sender.send_request(request.body(body).expect("a request")).await.expect("an answer")
}

async fn answered(answer: http::Response<Incoming>) -> (Status, Bytes) {
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return (status, Bytes::new());
    }
    let body = answer.into_body().collect().await.expect("a whole answer");
    let status = body.trailers().and_then(Status::from_header_map);
    (status.expect("a status"), body.to_bytes())
}

/// The messages of an answer.
pub(crate) fn unframed<M: Message + Default>(mut answer: Bytes) -> Vec<M> {
    let mut messages = Vec::new();
    while !answer.is_empty() {
        let header = answer.split_to(5);
        let len = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        messages.push(M::decode(answer.split_to(len)).expect("a message"));
    }
    messages
}
