//! Full-text search.

use std::fmt::Write;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Uri, header};
use producer_core::filter::Scope;
use producer_core::json::write_string;
use producer_core::query::{Fields, write_entity};
use producer_core::search::{
    Facet, Highlight, Hit, MAX_SEARCH_PAGE, SEARCH_PAGE, SearchError, SearchPage, SearchRequest,
};
use producer_telemetry::request;
use producer_telemetry::stopwatch::Part;
use tokio::task::yield_now;

use super::lists::shown_fields;
use super::paging::{next_link, of_query};
use super::unreachable;
use crate::answers::json_answer;
use crate::openapi::search::{SearchPageDoc, SearchProblems, SearchQuery, examples};
use crate::problem::ProblemResponse;
use crate::query_parameters::{broken, filter, known_values_and_lists, size};
use crate::state::AppState;

/// Searches entities by their words
///
/// Over the types whose definition has `search`. Without `type` one whose search is still being built is left out,
/// and `total` is not exact then. Where search goes to OpenSearch, an answer lags as the worker's sink does:
/// `indexedUpTo` says how far. `Link` and `nextPageToken` lead to the next page, up to the 1,000th hit; hits may
/// move between pages while entities change.
#[utoipa::path(
    get, path = "/api/v1/search", operation_id = "searchEntities", tag = "search",
    params(SearchQuery),
    responses(
        (status = 200, description = "A page of hits", body = SearchPageDoc, headers(
            ("Link" = String, description = "The address of the next page, with `rel=\"next\"`, where there is one"),
        ), example = examples::found),
        SearchProblems,
    ),
)]
pub(crate) async fn get(
    State(app): State<AppState>,
    uri: Uri,
) -> Result<Response, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    let (request, shape) = read(&uri, app.settings.common.max_body_bytes)?;
    let search = request::measure(Part::Database, app.search.search(request));
    let page = search.await.map_err(|error| match error {
        SearchError::Read(error) => unreachable(error),
        SearchError::Refused(problem) => of_query(problem),
    })?;
    let link = page.next.as_deref().map(|token| next_link(&uri, token)).transpose()?;
    let link = link.map(|link| [(header::LINK, link)]);
    let text = page_json(page, &shape).await;
    Ok((link, json_answer(text)).into_response())
}

/// How the answer is written.
struct Shape {
    fields: Option<Fields>,
    has_facets: bool,
    has_highlights: bool,
}

fn read(uri: &Uri, bytes: usize) -> Result<(SearchRequest, Shape), ProblemResponse> {
    let known = ["query", "filter", "fields", "pageSize", "pageToken", "highlight", "fuzzy"];
    let (values, [types, facets]) = known_values_and_lists(uri, known, ["type", "facet"])?;
    let [query, condition, fields, page_size, token, highlight, fuzzy] = values;
    let page_size = page_size.map(|text| size("pageSize", &text, MAX_SEARCH_PAGE)).transpose()?;
    let highlight = flag("highlight", highlight.as_deref())?;
    let facets = read_facets(&facets)?;
    let shape = Shape {
        fields: shown_fields(fields)?,
        has_facets: !facets.is_empty(),
        has_highlights: highlight,
    };
    let request = SearchRequest {
        query: query.unwrap_or_default(),
        types,
        filter: condition.map(|text| filter("filter", &text, Scope::Entity)).transpose()?,
        facets,
        highlight,
        fuzzy: flag("fuzzy", fuzzy.as_deref())?,
        size: page_size.unwrap_or(SEARCH_PAGE),
        token,
        bytes,
    };
    Ok((request, shape))
}

/// The facets, which are members of one object in the answer.
fn read_facets(texts: &[String]) -> Result<Vec<Facet>, ProblemResponse> {
    let mut facets = Vec::<Facet>::new();
    for text in texts {
        let facet = Facet::parse(text).map_err(|rule| broken("facet", rule))?;
        if facets.iter().any(|known| known.path == facet.path) {
            return Err(broken("facet", "must not name a path twice"));
        }
        facets.push(facet);
    }
    Ok(facets)
}

fn flag(name: &str, value: Option<&str>) -> Result<bool, ProblemResponse> {
    match value {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(broken(name, "must be true or false")),
    }
}

/// A String takes all that is written; a token and an engine need no escapes.
async fn page_json(page: SearchPage, shape: &Shape) -> String {
    let SearchPage { hits, total, facets, engine, indexed_up_to, next } = page;
    let mut text = String::from("{\"hits\":[");
    for (index, hit) in hits.into_iter().enumerate() {
        comma(&mut text, index);
        write_hit(&mut text, &hit, shape);
        // a hit may have a megabyte
        yield_now().await;
    }
    let _ = write!(text, "],\"total\":{{\"value\":{},\"exact\":{}}}", total.value, total.exact);
    if shape.has_facets {
        text.push_str(",\"facets\":{");
        for (index, (path, values)) in facets.into_iter().enumerate() {
            comma(&mut text, index);
            write_string(&mut text, &path.to_string());
            text.push_str(":[");
            for (index, value) in values.into_iter().enumerate() {
                comma(&mut text, index);
                let _ = write!(text, "{{\"value\":{},\"count\":{}}}", value.value, value.count);
            }
            text.push(']');
        }
        text.push('}');
    }
    let _ = write!(text, ",\"engine\":\"{}\"", engine.as_str());
    if let Some(token) = indexed_up_to {
        let _ = write!(text, ",\"indexedUpTo\":\"{token}\"");
    }
    if let Some(token) = next {
        let _ = write!(text, ",\"nextPageToken\":\"{token}\"");
    }
    text.push('}');
    text
}

fn write_hit(text: &mut String, hit: &Hit, shape: &Shape) {
    text.push_str("{\"entity\":");
    write_entity(text, &hit.entity, shape.fields.as_ref());
    // JSON has no infinity
    let score = if hit.score.is_finite() { hit.score } else { 0.0 };
    let _ = write!(text, ",\"score\":{score}");
    if shape.has_highlights {
        text.push_str(",\"highlights\":{");
        for (index, highlight) in hit.highlights.iter().enumerate() {
            comma(text, index);
            write_highlight(text, highlight);
        }
        text.push('}');
    }
    text.push('}');
}

fn write_highlight(text: &mut String, highlight: &Highlight) {
    write_string(text, &highlight.path.to_string());
    text.push_str(":[");
    for (index, fragment) in highlight.fragments.iter().enumerate() {
        comma(text, index);
        write_string(text, fragment);
    }
    text.push(']');
}

fn comma(text: &mut String, index: usize) {
    if index > 0 {
        text.push(',');
    }
}
