//! Lists of entities.

use std::fmt::Write;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Uri, header};
use producer_core::EntityKey;
use producer_core::filter::{Filter, Scope};
use producer_core::query::{
    Count, CountKind, Fields, ListOrder, ListPage, ListRequest, MAX_PAGE_SIZE, PAGE_SIZE,
};
use producer_telemetry::request;
use producer_telemetry::stopwatch::Part;

use super::DecodedPath;
use super::entities::check_type;
use super::paging::{next_link, query_problem};
use crate::answers::json_answer;
use crate::entity_json::write_entities;
use crate::openapi::lists::{
    AllEntitiesQuery, EntitiesPageDoc, EntitiesQuery, ListAllProblems, ListProblems, examples,
};
use crate::openapi::schemas::TypePath;
use crate::problem::ProblemResponse;
use crate::query_parameters::{broken, filter, known_values_and_list, size};
use crate::state::AppState;

/// What a list's answer has beside its entities, about.
const PAGE_BYTES: usize = 200;

/// Lists the entities of a type
///
/// Page by page: `Link` and `nextPageToken` lead to the next one. A page ends after half a second of looking, so
/// with a filter it may be short or empty; the last one has no `nextPageToken`. What is there all the while, and
/// keeps its place in the order, is listed exactly once. With `id` just these entities are returned.
#[utoipa::path(
    get, path = "/api/v1/entities/{type}", operation_id = "listEntities", tag = "entities",
    params(TypePath, EntitiesQuery),
    responses(
        (status = 200, description = "A page of entities; none where the type has none", body = EntitiesPageDoc, headers(
            ("Link" = String, description = "The address of the next page, with `rel=\"next\"`, where there may be one"),
        ), examples(
            ("all that match, counted" = (value = json!(examples::matching()))),
            ("some fields" = (value = json!(examples::some_fields()))),
            ("these ids" = (value = json!(examples::by_id()))),
        )),
        ListProblems,
    ),
)]
pub(crate) async fn of_type(
    State(app): State<AppState>,
    DecodedPath(entity_type): DecodedPath<String>,
    uri: Uri,
) -> Result<Response, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    check_type(&entity_type)?;
    let query = ListQuery::read(&uri)?;
    if query.ids.is_empty() {
        return page(&app, Some(entity_type), query, &uri).await;
    }
    by_ids(&app, &entity_type, query).await
}

/// Lists the entities of all types
///
/// As the list of a type, in an order that is not specified and stays the same.
#[utoipa::path(
    get, path = "/api/v1/entities", operation_id = "listAllEntities", tag = "entities",
    params(AllEntitiesQuery),
    responses(
        (status = 200, description = "A page of entities", body = EntitiesPageDoc, headers(
            ("Link" = String, description = "The address of the next page, with `rel=\"next\"`, where there may be one"),
        ), example = examples::first_of_all),
        ListAllProblems,
    ),
)]
pub(crate) async fn of_all_types(
    State(app): State<AppState>,
    uri: Uri,
) -> Result<Response, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    let query = ListQuery::read(&uri)?;
    if !query.ids.is_empty() {
        return Err(broken("id", "must not be given for all types; it names entities of one type"));
    }
    page(&app, None, query, &uri).await
}

async fn page(
    app: &AppState,
    entity_type: Option<String>,
    query: ListQuery,
    uri: &Uri,
) -> Result<Response, ProblemResponse> {
    let request = ListRequest {
        entity_type,
        filter: query.filter,
        order: query.order,
        size: query.size,
        bytes: app.settings.common.max_body_bytes,
        token: query.token,
        count: query.count,
    };
    let read = request::measure(Part::Database, app.lists.page(request));
    let page = read.await.map_err(query_problem)?;
    let link = page.next.as_deref().map(|token| next_link(uri, token)).transpose()?;
    let link = link.map(|link| [(header::LINK, link)]);
    Ok((link, json_response(page, query.fields.as_ref()).await).into_response())
}

async fn by_ids(
    app: &AppState,
    entity_type: &str,
    query: ListQuery,
) -> Result<Response, ProblemResponse> {
    let keys = query.ids.iter().map(|id| EntityKey::new(entity_type, id));
    let keys: Vec<_> = keys.collect::<Result<_, _>>().map_err(|violations| {
        let rule = violations.first().map(|broken| broken.detail.clone());
        broken("id", rule.unwrap_or_default())
    })?;
    let read = app.lists.entities(&keys, app.settings.common.max_body_bytes);
    let found = request::measure(Part::Database, read).await.map_err(query_problem)?;
    let entities = found.into_iter().flatten().collect();
    let page = ListPage { entities, next: None, count: None };
    Ok(json_response(page, query.fields.as_ref()).await)
}

async fn json_response(page: ListPage, fields: Option<&Fields>) -> Response {
    let data: usize = page.entities.iter().map(|entity| entity.data.len() + PAGE_BYTES).sum();
    let capacity = if fields.is_some() { PAGE_BYTES } else { data + PAGE_BYTES };
    let mut text = String::with_capacity(capacity);
    text.push_str("{\"entities\":[");
    write_entities(&mut text, page.entities, fields).await;
    text.push(']');
    // a String takes all that is written; a token needs no escapes
    if let Some(token) = page.next {
        let _ = write!(text, ",\"nextPageToken\":\"{token}\"");
    }
    if let Some(Count { value, exact }) = page.count {
        let _ = write!(text, ",\"count\":{{\"value\":{value},\"exact\":{exact}}}");
    }
    text.push('}');
    json_answer(text)
}

/// What the query says.
struct ListQuery {
    ids: Vec<String>,
    fields: Option<Fields>,
    filter: Option<Filter>,
    order: Option<ListOrder>,
    size: u32,
    token: Option<String>,
    count: Option<CountKind>,
}

impl ListQuery {
    fn read(uri: &Uri) -> Result<Self, ProblemResponse> {
        let known = ["fields", "filter", "orderBy", "pageSize", "pageToken", "count"];
        let (values, ids) = known_values_and_list(uri, known, "id")?;
        let mut given = known.iter().zip(&values).filter(|(_, value)| value.is_some());
        let of_pages = given.find(|(name, _)| **name != "fields");
        if let Some((name, _)) = of_pages.filter(|_| !ids.is_empty()) {
            return Err(broken(name, "must not be given beside id"));
        }
        let [fields, condition, order, page_size, token, count] = values;
        let order = order.map(|text| ListOrder::parse(&text)).transpose();
        let count = count.map(|text| CountKind::parse(&text)).transpose();
        let page_size = page_size.map(|text| size("pageSize", &text, MAX_PAGE_SIZE)).transpose()?;
        Ok(Self {
            ids,
            fields: shown_fields(fields)?,
            filter: condition.map(|text| filter("filter", &text, Scope::Entity)).transpose()?,
            order: order.map_err(|rule| broken("orderBy", rule))?,
            size: page_size.unwrap_or(PAGE_SIZE),
            token,
            count: count.map_err(|rule| broken("count", rule))?,
        })
    }
}

/// The members of entities that the query names; `None` for all.
pub(super) fn shown_fields(text: Option<String>) -> Result<Option<Fields>, ProblemResponse> {
    let fields = text.map(|text| Fields::parse(&text)).transpose();
    fields.map_err(|rule| broken("fields", rule))
}
