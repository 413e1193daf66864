//! Calls whose bytes no client library would send.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tonic::Status;

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

/// The same, and the answer's messages as they came.
pub(crate) async fn exchange(
    address: SocketAddr,
    path: &str,
    head: &[(&str, &str)],
    body: Vec<u8>,
) -> (Status, Bytes) {
    let socket = tokio::net::TcpStream::connect(address).await.expect("a socket");
    let executor = hyper_util::rt::TokioExecutor::new();
    let io = hyper_util::rt::TokioIo::new(socket);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, io).await.expect("a connection");
    tokio::spawn(connection);
    let mut request = http::Request::post(format!("http://{}{path}", address))
        .header("content-type", "application/grpc");
    for (name, value) in head {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body))).expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return (status, Bytes::new());
    }
    let body = answer.into_body().collect().await.expect("a whole answer");
    let status = body.trailers().and_then(Status::from_header_map);
    (status.expect("a status"), body.to_bytes())
}
