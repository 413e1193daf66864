//! A request's body on its way to tonic: messages are measured, inflated and counted here, so that
//! every limit of the contract holds before tonic gathers a byte, and every breach of one is told
//! with our details.

use std::io::Read;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame};
use producer_core::{Problem, ProblemKind};
use producer_server::budget::Lease;
use tokio::time::{Instant, Sleep, sleep};

use crate::admission::RequestId;
use crate::status;

/// Each message has a byte that says whether it is compressed, and its length in four.
const HEADER: usize = 5;
const INFLATE_STEP: usize = 64 << 10;
/// zstd's window, as a power of two: what RFC 9659 asks decoders of HTTP to take.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How a request's messages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Gzip,
    Zstd,
}

impl Encoding {
    /// From `grpc-encoding`; `None` where messages come as they are.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        match headers.get("grpc-encoding").map(http::HeaderValue::as_bytes) {
            None | Some(b"identity") => Ok(None),
            Some(b"gzip") => Ok(Some(Self::Gzip)),
            Some(b"zstd") => Ok(Some(Self::Zstd)),
            Some(_) => Err(Problem::new(
                ProblemKind::MediaType,
                "grpc-encoding must be gzip, zstd or identity",
            )),
        }
    }
}

/// What a body is lease to.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// `MAX_BODY_BYTES`, compressed and not.
    pub(crate) max_message: usize,
    /// `BODY_TIMEOUT`, from byte to byte.
    pub(crate) timeout: Duration,
    pub(crate) encoding: Option<Encoding>,
    /// A stream may idle between messages and have any number of them.
    pub(crate) is_stream: bool,
    pub(crate) request: RequestId,
}

/// Bytes read and not yet queued. A stream's body gives them back itself; those of a unary call are
/// lease until its handler drops this, which it finds among the request's extensions.
#[derive(Debug, Clone)]
pub(crate) struct BufferLease(Arc<Mutex<Lease>>);

impl BufferLease {
    pub(crate) fn new(lease: Lease) -> Self {
        Self(Arc::new(Mutex::new(lease)))
    }

    fn grow(&self, bytes: usize) -> Result<(), Problem> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).grow(bytes);
        let full =
            || Problem::new(ProblemKind::Overloaded, "too many bytes of requests are on their way");
        taken.then_some(()).ok_or_else(full)
    }

    fn shrink(&self, bytes: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).shrink(bytes);
    }
}

/// The body that tonic reads.
pub(crate) struct MessageBody<B> {
    inner: B,
    rules: Rules,
    lease: BufferLease,
    state: State,
    messages: usize,
    /// Bytes given to tonic in whole messages: it asks for more only when their handler has taken
    /// them.
    handed_out: usize,
    /// Bytes lease for a message that is not whole yet.
    partial: usize,
    deadline: Pin<Box<Sleep>>,
    is_armed: bool,
    /// Told when what came before it is handed out.
    failure: Option<Problem>,
    is_over: bool,
}

#[derive(Debug)]
enum State {
    Header {
        bytes: [u8; HEADER],
        have: usize,
    },
    /// A message that goes on as it is.
    Plain {
        left: usize,
    },
    /// A message that is gathered to be inflated.
    Packed {
        wire: BytesMut,
        len: usize,
    },
}

const NEW_MESSAGE: State = State::Header { bytes: [0; HEADER], have: 0 };

impl<B> MessageBody<B> {
    pub(crate) fn new(inner: B, rules: Rules, lease: BufferLease) -> Self {
        let deadline = Box::pin(sleep(rules.timeout));
        Self {
            inner,
            rules,
            lease,
            state: NEW_MESSAGE,
            messages: 0,
            handed_out: 0,
            partial: 0,
            deadline,
            is_armed: false,
            failure: None,
            is_over: false,
        }
    }

    fn is_between_messages(&self) -> bool {
        matches!(self.state, State::Header { have: 0, .. })
    }

    /// Takes a chunk of the wire and returns what tonic gets of it: where it fails, the whole
    /// messages before that.
    fn take(&mut self, chunk: Bytes) -> Bytes {
        if let Err(problem) = self.lease.grow(chunk.len()) {
            self.failure = Some(problem);
            return Bytes::new();
        }
        // bodies without compression go on as they are
        let mut out = self.rules.encoding.map(|_| BytesMut::with_capacity(chunk.len()));
        let mut rest = &chunk[..];
        let (mut whole_read, mut whole_written) = (0, 0);
        while !rest.is_empty() && self.failure.is_none() {
            self.failure = self.step(&mut rest, &mut out).err();
            if self.is_between_messages() {
                whole_read = chunk.len() - rest.len();
                whole_written = out.as_ref().map_or(0, BytesMut::len);
            }
        }
        match (out, &self.failure) {
            (None, None) => chunk,
            (None, Some(_)) => chunk.slice(..whole_read),
            (Some(out), None) => out.freeze(),
            (Some(out), Some(_)) => out.freeze().slice(..whole_written),
        }
    }

    /// Takes what the present state wants of `chunk`.
    fn step(&mut self, chunk: &mut &[u8], out: &mut Option<BytesMut>) -> Result<(), Problem> {
        let used = match &mut self.state {
            State::Header { bytes, have } => {
                let used = chunk.len().min(HEADER - *have);
                bytes[*have..*have + used].copy_from_slice(&chunk[..used]);
                *have += used;
                used
            }
            State::Plain { left } => {
                let used = chunk.len().min(*left);
                put(out, &chunk[..used]);
                *left -= used;
                used
            }
            State::Packed { wire, len } => {
                let used = chunk.len().min(*len - wire.len());
                wire.extend_from_slice(&chunk[..used]);
                used
            }
        };
        self.partial += used;
        *chunk = &chunk[used..];
        self.advance(out)
    }

    /// Goes on to the next state where the present one has all its bytes.
    fn advance(&mut self, out: &mut Option<BytesMut>) -> Result<(), Problem> {
        if let State::Header { bytes, have: HEADER } = self.state {
            self.state = self.begin_message(bytes)?;
            if matches!(self.state, State::Plain { .. }) {
                put(out, &bytes);
            }
        }
        match &mut self.state {
            State::Plain { left: 0 } => self.end_message(),
            State::Packed { wire, len } if wire.len() == *len => {
                let wire = std::mem::take(wire);
                self.inflate(&wire, out)?;
                self.end_message();
            }
            _ => {}
        }
        Ok(())
    }

    fn begin_message(&mut self, [flag, len @ ..]: [u8; HEADER]) -> Result<State, Problem> {
        self.messages += 1;
        if self.messages > 1 && !self.rules.is_stream {
            return Err(malformed("the call takes one message"));
        }
        let len = u32::from_be_bytes(len) as usize;
        if len > self.rules.max_message {
            return Err(self.too_large());
        }
        match (flag, self.rules.encoding) {
            (0, _) => Ok(State::Plain { left: len }),
            (1, Some(_)) => Ok(State::Packed { wire: BytesMut::new(), len }),
            (1, None) => Err(malformed("a message is compressed, but there is no grpc-encoding")),
            _ => Err(malformed("a message's first byte must be 0 or 1")),
        }
    }

    fn end_message(&mut self) {
        self.handed_out += std::mem::take(&mut self.partial);
        self.state = NEW_MESSAGE;
    }

    fn inflate(&mut self, wire: &[u8], out: &mut Option<BytesMut>) -> Result<(), Problem> {
        let broken = |_| malformed("a compressed message can't be decoded");
        let mut decoder: Box<dyn Read + '_> = match self.rules.encoding {
            Some(Encoding::Zstd) => {
                let mut decoder = zstd::Decoder::with_buffer(wire).map_err(broken)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(broken)?;
                Box::new(decoder)
            }
            _ => Box::new(flate2::read::GzDecoder::new(wire)),
        };
        let mut message = Vec::new();
        loop {
            let before = message.len();
            decoder.by_ref().take(INFLATE_STEP as u64).read_to_end(&mut message).map_err(broken)?;
            if message.len() == before {
                break;
            }
            self.lease.grow(message.len() - before)?;
            self.partial += message.len() - before;
            if message.len() > self.rules.max_message {
                return Err(self.too_large());
            }
        }
        let len = u32::try_from(message.len()).map_err(|_| self.too_large())?;
        put(out, &[0]);
        put(out, &len.to_be_bytes());
        put(out, &message);
        Ok(())
    }

    fn too_large(&self) -> Problem {
        Problem::new(
            ProblemKind::TooLarge,
            format!("a message may have at most {} bytes", self.rules.max_message),
        )
    }

    fn at_end(&self) -> Result<(), Problem> {
        if !self.is_between_messages() {
            Err(malformed("the body ends in the middle of a message"))
        } else if self.messages == 0 && !self.rules.is_stream {
            Err(malformed("the call has no message"))
        } else {
            Ok(())
        }
    }

    /// Ready when the client took too long for the next byte of what it has begun.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Problem> {
        if self.rules.is_stream && self.is_between_messages() {
            return Poll::Pending;
        }
        if !self.is_armed {
            self.is_armed = true;
            self.deadline.as_mut().reset(Instant::now() + self.rules.timeout);
        }
        ready!(self.deadline.as_mut().poll(cx));
        Poll::Ready(Problem::new(ProblemKind::Timeout, "a message came too slowly"))
    }
}

impl<B> Body for MessageBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        if this.rules.is_stream {
            this.lease.shrink(std::mem::take(&mut this.handed_out));
        }
        loop {
            if let Some(problem) = this.failure.take() {
                this.is_over = true;
                let status = status::from_problem(&problem, &this.rules.request);
                return Poll::Ready(Some(Err(status.into())));
            }
            let Poll::Ready(next) = Pin::new(&mut this.inner).poll_frame(cx) else {
                this.failure = Some(ready!(this.poll_deadline(cx)));
                continue;
            };
            this.is_armed = false;
            match next.transpose().map_err(Into::into)?.map(Frame::into_data) {
                Some(Ok(chunk)) => {
                    let chunk = this.take(chunk);
                    // empty while a compressed message is being gathered
                    if !chunk.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(chunk))));
                    }
                }
                Some(Err(other)) => return Poll::Ready(Some(Ok(other))),
                None => match this.at_end() {
                    Ok(()) => return Poll::Ready(None),
                    Err(problem) => this.failure = Some(problem),
                },
            }
        }
    }
}

fn malformed(detail: &'static str) -> Problem {
    Problem::new(ProblemKind::Malformed, detail)
}

fn put(out: &mut Option<BytesMut>, bytes: &[u8]) {
    if let Some(out) = out {
        out.put_slice(bytes);
    }
}
