//! Dead letters of `producer-worker`: what a target refused or a source could not take.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{StatusCode, Uri, header};
use producer_core::query::{MAX_PAGE_SIZE, PAGE_SIZE};
use producer_core::worker::{
    DEAD_LETTERS_AT_ONCE, DeadLetterPlace, DeadLetterState, DeadLettersRequest,
    MAX_DEAD_LETTERS_AT_ONCE, Role, SeenDeadLetter,
};
use producer_core::{Location, Problem, ProblemKind, Step, Violations};
use producer_telemetry::request;
use producer_telemetry::stopwatch::Part;
use serde::Serialize;
use utoipa::ToSchema;

use super::DecodedPath;
use super::connectors::{bare, fresh, without_body};
use super::paging::{next_link, of_query};
use crate::openapi::worker::{
    DeadLetterPath, DeadLettersQuery, DeleteDeadLetterProblems, GetDeadLetterProblems,
    ListDeadLettersProblems, ManyDeadLettersProblems, ManyDeadLettersQuery,
    ReplayDeadLetterProblems, examples,
};
use crate::problem::ProblemResponse;
use crate::query_parameters::{broken, known_values, size};
use crate::state::AppState;

/// A page of dead letters.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeadLettersPage)]
pub(crate) struct DeadLettersBody {
    /// Newest first, without their messages
    dead_letters: Vec<DeadLetterBody>,
    /// The `pageToken` of the next page; absent where there is none
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_page_token: Option<String>,
}

/// A change that a target refused or that waits behind such a one, or a message that a source could not take.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeadLetter)]
pub(crate) struct DeadLetterBody {
    /// Rises with every new one
    #[schema(pattern = "^[0-9]+$")]
    id: String,
    /// Whose it is; `source` if it is absent
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sink: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    source: Option<String>,
    /// `dead`: it stays until it is replayed or deleted; `waiting` behind a dead letter of its entity; `replaying`:
    /// it is to be delivered again
    #[schema(pattern = "^(dead|waiting|replaying)$")]
    state: &'static str,
    /// Of a change: what goes on behind it
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    token: Option<String>,
    /// Of a message: where it came from
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "orders:events 1718000000000-0")]
    place: Option<String>,
    /// Of a change
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    entity_type: Option<String>,
    /// Of a change
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    entity_id: Option<String>,
    /// Of a change: the entity's version that it made
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    version: Option<u64>,
    /// Why; empty for what waits
    error: String,
    /// How often it was tried
    tries: u32,
    #[schema(format = DateTime)]
    first_at: String,
    #[schema(format = DateTime)]
    last_at: String,
    /// As it was refused or came. Only where a single one is read, and not of what waits, which is read from the log
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    message: Option<String>,
    /// Instead of `message`, where it is not UTF-8
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    message_base64: Option<String>,
}

/// How many dead letters a request is about.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AcceptedDeadLetters)]
pub(crate) struct AcceptedBody {
    accepted: u64,
}

impl DeadLetterBody {
    /// Without its message.
    fn listed(SeenDeadLetter { letter: stored, token }: SeenDeadLetter) -> Self {
        let (sink, source) = match stored.role {
            Role::Sink => (Some(stored.connector), None),
            Role::Source => (None, Some(stored.connector)),
        };
        let letter = stored.letter;
        let (key, version, place) = match letter.place {
            DeadLetterPlace::Change { key, version, .. } => (Some(key), Some(version), None),
            DeadLetterPlace::Message(place) => (None, None, Some(place)),
        };
        Self {
            id: stored.id.to_string(),
            sink,
            source,
            state: letter.state.as_str(),
            token: token.map(|token| token.to_string()),
            place,
            entity_type: key.as_ref().map(|key| key.entity_type().to_owned()),
            entity_id: key.as_ref().map(|key| key.entity_id().to_owned()),
            version,
            error: letter.error,
            tries: letter.tries,
            first_at: letter.first_at.to_string(),
            last_at: letter.last_at.to_string(),
            message: None,
            message_base64: None,
        }
    }

    /// With its message, where it has one.
    fn whole(mut seen: SeenDeadLetter) -> Self {
        let message = std::mem::take(&mut seen.letter.letter.message);
        let is_read_from_log = seen.letter.letter.state == DeadLetterState::Waiting;
        let body = Self::listed(seen);
        match String::from_utf8(message) {
            _ if is_read_from_log => body,
            Ok(text) => Self { message: Some(text), ..body },
            Err(error) => Self { message_base64: Some(STANDARD.encode(error.as_bytes())), ..body },
        }
    }
}

/// Lists dead letters
///
/// Of a sink, of a source, or of all. The last page has no `nextPageToken`.
#[utoipa::path(
    get, path = "/api/v1/dead-letters", operation_id = "listDeadLetters", tag = "worker",
    params(DeadLettersQuery),
    responses(
        (status = 200, description = "A page of dead letters", body = DeadLettersBody, headers(
            ("Link" = String, description = "The address of the next page, with `rel=\"next\"`, where there is one"),
        ), example = examples::dead_letters),
        ListDeadLettersProblems,
    ),
)]
pub(crate) async fn list(
    State(app): State<AppState>,
    uri: Uri,
) -> Result<Response, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    let [sink, source, page_size, token] =
        known_values(&uri, ["sink", "source", "pageSize", "pageToken"])?;
    let page_size = page_size.map(|text| size("pageSize", &text, MAX_PAGE_SIZE)).transpose()?;
    let request = DeadLettersRequest {
        connector: connector(sink, source)?,
        size: page_size.unwrap_or(PAGE_SIZE),
        token,
    };
    let read = request::measure(Part::Database, app.connectors.dead_letters(request));
    let page = read.await.map_err(of_query)?;
    let link = page.next.as_deref().map(|token| next_link(&uri, token)).transpose()?;
    let link = link.map(|link| [(header::LINK, link)]);
    let dead_letters = page.letters.into_iter().map(DeadLetterBody::listed).collect();
    let body = DeadLettersBody { dead_letters, next_page_token: page.next };
    Ok((link, fresh(body)).into_response())
}

/// Returns a dead letter
///
/// With its message as it was refused or came.
#[utoipa::path(
    get, path = "/api/v1/dead-letters/{id}", operation_id = "getDeadLetter", tag = "worker",
    params(DeadLetterPath),
    responses(
        (status = 200, description = "The dead letter", body = DeadLetterBody, examples(
            ("of a sink" = (value = json!(examples::refused_change()))),
            ("of a source" = (value = json!(examples::refused_message()))),
        )),
        GetDeadLetterProblems,
    ),
)]
pub(crate) async fn get(
    State(app): State<AppState>,
    DecodedPath(text): DecodedPath<String>,
    uri: Uri,
) -> Result<Response, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    let [] = known_values(&uri, [])?;
    let read = app.connectors.dead_letter(id(&text)?);
    Ok(fresh(DeadLetterBody::whole(request::measure(Part::Database, read).await?)))
}

/// Delivers a dead letter again
///
/// Before what waits behind it. One that waits itself is refused. The request has no body.
#[utoipa::path(
    post, path = "/api/v1/dead-letters/{id}/replay", operation_id = "replayDeadLetter", tag = "worker",
    params(DeadLetterPath),
    responses(
        (status = 202, description = "A worker delivers it soon", body = AcceptedBody, example = examples::one_accepted),
        ReplayDeadLetterProblems,
    ),
)]
pub(crate) async fn replay(
    State(app): State<AppState>,
    DecodedPath(text): DecodedPath<String>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    let id = id(&text)?;
    bare(&app, request).await?;
    let replayed = request::measure(Part::Database, app.connectors.replay_dead_letter(id));
    Ok(accepted(replayed.await?))
}

/// Gives a dead letter up
///
/// What waits behind it is delivered. The request has no body.
#[utoipa::path(
    delete, path = "/api/v1/dead-letters/{id}", operation_id = "deleteDeadLetter", tag = "worker",
    params(DeadLetterPath),
    responses(
        (status = 204, description = "Given up"),
        DeleteDeadLetterProblems,
    ),
)]
pub(crate) async fn delete(
    State(app): State<AppState>,
    DecodedPath(text): DecodedPath<String>,
    request: Request,
) -> Result<StatusCode, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    let id = id(&text)?;
    bare(&app, request).await?;
    request::measure(Part::Database, app.connectors.delete_dead_letter(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Delivers many dead letters again
///
/// Those of a sink or a source, the oldest first: `sink` or `source` must be given. The request has no body.
#[utoipa::path(
    post, path = "/api/v1/dead-letters/replay", operation_id = "replayDeadLetters", tag = "worker",
    params(ManyDeadLettersQuery),
    responses(
        (status = 202, description = "So many are delivered soon", body = AcceptedBody, example = examples::many_accepted),
        ManyDeadLettersProblems,
    ),
)]
pub(crate) async fn replay_many(
    State(app): State<AppState>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    let (role, name, limit) = many(&app, request).await?;
    let replayed = app.connectors.replay_dead_letters(role, &name, limit);
    Ok(accepted(request::measure(Part::Database, replayed).await.map_err(of_query)?))
}

/// Gives many dead letters up
///
/// Those of a sink or a source, the oldest first: `sink` or `source` must be given. The request has no body.
#[utoipa::path(
    delete, path = "/api/v1/dead-letters", operation_id = "deleteDeadLetters", tag = "worker",
    params(ManyDeadLettersQuery),
    responses(
        (status = 202, description = "So many were given up", body = AcceptedBody, example = examples::many_accepted),
        ManyDeadLettersProblems,
    ),
)]
pub(crate) async fn delete_many(
    State(app): State<AppState>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    let (role, name, limit) = many(&app, request).await?;
    let deleted = app.connectors.delete_dead_letters(role, &name, limit);
    Ok(accepted(request::measure(Part::Database, deleted).await.map_err(of_query)?))
}

/// Of whom a request is about many dead letters, and about how many.
async fn many(app: &AppState, request: Request) -> Result<(Role, String, u32), ProblemResponse> {
    let (parts, body) = request.into_parts();
    let [sink, source, limit] = known_values(&parts.uri, ["sink", "source", "limit"])?;
    // all dead letters at once would often be a mistake
    let (role, name) =
        connector(sink, source)?.ok_or_else(|| broken("sink", "must be given, or source"))?;
    let limit = limit.map(|text| size("limit", &text, MAX_DEAD_LETTERS_AT_ONCE)).transpose()?;
    without_body(app, body).await?;
    Ok((role, name, limit.unwrap_or(DEAD_LETTERS_AT_ONCE)))
}

/// The connector that the parameter `sink` or `source` names.
fn connector(
    sink: Option<String>,
    source: Option<String>,
) -> Result<Option<(Role, String)>, ProblemResponse> {
    match (sink, source) {
        (None, None) => Ok(None),
        (Some(name), None) => Ok(Some((Role::Sink, name))),
        (None, Some(name)) => Ok(Some((Role::Source, name))),
        (Some(_), Some(_)) => Err(broken("source", "must not be given beside sink")),
    }
}

/// The id in a path. No dead letter has one that is too large for a number.
fn id(text: &str) -> Result<u64, ProblemResponse> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let place = Location(vec![Step::Key("id".into())]);
        let broken = Problem::validation(Violations::one(place, "must be a number"));
        return Err(Problem { kind: ProblemKind::Malformed, ..broken }.into());
    }
    Ok(text.parse().unwrap_or(u64::MAX))
}

fn accepted(accepted: u64) -> Response {
    (StatusCode::ACCEPTED, Json(AcceptedBody { accepted })).into_response()
}
