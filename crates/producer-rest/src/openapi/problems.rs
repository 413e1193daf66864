//! The errors of each operation, with an example of each as the service really answers it.

use std::collections::BTreeMap;

use producer_core::model::FailedPrecondition;
use producer_core::{Location, Problem, ProblemKind, Step, Violations};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Content, ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};
use uuid::{Uuid, uuid};

use crate::accept::FEED_FORMS;
use crate::cross_origin::FORBIDDEN;
use crate::problem::{INTERNAL, PROBLEM_JSON, ProblemBody};

/// The event of the examples.
const EVENT: Uuid = uuid!("550e8400-e29b-41d4-a716-446655440000");
const REQUEST_ID: &str = "5f0c7a2e91d3b846-1c";
const REUSED: &str = "the uuid or idempotency key is already used by an event with other content";

/// Errors of `POST /api/v1/events`.
pub(crate) struct PostEventProblems;

/// Errors of `POST /api/v1/events/bulk`.
pub(crate) struct PostEventsProblems;

/// Errors of `GET /api/v1/events/{uuid}`.
pub(crate) struct GetEventProblems;

/// Errors of `GET /api/v1/entities/{type}/{id}`.
pub(crate) struct GetEntityProblems;

/// Errors of `GET /api/v1/entities/{type}/{id}/history`.
pub(crate) struct HistoryProblems;

/// Errors of `GET /api/v1/entities/{type}/{id}/diff`.
pub(crate) struct DiffProblems;

/// Errors of `GET /api/v1/entities/{type}/{id}/provenance`.
pub(crate) struct ProvenanceProblems;

/// Errors of `GET /api/v1/changes`.
pub(crate) struct ChangesProblems;

/// Errors of `POST /api/v1/entities/{type}`.
pub(crate) struct CreateEntityProblems;

/// Errors of `PUT /api/v1/entities/{type}/{id}`.
pub(crate) struct ReplaceEntityProblems;

/// Errors of `PATCH /api/v1/entities/{type}/{id}`.
pub(crate) struct MergeEntityProblems;

/// Errors of `DELETE /api/v1/entities/{type}/{id}`.
pub(crate) struct DeleteEntityProblems;

/// Errors of the routes about the health of the service.
pub(crate) struct HealthProblems;

/// Errors of `GET /metrics`.
pub(crate) struct MetricsProblems;

pub(super) type Responses = BTreeMap<String, RefOr<Response>>;

impl IntoResponses for PostEventProblems {
    fn responses() -> Responses {
        let broken = [
            ("/eventHeader/eventName", "must not be empty"),
            ("/eventBody/entities/0/entityId", "must have at most 255 characters"),
        ];
        responses([
            malformed("line 1 of the body, column 16: not valid JSON, expected ':'"),
            not_acceptable(),
            too_slow(),
            Problem::new(ProblemKind::Conflict, REUSED).with_event_id(EVENT),
            absent("/eventBody/entities/0").with_event_id(EVENT),
            too_large(),
            Problem::new(
                ProblemKind::MediaType,
                "the content type is not supported; supported is application/json",
            ),
            Problem::validation(violations(&broken)),
            internal(),
            queue_is_full(),
            not_stored().with_event_id(EVENT),
            outcome_unknown(),
        ])
    }
}

impl IntoResponses for PostEventsProblems {
    fn responses() -> Responses {
        responses([
            malformed("line 3 of the body, column 1: not valid JSON, the text ends too early"),
            not_acceptable(),
            too_slow(),
            Problem {
                violations: violations(&[("/0/eventHeader/uuid", REUSED)]),
                ..Problem::new(ProblemKind::Conflict, REUSED)
            },
            absent("/1/eventBody/entities/0"),
            too_large(),
            Problem::new(
                ProblemKind::MediaType,
                "the content type is not supported; supported is application/json (bulk also \
                 application/x-ndjson, application/jsonl)",
            ),
            Problem::validation(violations(&[(
                "/1/eventBody/entities/0/entityId",
                "must not be empty",
            )])),
            internal(),
            Problem::new(
                ProblemKind::Overloaded,
                "too many bytes of requests are buffered; try again later",
            ),
            not_stored(),
        ])
    }
}

impl IntoResponses for GetEventProblems {
    fn responses() -> Responses {
        responses(read_problems("the path value uuid is not a UUID", "no such event"))
    }
}

impl IntoResponses for GetEntityProblems {
    fn responses() -> Responses {
        let broken_path = "a path value breaks a rule: /entityId must have at most 255 characters";
        let problems = read_problems(broken_path, "no such entity");
        responses(problems.into_iter().chain([gone(), too_expensive()]))
    }
}

impl IntoResponses for HistoryProblems {
    fn responses() -> Responses {
        let broken_query = "the query parameter pageSize must be a number from 1";
        let problems = read_problems(broken_query, "no such entity");
        responses(problems.into_iter().chain([gone()]))
    }
}

impl IntoResponses for DiffProblems {
    fn responses() -> Responses {
        let broken_query = "the query parameter from must be a version, which is a number from 1";
        let problems = read_problems(broken_query, "no such entity");
        responses(problems.into_iter().chain([gone(), too_expensive()]))
    }
}

impl IntoResponses for ProvenanceProblems {
    fn responses() -> Responses {
        let broken_query = "the query parameter path must begin with data";
        let problems = read_problems(broken_query, "no such entity");
        responses(problems.into_iter().chain([too_expensive()]))
    }
}

impl IntoResponses for ChangesProblems {
    fn responses() -> Responses {
        let not_acceptable = Problem::new(ProblemKind::NotAcceptable, FEED_FORMS);
        let pruned = "the changes that follow on the token were pruned; begin again, for instance with \
                      from=snapshot";
        let too_many = "there are 1000 readers of changes already (MAX_CHANGE_READERS)";
        responses([
            malformed(
                "the query parameter from must be a token, start, now, snapshot, or a time (RFC 3339)",
            ),
            not_acceptable,
            Problem::new(ProblemKind::Gone, pruned),
            internal(),
            Problem::new(ProblemKind::Overloaded, too_many),
            not_readable(),
        ])
    }
}

impl IntoResponses for CreateEntityProblems {
    fn responses() -> Responses {
        let unmet = unmet("exists already, with version 1", Some(1));
        responses(write_problems().into_iter().chain(body_problems(JSON)).chain([unmet]))
    }
}

impl IntoResponses for ReplaceEntityProblems {
    fn responses() -> Responses {
        let problems = write_problems().into_iter().chain(body_problems(JSON));
        responses(problems.chain([other_version()]))
    }
}

impl IntoResponses for MergeEntityProblems {
    fn responses() -> Responses {
        let problems = write_problems().into_iter().chain(body_problems(MERGE_PATCH));
        responses(problems.chain([no_entity(), other_version()]))
    }
}

impl IntoResponses for DeleteEntityProblems {
    fn responses() -> Responses {
        let body = malformed("the request must have no body");
        let problems = write_problems().into_iter().chain([body]);
        responses(problems.chain([no_entity(), other_version()]))
    }
}

impl IntoResponses for HealthProblems {
    fn responses() -> Responses {
        responses([not_acceptable(), internal()])
    }
}

impl IntoResponses for MetricsProblems {
    fn responses() -> Responses {
        responses([internal()])
    }
}

/// The problems of a route that returns what is stored.
fn read_problems(bad_value: &'static str, not_found: &'static str) -> [Problem; 6] {
    [
        malformed(bad_value),
        Problem::new(ProblemKind::NotFound, not_found),
        not_acceptable(),
        internal(),
        too_many(),
        not_readable(),
    ]
}

fn gone() -> Problem {
    let detail = "the log is kept from version 3 on; what was before is pruned";
    Problem::new(ProblemKind::Gone, detail)
}

fn too_expensive() -> Problem {
    let detail = "more than 100,000 updates or a second of reading; ask for a version after a replace \
                  or for pages of the history";
    Problem::new(ProblemKind::TooExpensive, detail)
}

const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json or application/json";

/// The problems of every write of one entity.
fn write_problems() -> [Problem; 8] {
    [
        Problem::new(ProblemKind::Forbidden, FORBIDDEN),
        not_acceptable(),
        too_slow(),
        Problem::new(ProblemKind::Conflict, REUSED).with_event_id(EVENT),
        internal(),
        queue_is_full(),
        not_stored().with_event_id(EVENT),
        outcome_unknown(),
    ]
}

/// The problems of its body.
fn body_problems(media: &str) -> [Problem; 4] {
    [
        malformed("line 1 of the body, column 6: not valid JSON, expected ':'"),
        too_large(),
        Problem::new(
            ProblemKind::MediaType,
            format!("the content type is not supported; supported is {media}"),
        ),
        Problem::validation(violations(&[(
            "/borrower/name",
            "must not contain the character U+0000",
        )]))
        .with_event_id(EVENT),
    ]
}

fn no_entity() -> Problem {
    Problem::new(ProblemKind::NotFound, "no such entity").with_event_id(EVENT)
}

fn other_version() -> Problem {
    unmet("has version 3; expected version 2", Some(3))
}

/// A condition of a write that does not hold.
fn unmet(detail: &'static str, current_version: Option<u64>) -> Problem {
    let place = Violations::one(Location::default(), detail);
    let state = FailedPrecondition { current_version };
    Problem::precondition_failed(place, state).with_event_id(EVENT)
}

/// An update of an event whose entity must exist.
fn absent(pointer: &str) -> Problem {
    let place = violations(&[(pointer, "does not exist; expected version 2")]);
    Problem::precondition_failed(place, FailedPrecondition { current_version: None })
}

fn queue_is_full() -> Problem {
    let detail = "the queue is full; the event was not stored, send it again later";
    Problem::new(ProblemKind::Overloaded, detail).with_event_id(EVENT)
}

fn outcome_unknown() -> Problem {
    let detail = "the event may or may not be stored; send it again with eventId as its uuid";
    Problem::new(ProblemKind::OutcomeUnknown, detail).with_event_id(EVENT)
}

pub(super) fn malformed(detail: &'static str) -> Problem {
    Problem::new(ProblemKind::Malformed, detail)
}

pub(super) fn not_acceptable() -> Problem {
    Problem::new(
        ProblemKind::NotAcceptable,
        "the answers are application/json and application/problem+json",
    )
}

pub(super) fn too_slow() -> Problem {
    Problem::new(ProblemKind::Timeout, "the body came too slowly")
}

pub(super) fn too_large() -> Problem {
    Problem::new(ProblemKind::TooLarge, "the body is larger than 16777216 bytes")
}

/// Broken rules with their pointers, of which a number is an index.
pub(super) fn violations(broken: &[(&str, &'static str)]) -> Violations {
    let mut violations = Violations::default();
    for &(pointer, detail) in broken {
        let step = |part: &str| match part.parse() {
            Ok(index) => Step::Index(index),
            Err(_) => Step::Key(part.to_owned().into()),
        };
        violations.add(|| Location(pointer.split('/').skip(1).map(step).collect()), detail);
    }
    violations
}

pub(super) fn internal() -> Problem {
    Problem::new(ProblemKind::Internal, INTERNAL)
}

pub(super) fn too_many() -> Problem {
    Problem::new(ProblemKind::Overloaded, producer_server::budget::TOO_MANY)
}

fn not_stored() -> Problem {
    Problem::new(
        ProblemKind::Unavailable,
        "the database can't be reached; the event was not stored, send it again later",
    )
}

pub(super) fn not_readable() -> Problem {
    Problem::new(ProblemKind::Unavailable, "the database can't be reached; try again later")
}

/// A response for each status, with its problems as examples.
pub(super) fn responses(problems: impl IntoIterator<Item = Problem>) -> Responses {
    let mut by_status: BTreeMap<u16, Vec<Problem>> = BTreeMap::new();
    for problem in problems {
        by_status.entry(problem.kind.http_status()).or_default().push(problem);
    }
    let response = |(status, problems): (u16, Vec<Problem>)| {
        (status.to_string(), RefOr::T(response(&problems)))
    };
    by_status.into_iter().map(response).collect()
}

fn response(problems: &[Problem]) -> Response {
    let meaning = |problem: &Problem| {
        let kind = problem.kind;
        format!("`{}`: {}", kind.as_str(), explain(kind).0)
    };
    let meanings: Vec<String> = problems.iter().map(meaning).collect();
    let response = ResponseBuilder::new()
        .description(meanings.join("; or "))
        .content(PROBLEM_JSON, content(problems));
    if problems.iter().any(|problem| problem.retry_after().is_some()) {
        let seconds = HeaderBuilder::new()
            .schema(Some(ObjectBuilder::new().schema_type(Type::Integer)))
            .description(Some("Seconds until the same request may succeed"));
        return response.header("Retry-After", seconds.build()).build();
    }
    response.build()
}

/// Swagger UI shows a choice for several examples, and none for one.
fn content(problems: &[Problem]) -> Content {
    let value = |problem: &Problem| {
        serde_json::to_value(ProblemBody::new(problem, REQUEST_ID)).unwrap_or_default()
    };
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(ProblemBody::name())));
    match problems {
        [problem] => content.example(Some(value(problem))),
        _ => content.examples_from_iter(problems.iter().map(|problem| {
            let example = ExampleBuilder::new().value(Some(value(problem)));
            (problem.kind.as_str(), example.build())
        })),
    }
    .build()
}

/// When a problem is answered, and what its receiver can do.
pub(super) fn explain(kind: ProblemKind) -> (&'static str, &'static str) {
    match kind {
        ProblemKind::Malformed => (
            "not JSON (with line and column), not UTF-8, truncated, a bad query parameter, path value or header, a condition that is no filter",
            "fix the request",
        ),
        ProblemKind::Forbidden => (
            "a script of another origin may only read and send events",
            "name its origin in `CORS_ALLOWED_ORIGINS`",
        ),
        ProblemKind::NotFound => (
            "no such route, entity, event, definition, sink, source or dead letter",
            "check the path",
        ),
        ProblemKind::Method => {
            ("the route doesn't support this method", "use one that `Allow` lists")
        }
        ProblemKind::NotAcceptable => (
            "`Accept` excludes what the route answers",
            "accept `application/json`, or send no `Accept`",
        ),
        ProblemKind::Timeout => (
            "the body took longer than `BODY_TIMEOUT`; nothing was applied",
            "send it again, faster or in smaller parts",
        ),
        ProblemKind::Conflict => (
            "the uuid or the key is used with other content; the first one stays",
            "send other content with another one",
        ),
        ProblemKind::InUse => (
            "a worker runs the sink or source, or a dead letter waits behind another one",
            "do first what `detail` says",
        ),
        ProblemKind::Gone => (
            "that part of the log is not kept, or a token is of another log; `detail` says what is there",
            "ask for a later version; begin to read changes again",
        ),
        ProblemKind::TooExpensive => (
            "the read would look at more than it may; nothing was read",
            "ask for less, as `detail` says",
        ),
        ProblemKind::PreconditionFailed => (
            "a condition on an entity, a definition or a sink does not hold; nothing was applied",
            "read it again, and decide anew",
        ),
        ProblemKind::TooLarge => ("the body is over `MAX_BODY_BYTES`", "split it, or use NDJSON"),
        ProblemKind::MediaType => {
            ("a content type or encoding that isn't supported", "use one that `detail` names")
        }
        ProblemKind::Validation => {
            ("JSON that breaks a rule; `errors` says where", "fix what it names")
        }
        ProblemKind::Internal => {
            ("a defect of the service", "report it with `requestId`; the log has the details")
        }
        ProblemKind::Overloaded => (
            "too many requests or events at once, or the event waited too long; nothing was stored",
            "send it again after `Retry-After`",
        ),
        ProblemKind::Unavailable => (
            "the service is draining, or the database can't be reached; nothing was stored",
            "send it again after `Retry-After`",
        ),
        ProblemKind::OutcomeUnknown => (
            "the database was lost during the commit: the event may or may not be stored",
            "send it again with `eventId` as its uuid, of a single entity as its `Idempotency-Key`: that is always safe",
        ),
    }
}
