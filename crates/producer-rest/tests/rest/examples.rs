//! The examples of the OpenAPI document: each satisfies its schema, each request is really sent, and
//! each answer is compared with a real one.

use std::sync::atomic::Ordering;
use std::time::Instant;

use futures_util::future::join_all;
use producer_core::ProblemKind;
use producer_test_support::Postgres;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::app::{Answer, TIMEOUT, TestApp, answer, car_event, car_event_with_uuid};
use crate::errors::defective;
use crate::finding_examples::{finding_in_the_story, search_in_the_story};

const CHANGES: &str = "/api/v1/changes";
const EVENT: &str = "/api/v1/events";
const BULK: &str = "/api/v1/events/bulk";
const LOGGED: &str = "/api/v1/events/{uuid}";
const ENTITY: &str = "/api/v1/entities/{type}/{id}";
const HISTORY: &str = "/api/v1/entities/{type}/{id}/history";
const DIFF: &str = "/api/v1/entities/{type}/{id}/diff";
const PROVENANCE: &str = "/api/v1/entities/{type}/{id}/provenance";
const ENTITIES: &str = "/api/v1/entities/{type}";
const SSE: &str = "text/event-stream";
const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const MERGE_PATCH: &str = "application/merge-patch+json";
const UUID: &str = "550e8400-e29b-41d4-a716-446655440000";

/// The document of a service.
pub(crate) struct Document(Value);

impl Document {
    pub(crate) async fn of(app: &TestApp) -> Self {
        Self(answer(app.get("/openapi.json")).await.body)
    }

    fn operation(&self, method: &str, path: &str) -> &Value {
        &self.0["paths"][path][method]
    }

    fn request(&self, path: &str, media: &str) -> &Value {
        self.body("post", path, media)
    }

    pub(crate) fn body(&self, method: &str, path: &str, media: &str) -> &Value {
        &self.operation(method, path)["requestBody"]["content"][media]["example"]
    }

    /// The example of a success; `name` if there are several.
    pub(crate) fn success(&self, method: &str, path: &str, name: &str) -> &Value {
        self.answer(method, path, 200, name)
    }

    pub(crate) fn answer(&self, method: &str, path: &str, status: u16, name: &str) -> &Value {
        let status = status.to_string();
        let content = &self.operation(method, path)["responses"][status]["content"][JSON];
        content.get("example").unwrap_or(&content["examples"][name]["value"])
    }

    pub(crate) fn problem(&self, method: &str, path: &str, kind: ProblemKind) -> &Value {
        let response = &self.operation(method, path)["responses"][kind.http_status().to_string()];
        let content = &response["content"]["application/problem+json"];
        // kinds may share a status, of which an operation has one
        let name = format!("urn:producer:problem:{}", kind.as_str());
        let only = content.get("example").filter(|example| example["type"] == name);
        only.unwrap_or(&content["examples"][kind.as_str()]["value"])
    }

    /// Asserts that an answer is the example of its operation and kind, but for ids.
    pub(crate) fn assert_problem(
        &self,
        method: &str,
        path: &str,
        kind: ProblemKind,
        answered: &Answer,
    ) {
        assert_eq!(answered.problem(), kind.as_str(), "{method} {path}: {answered:?}");
        self.assert_problem_body(method, path, kind, &answered.body);
    }

    pub(crate) fn assert_problem_body(
        &self,
        method: &str,
        path: &str,
        kind: ProblemKind,
        body: &Value,
    ) {
        let expected = self.problem(method, path, kind);
        assert_like(body, expected, &["requestId", "eventId"]);
    }

    /// Asserts that some answers say that the queue is full and some that the outcome is unknown.
    fn assert_overloaded_and_unknown(&self, method: &str, path: &str, answers: &[Answer]) {
        for (kind, detail) in [
            (ProblemKind::Overloaded, "the queue is full"),
            (ProblemKind::OutcomeUnknown, "may or may not be stored"),
        ] {
            let of_kind = |answered: &&Answer| {
                answered.body["detail"].as_str().is_some_and(|text| text.contains(detail))
            };
            let answered = answers.iter().find(of_kind);
            assert!(answered.is_some(), "no {kind:?}: {answers:?}");
            let answered = answered.unwrap();
            self.assert_problem(method, path, kind, answered);
            assert!(answered.body["eventId"].is_string(), "{answered:?}");
        }
    }

    /// A validator of a schema of the document.
    fn validator(&self, schema: &Value) -> jsonschema::Validator {
        let mut root = schema.clone();
        root["components"] = self.0["components"].clone();
        jsonschema::options().should_validate_formats(true).build(&root).unwrap()
    }
}

/// Asserts that a value is the expected one, but for the values of the members `varying`, anywhere.
pub(crate) fn assert_like(value: &Value, expected: &Value, varying: &[&str]) {
    fn mask(value: &mut Value, varying: &[&str]) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    if varying.contains(&&**name) {
                        *value = Value::Null;
                    } else {
                        mask(value, varying);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| mask(item, varying)),
            _ => {}
        }
    }
    let [mut value, mut expected] = [value.clone(), expected.clone()];
    mask(&mut value, varying);
    mask(&mut expected, varying);
    assert_eq!(value, expected);
}

/// Each example below `value`, with its schema and its media type, if it has one.
fn examples<'d>(
    value: &'d Value,
    media: &'d str,
    found: &mut Vec<(&'d Value, &'d Value, &'d str)>,
) {
    let Some(members) = value.as_object() else {
        value.as_array().into_iter().flatten().for_each(|item| examples(item, media, found));
        return;
    };
    // the schema beside it, or the schema that it is a part of
    let schema = members.get("schema").unwrap_or(value);
    found.extend(members.get("example").map(|example| (example, schema, media)));
    if let Some(Value::Object(named)) = members.get("examples") {
        found.extend(named.values().map(|example| (&example["value"], schema, media)));
    }
    for (name, value) in members {
        let is_media = name.contains('/') && !name.starts_with('/');
        if !["example", "examples"].contains(&&**name) {
            examples(value, if is_media { name } else { media }, found);
        }
    }
}

#[tokio::test]
async fn every_example_satisfies_its_schema() {
    let app = TestApp::sqlite().await;
    let document = Document::of(&app).await;
    let mut found = Vec::new();
    examples(&document.0, "", &mut found);
    assert!(found.len() > 60, "{}", found.len());
    for (example, schema, media) in found {
        let validator = document.validator(schema);
        let values = match media {
            NDJSON | "application/jsonl" => {
                let lines = example.as_str().unwrap().lines();
                lines.map(|line| serde_json::from_str(line).unwrap()).collect()
            }
            _ => vec![example.clone()],
        };
        for value in values {
            let errors: Vec<_> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
            assert!(errors.is_empty(), "{value}: {errors:?}");
        }
    }
}

#[tokio::test]
async fn every_body_has_an_example_and_every_problem_one_of_its_own() {
    let app = TestApp::sqlite().await;
    let document = Document::of(&app).await;
    let paths = document.0["paths"].as_object().unwrap();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            let request = operation.get("requestBody").map(|body| ("request", body));
            let responses = operation["responses"].as_object().unwrap();
            let responses = responses.iter().map(|(status, response)| (&**status, response));
            for (status, body) in request.into_iter().chain(responses) {
                for content in body["content"].as_object().into_iter().flat_map(|all| all.values())
                {
                    let example = content.get("example").or(content.get("examples"));
                    assert!(example.is_some(), "{method} {path} {status}");
                }
                let Ok(status) = status.parse::<u16>() else { continue };
                let of_status =
                    || ProblemKind::ALL.into_iter().filter(|kind| kind.http_status() == status);
                let kinds =
                    of_status().filter(|&kind| document.problem(method, path, kind).is_object());
                for kind in kinds {
                    let example = document.problem(method, path, kind);
                    assert_eq!(example["status"], status, "{method} {path}");
                    assert_eq!(example["title"], kind.title(), "{method} {path}");
                    let name = format!("urn:producer:problem:{}", kind.as_str());
                    assert_eq!(example["type"], name, "{method} {path}");
                }
                let is_problem = body["content"].get("application/problem+json").is_some();
                assert_eq!(
                    is_problem,
                    of_status().any(|kind| document.problem(method, path, kind).is_object())
                );
            }
        }
    }
}

#[tokio::test]
async fn the_examples_are_a_story_that_the_service_tells() {
    let app = TestApp::sqlite().await;
    let document = Document::of(&app).await;
    for name in ["first time", "sent again"] {
        let stored = app.send(document.request(EVENT, JSON)).await;
        assert_eq!((stored.status, &stored.body), (200, document.success("post", EVENT, name)));
    }
    let bulk = app.bulk("", JSON, document.request(BULK, JSON).to_string()).await;
    let expected = document.success("post", BULK, "all processed");
    assert_like(&bulk.body, expected, &["batchId", "processingTimeMs"]);

    let logged = answer(app.get(&format!("/api/v1/events/{UUID}"))).await;
    assert_like(&logged.body, document.success("get", LOGGED, ""), &["committedAt"]);
    for (path, name, address) in [
        (ENTITY, "now", ""),
        (ENTITY, "as it was", "?version=1"),
        (HISTORY, "all", "/history"),
        (HISTORY, "the last one", "/history?orderBy=version%20desc&pageSize=1"),
        (DIFF, "", "/diff?from=1"),
        (PROVENANCE, "", "/provenance?path=data.balance"),
    ] {
        let read = answer(app.get(&format!("/api/v1/entities/Loan/loan-12345{address}"))).await;
        let expected = document.success("get", path, name);
        assert_like(&read.body, expected, &["createdAt", "updatedAt", "committedAt"]);
    }

    changes_of_the_story(&app, &document).await;
    finding_in_the_story(&app, &document).await;

    for (media, status) in [(NDJSON, "processed"), ("application/jsonl", "duplicate")] {
        let lines = document.request(BULK, media).as_str().unwrap();
        assert_eq!(app.bulk("", media, lines).await.statuses(), [status; 2]);
    }
    let invalid = format!("{}\n\n{{\"eventHeader\" 1}}", named_event("Loan", ""));
    let failed = app.bulk("", NDJSON, invalid).await;
    let expected = document.success("post", BULK, "invalid lines of NDJSON");
    assert_like(&failed.body, expected, &["batchId", "processingTimeMs"]);

    search_in_the_story(&app, &document).await;
    writes_of_the_story(&app, &document).await;

    for path in ["/api/v1/events/health", "/readyz", "/livez"] {
        assert_eq!(answer(app.get(path)).await.body, *document.success("get", path, ""), "{path}");
    }
    app.ingest.drain();
    assert_eq!(answer(app.get("/readyz")).await.body, unready(&document, "draining"));
}

/// What followed the change feed until then.
async fn changes_of_the_story(app: &TestApp, document: &Document) {
    const VARYING: [&str; 4] = ["token", "nextToken", "committedAt", "updatedAt"];
    let page = answer(app.get(&format!("{CHANGES}?type=Loan"))).await;
    assert_like(&page.body, document.success("get", CHANGES, ""), &VARYING);
    let first = page.body["changes"][0]["token"].as_str().unwrap();
    let changes = format!("?type=Loan&include=data&until=now&from={first}");
    for (media, query) in [(SSE, &*changes), (NDJSON, "?from=snapshot&type=LoanPayment&until=now")]
    {
        let request = app.get(&format!("{CHANGES}{query}")).header("accept", media);
        let text = request.send().await.unwrap().text().await.unwrap();
        let response = &document.operation("get", CHANGES)["responses"]["200"];
        let expected = response["content"][media]["example"].as_str().unwrap();
        assert_eq!(text.lines().count(), expected.lines().count(), "{text}");
        for (line, expected) in text.lines().zip(expected.lines()) {
            let item = |line: &str| {
                let item = line.strip_prefix("data: ").unwrap_or(line);
                serde_json::from_str::<Value>(item).ok()
            };
            match (item(line), item(expected)) {
                (Some(item), Some(expected)) => assert_like(&item, &expected, &VARYING),
                (None, None) if line.starts_with("id: ") => assert!(expected.starts_with("id: ")),
                _ => assert_eq!(line, expected),
            }
        }
    }
}

/// What is done with the loan of the events as a single entity.
async fn writes_of_the_story(app: &TestApp, document: &Document) {
    const VARYING: [&str; 4] = ["eventId", "entityId", "createdAt", "updatedAt"];
    const LOAN: &str = "/api/v1/entities/Loan/loan-12345";
    let prefer = |request: RequestBuilder| request.header("prefer", "return=representation");
    let keyed = |request: RequestBuilder, key: &str| request.header("idempotency-key", key);

    let loan = document.request(ENTITIES, JSON);
    let post = || app.post("/api/v1/entities/Loan").json(loan);
    for (name, request) in [
        ("first time", keyed(post(), "once")),
        ("sent again", keyed(post(), "once")),
        ("representation", prefer(post())),
    ] {
        let created = answer(request).await;
        assert_eq!(created.status, 201, "{name}");
        assert_like(&created.body, document.answer("post", ENTITIES, 201, name), &VARYING);
        let expected = document.answer("post", ENTITIES, 201, "first time");
        assert_eq!(expected["eventId"], expected["entityId"]);
    }

    let loan = document.body("put", ENTITY, JSON);
    let patch = document.body("patch", ENTITY, MERGE_PATCH);
    assert_eq!(patch, document.body("patch", ENTITY, JSON));
    let put = || app.request("PUT", LOAN).json(loan);
    let merge =
        || app.request("PATCH", LOAN).header("content-type", MERGE_PATCH).body(patch.to_string());
    for (method, status, name, request) in [
        ("put", 200, "replaced", put()),
        ("put", 200, "representation", prefer(put())),
        ("patch", 200, "merged", merge()),
        ("patch", 200, "representation", prefer(merge())),
        ("delete", 200, "", app.request("DELETE", LOAN)),
        ("put", 201, "", put()),
    ] {
        let written = answer(request).await;
        assert_eq!(written.status, status, "{method} {name}");
        let expected = document.answer(method, ENTITY, status, name);
        assert_eq!(written.body["entityId"], expected["entityId"]);
        assert_like(&written.body, expected, &VARYING);
        // every header of the answer that is ours is in the document, and the other way round
        let response = &document.operation(method, ENTITY)["responses"][status.to_string()];
        for name in ["etag", "location", "last-modified", "preference-applied"] {
            let headers = response["headers"].as_object().unwrap();
            let is_listed = headers.keys().any(|listed| listed.eq_ignore_ascii_case(name));
            assert!(is_listed || written.header(name).is_empty(), "{method} {name}");
        }
    }
}

fn unready(document: &Document, name: &str) -> Value {
    let response = &document.operation("get", "/readyz")["responses"]["503"];
    response["content"][JSON]["examples"][name]["value"].clone()
}

fn named_event(entity_type: &str, id: &str) -> Value {
    let mut event = car_event(id, json!({}));
    event["eventBody"]["entities"][0]["entityType"] = entity_type.into();
    event
}

#[tokio::test]
async fn problems_of_a_request_are_answered_as_in_the_examples() {
    use ProblemKind::{
        Conflict, Malformed, MediaType, NotAcceptable, NotFound, PreconditionFailed, TooLarge,
        Validation,
    };
    let app = TestApp::sqlite().await;
    let document = Document::of(&app).await;
    let event = car_event_with_uuid(UUID, "c1", json!({"n": 1}));
    assert_eq!(app.send(&event).await.status, 200);
    let conflict = car_event_with_uuid(UUID, "c1", json!({"n": 2}));
    let mut unmet = car_event("none", json!({}));
    unmet["eventBody"]["entities"][0]["expectedVersion"] = 2.into();
    let mut invalid = car_event(&"x".repeat(256), json!({}));
    invalid["eventHeader"]["eventName"] = "".into();
    let too_large = || " ".repeat((16 << 20) + 1);
    let atomic = format!("{BULK}?mode=atomic");
    let post = |path: &str, body: String| app.post(path).body(body);
    let unacceptable = |request: RequestBuilder| request.header("accept", "text/html");
    let unsupported = |request: RequestBuilder| request.header("content-type", "text/plain");
    let array = |items: &[&Value]| json!(items).to_string();
    for (method, path, kind, request) in [
        ("post", EVENT, Malformed, post(EVENT, "{\"eventHeader\" 1}".into())),
        ("post", EVENT, NotAcceptable, unacceptable(post(EVENT, event.to_string()))),
        ("post", EVENT, Conflict, post(EVENT, conflict.to_string())),
        ("post", EVENT, PreconditionFailed, post(EVENT, unmet.to_string())),
        ("post", EVENT, TooLarge, post(EVENT, too_large())),
        ("post", EVENT, MediaType, unsupported(post(EVENT, event.to_string()))),
        ("post", EVENT, Validation, post(EVENT, invalid.to_string())),
        ("post", BULK, Malformed, post(BULK, format!("[\n{event},\n"))),
        ("post", BULK, NotAcceptable, unacceptable(post(BULK, array(&[&event])))),
        ("post", BULK, Conflict, post(&atomic, array(&[&conflict]))),
        ("post", BULK, PreconditionFailed, post(&atomic, array(&[&event, &unmet]))),
        ("post", BULK, TooLarge, post(BULK, too_large())),
        ("post", BULK, MediaType, unsupported(post(BULK, array(&[&event])))),
        ("post", BULK, Validation, post(&atomic, array(&[&event, &car_event("", json!({}))]))),
        ("get", LOGGED, Malformed, app.get("/api/v1/events/1")),
        ("get", LOGGED, NotFound, app.get("/api/v1/events/0199f2c4-5d3e-7a10-9c41-2b7f0e6d8a55")),
        ("get", LOGGED, NotAcceptable, unacceptable(app.get(&format!("/api/v1/events/{UUID}")))),
        ("get", ENTITY, Malformed, app.get(&format!("/api/v1/entities/Car/{}", "x".repeat(256)))),
        ("get", ENTITY, NotFound, app.get("/api/v1/entities/Car/none")),
        ("get", ENTITY, NotAcceptable, unacceptable(app.get("/api/v1/entities/Car/c1"))),
        ("get", HISTORY, Malformed, app.get("/api/v1/entities/Car/c1/history?pageSize=0")),
        ("get", DIFF, Malformed, app.get("/api/v1/entities/Car/c1/diff?from=0")),
        ("get", PROVENANCE, Malformed, app.get("/api/v1/entities/Car/c1/provenance?path=balance")),
        ("get", CHANGES, Malformed, app.get("/api/v1/changes?from=yesterday")),
        ("get", CHANGES, NotAcceptable, unacceptable(app.get(CHANGES))),
        (
            "get",
            "/api/v1/events/health",
            NotAcceptable,
            unacceptable(app.get("/api/v1/events/health")),
        ),
        ("get", "/readyz", NotAcceptable, unacceptable(app.get("/readyz"))),
        ("get", "/livez", NotAcceptable, unacceptable(app.get("/livez"))),
    ] {
        document.assert_problem(method, path, kind, &answer(request).await);
    }
    for (path, route) in HISTORY_READS {
        let none = app.get(&format!("/api/v1/entities/Car/none{route}"));
        document.assert_problem("get", path, NotFound, &answer(none).await);
        let read = unacceptable(app.get(&format!("/api/v1/entities/Car/c1{route}")));
        document.assert_problem("get", path, NotAcceptable, &answer(read).await);
    }
    let metrics = app.get("/metrics").header("accept", "text/html").send().await.unwrap();
    assert_eq!(metrics.status(), 200, "406 is not in the document");
}

/// Each read of the history of one entity: route, and what follows on the entity's address.
const HISTORY_READS: [(&str, &str); 4] = [
    (ENTITY, "?version=1"),
    (HISTORY, "/history"),
    (DIFF, "/diff?from=1"),
    (PROVENANCE, "/provenance"),
];

#[tokio::test]
async fn reads_of_what_is_pruned_are_answered_as_in_the_examples() {
    let app = TestApp::sqlite().await;
    let document = Document::of(&app).await;
    let (mut token, mut change) = (Value::Null, Value::Null);
    for n in 0..3 {
        app.send(&car_event("c1", json!({"n": n}))).await;
        let page = answer(app.get(&format!("{CHANGES}?pageSize=1"))).await;
        change = page.body["nextToken"].clone();
        let page = answer(app.get("/api/v1/entities/Car/c1/history?pageSize=1")).await;
        token = page.body["nextPageToken"].clone();
    }
    app.prune().await;
    let next = format!("/history?pageToken={}", token.as_str().unwrap());
    for (path, route) in [(ENTITY, "?version=1"), (HISTORY, &*next), (DIFF, "/diff?from=1")] {
        let gone = answer(app.get(&format!("/api/v1/entities/Car/c1{route}"))).await;
        document.assert_problem("get", path, ProblemKind::Gone, &gone);
    }
    let gone = answer(app.get(&format!("{CHANGES}?from={}", change.as_str().unwrap()))).await;
    document.assert_problem("get", CHANGES, ProblemKind::Gone, &gone);
}

#[tokio::test]
async fn a_reader_too_many_is_answered_as_in_the_examples() {
    let app = TestApp::sqlite().await;
    let document = Document::of(&app).await;
    let mut expected = document.problem("get", CHANGES, ProblemKind::Overloaded).clone();
    let app = TestApp::sqlite_with(&["--max-change-readers", "1"]).await;
    let _reader = app.get(CHANGES).header("accept", SSE).send().await.unwrap();
    let refused = answer(app.get(CHANGES)).await;
    assert_eq!(refused.problem(), "overloaded");
    for name in ["detail", "error"] {
        expected[name] =
            expected[name].as_str().unwrap().replace("1000 readers", "1 readers").into();
    }
    assert_like(&refused.body, &expected, &["requestId"]);
}

#[tokio::test]
async fn too_expensive_reads_are_answered_as_in_the_examples() {
    let app = TestApp::sqlite().await;
    let document = Document::of(&app).await;
    let mut event = car_event("c1", json!({}));
    let update = event["eventBody"]["entities"][0].clone();
    event["eventBody"]["entities"] = vec![update; 1000].into();
    let events = vec![event; 101];
    let stored = app.bulk("?results=none", JSON, json!(events).to_string()).await;
    assert_eq!(stored.body["processedCount"], 101, "{stored:?}");
    for (path, route) in
        [(ENTITY, "?version=100001"), (DIFF, "/diff?from=100001"), (PROVENANCE, "/provenance")]
    {
        let refused = answer(app.get(&format!("/api/v1/entities/Car/c1{route}"))).await;
        document.assert_problem("get", path, ProblemKind::TooExpensive, &refused);
    }
}

#[tokio::test]
async fn problems_of_a_write_are_answered_as_in_the_examples() {
    use ProblemKind::{
        Conflict, Forbidden, Malformed, MediaType, NotAcceptable, NotFound, PreconditionFailed,
        TooLarge, Validation,
    };
    const CAR: &str = "/api/v1/entities/Car/c1";
    let app = TestApp::sqlite().await;
    let document = Document::of(&app).await;
    for n in 0..3 {
        assert_eq!(app.send(&car_event("c1", json!({"n": n}))).await.status, 200);
    }
    assert_eq!(app.send(&car_event_with_uuid(UUID, "c2", json!({}))).await.status, 200);
    let in_the_way = car_event("8a5f6c2e-3b71-4d09-9e68-1f4c7b2d0a93", json!({}));
    assert_eq!(app.send(&in_the_way).await.status, 200);

    for (method, path, address, body) in WRITES {
        let request = |name: &str, value: &str| {
            write_request(&app, method, address, body).header(name, value)
        };
        for (kind, request) in [
            (Forbidden, request("origin", "https://foreign.example")),
            (NotAcceptable, request("accept", "text/html")),
            (Conflict, request("idempotency-key", UUID)),
        ] {
            document.assert_problem(method, path, kind, &answer(request).await);
        }
        let unmet = match method {
            "post" => request("idempotency-key", "8a5f6c2e-3b71-4d09-9e68-1f4c7b2d0a93"),
            _ => request("if-match", "\"2\""),
        };
        document.assert_problem(method, path, PreconditionFailed, &answer(unmet).await);
    }
    for (method, path, address, _) in WRITES.into_iter().filter(|(.., body)| !body.is_empty()) {
        let request = |body: String| write_request(&app, method, address, &body);
        let text = request("{}".into()).header("content-type", "text/plain");
        for (kind, request) in [
            (Malformed, request("{\"a\" 1}".into())),
            (TooLarge, request(" ".repeat((16 << 20) + 1))),
            (MediaType, text),
            (Validation, request(r#"{"borrower": {"name": "\u0000"}}"#.into())),
        ] {
            document.assert_problem(method, path, kind, &answer(request).await);
        }
    }
    let absent = "/api/v1/entities/Car/none";
    for (method, kind, request) in [
        ("patch", NotFound, app.request("PATCH", absent).body("{}")),
        ("delete", NotFound, app.request("DELETE", absent)),
        ("delete", Malformed, app.request("DELETE", CAR).body("{}")),
    ] {
        document.assert_problem(method, ENTITY, kind, &answer(request).await);
    }
}

/// Each write of one entity: method, route, address, body.
const WRITES: [(&str, &str, &str, &str); 4] = [
    ("post", ENTITIES, "/api/v1/entities/Car", "{}"),
    ("put", ENTITY, "/api/v1/entities/Car/c1", "{}"),
    ("patch", ENTITY, "/api/v1/entities/Car/c1", "{}"),
    ("delete", ENTITY, "/api/v1/entities/Car/c1", ""),
];

fn write_request(app: &TestApp, method: &str, address: &str, body: &str) -> RequestBuilder {
    app.request(&method.to_uppercase(), address).body(body.to_owned())
}

#[tokio::test]
async fn a_slow_body_is_answered_as_in_the_examples() {
    let app = TestApp::sqlite_with(&["--body-timeout", "200ms"]).await;
    let document = Document::of(&app).await;
    for path in [EVENT, BULK] {
        let mut raw = app.connect().await;
        raw.write(format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n[")).await;
        let (_, body) = raw.read_answer().await;
        document.assert_problem_body("post", path, ProblemKind::Timeout, &body);
    }
    for (method, path, address, _) in WRITES {
        let mut raw = app.connect().await;
        let method_name = method.to_uppercase();
        raw.write(format!(
            "{method_name} {address} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n"
        ))
        .await;
        let (_, body) = raw.read_answer().await;
        document.assert_problem_body(method, path, ProblemKind::Timeout, &body);
    }
}

#[tokio::test]
async fn a_defect_is_answered_as_in_the_examples() {
    let (clock, armed) = defective();
    let app = TestApp::sqlite_with_clock(clock).await;
    let document = Document::of(&app).await;
    let event = car_event("c1", json!({}));
    for (path, body) in [(EVENT, event.to_string()), (BULK, json!([event]).to_string())] {
        armed.store(true, Ordering::SeqCst);
        let answered = answer(app.post(path).body(body)).await;
        document.assert_problem("post", path, ProblemKind::Internal, &answered);
    }
    for (method, path, address, body) in WRITES {
        armed.store(true, Ordering::SeqCst);
        let answered = answer(write_request(&app, method, address, body)).await;
        document.assert_problem(method, path, ProblemKind::Internal, &answered);
    }
    let expected = document.problem("post", EVENT, ProblemKind::Internal);
    for path in [
        LOGGED,
        ENTITY,
        HISTORY,
        DIFF,
        PROVENANCE,
        CHANGES,
        "/api/v1/events/health",
        "/readyz",
        "/livez",
        "/metrics",
    ] {
        assert_eq!(document.problem("get", path, ProblemKind::Internal), expected, "{path}");
    }
}

#[tokio::test]
async fn too_many_requests_are_answered_as_in_the_examples() {
    let app = TestApp::sqlite_with(&["--max-concurrent-requests", "1"]).await;
    let document = Document::of(&app).await;
    // it holds the one slot as long as its body doesn't come
    let mut raw = app.connect().await;
    raw.write(format!("POST {EVENT} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n[")).await;
    let deadline = Instant::now() + TIMEOUT;
    let reads = HISTORY_READS.map(|(path, route)| (path, format!("/api/v1/entities/A/b{route}")));
    let reads = reads.into_iter().chain([
        (LOGGED, format!("/api/v1/events/{UUID}")),
        (ENTITY, "/api/v1/entities/A/b".into()),
    ]);
    for (path, address) in reads {
        let answered = loop {
            let answered = answer(app.get(&address)).await;
            if answered.status != 404 {
                break answered;
            }
            assert!(Instant::now() < deadline, "there is room for both");
        };
        document.assert_problem("get", path, ProblemKind::Overloaded, &answered);
    }

    let app = TestApp::sqlite_with(&["--body-buffer-bytes", "64KiB"]).await;
    let answered = app.bulk("", JSON, " ".repeat(65 << 10)).await;
    document.assert_problem("post", BULK, ProblemKind::Overloaded, &answered);
}

#[tokio::test]
async fn a_database_that_is_gone_is_answered_as_in_the_examples() {
    let server = tokio::task::spawn_blocking(Postgres::own).await.unwrap();
    let database = server.fresh_database().await;
    let app = TestApp::on(database.url()).await;
    let document = Document::of(&app).await;
    server.stop();
    let event = car_event_with_uuid(UUID, "c1", json!({}));
    let unavailable = ProblemKind::Unavailable;
    document.assert_problem("post", EVENT, unavailable, &app.send(&event).await);
    let bulk = app.bulk("", JSON, json!([event]).to_string()).await;
    document.assert_problem("post", BULK, unavailable, &bulk);
    let logged = answer(app.get(&format!("/api/v1/events/{UUID}"))).await;
    document.assert_problem("get", LOGGED, unavailable, &logged);
    let entity = answer(app.get("/api/v1/entities/Car/c1")).await;
    document.assert_problem("get", ENTITY, unavailable, &entity);
    for (path, route) in HISTORY_READS {
        let read = answer(app.get(&format!("/api/v1/entities/Car/c1{route}"))).await;
        document.assert_problem("get", path, unavailable, &read);
    }
    document.assert_problem("get", CHANGES, unavailable, &answer(app.get(CHANGES)).await);
    for (method, path, address, body) in WRITES {
        let request = write_request(&app, method, address, body);
        let refused = answer(request.header("idempotency-key", UUID)).await;
        document.assert_problem(method, path, unavailable, &refused);
        assert_eq!(refused.body["eventId"], UUID);
    }
    assert_eq!(answer(app.get("/readyz")).await.body, unready(&document, "unreachable"));
}

#[tokio::test]
async fn a_database_that_hangs_is_answered_as_in_the_examples() {
    let server = tokio::task::spawn_blocking(Postgres::own).await.unwrap();
    let database = server.fresh_database().await;
    let flags = ["--ingest-queue-events", "1", "--request-timeout", "1s"];
    let app = TestApp::on_with(database.url(), &flags).await;
    let document = Document::of(&app).await;
    assert_eq!(app.send(&car_event("c0", json!({}))).await.status, 200);
    server.freeze();
    // the writers take some, one waits, and the queue has no room for the others
    let events: Vec<_> = (1..=10).map(|n| car_event(&format!("c{n}"), json!({}))).collect();
    let answers = join_all(events.iter().map(|event| app.send(event))).await;
    server.thaw();
    document.assert_overloaded_and_unknown("post", EVENT, &answers);
}

#[tokio::test]
async fn writes_to_a_database_that_hangs_are_answered_as_in_the_examples() {
    let server = tokio::task::spawn_blocking(Postgres::own).await.unwrap();
    let database = server.fresh_database().await;
    let flags = ["--ingest-queue-events", "1", "--request-timeout", "1s"];
    let app = TestApp::on_with(database.url(), &flags).await;
    let document = Document::of(&app).await;
    for (method, path, _, body) in WRITES {
        until_stored(&app).await;
        server.freeze();
        let send = |n| {
            let id = if path == ENTITY { format!("/c{n}") } else { String::new() };
            answer(write_request(&app, method, &format!("/api/v1/entities/Car{id}"), body))
        };
        let answers = join_all((1..=10).map(send)).await;
        server.thaw();
        document.assert_overloaded_and_unknown(method, path, &answers);
    }
}

/// Waits until the writers have a connection again.
async fn until_stored(app: &TestApp) {
    let deadline = Instant::now() + TIMEOUT;
    while app.send(&car_event("c0", json!({}))).await.status != 200 {
        assert!(Instant::now() < deadline, "does not recover");
    }
}
