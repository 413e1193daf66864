//! Which scripts of web pages may call (CORS), and which may write. Everybody's scripts may read and send
//! events unless `CORS_ALLOWED_ORIGINS` names origins. All other writes are for the origins that it names
//! and for the service's own: behind a firewall `*` would let every page that somebody inside looks at
//! change entities. Requests without `Origin`, which are not sent by scripts of pages, pass.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::future::Either;
use http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, ETAG, HOST, LINK, LOCATION, ORIGIN, RETRY_AFTER,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use producer_core::ProblemKind;
use producer_server::request_id;
use tower::{Layer, Service};
use tower_http::cors::{self, AllowOrigin, Any, Cors, CorsLayer};

use crate::args::Origins;
use crate::problem::ProblemResponse;
use crate::write_headers::PREFERENCE_APPLIED;

/// The detail of the answer to a write of another origin.
pub(crate) const FORBIDDEN: &str =
    "scripts of this origin may only read and send events; CORS_ALLOWED_ORIGINS does not name it";

/// Whether only scripts of trusted origins may send a request.
fn is_guarded(method: &Method, path: &str) -> bool {
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => false,
        Method::POST => !matches!(path, "/api/v1/events" | "/api/v1/events/bulk"),
        _ => true,
    }
}

/// The origins whose scripts may write.
#[derive(Debug, Clone)]
struct TrustedOrigins(Arc<[HeaderValue]>);

impl TrustedOrigins {
    fn new(origins: &Origins) -> Self {
        Self(origins.0.as_slice().into())
    }

    /// Also the service's own, whatever its scheme: TLS may end before it.
    fn trusts(&self, origin: &HeaderValue, headers: &HeaderMap, uri: &Uri) -> bool {
        let own = match uri.authority() {
            Some(authority) => Some(authority.as_str().as_bytes()),
            None => headers.get(HOST).map(HeaderValue::as_bytes),
        };
        let is_own = || own.zip(authority(origin)).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b));
        self.0.contains(origin) || is_own()
    }
}

/// Host and port of an origin; `null` has none.
fn authority(origin: &HeaderValue) -> Option<&[u8]> {
    let origin = origin.as_bytes();
    let colon = origin.iter().position(|&byte| byte == b':')?;
    origin[colon..].strip_prefix(b"://").filter(|authority| !authority.is_empty())
}

/// Makes [`WriteOriginService`]s.
#[derive(Debug, Clone)]
pub(crate) struct WriteOriginLayer(TrustedOrigins);

impl WriteOriginLayer {
    pub(crate) fn new(origins: &Origins) -> Self {
        Self(TrustedOrigins::new(origins))
    }
}

impl<S> Layer<S> for WriteOriginLayer {
    type Service = WriteOriginService<S>;

    fn layer(&self, inner: S) -> WriteOriginService<S> {
        WriteOriginService { inner, trusted: self.0.clone() }
    }
}

/// Answers 403 to writes by scripts of other origins. Without a preflight a browser keeps the answer from
/// the script, but sends the request.
#[derive(Debug, Clone)]
pub(crate) struct WriteOriginService<S> {
    inner: S,
    trusted: TrustedOrigins,
}

impl<S> Service<Request> for WriteOriginService<S>
where
    S: Service<Request, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (headers, uri) = (request.headers(), request.uri());
        let mut origins = headers.get_all(ORIGIN).iter();
        if is_guarded(request.method(), uri.path())
            && !origins.all(|origin| self.trusted.trusts(origin, headers, uri))
        {
            let refusal = ProblemResponse::new(ProblemKind::Forbidden, FORBIDDEN).into_response();
            return Either::Right(ready(Ok(refusal)));
        }
        Either::Left(self.inner.call(request))
    }
}

/// Makes [`CrossOriginService`]s.
#[derive(Debug, Clone)]
pub(crate) struct CrossOriginLayer(Arc<Policies>);

/// The headers of answers to scripts, and the answers to preflight requests.
#[derive(Debug)]
struct Policies {
    open: CorsLayer,
    guarded: CorsLayer,
}

impl CrossOriginLayer {
    pub(crate) fn new(origins: &Origins) -> Self {
        const EXPOSED: [HeaderName; 6] =
            [ETAG, RETRY_AFTER, request_id::HEADER, LOCATION, LINK, PREFERENCE_APPLIED];
        let listed = match origins.0.as_slice() {
            [] => AllowOrigin::any(),
            listed => AllowOrigin::list(listed.iter().cloned()),
        };
        let trusted = TrustedOrigins::new(origins);
        let trusted = AllowOrigin::predicate(move |origin, request| {
            trusted.trusts(origin, &request.headers, &request.uri)
        });
        let base = CorsLayer::new().allow_headers(Any).expose_headers(EXPOSED);
        let reads_and_events = [Method::GET, Method::HEAD, Method::POST];
        let writes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        Self(Arc::new(Policies {
            open: base.clone().allow_origin(listed).allow_methods(reads_and_events),
            guarded: base.allow_origin(trusted).allow_methods(writes),
        }))
    }
}

impl<S> Layer<S> for CrossOriginLayer {
    type Service = CrossOriginService<S>;

    fn layer(&self, inner: S) -> CrossOriginService<S> {
        CrossOriginService { inner, policies: Arc::clone(&self.0) }
    }
}

/// Applies the policy of each request.
#[derive(Debug, Clone)]
pub(crate) struct CrossOriginService<S> {
    inner: S,
    policies: Arc<Policies>,
}

impl<S, B, A> Service<http::Request<B>> for CrossOriginService<S>
where
    S: Service<http::Request<B>, Response = http::Response<A>> + Clone,
    A: Default,
{
    type Response = http::Response<A>;
    type Error = S::Error;
    type Future = Either<S::Future, cors::ResponseFuture<S::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if !may_be_of_script(&request) {
            return Either::Left(self.inner.call(request));
        }
        let policy = if is_guarded(intended_method(&request), request.uri().path()) {
            &self.policies.guarded
        } else {
            &self.policies.open
        };
        // the clone is for the next request: this one must be answered by the service that is ready
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        let mut service: Cors<S> = policy.layer(ready);
        Either::Right(service.call(request))
    }
}

/// Whether the answer may reach a script: browsers name the origin in everything but simple reads, and
/// of those a cache may keep the answer for a script that asks later.
pub(crate) fn may_be_of_script<B>(request: &http::Request<B>) -> bool {
    request.method().is_safe() || request.headers().contains_key(ORIGIN)
}

/// The method of a request, or the one that a preflight request asks for.
fn intended_method<B>(request: &http::Request<B>) -> &Method {
    const GUARDED: [Method; 4] = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let asked = request.headers().get(ACCESS_CONTROL_REQUEST_METHOD);
    let asked = asked.filter(|_| request.method() == Method::OPTIONS);
    let guarded = asked.and_then(|asked| GUARDED.iter().find(|method| asked == method.as_str()));
    guarded.unwrap_or(request.method())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_is_the_origin_of_the_address_that_was_asked() {
        let trusted =
            TrustedOrigins::new(&Origins(vec![HeaderValue::from_static("https://a.example")]));
        for (origin, uri, host, expected) in [
            ("https://a.example", "/", "api.example", true),
            ("https://api.example", "/", "api.example", true),
            ("http://API.example:8080", "/", "api.example:8080", true),
            // of HTTP/2, and the absolute form of HTTP/1
            ("https://api.example", "http://api.example/", "b.example", true),
            ("https://b.example", "http://api.example/", "b.example", false),
            ("http://api.example:8080", "/", "api.example", false),
            ("https://a.example.b.example", "/", "api.example", false),
            ("null", "/", "null", false),
            ("", "/", "", false),
            ("https://", "/", "", false),
        ] {
            let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
            let uri = Uri::from_static(uri);
            let origin = HeaderValue::from_static(origin);
            assert_eq!(trusted.trusts(&origin, &headers, &uri), expected, "{origin:?} {host}");
        }
        let strange = HeaderValue::from_bytes(b"https://\xff").expect("a value");
        assert!(!trusted.trusts(&strange, &HeaderMap::new(), &Uri::from_static("/")));
    }

    #[test]
    fn what_is_new_is_guarded() {
        for (method, path, guarded) in [
            (Method::GET, "/api/v1/entities/Car/1", false),
            (Method::POST, "/api/v1/events", false),
            (Method::POST, "/api/v1/events/bulk", false),
            (Method::POST, "/api/v1/entities/Car", true),
            (Method::POST, "/api/v1/anything", true),
            (Method::PUT, "/api/v1/events", true),
            (Method::DELETE, "/api/v1/entities/Car/1", true),
        ] {
            assert_eq!(is_guarded(&method, path), guarded, "{method} {path}");
        }
    }
}
