//! The OpenAPI 3.1 document, generated from the routes, and its page.

use std::fmt::Write;

use axum::Router;
use producer_core::ProblemKind;
use utoipa::openapi::OpenApi;
use utoipa::openapi::schema::{
    AnyOfBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type,
};
use utoipa::{IntoResponses, OpenApi as _, ToSchema};
use utoipa_swagger_ui::SwaggerUi;

use crate::problem::ProblemBody;

/// An event as clients send it. Unknown fields are ignored.
#[derive(Debug, ToSchema)]
#[schema(as = Event, example = json!({
    "eventHeader": {
        "uuid": "550e8400-e29b-41d4-a716-446655440000",
        "eventName": "LoanPaymentSubmitted",
        "eventType": "LoanPaymentSubmitted",
        "createdDate": "2024-01-15T10:30:00Z",
        "savedDate": 1_705_314_605_000_u64
    },
    "eventBody": {"entities": [{
        "entityType": "Loan", "entityId": "loan-12345",
        "updatedAttributes": {"balance": 24439.75, "lastPaidDate": "2024-01-15T10:30:00Z"}
    }]}
}))]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what core's scanner reads")]
pub(crate) struct EventDoc {
    event_header: EventHeaderDoc,
    event_body: EventBodyDoc,
}

#[derive(Debug, ToSchema)]
#[schema(as = EventHeader, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what core's scanner reads")]
struct EventHeaderDoc {
    /// The idempotency key; if it is absent, the server makes one
    uuid: Option<uuid::Uuid>,
    #[schema(min_length = 1, max_length = 255)]
    event_name: String,
    #[schema(max_length = 255)]
    event_type: Option<String>,
    #[schema(schema_with = created_date, required = false)]
    created_date: (),
    #[schema(schema_with = saved_date, required = false)]
    saved_date: (),
}

fn created_date() -> Schema {
    date("RFC 3339, or Unix milliseconds as a whole number or as digits; in the years 0001 to 9999")
}

fn saved_date() -> Schema {
    date("As createdDate; if it is absent, the time of the commit")
}

fn date(description: &str) -> Schema {
    let of_type = |name| ObjectBuilder::new().schema_type(name);
    let rfc3339 = SchemaFormat::KnownFormat(KnownFormat::DateTime);
    let forms = AnyOfBuilder::new()
        .item(of_type(Type::String).format(Some(rfc3339)))
        .item(of_type(Type::String).pattern(Some("^(-?[0-9]{1,13}|[0-9]{14})$")))
        .item(
            of_type(Type::Integer)
                .minimum(Some(-62_135_596_800_000_i64))
                .maximum(Some(253_402_300_799_999_i64)),
        )
        .item(of_type(Type::Null))
        .description(Some(description))
        .build();
    Schema::AnyOf(forms)
}

#[derive(Debug, ToSchema)]
#[schema(as = EventBody)]
#[expect(dead_code, reason = "describes what core's scanner reads")]
struct EventBodyDoc {
    #[schema(min_items = 1, max_items = 1000)]
    entities: Vec<EntityUpdateDoc>,
}

#[derive(Debug, ToSchema)]
#[schema(as = EntityUpdate, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what core's scanner reads")]
struct EntityUpdateDoc {
    #[schema(min_length = 1, max_length = 255, pattern = r"^(?!\.{1,2}$)")]
    entity_type: String,
    #[schema(min_length = 1, max_length = 255, pattern = r"^(?!\.{1,2}$)")]
    entity_id: String,
    /// A JSON Merge Patch (RFC 7396): objects merge deep, null removes, the rest replaces
    #[schema(value_type = Object)]
    updated_attributes: serde_json::Value,
}

/// The events of a bulk call.
#[derive(Debug, ToSchema)]
#[schema(as = Events, min_items = 1, max_items = 10_000)]
#[expect(dead_code, reason = "describes what core's scanner reads")]
pub(crate) struct EventsDoc(Vec<EventDoc>);

/// `?mode=`
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes what the bulk route reads")]
pub(crate) enum ModeDoc {
    Atomic,
}

/// Errors of the routes that take events.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes what ProblemLayer writes")]
pub(crate) enum IngestProblems {
    /// malformed
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(ProblemBody<'static>),
    /// not-acceptable
    #[response(status = 406, content_type = "application/problem+json")]
    NotAcceptable(ProblemBody<'static>),
    /// timeout: the body came too slowly, nothing was applied
    #[response(status = 408, content_type = "application/problem+json")]
    Timeout(ProblemBody<'static>),
    /// conflict: the uuid is used with other content (in bulk only with mode=atomic)
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(ProblemBody<'static>),
    /// too-large
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(ProblemBody<'static>),
    /// media-type
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(ProblemBody<'static>),
    /// validation
    #[response(status = 422, content_type = "application/problem+json")]
    Validation(ProblemBody<'static>),
    /// internal: a defect of the service
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(ProblemBody<'static>),
    /// overloaded, unavailable: nothing was stored
    #[response(
        status = 503, content_type = "application/problem+json",
        headers(("Retry-After" = u64, description = "Seconds")),
    )]
    Unavailable(ProblemBody<'static>),
}

/// Errors of the routes that return what is stored.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes what ProblemLayer writes")]
pub(crate) enum ReadProblems {
    /// malformed: a path value breaks a rule
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(ProblemBody<'static>),
    /// not-found
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(ProblemBody<'static>),
    /// not-acceptable
    #[response(status = 406, content_type = "application/problem+json")]
    NotAcceptable(ProblemBody<'static>),
    /// internal: a defect of the service
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(ProblemBody<'static>),
    /// unavailable
    #[response(
        status = 503, content_type = "application/problem+json",
        headers(("Retry-After" = u64, description = "Seconds")),
    )]
    Unavailable(ProblemBody<'static>),
}

/// Errors of the routes about the service itself.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes what ProblemLayer writes")]
pub(crate) enum HealthProblems {
    /// not-acceptable
    #[response(status = 406, content_type = "application/problem+json")]
    NotAcceptable(ProblemBody<'static>),
    /// internal: a defect of the service
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(ProblemBody<'static>),
}

#[derive(utoipa::OpenApi)]
#[openapi(info(title = "producer", description = ""))]
struct Document;

/// The document without its routes.
pub(crate) fn document() -> OpenApi {
    let mut document = Document::openapi();
    document.info.version = env!("CARGO_PKG_VERSION").into();
    document.info.description = Some(description());
    document
}

fn description() -> String {
    let mut text = String::from(
        "Merges change events of producers into the current state of entities, exactly once.\n\n\
         ## Problem types\n\
         Every error is `application/problem+json` (RFC 9457); its `type` is \
         `urn:producer:problem:` and the name.\n\n\
         | status | name | when | what to do |\n|---|---|---|---|\n",
    );
    for kind in ProblemKind::ALL {
        let (when, remedy) = explain(kind);
        let (status, name) = (kind.http_status(), kind.as_str());
        let _ = writeln!(text, "| {status} | `{name}` | {when} | {remedy} |");
    }
    text
}

fn explain(kind: ProblemKind) -> (&'static str, &'static str) {
    match kind {
        ProblemKind::Malformed => (
            "not JSON (with line and column), not UTF-8, truncated, a bad query parameter or path value",
            "fix the request",
        ),
        ProblemKind::NotFound => ("no such route, entity or event", "check the path"),
        ProblemKind::Method => {
            ("the route doesn't support this method", "use one that `Allow` lists")
        }
        ProblemKind::NotAcceptable => {
            ("`Accept` excludes JSON", "accept `application/json`, or send no `Accept`")
        }
        ProblemKind::Timeout => (
            "the body took longer than `BODY_TIMEOUT`; nothing was applied",
            "send it again, faster or in smaller parts",
        ),
        ProblemKind::Conflict => (
            "the uuid is used with other content; the first one stays",
            "send other content with another uuid",
        ),
        ProblemKind::TooLarge => ("the body is over `MAX_BODY_BYTES`", "split it, or use NDJSON"),
        ProblemKind::MediaType => {
            ("a content type or encoding that isn't supported", "use one that `detail` names")
        }
        ProblemKind::Validation => {
            ("JSON that breaks a rule; `errors` says where", "fix the event")
        }
        ProblemKind::Internal => {
            ("a defect of the service", "report it with `requestId`; the log has the details")
        }
        ProblemKind::Overloaded => (
            "the queue is full, or the event waited too long in it; nothing was stored",
            "send it again after `Retry-After`",
        ),
        ProblemKind::Unavailable => (
            "the service is draining, or the database can't be reached; nothing was stored",
            "send it again after `Retry-After`",
        ),
        ProblemKind::OutcomeUnknown => (
            "the database was lost during the commit: the event may or may not be stored",
            "send it again with `eventId` as its uuid: that is always safe",
        ),
    }
}

/// `/openapi.json` and `/docs`.
pub(crate) fn pages(document: OpenApi) -> Router {
    SwaggerUi::new("/docs").url("/openapi.json", document).into()
}
