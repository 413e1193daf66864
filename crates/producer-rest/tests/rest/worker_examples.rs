//! The examples of sinks, sources and dead letters in the OpenAPI document, as those of `examples.rs`.

use std::time::Instant;

use producer_core::ProblemKind;
use producer_core::worker::{Report, Role};
use producer_test_support::Postgres;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::app::{TIMEOUT, TestApp, answer, car_event};
use crate::examples::{Document, assert_like};
use crate::workers::{add, caught_up, no_event, refused, report, run, stuck, waiting};

const SINKS: &str = "/api/v1/sinks";
const SINK: &str = "/api/v1/sinks/{name}";
const SOURCES: &str = "/api/v1/sources";
const SOURCE: &str = "/api/v1/sources/{name}";
const LETTERS: &str = "/api/v1/dead-letters";
const LETTER: &str = "/api/v1/dead-letters/{id}";

/// Each operation: method, route, what its path has for the name or the id.
fn operations() -> Vec<(&'static str, String)> {
    let mut operations = vec![
        ("get", LETTERS.to_owned()),
        ("delete", LETTERS.to_owned()),
        ("post", format!("{LETTERS}/replay")),
        ("get", LETTER.to_owned()),
        ("delete", LETTER.to_owned()),
        ("post", format!("{LETTER}/replay")),
        ("post", format!("{SINK}/skip")),
        ("post", format!("{SINK}/reset")),
    ];
    for (all, one) in [(SINKS, SINK), (SOURCES, SOURCE)] {
        operations.extend([("get", all.to_owned()), ("get", one.to_owned())]);
        operations.push(("delete", one.to_owned()));
        operations.extend(["pause", "resume"].map(|action| ("post", format!("{one}/{action}"))));
    }
    operations
}

/// A request of an operation that breaks no rule.
fn request(app: &TestApp, method: &str, route: &str) -> RequestBuilder {
    let path = route.replace("{name}", "a").replace("{id}", "1");
    let is_of_many = route == LETTERS || route.ends_with("dead-letters/replay");
    let query = if is_of_many { "?sink=a" } else { "" };
    let request = app.request(&method.to_uppercase(), &format!("{path}{query}"));
    match route.rsplit('/').next() {
        Some("skip") => request.body(r#"{"token":"t"}"#),
        Some("reset") => request.body(r#"{"from":"now"}"#),
        _ => request,
    }
}

#[tokio::test]
async fn sinks_sources_and_dead_letters_are_as_in_the_examples() {
    const VARYING: [&str; 8] =
        ["token", "lagChanges", "lagSeconds", "at", "firstAt", "lastAt", "id", "accepted"];
    let app = TestApp::sqlite().await;
    let document = Document::of(&app).await;
    let assert = |method: &str, route: &str, status: u16, name: &str, body: &Value| {
        assert_like(body, document.answer(method, route, status, name), &VARYING);
    };
    let sink = run(&app, Role::Sink, "order-events").await;
    report(&app, &sink, &caught_up()).await;
    let path = "/api/v1/sinks/order-events";
    assert("get", SINKS, 200, "", &answer(app.get(SINKS)).await.body);
    assert("get", SINK, 200, "", &answer(app.get(path)).await.body);
    for action in ["pause", "resume"] {
        let answered = answer(app.post(&format!("{path}/{action}"))).await;
        assert("post", &format!("{SINK}/{action}"), 200, "", &answered.body);
    }
    let reset = document.body("post", &format!("{SINK}/reset"), "application/json");
    let answered = answer(app.post(&format!("{path}/reset")).json(reset)).await;
    assert("post", &format!("{SINK}/reset"), 200, "", &answered.body);
    let skip = document.body("post", &format!("{SINK}/skip"), "application/json");
    report(&app, &sink, &stuck(skip["token"].as_str().unwrap())).await;
    let answered = answer(app.post(&format!("{path}/skip")).json(skip)).await;
    assert("post", &format!("{SINK}/skip"), 200, "", &answered.body);

    let source = run(&app, Role::Source, "shop").await;
    report(&app, &source, &Report { waiting: Some(0), ..caught_up() }).await;
    let path = "/api/v1/sources/shop";
    assert("get", SOURCES, 200, "", &answer(app.get(SOURCES)).await.body);
    assert("get", SOURCE, 200, "", &answer(app.get(path)).await.body);
    for action in ["pause", "resume"] {
        let answered = answer(app.post(&format!("{path}/{action}"))).await;
        assert("post", &format!("{SOURCE}/{action}"), 200, "", &answered.body);
    }

    add(&app, &sink, &[refused(1, "4711", 2), waiting(2, "4711", 3)]).await;
    assert("get", LETTERS, 200, "", &answer(app.get(LETTERS)).await.body);
    let message = br#"{"event_type":"order.created"}"#;
    add(&app, &source, &[no_event("orders:events 1718000000000-0", message)]).await;
    for (name, query, index) in
        [("of a sink", "?sink=order-events", 1), ("of a source", "?source=shop", 0)]
    {
        let listed = answer(app.get(&format!("{LETTERS}{query}"))).await;
        let id = listed.body["deadLetters"][index]["id"].as_str().unwrap();
        let letter = format!("{LETTERS}/{id}");
        assert("get", LETTER, 200, name, &answer(app.get(&letter)).await.body);
        let replayed = answer(app.post(&format!("{letter}/replay"))).await;
        assert("post", &format!("{LETTER}/replay"), 202, "", &replayed.body);
    }
    for (method, route) in [("post", format!("{LETTERS}/replay")), ("delete", LETTERS.into())] {
        let path = format!("{route}?sink=order-events");
        let accepted = answer(app.request(&method.to_uppercase(), &path)).await;
        assert(method, &route, 202, "", &accepted.body);
    }
}

#[tokio::test]
async fn problems_of_the_worker_are_answered_as_in_the_examples() {
    use ProblemKind::{
        Forbidden, Gone, InUse, Malformed, MediaType, NotAcceptable, NotFound, PreconditionFailed,
        TooLarge, Validation,
    };
    let app = TestApp::sqlite().await;
    let document = Document::of(&app).await;
    for (method, route) in operations() {
        let unacceptable = request(&app, method, &route).header("accept", "text/html");
        document.assert_problem(method, &route, NotAcceptable, &answer(unacceptable).await);
        if ![SINKS, SOURCES].contains(&&*route) {
            let missing = answer(request(&app, method, &route)).await;
            document.assert_problem(method, &route, NotFound, &missing);
        }
        if method != "get" {
            let foreign = request(&app, method, &route).header("origin", "https://foreign.example");
            document.assert_problem(method, &route, Forbidden, &answer(foreign).await);
            let is_bare = !route.ends_with("/skip") && !route.ends_with("/reset");
            let of_many = route == LETTERS || route.ends_with("dead-letters/replay");
            if is_bare && !of_many {
                let with_body = answer(request(&app, method, &route).body("{}")).await;
                document.assert_problem(method, &route, Malformed, &with_body);
            }
        }
    }
    for (method, route, address) in [
        ("get", SINKS, format!("{SINKS}?x")),
        ("get", SOURCES, format!("{SOURCES}?x")),
        ("get", SINK, format!("{SINKS}/Orders")),
        ("get", SOURCE, format!("{SOURCES}/Orders")),
        ("get", LETTERS, format!("{LETTERS}?pageToken=x")),
        ("get", LETTER, format!("{LETTERS}/x")),
        ("delete", LETTERS, LETTERS.to_owned()),
        ("post", "/api/v1/dead-letters/replay", format!("{LETTERS}/replay")),
    ] {
        let refused = answer(app.request(&method.to_uppercase(), &address)).await;
        document.assert_problem(method, route, Malformed, &refused);
    }

    let sink = run(&app, Role::Sink, "a").await;
    report(&app, &sink, &stuck("t1")).await;
    let source = run(&app, Role::Source, "a").await;
    add(&app, &sink, &[refused(1, "4711", 1), waiting(2, "4711", 2)]).await;
    for route in [SINK, SOURCE] {
        let refused = answer(request(&app, "delete", route)).await;
        document.assert_problem("delete", route, InUse, &refused);
    }
    let replayed = answer(app.post(&format!("{LETTERS}/2/replay"))).await;
    document.assert_problem("post", &format!("{LETTER}/replay"), InUse, &replayed);
    drop((sink, source));
    let (skip, reset) = (format!("{SINK}/skip"), format!("{SINK}/reset"));
    let other = answer(request(&app, "post", &skip)).await;
    document.assert_problem("post", &skip, PreconditionFailed, &other);
    for (route, malformed, invalid) in
        [(&skip, "{\"skip\" 1}", json!({})), (&reset, "{\"from\" 1}", json!({"from": "sometime"}))]
    {
        let post = |body: String| request(&app, "post", route).body(body);
        for (kind, request) in [
            (Malformed, post(malformed.into())),
            (TooLarge, post(" ".repeat((16 << 20) + 1))),
            (MediaType, post("{}".into()).header("content-type", "text/plain")),
            (Validation, post(invalid.to_string())),
        ] {
            document.assert_problem("post", route, kind, &answer(request).await);
        }
    }

    app.send(&car_event("c1", json!({"n": 1}))).await;
    app.send(&car_event("c1", json!({"n": 2}))).await;
    // pruning keeps what a sink still needs
    assert_eq!(answer(request(&app, "post", &reset)).await.status, 200);
    assert_eq!(answer(request(&app, "delete", LETTERS)).await.body, json!({"accepted": 2}));
    app.prune().await;
    let pruned = request(&app, "post", &reset).body(r#"{"from":"2001-01-01T00:00:00Z"}"#);
    document.assert_problem("post", &reset, Gone, &answer(pruned).await);
}

#[tokio::test]
async fn slow_bodies_of_the_worker_are_answered_as_in_the_examples() {
    let app = TestApp::sqlite_with(&["--body-timeout", "200ms"]).await;
    let document = Document::of(&app).await;
    for (method, route) in operations().into_iter().filter(|(method, _)| *method != "get") {
        let path = route.replace("{name}", "a").replace("{id}", "1");
        let query = if path.starts_with("/api/v1/dead-letters") { "?sink=a" } else { "" };
        let query = if route.contains("{id}") { "" } else { query };
        let mut raw = app.connect().await;
        let name = method.to_uppercase();
        raw.write(format!("{name} {path}{query} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n"))
            .await;
        let (_, body) = raw.read_answer().await;
        document.assert_problem_body(method, &route, ProblemKind::Timeout, &body);
    }
}

#[tokio::test]
async fn too_many_requests_of_the_worker_are_answered_as_in_the_examples() {
    let app = TestApp::sqlite_with(&["--max-concurrent-requests", "1"]).await;
    let document = Document::of(&app).await;
    // it holds the one slot as long as its body doesn't come
    let mut raw = app.connect().await;
    raw.write("POST /api/v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n[").await;
    let deadline = Instant::now() + TIMEOUT;
    for (method, route) in operations() {
        let answered = loop {
            let answered = answer(request(&app, method, &route)).await;
            if answered.status == 503 {
                break answered;
            }
            assert!(Instant::now() < deadline, "there is room for both");
        };
        document.assert_problem(method, &route, ProblemKind::Overloaded, &answered);
    }
}

#[tokio::test]
async fn the_worker_without_a_database_is_answered_as_in_the_examples() {
    let server = tokio::task::spawn_blocking(Postgres::own).await.unwrap();
    let database = server.fresh_database().await;
    let app = TestApp::on(database.url()).await;
    let document = Document::of(&app).await;
    server.stop();
    let internal = document.problem("get", SINKS, ProblemKind::Internal);
    for (method, route) in operations() {
        let answered = answer(request(&app, method, &route)).await;
        document.assert_problem(method, &route, ProblemKind::Unavailable, &answered);
        assert_eq!(document.problem(method, &route, ProblemKind::Internal), internal, "{route}");
    }
}
