//! An HTTP/1.1 connection that reads only the status, the length and the body of a response.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A keep-alive connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A response.
pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 4096] })
    }

    /// Sends a request and reads its response.
    pub(crate) async fn call(&mut self, request: &[u8]) -> io::Result<Response<'_>> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        let head = loop {
            filled += self.read(filled).await?;
            if let Some(head) = Head::parse(&self.buffer[..filled])? {
                break head;
            }
        };
        while filled < head.body_at + head.length {
            filled += self.read(filled).await?;
        }
        let body = &self.buffer[head.body_at..head.body_at + head.length];
        Ok(Response { status: head.status, body })
    }

    async fn read(&mut self, filled: usize) -> io::Result<usize> {
        if filled == self.buffer.len() {
            self.buffer.resize(filled * 2, 0);
        }
        match self.stream.read(&mut self.buffer[filled..]).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }
}

/// The part of a response's head that is needed.
struct Head {
    status: u16,
    body_at: usize,
    length: usize,
}

impl Head {
    /// Returns `None` while the head is incomplete.
    fn parse(response: &[u8]) -> io::Result<Option<Self>> {
        let Some(end) = response.windows(4).position(|part| part == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&response[..end]).map_err(io::Error::other)?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let length = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        match (status, length) {
            (Some(status), Some(length)) => Ok(Some(Self { status, body_at: end + 4, length })),
            _ => Err(io::Error::other(format!("a response without status or length: {text}"))),
        }
    }
}
