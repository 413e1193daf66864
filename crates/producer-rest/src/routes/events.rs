//! One event: in by POST, out as the log keeps it.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::Response;
use http::request::Parts;
use producer_core::json::write_string;
use producer_core::model::{LoggedEvent, LoggedUpdate};
use producer_core::{Operation, ProblemKind, Receipt, decode};
use producer_telemetry::request as telemetry;
use producer_telemetry::stopwatch::Part;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{DecodedPath, json_text, unreachable};
use crate::answers::{EntityVersionBody, json_answer};
use crate::body;
use crate::openapi::examples;
use crate::openapi::problems::{GetEventProblems, PostEventProblems};
use crate::openapi::schemas::{EventDoc, KeyHeader};
use crate::problem::ProblemResponse;
use crate::state::AppState;
use crate::write_headers::idempotency_key;

/// The route that takes single events.
pub(crate) const PATH: &str = "/api/v1/events";

/// The answer to an event that is stored.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Receipt)]
pub(crate) struct ReceiptBody<'a> {
    success: bool,
    #[schema(example = "Event processed successfully")]
    message: &'static str,
    /// The event's uuid, also where the service made it
    event_id: Uuid,
    /// Whether it had been stored before, so that nothing changed now
    duplicate: bool,
    /// In the order of the event's updates
    entities: Vec<EntityVersionBody<'a>>,
}

impl<'a> From<&'a Receipt> for ReceiptBody<'a> {
    fn from(receipt: &'a Receipt) -> Self {
        Self {
            success: true,
            message: "Event processed successfully",
            event_id: receipt.event_id,
            duplicate: receipt.duplicate,
            entities: receipt.entities.iter().map(Into::into).collect(),
        }
    }
}

/// Applies one event
///
/// 200 is sent after it is committed durably. The same uuid again with the same content changes nothing.
/// After 503 nothing is stored; after 504 it may be: send the same event again with `eventId` as its
/// uuid, which is always safe.
#[utoipa::path(
    post, path = PATH, operation_id = "postEvent", tag = "events",
    params(KeyHeader),
    request_body(content = EventDoc, content_type = "application/json", example = examples::event),
    responses(
        (status = 200, description = "Stored", body = ReceiptBody, links(
            ("event" = (
                operation_id = "getEvent",
                parameters(("uuid" = "$response.body#/eventId")),
            )),
            ("firstEntity" = (
                operation_id = "getEntity",
                parameters(
                    ("type" = "$response.body#/entities/0/entityType"),
                    ("id" = "$response.body#/entities/0/entityId"),
                ),
            )),
        ), examples(
            ("first time" = (value = json!(examples::receipt()))),
            ("sent again" = (value = json!(examples::duplicate_receipt()))),
        )),
        PostEventProblems,
    ),
)]
// no async function: that would keep the whole request, and a copy of it
pub(crate) fn post(
    State(app): State<AppState>,
    request: Request,
) -> impl Future<Output = Result<Response, ProblemResponse>> + Send {
    let (Parts { headers, .. }, body) = request.into_parts();
    async move {
        let _slot = app.acquire_slot()?;
        let body = body::BodyStream::new(body, app.body_limits());
        body::require_json(&headers)?;
        let key = idempotency_key(&headers)?;
        let read = body.read_all(&headers, &app.budget);
        let (bytes, lease) = telemetry::measure(Part::Body, read).await?;
        let event = match key.map(|key| key.event_uuid("event", "", None)) {
            Some(uuid) => decode::event_with_uuid(&bytes, uuid, &app.clock),
            None => decode::event(&bytes, &app.clock),
        };
        // the last parts of the connection's buffer, which another one then gets while it is in the caches
        drop((bytes, lease, headers));
        let receipt = app.ingest.submit_item(event).await?;
        Ok(json_answer(receipt_json(&receipt)))
    }
}

/// [`ReceiptBody`] in JSON. Written by hand: of all answers this is the most frequent by far.
fn receipt_json(receipt: &Receipt) -> String {
    let mut uuid = Uuid::encode_buffer();
    let mut version = itoa::Buffer::new();
    let mut out = String::with_capacity(256);
    out.push_str(r#"{"success":true,"message":"Event processed successfully","eventId":""#);
    out.push_str(receipt.event_id.hyphenated().encode_lower(&mut uuid));
    out.push_str(if receipt.duplicate {
        r#"","duplicate":true"#
    } else {
        r#"","duplicate":false"#
    });
    out.push_str(r#","entities":["#);
    for (place, entity) in receipt.entities.iter().enumerate() {
        out.push_str(if place == 0 { r#"{"entityType":"# } else { r#",{"entityType":"# });
        write_string(&mut out, entity.key.entity_type());
        out.push_str(r#","entityId":"#);
        write_string(&mut out, entity.key.entity_id());
        out.push_str(r#","version":"#);
        out.push_str(version.format(entity.version));
        out.push_str(if entity.created { r#","created":true}"# } else { r#","created":false}"# });
    }
    out.push_str("]}");
    out
}

/// An event as the log keeps it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LoggedEvent)]
pub(crate) struct LoggedBody {
    event_header: HeaderBody,
    event_body: UpdatesBody,
    /// When it took effect
    #[schema(format = DateTime)]
    committed_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LoggedEventHeader)]
struct HeaderBody {
    uuid: Uuid,
    event_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    event_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    created_date: Option<String>,
    #[schema(format = DateTime)]
    saved_date: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    actor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LoggedEventBody)]
struct UpdatesBody {
    entities: Vec<UpdateBody>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LoggedUpdate)]
struct UpdateBody {
    entity_type: String,
    entity_id: String,
    /// `replace` or `delete`; absent of a merge
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, pattern = "^(replace|delete)$")]
    operation: Option<&'static str>,
    /// As they were sent
    #[schema(value_type = Object)]
    updated_attributes: Box<RawValue>,
    /// The version that this update made of the entity
    version: u64,
    /// Whether this update created the entity
    created: bool,
}

impl TryFrom<LoggedUpdate> for UpdateBody {
    type Error = ProblemResponse;

    fn try_from(update: LoggedUpdate) -> Result<Self, ProblemResponse> {
        Ok(Self {
            entity_type: update.key.entity_type().into(),
            entity_id: update.key.entity_id().into(),
            operation: (update.operation != Operation::Merge).then(|| update.operation.as_str()),
            updated_attributes: json_text(update.patch)?,
            version: update.version,
            created: update.created,
        })
    }
}

impl TryFrom<LoggedEvent> for LoggedBody {
    type Error = ProblemResponse;

    fn try_from(event: LoggedEvent) -> Result<Self, ProblemResponse> {
        let updates = event.updates.into_iter().map(UpdateBody::try_from);
        Ok(Self {
            event_header: HeaderBody {
                uuid: event.uuid,
                event_name: event.name,
                event_type: event.event_type,
                created_date: event.created.map(|time| time.to_string()),
                saved_date: event.saved.to_string(),
                source: event.source,
                actor: event.actor,
            },
            event_body: UpdatesBody { entities: updates.collect::<Result<_, _>>()? },
            committed_at: event.committed.to_string(),
        })
    }
}

/// Returns one event as the log keeps it
#[utoipa::path(
    get, path = "/api/v1/events/{uuid}", operation_id = "getEvent", tag = "events",
    params(("uuid" = Uuid, Path, description = "The event's uuid", example = "550e8400-e29b-41d4-a716-446655440000")),
    responses(
        (status = 200, description = "The event", body = LoggedBody, example = examples::logged_event),
        GetEventProblems,
    ),
)]
pub(crate) async fn get(
    State(app): State<AppState>,
    DecodedPath(uuid): DecodedPath<String>,
) -> Result<Json<LoggedBody>, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    let uuid = decode::uuid(&uuid).ok_or_else(|| {
        ProblemResponse::new(ProblemKind::Malformed, "the path value uuid is not a UUID")
    })?;
    let read = telemetry::measure(Part::Database, app.store.event(uuid));
    let event = read.await.map_err(unreachable)?;
    let event =
        event.ok_or_else(|| ProblemResponse::new(ProblemKind::NotFound, "no such event"))?;
    Ok(Json(event.try_into()?))
}

#[cfg(test)]
mod tests {
    use producer_core::{EntityKey, EntityVersion};

    use super::*;

    #[test]
    fn the_receipt_is_what_its_schema_says() {
        let entity = |entity_type, entity_id, version, created| EntityVersion {
            key: EntityKey::new(entity_type, entity_id).expect("a key"),
            version,
            created,
        };
        let none = Receipt { event_id: Uuid::nil(), duplicate: true, entities: Vec::new() };
        let one = Receipt { entities: vec![entity("Loan", "loan-1", 1, true)], ..none.clone() };
        let two = Receipt {
            event_id: Uuid::max(),
            duplicate: false,
            entities: vec![
                entity("Käse \"x\"", "\\a/b\t", u64::MAX, false),
                entity("b", "😀", 2, true),
            ],
        };
        for receipt in [none, one, two] {
            let expected = serde_json::to_string(&ReceiptBody::from(&receipt)).expect("JSON");
            assert_eq!(receipt_json(&receipt), expected);
        }
    }
}
