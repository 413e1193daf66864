//! Request bodies: what is taken, how much, how fast, and how encoded.

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

/// Largest zstd window, 8 MiB (RFC 9659).
const ZSTD_WINDOW_LOG: u32 = 23;
/// Decoded bytes are taken in pieces of this size.
const DECODED_CHUNK: usize = 16 << 10;

/// The media types that a body may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    /// `application/json`, or none said.
    Json,
    /// `application/x-ndjson` or `application/jsonl`.
    Ndjson,
}

/// The media type of a request, parameters ignored.
///
/// # Errors
/// `MediaType` for any other.
pub(crate) fn media(headers: &HeaderMap) -> Result<Media, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(Media::Json) };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    match essence.to_ascii_lowercase().as_str() {
        "" | "application/json" => Ok(Media::Json),
        "application/x-ndjson" | "application/jsonl" => Ok(Media::Ndjson),
        _ => {
            Err(wrong_media("application/json (bulk also application/x-ndjson, application/jsonl)"))
        }
    }
}

/// For routes that take JSON alone.
///
/// # Errors
/// `MediaType` for any other.
pub(crate) fn only_json(headers: &HeaderMap) -> Result<(), Problem> {
    match media(headers) {
        Ok(Media::Json) => Ok(()),
        _ => Err(wrong_media("application/json")),
    }
}

fn wrong_media(taken: &str) -> Problem {
    Problem::new(ProblemKind::MediaType, format!("the content type is not taken; taken is {taken}"))
}

#[derive(Debug, Clone, Copy)]
enum Coding {
    Identity,
    Gzip,
    Zstd,
}

fn coding(headers: &HeaderMap) -> Result<Coding, Problem> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(Coding::Identity) };
    match value.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(Coding::Identity),
        "gzip" | "x-gzip" => Ok(Coding::Gzip),
        "zstd" => Ok(Coding::Zstd),
        _ => Err(Problem::new(
            ProblemKind::MediaType,
            "the content encoding is not taken; taken are gzip, zstd and identity",
        )),
    }
}

/// What `BODY_TIMEOUT` counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// From the start to the end.
    Whole,
    /// From byte to byte, and only while we wait for one.
    ByteToByte,
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
pub(crate) fn no_room() -> Problem {
    Problem::new(ProblemKind::Overloaded, "too many bytes of requests wait; send it again later")
}

/// The decoded bytes of a body, chunk by chunk.
pub(crate) enum Source {
    /// As they came.
    Plain(BodyStream),
    /// Through a decoder.
    Decoded(ReaderStream<Pin<Box<dyn AsyncRead + Send>>>),
}

impl Source {
    fn new(coding: Coding, wire: BodyStream) -> Self {
        let decoder: Pin<Box<dyn AsyncRead + Send>> = match coding {
            Coding::Identity => return Self::Plain(wire),
            Coding::Gzip => {
                let mut decoder = GzipDecoder::new(StreamReader::new(wire));
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
            Coding::Zstd => {
                let window = [DParameter::window_log_max(ZSTD_WINDOW_LOG)];
                let mut decoder = ZstdDecoder::with_params(StreamReader::new(wire), &window);
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
        };
        Self::Decoded(ReaderStream::with_capacity(decoder, DECODED_CHUNK))
    }

    /// The next chunk; dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Problem>> {
        let chunk = match self {
            Self::Plain(wire) => wire.next().await,
            Self::Decoded(reader) => {
                // a few bytes may decode to gibibytes, always ready: others get their turn between
                tokio::task::coop::consume_budget().await;
                reader.next().await
            }
        };
        chunk.map(|chunk| chunk.map_err(problem_of))
    }
}

/// Our own problems travel through the decoder inside its errors; any other is the decoder's.
fn problem_of(error: io::Error) -> Problem {
    error.downcast::<Problem>().unwrap_or_else(|_| {
        Problem::new(ProblemKind::Malformed, "the body can't be decoded by its content encoding")
    })
}

/// The bytes on the wire.
pub(crate) struct BodyStream {
    body: Option<BodyDataStream>,
    pace: Pace,
    limits: BodyLimits,
    seen: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl BodyStream {
    /// The body of a request.
    pub(crate) fn new(body: Body, limits: BodyLimits) -> Self {
        let body = Some(body.into_data_stream());
        Self { body, pace: Pace::Whole, limits, seen: 0, timer: None }
    }

    /// Reads it as a whole. The lease holds its bytes in the budget.
    ///
    /// # Errors
    /// `MediaType`, `TooLarge`, `Timeout`, `Overloaded`, or `Malformed` where it breaks off.
    pub(crate) async fn whole(
        self,
        headers: &HeaderMap,
        budget: &Budget,
    ) -> Result<(Bytes, Lease), Problem> {
        let limit = self.limits.bytes;
        if declared_length(headers).is_some_and(|length| length > limit) {
            return Err(too_large(limit));
        }
        let mut source = Source::new(coding(headers)?, self);
        let mut lease = budget.lease();
        let mut read = BytesMut::new();
        while let Some(chunk) = source.next().await {
            let chunk = chunk?;
            if read.len() + chunk.len() > limit {
                return Err(too_large(limit));
            }
            if !lease.grow(chunk.len()) {
                return Err(no_room());
            }
            if read.is_empty() {
                // The usual body is one chunk, which this takes over without a copy.
                read = chunk.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
            } else {
                read.extend_from_slice(&chunk);
            }
        }
        Ok((read.freeze(), lease))
    }

    /// Reads it as it comes, however long it is.
    ///
    /// # Errors
    /// `MediaType` for an encoding that isn't taken.
    pub(crate) fn endless(mut self, headers: &HeaderMap) -> Result<Source, Problem> {
        self.pace = Pace::ByteToByte;
        Ok(Source::new(coding(headers)?, self))
    }

    fn accept(&mut self, chunk: Bytes) -> io::Result<Bytes> {
        self.seen += chunk.len();
        match self.pace {
            Pace::ByteToByte => self.timer = None,
            Pace::Whole if self.seen > self.limits.bytes => {
                return Err(io::Error::other(too_large(self.limits.bytes)));
            }
            Pace::Whole => {}
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
            Poll::Ready(Some(Ok(chunk))) => Poll::Ready(Some(self.accept(chunk))),
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
