//! The history of an entity: its updates, how two versions differ, and where its values come from.

use std::fmt::Write;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Uri, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use producer_core::filter::{Filter, Scope};
use producer_core::json::Path;
use producer_core::model::LogEntry;
use producer_core::query::{
    Comparison, HistoryPage, HistoryQuery, MAX_PAGE_SIZE, Origin, PAGE_SIZE, PageTokens,
};
use producer_core::{EntityKey, ProblemKind};
use producer_telemetry::request;
use producer_telemetry::stopwatch::Part;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::entities::{entity_key, path};
use super::{DecodedPath, history_problem, json_text};
use crate::openapi::examples;
use crate::openapi::problems::{DiffProblems, HistoryProblems, ProvenanceProblems};
use crate::openapi::schemas::{DiffQuery, EntityPath, HistoryPageQuery, ProvenanceQuery};
use crate::problem::ProblemResponse;
use crate::query_parameters::{broken, filter, known_values, size, version};
use crate::state::AppState;

/// A page of an entity's updates.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EntityHistory)]
pub(crate) struct HistoryBody {
    /// In the order that was asked for
    updates: Vec<ChangeBody>,
    /// The `pageToken` of the next page; absent where there is none
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_page_token: Option<String>,
}

/// One update of an entity.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Change)]
pub(crate) struct ChangeBody {
    /// `left`, which the feed alone has, with a filter over `type`, `id` and `data`: an update after which the
    /// entity does not match, though it may have before
    #[schema(pattern = "^(change|left)$")]
    kind: &'static str,
    entity_type: String,
    entity_id: String,
    /// The version that it made of the entity
    version: u64,
    #[schema(pattern = "^(merge|replace|delete)$")]
    operation: &'static str,
    /// Whether the entity did not exist just before
    created: bool,
    /// Its event; absent where the log no longer has the whole event
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    event_id: Option<Uuid>,
    /// Its place among the updates of its event, from 0; beside `eventId`
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0)]
    ordinal: Option<i16>,
    event_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    event_type: Option<String>,
    /// The system that the event came from
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    event_source: Option<String>,
    /// Who caused the event
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    event_actor: Option<String>,
    /// When it happened, as its sender says
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    created_date: Option<String>,
    /// When it took effect
    #[schema(format = DateTime)]
    committed_at: String,
    /// The attributes as they were sent
    #[schema(value_type = Object)]
    patch: Box<RawValue>,
}

impl ChangeBody {
    fn new(key: &EntityKey, entry: LogEntry) -> Result<Self, ProblemResponse> {
        let event_id = entry.event_id();
        Ok(Self {
            kind: "change",
            entity_type: key.entity_type().into(),
            entity_id: key.entity_id().into(),
            version: entry.version,
            operation: entry.operation.as_str(),
            created: entry.created,
            event_id,
            ordinal: event_id.map(|_| entry.ordinal),
            event_name: entry.event_name,
            event_type: entry.event_type,
            event_source: entry.source,
            event_actor: entry.actor,
            created_date: entry.created_date.map(|time| time.to_string()),
            committed_at: entry.committed.to_string(),
            patch: json_text(entry.patch)?,
        })
    }
}

/// Lists the updates of an entity
///
/// Also of a deleted one. What pruning has deleted is missing at the beginning. A page may have fewer
/// updates than `pageSize` where they are large; with a filter it ends after half a second of looking, and may be
/// empty.
#[utoipa::path(
    get, path = "/api/v1/entities/{type}/{id}/history", operation_id = "listEntityHistory",
    tag = "entities",
    params(EntityPath, HistoryPageQuery),
    responses(
        (status = 200, description = "A page of updates", body = HistoryBody, headers(
            ("Link" = String, description = "The address of the next page, with `rel=\"next\"`, where there is one"),
        ), examples(
            ("all" = (value = json!(examples::history()))),
            ("the last one" = (value = json!(examples::last_update()))),
        )),
        HistoryProblems,
    ),
)]
pub(crate) async fn list(
    State(app): State<AppState>,
    DecodedPath((entity_type, entity_id)): DecodedPath<(String, String)>,
    uri: Uri,
) -> Result<Response, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    let key = entity_key(&entity_type, &entity_id)?;
    let paging = Paging::new(&key, &uri)?;
    let read = request::measure(Part::Database, app.history.updates(&key, paging.query()));
    let HistoryPage { updates, next } = read.await.map_err(history_problem)?;
    let next_page_token = next.map(|version| paging.tokens.write(version));
    let link = next_page_token.as_ref().map(|token| paging.link(&key, token)).transpose()?;
    let updates = updates.into_iter().map(|entry| ChangeBody::new(&key, entry));
    let updates = updates.collect::<Result<_, _>>()?;
    let link = link.map(|link| [(header::LINK, link)]);
    Ok((link, Json(HistoryBody { updates, next_page_token })).into_response())
}

/// Which page of the updates is asked for.
struct Paging {
    filter: Option<Filter>,
    descending: bool,
    after: Option<u64>,
    size: u32,
    tokens: PageTokens,
    /// Whether the query names the size of the page.
    is_sized: bool,
}

impl Paging {
    fn new(key: &EntityKey, uri: &Uri) -> Result<Self, ProblemResponse> {
        let known = ["orderBy", "pageSize", "pageToken", "filter"];
        let [order, page_size, token, condition] = known_values(uri, known)?;
        let filter = condition.map(|text| filter("filter", &text, Scope::History)).transpose()?;
        let descending = match order.as_deref() {
            None | Some("version") => false,
            Some("version desc") => true,
            Some(_) => return Err(broken("orderBy", "must be version or version desc")),
        };
        let tokens = PageTokens::of_updates(key, descending, filter.as_ref());
        let after = token.map(|token| tokens.read(&token)).transpose();
        let after = after.map_err(|rule| broken("pageToken", rule))?;
        let is_sized = page_size.is_some();
        let size = page_size.map(|text| size("pageSize", &text, MAX_PAGE_SIZE)).transpose()?;
        let size = size.unwrap_or(PAGE_SIZE);
        Ok(Self { filter, descending, after, size, tokens, is_sized })
    }

    fn query(&self) -> HistoryQuery<'_> {
        let Self { descending, after, size, .. } = *self;
        HistoryQuery { filter: self.filter.as_ref(), descending, after, size }
    }

    /// The header that leads to the page of `token` (RFC 8288).
    fn link(&self, key: &EntityKey, token: &str) -> Result<HeaderValue, ProblemResponse> {
        let mut link = format!("<{}/history?", path(key));
        if self.descending {
            link.push_str("orderBy=version%20desc&");
        }
        if let Some(filter) = &self.filter {
            let text = utf8_percent_encode(filter.text(), NON_ALPHANUMERIC);
            let _ = write!(link, "filter={text}&");
        }
        if self.is_sized {
            let _ = write!(link, "pageSize={}&", self.size);
        }
        let _ = write!(link, "pageToken={token}>; rel=\"next\"");
        HeaderValue::try_from(link).map_err(|_| {
            ProblemResponse::new(ProblemKind::Internal, "a header could not be written")
        })
    }
}

/// How an entity differs between two versions.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EntityDiff)]
pub(crate) struct DiffBody {
    /// The first version
    from: u64,
    /// The second version
    to: u64,
    /// The merge patch that makes the document of the second version of that of the first
    #[schema(value_type = Object)]
    patch: Box<RawValue>,
    /// Each leaf that differs: scalars, arrays and empty objects
    changes: Vec<LeafBody>,
}

/// A leaf that differs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LeafDiff)]
struct LeafBody {
    #[schema(example = "data.balance")]
    path: String,
    /// Its value in the first version, if it was there
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    from: Option<Box<RawValue>>,
    /// Its value in the second version, if it is there
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    to: Option<Box<RawValue>>,
}

impl TryFrom<Comparison> for DiffBody {
    type Error = ProblemResponse;

    fn try_from(comparison: Comparison) -> Result<Self, ProblemResponse> {
        let changes = comparison.changes.into_iter().map(LeafBody::try_from);
        Ok(Self {
            from: comparison.from,
            to: comparison.to,
            patch: json_text(comparison.patch)?,
            changes: changes.collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<(Path, Option<String>, Option<String>)> for LeafBody {
    type Error = ProblemResponse;

    fn try_from(
        (path, from, to): (Path, Option<String>, Option<String>),
    ) -> Result<Self, ProblemResponse> {
        Ok(Self {
            path: path.to_string(),
            from: from.map(json_text).transpose()?,
            to: to.map(json_text).transpose()?,
        })
    }
}

/// Compares two versions of an entity
///
/// Either may be the larger one. The entity must exist with both.
#[utoipa::path(
    get, path = "/api/v1/entities/{type}/{id}/diff", operation_id = "diffEntity", tag = "entities",
    params(EntityPath, DiffQuery),
    responses(
        (status = 200, description = "The differences", body = DiffBody, example = examples::diff),
        DiffProblems,
    ),
)]
pub(crate) async fn diff(
    State(app): State<AppState>,
    DecodedPath((entity_type, entity_id)): DecodedPath<(String, String)>,
    uri: Uri,
) -> Result<Json<DiffBody>, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    let key = entity_key(&entity_type, &entity_id)?;
    let [from, to] = known_values(&uri, ["from", "to"])?;
    let from = from.ok_or_else(|| broken("from", "is missing; it is a version"))?;
    let from = version("from", &from)?;
    let to = to.map(|text| version("to", &text)).transpose()?;
    let read = request::measure(Part::Database, app.history.compare(&key, from, to));
    Ok(Json(read.await.map_err(history_problem)?.try_into()?))
}

/// Where the values of an entity come from.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EntityProvenance)]
pub(crate) struct ProvenanceBody {
    /// Each leaf of the document, in the order of their paths: scalars, arrays and empty objects
    paths: Vec<OriginBody>,
}

/// The last update that wrote a leaf, also with the same value.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Origin)]
struct OriginBody {
    #[schema(example = "data.balance")]
    path: String,
    /// The version that the update made; null, and the rest absent, where it is no longer kept
    #[schema(required)]
    version: Option<u64>,
    /// Absent where the log no longer has the whole event
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    event_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    event_name: Option<String>,
    /// The system that the event came from
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    event_source: Option<String>,
    /// Who caused the event
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    event_actor: Option<String>,
    /// When the update took effect
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    committed_at: Option<String>,
}

impl From<Origin> for OriginBody {
    fn from(origin: Origin) -> Self {
        let update = origin.update.as_deref();
        Self {
            path: origin.path.to_string(),
            version: update.map(|update| update.version),
            event_id: update.and_then(LogEntry::event_id),
            event_name: update.map(|update| update.event_name.clone()),
            event_source: update.and_then(|update| update.source.clone()),
            event_actor: update.and_then(|update| update.actor.clone()),
            committed_at: update.map(|update| update.committed.to_string()),
        }
    }
}

/// Says where the values of an entity come from
///
/// For each leaf of the document, or of the part of it at `path`: the last update that wrote it, also with
/// the same value.
#[utoipa::path(
    get, path = "/api/v1/entities/{type}/{id}/provenance", operation_id = "getEntityProvenance",
    tag = "entities",
    params(EntityPath, ProvenanceQuery),
    responses(
        (status = 200, description = "The updates; none where the document has nothing at the path", body = ProvenanceBody, example = examples::provenance),
        ProvenanceProblems,
    ),
)]
pub(crate) async fn provenance(
    State(app): State<AppState>,
    DecodedPath((entity_type, entity_id)): DecodedPath<(String, String)>,
    uri: Uri,
) -> Result<Json<ProvenanceBody>, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    let key = entity_key(&entity_type, &entity_id)?;
    let [path] = known_values(&uri, ["path"])?;
    let path = path.map_or_else(|| Ok(Path::root()), |text| Path::parse(&text));
    let path = path.map_err(|rule| broken("path", rule))?;
    let read = request::measure(Part::Database, app.history.provenance(&key, &path));
    let paths = read.await.map_err(history_problem)?;
    Ok(Json(ProvenanceBody { paths: paths.into_iter().map(OriginBody::from).collect() }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use producer_core::Timestamp;
    use producer_core::model::{EntryKind, Operation};
    use serde_json::{Value, json};

    use super::*;

    fn detached() -> LogEntry {
        LogEntry {
            kind: EntryKind::Detached,
            uuid: Uuid::from_u128(1),
            ordinal: -1,
            version: 2,
            operation: Operation::Merge,
            created: false,
            event_name: "Sold".into(),
            event_type: None,
            source: None,
            actor: None,
            created_date: None,
            committed: Timestamp::from_micros(0),
            patch: "{}".into(),
        }
    }

    #[test]
    fn an_update_without_its_event_has_no_event_id() {
        let key = EntityKey::new("Car", "c1").expect("a key");
        let shown = |value: Result<Value, _>| value.expect("JSON");
        let change = ChangeBody::new(&key, detached()).expect("a change");
        let expected = json!({
            "kind": "change", "entityType": "Car", "entityId": "c1", "version": 2,
            "operation": "merge", "created": false, "eventName": "Sold",
            "committedAt": "1970-01-01T00:00:00Z", "patch": {},
        });
        assert_eq!(shown(serde_json::to_value(change)), expected);
        let origin = Origin { path: Path::root(), update: Some(Arc::new(detached())) };
        let expected = json!({
            "path": "data", "version": 2, "eventName": "Sold",
            "committedAt": "1970-01-01T00:00:00Z",
        });
        assert_eq!(shown(serde_json::to_value(OriginBody::from(origin))), expected);
    }
}
