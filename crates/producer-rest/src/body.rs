//! Request bodies: media types, encodings, and limits of size and time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, header};
use producer_core::{Problem, ProblemKind};
use producer_server::budget::{Budget, Lease};
use tokio::io::AsyncRead;
use tokio::time::{Sleep, sleep};
use tokio_util::io::{ReaderStream, StreamReader};

/// The largest zstd window, as a power of two: 8 MiB (RFC 9659).
const ZSTD_WINDOW_LOG: u32 = 23;
/// The size of decoded chunks.
const DECODED_CHUNK: usize = 16 << 10;

/// The media types that a body may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MediaType {
    /// `application/json`, or no content type.
    Json,
    /// `application/x-ndjson` or `application/jsonl`.
    Ndjson,
}

/// The media type of a request, parameters ignored.
///
/// # Errors
/// `MediaType` for any other.
pub(crate) fn media_type(headers: &HeaderMap) -> Result<MediaType, Problem> {
    let is = essence(headers);
    if is("") || is("application/json") {
        Ok(MediaType::Json)
    } else if is("application/x-ndjson") || is("application/jsonl") {
        Ok(MediaType::Ndjson)
    } else {
        Err(unsupported("application/json (bulk also application/x-ndjson, application/jsonl)"))
    }
}

/// For routes that take only JSON.
///
/// # Errors
/// `MediaType` for any other.
pub(crate) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    match media_type(headers) {
        Ok(MediaType::Json) => Ok(()),
        _ => Err(unsupported("application/json")),
    }
}

/// For the route that takes a merge patch alone (RFC 7396).
///
/// # Errors
/// `MediaType` for anything but that and JSON.
pub(crate) fn require_merge_patch(headers: &HeaderMap) -> Result<(), Problem> {
    let is = essence(headers);
    if is("") || is("application/json") || is("application/merge-patch+json") {
        Ok(())
    } else {
        Err(unsupported("application/merge-patch+json or application/json"))
    }
}

/// Whether the content type, without parameters and in any case, is this one; empty where there is none.
fn essence(headers: &HeaderMap) -> impl Fn(&str) -> bool {
    let value = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let essence = value.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    move |media_type| essence.eq_ignore_ascii_case(media_type)
}

fn unsupported(supported: &str) -> Problem {
    let detail = format!("the content type is not supported; supported is {supported}");
    Problem::new(ProblemKind::MediaType, detail)
}

#[derive(Debug, Clone, Copy)]
enum ContentCoding {
    Identity,
    Gzip,
    Zstd,
}

fn coding(headers: &HeaderMap) -> Result<ContentCoding, Problem> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else {
        return Ok(ContentCoding::Identity);
    };
    match value.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(ContentCoding::Identity),
        "gzip" | "x-gzip" => Ok(ContentCoding::Gzip),
        "zstd" => Ok(ContentCoding::Zstd),
        _ => Err(Problem::new(
            ProblemKind::MediaType,
            "the content encoding is not supported; supported are gzip, zstd and identity",
        )),
    }
}

/// What `BODY_TIMEOUT` and `MAX_BODY_BYTES` limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The whole body.
    Body,
    /// The wait for each chunk; the reader limits sizes.
    Chunk,
}

/// Limits of one body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    /// `MAX_BODY_BYTES`
    pub bytes: usize,
    /// `BODY_TIMEOUT`
    pub timeout: Duration,
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(limit: usize) -> Problem {
    Problem::new(ProblemKind::TooLarge, format!("the body is larger than {limit} bytes"))
}

/// `BODY_BUFFER_BYTES` is used up.
pub(crate) fn buffer_exhausted() -> Problem {
    let detail = "too many bytes of requests are buffered; try again later";
    Problem::new(ProblemKind::Overloaded, detail)
}

/// The bytes of a body without its content encoding, chunk by chunk.
pub(crate) enum DecodedBody {
    /// The body has no encoding.
    Identity(BodyStream),
    /// Through a decoder.
    Decoded(ReaderStream<Pin<Box<dyn AsyncRead + Send>>>),
}

impl DecodedBody {
    fn new(coding: ContentCoding, body: BodyStream) -> Self {
        let decoder: Pin<Box<dyn AsyncRead + Send>> = match coding {
            ContentCoding::Identity => return Self::Identity(body),
            ContentCoding::Gzip => {
                let mut decoder = GzipDecoder::new(StreamReader::new(body));
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
            ContentCoding::Zstd => {
                let window = [DParameter::window_log_max(ZSTD_WINDOW_LOG)];
                let mut decoder = ZstdDecoder::with_params(StreamReader::new(body), &window);
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
        };
        Self::Decoded(ReaderStream::with_capacity(decoder, DECODED_CHUNK))
    }

    /// The next chunk. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Problem>> {
        let chunk = match self {
            Self::Identity(body) => body.next().await,
            Self::Decoded(reader) => {
                // a few bytes may decode to gibibytes without a wait: let other tasks run between
                tokio::task::coop::consume_budget().await;
                reader.next().await
            }
        };
        chunk.map(|chunk| chunk.map_err(into_problem))
    }
}

/// Our own problems pass through the decoder inside its errors; any other error is the decoder's.
fn into_problem(error: io::Error) -> Problem {
    error.downcast::<Problem>().unwrap_or_else(|_| {
        Problem::new(ProblemKind::Malformed, "the body can't be decoded by its content encoding")
    })
}

/// The bytes of a body as they are received.
pub(crate) struct BodyStream {
    /// `None` after its end.
    body: Option<BodyDataStream>,
    scope: Scope,
    limits: BodyLimits,
    received: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl BodyStream {
    /// The body of a request.
    pub(crate) fn new(body: Body, limits: BodyLimits) -> Self {
        let body = Some(body.into_data_stream());
        Self { body, scope: Scope::Body, limits, received: 0, timer: None }
    }

    /// Reads and decodes all of it. The lease is of its bytes.
    ///
    /// # Errors
    /// `MediaType`, `TooLarge`, `Timeout`, `Overloaded`; `Malformed` if it breaks off.
    pub(crate) async fn read_all(
        self,
        headers: &HeaderMap,
        budget: &Budget,
    ) -> Result<(Bytes, Lease), Problem> {
        let limit = self.limits.bytes;
        if declared_length(headers).is_some_and(|length| length > limit) {
            return Err(too_large(limit));
        }
        let mut body = DecodedBody::new(coding(headers)?, self);
        let mut lease = budget.lease();
        // usually the body is one chunk, which needs no copy
        let mut first = Bytes::new();
        let mut joined = BytesMut::new();
        while let Some(chunk) = body.next().await {
            let chunk = chunk?;
            if lease.held() + chunk.len() > limit {
                return Err(too_large(limit));
            }
            if !lease.grow(chunk.len()) {
                return Err(buffer_exhausted());
            }
            if first.is_empty() {
                first = chunk;
                continue;
            }
            if joined.is_empty() {
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&chunk);
        }
        Ok((if joined.is_empty() { first } else { joined.freeze() }, lease))
    }

    /// Waits for the end of a body that must be empty.
    ///
    /// # Errors
    /// `Malformed` as soon as it is not; `Timeout`.
    pub(crate) async fn require_empty(mut self) -> Result<(), Problem> {
        while let Some(chunk) = self.next().await {
            if !chunk.map_err(into_problem)?.is_empty() {
                return Err(Problem::new(ProblemKind::Malformed, "the request must have no body"));
            }
        }
        Ok(())
    }

    /// Decodes it as it is received, of any length.
    ///
    /// # Errors
    /// `MediaType` for an encoding that isn't supported.
    pub(crate) fn decoded(mut self, headers: &HeaderMap) -> Result<DecodedBody, Problem> {
        self.scope = Scope::Chunk;
        Ok(DecodedBody::new(coding(headers)?, self))
    }

    fn check(&mut self, chunk: Bytes) -> io::Result<Bytes> {
        self.received += chunk.len();
        match self.scope {
            Scope::Chunk => self.timer = None,
            Scope::Body if self.received > self.limits.bytes => {
                return Err(io::Error::other(too_large(self.limits.bytes)));
            }
            Scope::Body => {}
        }
        Ok(chunk)
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let limit = self.limits.timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        std::task::ready!(timer.as_mut().poll(cx));
        let problem = Problem::new(ProblemKind::Timeout, "the body came too slowly");
        Poll::Ready(Some(Err(io::Error::other(problem))))
    }
}

impl Stream for BodyStream {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        match body.poll_next_unpin(cx) {
            Poll::Pending => self.poll_timer(cx),
            Poll::Ready(Some(Ok(chunk))) => Poll::Ready(Some(self.check(chunk))),
            Poll::Ready(Some(Err(_))) => {
                self.body = None;
                let problem = Problem::new(ProblemKind::Malformed, "the body broke off");
                Poll::Ready(Some(Err(io::Error::other(problem))))
            }
            Poll::Ready(None) => {
                self.body = None;
                Poll::Ready(None)
            }
        }
    }
}
