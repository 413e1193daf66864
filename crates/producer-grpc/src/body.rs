//! A request's body on its way to tonic. Messages are checked, decompressed and counted here, so
//! that every limit holds before tonic buffers a byte, and every error has our details.

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

use crate::request_id::RequestId;
use crate::status;

/// Before each message: a byte that says whether it is compressed, and four with its length.
const HEADER: usize = 5;
/// Bytes that are decompressed before the limits are checked again.
const DECOMPRESS_STEP: usize = 64 << 10;
/// The largest zstd window, as a power of two: 8 MiB (RFC 9659).
const ZSTD_WINDOW_LOG: u32 = 23;

/// How a request's messages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Gzip,
    Zstd,
}

impl Encoding {
    /// From `grpc-encoding`; `None` without compression.
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

/// Limits of one body, and how it is encoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    /// `MAX_BODY_BYTES`, of a message compressed and decompressed.
    pub(crate) max_message: usize,
    /// `BODY_TIMEOUT`, from chunk to chunk.
    pub(crate) timeout: Duration,
    pub(crate) encoding: Option<Encoding>,
    /// A stream may idle between messages and have any number of them.
    pub(crate) is_stream: bool,
}

/// The share of `BODY_BUFFER_BYTES` that a call's bytes take until they are queued. The body of a
/// stream returns it by itself; a unary call's handler finds this among the request's extensions,
/// and the bytes are returned when both have dropped it.
#[derive(Debug, Clone)]
pub(crate) struct BufferLease(Arc<Mutex<Lease>>);

impl BufferLease {
    pub(crate) fn new(lease: Lease) -> Self {
        Self(Arc::new(Mutex::new(lease)))
    }

    fn grow(&self, bytes: usize) -> Result<(), Problem> {
        let fits = self.0.lock().unwrap_or_else(PoisonError::into_inner).grow(bytes);
        let exhausted = || {
            let detail = "too many bytes of requests are buffered; try again later";
            Problem::new(ProblemKind::Overloaded, detail)
        };
        fits.then_some(()).ok_or_else(exhausted)
    }

    fn shrink(&self, bytes: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).shrink(bytes);
    }
}

/// The body that tonic reads.
pub(crate) struct MessageBody<B> {
    inner: B,
    limits: BodyLimits,
    lease: BufferLease,
    request: RequestId,
    state: State,
    messages: usize,
    /// Leased bytes of complete messages that tonic has: it polls for more only when their handler
    /// has taken them.
    delivered: usize,
    /// Leased bytes of a message that is still incomplete.
    partial: usize,
    deadline: Pin<Box<Sleep>>,
    is_armed: bool,
    /// Returned by the next poll, after the messages that came before it.
    error: Option<Problem>,
    is_over: bool,
}

#[derive(Debug)]
enum State {
    Header {
        bytes: [u8; HEADER],
        have: usize,
    },
    /// Within a message that is passed through.
    Uncompressed {
        left: usize,
    },
    /// Within a message that is buffered to be decompressed.
    Compressed {
        bytes: BytesMut,
        len: usize,
    },
}

const NEW_MESSAGE: State = State::Header { bytes: [0; HEADER], have: 0 };

impl<B> MessageBody<B> {
    pub(crate) fn new(
        inner: B,
        limits: BodyLimits,
        lease: BufferLease,
        request: RequestId,
    ) -> Self {
        let deadline = Box::pin(sleep(limits.timeout));
        Self {
            inner,
            limits,
            lease,
            request,
            state: NEW_MESSAGE,
            messages: 0,
            delivered: 0,
            partial: 0,
            deadline,
            is_armed: false,
            error: None,
            is_over: false,
        }
    }

    fn is_between_messages(&self) -> bool {
        matches!(self.state, State::Header { have: 0, .. })
    }

    /// Takes a chunk as it was received and returns what tonic gets of it: after an error, the
    /// complete messages before it.
    fn take(&mut self, chunk: Bytes) -> Bytes {
        if let Err(problem) = self.lease.grow(chunk.len()) {
            self.error = Some(problem);
            return Bytes::new();
        }
        // bodies without compression are passed through
        let mut out = self.limits.encoding.map(|_| BytesMut::with_capacity(chunk.len()));
        let mut rest = &chunk[..];
        let (mut complete_read, mut complete_written) = (0, 0);
        while !rest.is_empty() && self.error.is_none() {
            self.error = self.step(&mut rest, &mut out).err();
            if self.is_between_messages() {
                complete_read = chunk.len() - rest.len();
                complete_written = out.as_ref().map_or(0, BytesMut::len);
            }
        }
        match (out, &self.error) {
            (None, None) => chunk,
            (None, Some(_)) => chunk.slice(..complete_read),
            (Some(out), None) => out.freeze(),
            (Some(out), Some(_)) => out.freeze().slice(..complete_written),
        }
    }

    /// Takes from `chunk` what the current state needs.
    fn step(&mut self, chunk: &mut &[u8], out: &mut Option<BytesMut>) -> Result<(), Problem> {
        let used = match &mut self.state {
            State::Header { bytes, have } => {
                let used = chunk.len().min(HEADER - *have);
                bytes[*have..*have + used].copy_from_slice(&chunk[..used]);
                *have += used;
                used
            }
            State::Uncompressed { left } => {
                let used = chunk.len().min(*left);
                put(out, &chunk[..used]);
                *left -= used;
                used
            }
            State::Compressed { bytes, len } => {
                let used = chunk.len().min(*len - bytes.len());
                bytes.extend_from_slice(&chunk[..used]);
                used
            }
        };
        self.partial += used;
        *chunk = &chunk[used..];
        self.advance(out)
    }

    /// Goes to the next state if the current one has all its bytes.
    fn advance(&mut self, out: &mut Option<BytesMut>) -> Result<(), Problem> {
        if let State::Header { bytes, have: HEADER } = self.state {
            self.state = self.begin_message(bytes)?;
            if matches!(self.state, State::Uncompressed { .. }) {
                put(out, &bytes);
            }
        }
        match &mut self.state {
            State::Uncompressed { left: 0 } => self.end_message(),
            State::Compressed { bytes, len } if bytes.len() == *len => {
                let bytes = std::mem::take(bytes);
                self.decompress(&bytes, out)?;
                self.end_message();
            }
            _ => {}
        }
        Ok(())
    }

    fn begin_message(&mut self, [flag, len @ ..]: [u8; HEADER]) -> Result<State, Problem> {
        self.messages += 1;
        if self.messages > 1 && !self.limits.is_stream {
            return Err(malformed("the call takes one message"));
        }
        let len = u32::from_be_bytes(len) as usize;
        if len > self.limits.max_message {
            return Err(self.too_large());
        }
        match (flag, self.limits.encoding) {
            (0, _) => Ok(State::Uncompressed { left: len }),
            (1, Some(_)) => Ok(State::Compressed { bytes: BytesMut::new(), len }),
            (1, None) => Err(malformed("a message is compressed, but there is no grpc-encoding")),
            _ => Err(malformed("a message's first byte must be 0 or 1")),
        }
    }

    fn end_message(&mut self) {
        self.delivered += std::mem::take(&mut self.partial);
        self.state = NEW_MESSAGE;
    }

    fn decompress(&mut self, bytes: &[u8], out: &mut Option<BytesMut>) -> Result<(), Problem> {
        let invalid = |_| malformed("a compressed message can't be decompressed");
        let mut decoder: Box<dyn Read + '_> = match self.limits.encoding {
            Some(Encoding::Zstd) => {
                let mut decoder = zstd::Decoder::with_buffer(bytes).map_err(invalid)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(invalid)?;
                Box::new(decoder)
            }
            _ => Box::new(flate2::read::GzDecoder::new(bytes)),
        };
        let mut message = Vec::new();
        loop {
            let before = message.len();
            decoder
                .by_ref()
                .take(DECOMPRESS_STEP as u64)
                .read_to_end(&mut message)
                .map_err(invalid)?;
            if message.len() == before {
                break;
            }
            self.lease.grow(message.len() - before)?;
            self.partial += message.len() - before;
            if message.len() > self.limits.max_message {
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
            format!("a message may have at most {} bytes", self.limits.max_message),
        )
    }

    fn check_end(&self) -> Result<(), Problem> {
        if !self.is_between_messages() {
            Err(malformed("the body ends in the middle of a message"))
        } else if self.messages == 0 && !self.limits.is_stream {
            Err(malformed("the call has no message"))
        } else {
            Ok(())
        }
    }

    /// Ready when the client took too long for the next chunk of a message that it has begun.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Problem> {
        if self.limits.is_stream && self.is_between_messages() {
            return Poll::Pending;
        }
        if !self.is_armed {
            self.is_armed = true;
            self.deadline.as_mut().reset(Instant::now() + self.limits.timeout);
        }
        ready!(self.deadline.as_mut().poll(cx));
        Poll::Ready(Problem::new(ProblemKind::Timeout, "a message came too slowly"))
    }
}

impl<B> Body for MessageBody<B>
where
    B: Body<Data = Bytes> + Unpin,
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
        if this.limits.is_stream {
            this.lease.shrink(std::mem::take(&mut this.delivered));
        }
        loop {
            if let Some(problem) = this.error.take() {
                this.is_over = true;
                let status = status::from_problem(&problem, &this.request);
                return Poll::Ready(Some(Err(status.into())));
            }
            let Poll::Ready(next) = Pin::new(&mut this.inner).poll_frame(cx) else {
                this.error = Some(ready!(this.poll_deadline(cx)));
                continue;
            };
            this.is_armed = false;
            match next.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(chunk))) => {
                    let chunk = this.take(chunk);
                    // empty while a compressed message is incomplete
                    if !chunk.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(chunk))));
                    }
                }
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                // tonic would take some of these for the end of the body, others for INTERNAL
                Some(Err(_)) => this.error = Some(malformed("the body broke off")),
                None => match this.check_end() {
                    Ok(()) => return Poll::Ready(None),
                    Err(problem) => this.error = Some(problem),
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
