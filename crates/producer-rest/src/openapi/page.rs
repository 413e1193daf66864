//! `/openapi.json`, and `/docs`: a page of our own around the vendored Swagger UI. Its own page has no
//! title, a search box for documents of other hosts, and an image of a validator on the internet.

use std::sync::Arc;

use axum::extract::Path;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::Config;

const PAGE: &str = include_str!("page.html");

/// The routes of the pages, which are not part of the document.
pub(crate) fn pages(document: OpenApi) -> Router {
    let document = Arc::new(document);
    Router::new()
        .route("/openapi.json", get(move || async move { Json(document) }))
        .route("/docs/", get(Html(PAGE)))
        .route("/docs/{file}", get(asset))
        // 303, not 307: the page is another resource, and is read with GET
        .route("/docs", get(Redirect::to("/docs/")))
        .route("/", get(Redirect::to("/docs")))
}

/// A file of Swagger UI.
async fn asset(Path(file): Path<String>) -> Response {
    match utoipa_swagger_ui::serve(&file, Arc::new(Config::default())) {
        Ok(Some(file)) => ([(header::CONTENT_TYPE, file.content_type)], file.bytes).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}
