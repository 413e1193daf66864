//! The parameters, schemas, problems and examples of sinks, sources and dead letters.

use producer_core::{Problem, ProblemKind};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{IntoParams, IntoResponses, ToSchema};

use super::problems::{
    Responses, internal, malformed, not_acceptable, not_readable, responses, too_large, too_many,
    too_slow, violations,
};
use super::schemas::count;
use crate::cross_origin::FORBIDDEN;

/// The path of a sink or a source.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes what the router reads")]
pub(crate) struct NamePath {
    /// Its name in the worker's configuration
    #[param(pattern = "^[a-z0-9-]{1,63}$", example = "order-events")]
    name: String,
}

/// The path of a dead letter.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes what the router reads")]
pub(crate) struct DeadLetterPath {
    #[param(pattern = "^[0-9]+$", example = "17")]
    id: String,
}

/// Which dead letters.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the route reads")]
pub(crate) struct DeadLettersQuery {
    /// Only those of this sink
    #[param(required = false, schema_with = name)]
    sink: String,
    /// Only those of this source. Not beside `sink`
    #[param(required = false, schema_with = name)]
    source: String,
    /// How many at most; 100 if it is absent, never more than 1,000
    #[param(required = false, schema_with = count)]
    page_size: u32,
    /// `nextPageToken` of the page before, of the same `sink` or `source`
    #[param(required = false)]
    page_token: String,
}

/// Which dead letters at once.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what the routes read")]
pub(crate) struct ManyDeadLettersQuery {
    /// Those of this sink
    #[param(required = false, schema_with = name)]
    sink: String,
    /// Those of this source. One of both must be given
    #[param(required = false, schema_with = name)]
    source: String,
    /// How many at most; 1,000 if it is absent, never more than 10,000
    #[param(required = false, schema_with = count)]
    limit: u32,
}

fn name() -> Schema {
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[a-z0-9-]{1,63}$"));
    Schema::Object(text.build())
}

/// Which change is given up.
#[derive(Debug, ToSchema)]
#[schema(as = SinkSkip)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what core's scanner reads")]
pub(crate) struct SkipDoc {
    /// That of `current`, as the sink was read
    token: String,
}

/// Where a sink is put.
#[derive(Debug, ToSchema)]
#[schema(as = SinkReset)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what core's scanner reads")]
pub(crate) struct ResetDoc {
    /// `start`: the oldest change that is kept; `now`; `snapshot`: the entities as they are, then their changes; a
    /// time (RFC 3339, or Unix milliseconds as digits): what was committed from then on; or a token, behind which it
    /// goes on
    from: String,
}

/// Errors of `GET /api/v1/sinks` and `GET /api/v1/sources`.
pub(crate) struct ListConnectorsProblems;

/// Errors of `GET /api/v1/sinks/{name}`.
pub(crate) struct GetSinkProblems;

/// Errors of `POST /api/v1/sinks/{name}/pause` and `/resume`.
pub(crate) struct SteerSinkProblems;

/// Errors of `POST /api/v1/sinks/{name}/skip`.
pub(crate) struct SkipSinkProblems;

/// Errors of `POST /api/v1/sinks/{name}/reset`.
pub(crate) struct ResetSinkProblems;

/// Errors of `DELETE /api/v1/sinks/{name}`.
pub(crate) struct DeleteSinkProblems;

/// Errors of `GET /api/v1/sources/{name}`.
pub(crate) struct GetSourceProblems;

/// Errors of `POST /api/v1/sources/{name}/pause` and `/resume`.
pub(crate) struct SteerSourceProblems;

/// Errors of `DELETE /api/v1/sources/{name}`.
pub(crate) struct DeleteSourceProblems;

/// Errors of `GET /api/v1/dead-letters`.
pub(crate) struct ListDeadLettersProblems;

/// Errors of `GET /api/v1/dead-letters/{id}`.
pub(crate) struct GetDeadLetterProblems;

/// Errors of `POST /api/v1/dead-letters/{id}/replay`.
pub(crate) struct ReplayDeadLetterProblems;

/// Errors of `DELETE /api/v1/dead-letters/{id}`.
pub(crate) struct DeleteDeadLetterProblems;

/// Errors of `POST /api/v1/dead-letters/replay` and `DELETE /api/v1/dead-letters`.
pub(crate) struct ManyDeadLettersProblems;

impl IntoResponses for ListConnectorsProblems {
    fn responses() -> Responses {
        responses(problems(malformed("the query parameter \"x\" is not known")))
    }
}

impl IntoResponses for GetSinkProblems {
    fn responses() -> Responses {
        responses(of_one(bad_name(), "no such sink"))
    }
}

impl IntoResponses for SteerSinkProblems {
    fn responses() -> Responses {
        responses(of_one(has_body(), "no such sink").into_iter().chain(of_write()))
    }
}

impl IntoResponses for SkipSinkProblems {
    fn responses() -> Responses {
        let other = "the sink's current change has another token";
        let other = Problem::new(ProblemKind::PreconditionFailed, other);
        let invalid = Problem::validation(violations(&[("/token", "is required")]));
        responses(with_body().into_iter().chain([other, invalid]))
    }
}

impl IntoResponses for ResetSinkProblems {
    fn responses() -> Responses {
        let pruned =
            "the changes from that time on were pruned; begin with from=start or from=snapshot";
        let pruned = Problem::new(ProblemKind::Gone, pruned);
        let rule = "must be a token, start, now, snapshot, or a time (RFC 3339)";
        let invalid = Problem::validation(violations(&[("/from", rule)]));
        responses(with_body().into_iter().chain([pruned, invalid]))
    }
}

impl IntoResponses for DeleteSinkProblems {
    fn responses() -> Responses {
        let problems = of_one(has_body(), "no such sink").into_iter().chain(of_write());
        let detail = "the worker worker-1 runs the sink; take the sink out of its configuration and restart it first";
        responses(problems.chain([Problem::new(ProblemKind::InUse, detail)]))
    }
}

impl IntoResponses for GetSourceProblems {
    fn responses() -> Responses {
        responses(of_one(bad_name(), "no such source"))
    }
}

impl IntoResponses for SteerSourceProblems {
    fn responses() -> Responses {
        responses(of_one(has_body(), "no such source").into_iter().chain(of_write()))
    }
}

impl IntoResponses for DeleteSourceProblems {
    fn responses() -> Responses {
        let problems = of_one(has_body(), "no such source").into_iter().chain(of_write());
        let detail = "the worker worker-1 runs the source; take the source out of its configuration and restart it first";
        responses(problems.chain([Problem::new(ProblemKind::InUse, detail)]))
    }
}

impl IntoResponses for ListDeadLettersProblems {
    fn responses() -> Responses {
        let token =
            "the query parameter pageToken must be a token that a page of this list returned";
        responses(of_one(malformed(token), "no such sink"))
    }
}

impl IntoResponses for GetDeadLetterProblems {
    fn responses() -> Responses {
        let broken = violations(&[("/id", "must be a number")]);
        let broken = Problem { kind: ProblemKind::Malformed, ..Problem::validation(broken) };
        responses(of_one(broken, "no such dead letter"))
    }
}

impl IntoResponses for ReplayDeadLetterProblems {
    fn responses() -> Responses {
        let problems = of_one(has_body(), "no such dead letter").into_iter();
        let detail = "it waits behind the dead letter 1 of its entity; replay or delete that one";
        let waits = Problem::new(ProblemKind::InUse, detail);
        responses(problems.chain(of_write()).chain([waits]))
    }
}

impl IntoResponses for DeleteDeadLetterProblems {
    fn responses() -> Responses {
        let problems = of_one(has_body(), "no such dead letter").into_iter();
        responses(problems.chain(of_write()))
    }
}

impl IntoResponses for ManyDeadLettersProblems {
    fn responses() -> Responses {
        let of_all = malformed("the query parameter sink must be given, or source");
        responses(of_one(of_all, "no such sink").into_iter().chain(of_write()))
    }
}

fn problems(bad_request: Problem) -> [Problem; 5] {
    [bad_request, not_acceptable(), internal(), too_many(), not_readable()]
}

fn of_one(bad_request: Problem, not_found: &'static str) -> [Problem; 6] {
    let [bad_request, not_acceptable, internal, too_many, not_readable] = problems(bad_request);
    let not_found = Problem::new(ProblemKind::NotFound, not_found);
    [bad_request, not_found, not_acceptable, internal, too_many, not_readable]
}

/// The problems of what changes something.
fn of_write() -> [Problem; 2] {
    [Problem::new(ProblemKind::Forbidden, FORBIDDEN), too_slow()]
}

/// The problems of what changes a sink as its body says.
fn with_body() -> Vec<Problem> {
    let bad_body = malformed("line 1 of the body, column 9: not valid JSON, expected ':'");
    let media = "the content type is not supported; supported is application/json";
    let mut problems = of_one(bad_body, "no such sink").to_vec();
    problems.extend(of_write());
    problems.extend([too_large(), Problem::new(ProblemKind::MediaType, media)]);
    problems
}

fn bad_name() -> Problem {
    let broken = violations(&[("/name", "must have 1 to 63 characters of a-z, 0-9 and -")]);
    Problem { kind: ProblemKind::Malformed, ..Problem::validation(broken) }
}

fn has_body() -> Problem {
    malformed("the request must have no body")
}

/// A sink and a source, and what they could not carry.
pub(crate) mod examples {
    use serde_json::{Value, json};

    const TOKEN: &str = "AQGQpbRxxH4KtqldLowfRwMAAAAAAAAAB09rI2bgRQ";
    const AT: &str = "2024-03-02T10:00:00.004711Z";

    /// A value with some members more.
    fn with(mut value: Value, members: Value) -> Value {
        if let (Some(value), Value::Object(members)) = (value.as_object_mut(), members) {
            value.extend(members);
        }
        value
    }

    /// One that has sent all.
    pub(crate) fn sink() -> Value {
        json!({
            "name": "order-events",
            "kind": "redis-stream",
            "state": "running",
            "token": TOKEN,
            "lagChanges": 0,
            "lagSeconds": 0.0,
            "caughtUp": true,
            "breaker": "closed",
            "deadLetters": 0,
            "worker": "worker-1"
        })
    }

    /// One that was paused.
    pub(crate) fn paused_sink() -> Value {
        with(sink(), json!({"state": "paused"}))
    }

    /// One that can't get past a change.
    pub(crate) fn stuck_sink() -> Value {
        let current =
            json!({"token": TOKEN, "entityType": "Order", "entityId": "4711", "tries": 12});
        let members = json!({
            "state": "retrying",
            "lagChanges": 2,
            "lagSeconds": 61.5,
            "caughtUp": false,
            "current": current,
            "lastError": {"at": AT, "detail": "the connection was refused"},
            "breaker": "open"
        });
        with(sink(), members)
    }

    /// One that was put elsewhere, and has not gone on from there.
    pub(crate) fn reset_sink() -> Value {
        with(sink(), json!({"lagChanges": 8, "lagSeconds": 61.5}))
    }

    /// All sinks.
    pub(crate) fn sinks() -> Value {
        json!({"sinks": [sink()]})
    }

    /// The change that the sink can't get past.
    pub(crate) fn skip() -> Value {
        json!({"token": TOKEN})
    }

    /// All changes that are kept.
    pub(crate) fn reset() -> Value {
        json!({"from": "start"})
    }

    /// One that has read all.
    pub(crate) fn source() -> Value {
        json!({
            "name": "shop",
            "kind": "redis-stream",
            "state": "running",
            "lagChanges": 0,
            "caughtUp": true,
            "breaker": "closed",
            "deadLetters": 0,
            "worker": "worker-1"
        })
    }

    /// One that was paused.
    pub(crate) fn paused_source() -> Value {
        with(source(), json!({"state": "paused"}))
    }

    /// All sources.
    pub(crate) fn sources() -> Value {
        json!({"sources": [source()]})
    }

    fn of_sink(id: &str, state: &str, version: u64, error: &str, tries: u32) -> Value {
        json!({
            "id": id,
            "sink": "order-events",
            "state": state,
            "token": TOKEN,
            "entityType": "Order",
            "entityId": "4711",
            "version": version,
            "error": error,
            "tries": tries,
            "firstAt": AT,
            "lastAt": AT
        })
    }

    fn refused() -> Value {
        of_sink("17", "dead", 2, "the target answered with 422", 1)
    }

    /// The dead letters of a sink: a change that was refused, and the next one of its entity, which waits.
    pub(crate) fn dead_letters() -> Value {
        json!({"deadLetters": [of_sink("18", "waiting", 3, "", 0), refused()]})
    }

    /// One of a sink, with its message.
    pub(crate) fn refused_change() -> Value {
        with(refused(), json!({"message": "{\"id\":\"4711\",\"total\":-1}"}))
    }

    /// One of a source, with its message.
    pub(crate) fn refused_message() -> Value {
        json!({
            "id": "19",
            "source": "shop",
            "state": "dead",
            "place": "orders:events 1718000000000-0",
            "error": "/eventHeader is required",
            "tries": 1,
            "firstAt": AT,
            "lastAt": AT,
            "message": "{\"event_type\":\"order.created\"}"
        })
    }

    pub(crate) fn one_accepted() -> Value {
        json!({"accepted": 1})
    }

    pub(crate) fn many_accepted() -> Value {
        json!({"accepted": 1000})
    }
}
