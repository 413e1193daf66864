//! The examples of lists and types in the OpenAPI document, as those of `examples.rs`.

use std::time::Instant;

use producer_core::ProblemKind;
use producer_test_support::Postgres;
use reqwest::RequestBuilder;
use serde_json::json;

use crate::app::{TIMEOUT, TestApp, answer};
use crate::examples::{Document, assert_like};

const LIST: &str = "/api/v1/entities/{type}";
const ALL: &str = "/api/v1/entities";
const TYPES: &str = "/api/v1/types";
const TYPE: &str = "/api/v1/types/{type}";
const SEARCH: &str = "/api/v1/search";
const JSON: &str = "application/json";

/// Each operation: method, route, address.
const OPERATIONS: [(&str, &str, &str); 7] = [
    ("get", LIST, "/api/v1/entities/Car"),
    ("get", ALL, ALL),
    ("get", TYPES, TYPES),
    ("get", SEARCH, SEARCH),
    ("get", TYPE, "/api/v1/types/Car"),
    ("put", TYPE, "/api/v1/types/Car"),
    ("delete", TYPE, "/api/v1/types/Car"),
];

fn request(app: &TestApp, method: &str, address: &str) -> RequestBuilder {
    let body = if method == "put" { "{}" } else { "" };
    app.request(&method.to_uppercase(), address).body(body)
}

/// What is found of the loan and its payment, and what is declared about loans.
pub(crate) async fn finding_in_the_story(app: &TestApp, document: &Document) {
    const VARYING: [&str; 3] = ["createdAt", "updatedAt", "nextPageToken"];
    const LOANS: &str = "/api/v1/entities/Loan";
    const LOAN_TYPE: &str = "/api/v1/types/Loan";
    for (path, name, address) in [
        (
            LIST,
            "all that match, counted",
            &*format!("{LOANS}?filter=data.balance%20%3E%2020000&count=exact"),
        ),
        (LIST, "some fields", &format!("{LOANS}?fields=version,data.balance")),
        (LIST, "these ids", &format!("{LOANS}?id=loan-12345&id=none")),
        (ALL, "", &format!("{ALL}?pageSize=1&count=exact")),
    ] {
        let list = answer(app.get(address)).await;
        assert_like(&list.body, document.success("get", path, name), &VARYING);
    }

    let definition = document.body("put", TYPE, JSON);
    let put = || app.request("PUT", LOAN_TYPE).json(definition);
    let created = answer(put()).await;
    assert_eq!(created.status, 201);
    assert_like(&created.body, document.answer("put", TYPE, 201, ""), &VARYING);
    app.start_builder();
    app.until_ready("Loan").await;
    for (method, request) in [("put", put()), ("get", app.get(LOAN_TYPE))] {
        let ready = answer(request).await;
        assert_like(&ready.body, document.success(method, TYPE, ""), &VARYING);
    }
    let types = answer(app.get(TYPES)).await;
    assert_like(&types.body, document.success("get", TYPES, ""), &VARYING);
    assert_eq!(app.request("DELETE", LOAN_TYPE).send().await.unwrap().status(), 204);
}

/// The car is found by its model.
pub(crate) async fn search_in_the_story(app: &TestApp, document: &Document) {
    const CAR_TYPE: &str = "/api/v1/types/Car";
    let definition = json!({
        "search": {"paths": {"data.make": 2, "data.model": 1}, "language": "english"}
    });
    assert_eq!(answer(app.request("PUT", CAR_TYPE).json(&definition)).await.status, 201);
    app.until_ready("Car").await;
    let query = "query=octavia&fields=version,data.make&facet=data.make&highlight=true";
    let found = answer(app.get(&format!("{SEARCH}?{query}"))).await;
    assert_like(&found.body, document.success("get", SEARCH, ""), &["score"]);
    assert_eq!(app.request("DELETE", CAR_TYPE).send().await.unwrap().status(), 204);
}

#[tokio::test]
async fn problems_of_finding_are_answered_as_in_the_examples() {
    use ProblemKind::{
        Forbidden, Malformed, MediaType, NotAcceptable, NotFound, PreconditionFailed, TooLarge,
        Validation,
    };
    const CAR: &str = "/api/v1/types/Car";
    let app = TestApp::sqlite().await;
    let document = Document::of(&app).await;
    let put = |body: String| app.request("PUT", CAR).body(body);
    let long = format!("{TYPES}/{}", "x".repeat(256));
    let bad_filter = "?filter=data.total%20=%201";
    let invalid = json!({
        "indexes": ["createdat"], "search": {"paths": {"data.title": "4"}}
    });
    for (method, path, kind, request) in [
        ("get", LIST, Malformed, app.get(&format!("/api/v1/entities/Car{bad_filter}"))),
        ("get", ALL, Malformed, app.get(&format!("{ALL}{bad_filter}"))),
        ("get", TYPES, Malformed, app.get(&format!("{TYPES}?pageSize=0"))),
        ("get", SEARCH, Malformed, app.get(&format!("{SEARCH}?type=Truck"))),
        ("get", SEARCH, Validation, app.get(&format!("{SEARCH}?query=otcavia&fuzzy=true"))),
        ("get", TYPE, Malformed, app.get(&long)),
        ("get", TYPE, NotFound, app.get(CAR)),
        ("delete", TYPE, NotFound, app.request("DELETE", CAR)),
        ("delete", TYPE, Malformed, app.request("DELETE", CAR).body("{}")),
        ("put", TYPE, Malformed, put("{\"indexes\" 1}".into())),
        ("put", TYPE, TooLarge, put(" ".repeat((16 << 20) + 1))),
        ("put", TYPE, MediaType, put("{}".into()).header("content-type", "text/plain")),
        ("put", TYPE, Validation, put(invalid.to_string())),
    ] {
        document.assert_problem(method, path, kind, &answer(request).await);
    }
    for (method, path, address) in OPERATIONS {
        let unacceptable = request(&app, method, address).header("accept", "text/html");
        document.assert_problem(method, path, NotAcceptable, &answer(unacceptable).await);
        if method != "get" {
            let foreign =
                request(&app, method, address).header("origin", "https://foreign.example");
            document.assert_problem(method, path, Forbidden, &answer(foreign).await);
        }
    }
    let mut versions = Vec::new();
    for index in ["data.a", "data.b"] {
        versions.push(
            answer(put(json!({"indexes": [index]}).to_string())).await.body["version"].clone(),
        );
    }
    assert_eq!(versions, [1, 2]);
    for method in ["put", "delete"] {
        let late = request(&app, method, CAR).header("if-match", "\"1\"");
        document.assert_problem(method, TYPE, PreconditionFailed, &answer(late).await);
    }
}

#[tokio::test]
async fn slow_bodies_of_definitions_are_answered_as_in_the_examples() {
    let app = TestApp::sqlite_with(&["--body-timeout", "200ms"]).await;
    let document = Document::of(&app).await;
    for method in ["put", "delete"] {
        let mut raw = app.connect().await;
        let name = method.to_uppercase();
        raw.write(format!(
            "{name} /api/v1/types/Car HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n"
        ))
        .await;
        let (_, body) = raw.read_answer().await;
        document.assert_problem_body(method, TYPE, ProblemKind::Timeout, &body);
    }
}

#[tokio::test]
async fn too_many_readers_are_answered_as_in_the_examples() {
    let app = TestApp::sqlite_with(&["--max-concurrent-requests", "1"]).await;
    let document = Document::of(&app).await;
    // it holds the one slot as long as its body doesn't come
    let mut raw = app.connect().await;
    raw.write("POST /api/v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n[").await;
    let deadline = Instant::now() + TIMEOUT;
    for (method, path, address) in OPERATIONS {
        let answered = loop {
            let answered = answer(request(&app, method, address)).await;
            if answered.status == 503 {
                break answered;
            }
            assert!(Instant::now() < deadline, "there is room for both");
        };
        document.assert_problem(method, path, ProblemKind::Overloaded, &answered);
    }
}

#[tokio::test]
async fn finding_without_a_database_is_answered_as_in_the_examples() {
    let server = tokio::task::spawn_blocking(Postgres::own).await.unwrap();
    let database = server.fresh_database().await;
    let app = TestApp::on(database.url()).await;
    let document = Document::of(&app).await;
    server.stop();
    let internal = document.problem("get", ALL, ProblemKind::Internal);
    for (method, path, address) in OPERATIONS {
        let answered = answer(request(&app, method, address)).await;
        document.assert_problem(method, path, ProblemKind::Unavailable, &answered);
        assert_eq!(document.problem(method, path, ProblemKind::Internal), internal, "{path}");
    }
    let by_id = answer(app.get("/api/v1/entities/Car?id=c1")).await;
    document.assert_problem("get", LIST, ProblemKind::Unavailable, &by_id);
}
