//! `/metrics` of the operators' port where it fails.

#[path = "support/store.rs"]
mod store;

use std::sync::atomic::Ordering;

use axum::body::Body;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use store::FakeStore;
use tower::ServiceExt;

#[tokio::test]
async fn metrics_that_fail_are_a_problem_and_no_empty_success() {
    let store = FakeStore::new();
    let app = store.app(&[]);
    let get = async || {
        let request = Request::get("/metrics").body(Body::empty()).unwrap();
        let response =
            producer_server::admin::router(app.metrics.exposition().clone()).oneshot(request).await;
        let (parts, body) = response.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts, String::from_utf8(body.to_vec()).unwrap())
    };
    let (parts, body) = get().await;
    assert_eq!(parts.status, StatusCode::OK);
    assert!(body.contains("process_open_fds"), "{body}");

    store.broken_pool.store(true, Ordering::Relaxed);
    let (parts, body) = get().await;
    assert_eq!(parts.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(parts.headers[header::CONTENT_TYPE], "application/problem+json");
    assert!(body.contains("urn:producer:problem:internal"), "{body}");
}
