//! Compresses answers for clients that ask for it (`Accept-Encoding`).

use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::Response;
use futures_util::TryFutureExt;
use futures_util::future::{Either, MapOk};
use http::header;
use http_body_util::Either as EitherBody;
use tower::{Layer, Service};
use tower_http::compression::predicate::{And, NotForContentType, Predicate, SizeAbove};
use tower_http::compression::{Compression, CompressionBody, CompressionLayer, ResponseFuture};

use crate::change_stream::StreamForm;

/// Answers below this size are not worth compressing.
const ABOVE_BYTES: u64 = 1024;

/// What is compressed.
type Compressible = And<And<SizeAbove, NotForContentType>, NotForContentType>;

/// Makes [`CompressService`]s.
#[derive(Clone)]
pub(crate) struct CompressLayer(CompressionLayer<Compressible>);

impl CompressLayer {
    pub(crate) fn new() -> Self {
        // a compressor would hold items of a stream back until its buffer is full
        let compressible = SizeAbove::new(ABOVE_BYTES)
            .and(NotForContentType::const_new(StreamForm::Sse.media_type()))
            .and(NotForContentType::const_new(StreamForm::Ndjson.media_type()));
        Self(CompressionLayer::new().compress_when(compressible))
    }
}

impl<S> Layer<S> for CompressLayer {
    type Service = CompressService<S>;

    fn layer(&self, inner: S) -> CompressService<S> {
        CompressService(self.0.layer(inner))
    }
}

/// Compresses what may be compressed.
#[derive(Clone)]
pub(crate) struct CompressService<S>(Compression<S, Compressible>);

type Body<A> = EitherBody<A, CompressionBody<A>>;
type ToBody<A, B> = fn(Response<A>) -> Response<B>;

impl<S, A> Service<Request> for CompressService<S>
where
    S: Service<Request, Response = Response<A>>,
    A: http_body::Body,
{
    type Response = Response<Body<A>>;
    type Error = S::Error;
    type Future = Either<
        MapOk<S::Future, ToBody<A, Body<A>>>,
        MapOk<ResponseFuture<S::Future, Compressible>, ToBody<CompressionBody<A>, Body<A>>>,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if may_be_compressed(&request) {
            let answer = self.0.call(request);
            return Either::Right(answer.map_ok(|response| response.map(EitherBody::Right)));
        }
        let answer = self.0.get_mut().call(request);
        Either::Left(answer.map_ok(|response| response.map(EitherBody::Left)))
    }
}

/// Whether the client asked for it, or a cache may ask what the answer depends on (`Vary`).
pub(crate) fn may_be_compressed(request: &Request) -> bool {
    request.method().is_safe() || request.headers().contains_key(header::ACCEPT_ENCODING)
}
