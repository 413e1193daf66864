//! An HTTP/1.1 answer that is read line by line while it comes.

use std::io::{self, BufRead};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The buffer of a connection at first, and at most. It grows with what is there at once, so that a
/// thousand idle connections take little memory.
const SMALLEST_READ: usize = 4 << 10;
const LARGEST_READ: usize = 256 << 10;

/// The lines of a chunked body.
pub(super) struct Lines {
    stream: TcpStream,
    buffer: Vec<u8>,
    framing: Framing,
    /// What is received and not yet read: the beginning of a line.
    text: Vec<u8>,
}

impl Lines {
    /// Sends a GET, and reads the head of its answer.
    pub(super) async fn open(address: SocketAddr, path: &str, accept: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: {accept}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut received = Vec::with_capacity(SMALLEST_READ);
        let end = loop {
            if stream.read_buf(&mut received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(at) = received.windows(4).position(|part| part == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
        if !head.starts_with("http/1.1 200 ") || !head.contains("transfer-encoding: chunked") {
            return Err(io::Error::other(String::from_utf8_lossy(&received).into_owned()));
        }
        let mut framing = Framing::Size(0);
        let mut text = Vec::new();
        framing.decode(&received[end..], &mut text)?;
        Ok(Self { stream, buffer: vec![0; SMALLEST_READ], framing, text })
    }

    /// Waits for the next lines, and calls `each` for every one that is complete, without its line break.
    /// False at the end.
    pub(super) async fn read(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<bool> {
        while !self.take_lines(&mut each)? {
            if self.framing == Framing::End {
                return Ok(false);
            }
            let count = self.stream.read(&mut self.buffer).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.framing.decode(&self.buffer[..count], &mut self.text)?;
            if count == self.buffer.len() {
                self.buffer.resize((count * 2).min(LARGEST_READ), 0);
            }
        }
        Ok(true)
    }

    /// Whether there were some.
    fn take_lines(&mut self, each: &mut impl FnMut(&[u8])) -> io::Result<bool> {
        let (mut taken, mut rest) = (0, self.text.as_slice());
        loop {
            // searches many bytes at a time
            let length = rest.skip_until(b'\n')?;
            let Some((b'\n', line)) = self.text[taken..taken + length].split_last() else { break };
            each(line);
            taken += length;
        }
        self.text.drain(..taken);
        Ok(taken > 0)
    }
}

/// The framing of a chunked body: what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// The length of a chunk, of which this was read.
    Size(usize),
    /// So many bytes of a chunk.
    Data(usize),
    /// The line break behind a chunk.
    LineBreak,
    /// Nothing: the last chunk was there.
    End,
}

impl Framing {
    /// Adds the data among received bytes to `data`.
    fn decode(&mut self, mut received: &[u8], data: &mut Vec<u8>) -> io::Result<()> {
        while let Some((&byte, behind)) = received.split_first() {
            if let Self::Data(left) = *self {
                let (part, behind) = received.split_at(left.min(received.len()));
                data.extend_from_slice(part);
                received = behind;
                *self = if part.len() == left {
                    Self::LineBreak
                } else {
                    Self::Data(left - part.len())
                };
                continue;
            }
            *self = match (*self, byte, char::from(byte).to_digit(16)) {
                (Self::Size(size), _, Some(digit)) => Self::Size(size * 16 + digit as usize),
                (Self::Size(0), b'\n', _) => Self::End,
                (Self::Size(size), b'\n', _) => Self::Data(size),
                (Self::LineBreak, b'\n', _) => Self::Size(0),
                (Self::End, ..) | (_, b'\r', _) => *self,
                _ => return Err(io::Error::other("a body whose chunks have no length")),
            };
            received = behind;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

    /// The lines of an answer that comes in these parts, and whether it ended.
    async fn lines(parts: Vec<String>) -> io::Result<Vec<String>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = async {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            for part in parts {
                stream.write_all(part.as_bytes()).await?;
                tokio::task::yield_now().await;
            }
            Ok(stream)
        };
        let client = async {
            let mut lines = Lines::open(address, "/", "text/event-stream").await?;
            let mut found = Vec::new();
            while lines.read(|line| found.push(String::from_utf8_lossy(line).into_owned())).await? {
            }
            Ok(found)
        };
        tokio::try_join!(server, client).map(|(_, found)| found)
    }

    #[tokio::test]
    async fn lines_are_whole_wherever_the_answer_is_cut() {
        let long = "x".repeat(3 * SMALLEST_READ);
        let chunk = |text: &str| format!("{:X}\r\n{text}\r\n", text.len());
        let answer = [
            HEAD,
            &chunk("one\ntw"),
            &chunk("o\n"),
            &chunk(&long),
            &chunk("\n\nend\n"),
            "0\r\n\r\n",
        ];
        let answer = answer.concat();
        for cut in [1, 5, HEAD.len(), HEAD.len() + 1, HEAD.len() + 9, answer.len() - 3] {
            let (first, second) = answer.split_at(cut);
            let found = lines(vec![first.to_owned(), second.to_owned()]).await.expect("lines");
            assert_eq!(found, ["one", "two", &long, "", "end"], "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn lines_that_come_with_the_head_are_there_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let server = async {
            let (mut stream, _) = listener.accept().await?;
            stream.write_all(format!("{HEAD}4\r\none\n\r\n").as_bytes()).await?;
            Ok(stream)
        };
        let client = Lines::open(address, "/", "text/event-stream");
        let (_open, mut lines) = tokio::try_join!(server, client).expect("an answer");
        let mut found = Vec::new();
        assert!(lines.read(|line| found.push(line.to_vec())).await.expect("a line"));
        assert_eq!(found, [b"one"]);
    }

    #[tokio::test]
    async fn another_status_a_broken_body_and_an_early_end_are_errors() {
        let refused = "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n".to_owned();
        let error = lines(vec![refused]).await.expect_err("a status");
        assert!(error.to_string().contains("410 Gone"), "{error}");
        lines(vec![HEAD.to_owned(), "a line\n".to_owned()]).await.expect_err("no chunk");
    }

    #[test]
    fn chunks_are_decoded_byte_by_byte() {
        let (mut framing, mut data) = (Framing::Size(0), Vec::new());
        for byte in b"b\r\nhello\nworld\r\n1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n" {
            framing.decode(&[*byte], &mut data).expect("chunks");
        }
        assert_eq!(data, b"hello\nworldabcdefghijklmnopqrstuvwxyz");
        assert_eq!(framing, Framing::End);
    }
}
