//! Conditions of writes of one entity: `If-Match`, `If-None-Match` and `?condition=`.

use std::collections::HashSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::app::{Answer, TestApp, answer};
use crate::entity_writes::{CAR, CARS, assert_receipt, get, put, write};

#[track_caller]
fn assert_unmet(answered: &Answer, current: &Value, detail: &str) {
    assert_eq!((answered.status, answered.problem()), (412, "precondition-failed"), "{answered:?}");
    assert_eq!(answered.body["currentVersion"], *current);
    assert_eq!(answered.body["detail"], detail);
    assert_eq!(answered.pointers(), [""]);
}

async fn conditions_decide(app: TestApp) {
    // of an entity that does not exist
    for (method, headers, status, detail) in [
        ("PUT", &[("if-match", "*")][..], 412, "the entity does not exist"),
        ("PUT", &[("if-match", "\"1\"")], 412, "the entity does not exist; expected version 1"),
        ("PUT", &[("if-match", "\"x\"")], 412, "the entity does not exist"),
        ("PUT", &[("if-match", "*"), ("if-none-match", "*")], 412, "the entity does not exist"),
        ("PATCH", &[], 404, "no such entity"),
        ("PATCH", &[("if-none-match", "*")], 404, "no such entity"),
        ("PATCH", &[("if-match", "*")], 412, "the entity does not exist"),
        (
            "PATCH",
            &[("if-match", "\"1\", \"2\"")],
            412,
            "the entity does not exist; expected version 1 or 2",
        ),
        ("DELETE", &[], 404, "no such entity"),
        ("DELETE", &[("if-match", "*")], 412, "the entity does not exist"),
        ("DELETE", &[("if-match", "\"1\"")], 412, "the entity does not exist; expected version 1"),
        ("POST", &[("if-match", "*")], 412, "the entity does not exist"),
        ("POST", &[("if-match", "\"1\"")], 412, "the entity does not exist"),
    ] {
        let path = if method == "POST" { CARS } else { CAR };
        let body = if method == "DELETE" { "" } else { "{}" };
        let refused = write(&app, method, path, headers, body).await;
        assert_eq!((refused.status, &refused.body["detail"]), (status, &json!(detail)), "{method}");
        if status == 412 {
            assert_unmet(&refused, &Value::Null, detail);
        } else {
            assert_eq!(refused.problem(), "not-found");
        }
    }
    assert_eq!(get(&app, CAR).await.status, 404, "nothing was applied");
    assert_eq!(write(&app, "POST", CARS, &[("if-none-match", "*")], "{}").await.status, 201);
    let only_new = [("if-none-match", "*")];
    assert_receipt(&write(&app, "PUT", CAR, &only_new, "{}").await, 201, "c1", 1, true);

    // of one with version 1
    let other = "the entity has version 1; expected version 2";
    let none = "the entity has version 1, and no version fulfils the conditions";
    for (method, headers, detail) in [
        ("PUT", &[("if-match", "\"2\"")][..], other),
        ("PATCH", &[("if-match", "W/\"2\"")], other),
        ("DELETE", &[("if-match", "\"2\"")], other),
        ("PUT", &only_new, "the entity exists already, with version 1"),
        ("PATCH", &only_new, none),
        ("DELETE", &only_new, none),
        ("PUT", &[("if-match", "\"x\"")], none),
        ("PUT", &[("if-match", "\"1\""), ("if-none-match", "*")], none),
    ] {
        let body = if method == "DELETE" { "" } else { "{\"n\":1}" };
        assert_unmet(&write(&app, method, CAR, headers, body).await, &json!(1), detail);
    }
    assert_eq!(get(&app, CAR).await.header("etag"), "\"1\"", "nothing was applied");

    for (version, (method, tags)) in
        [("PUT", "\"1\""), ("PATCH", "\"x\",W/\"2\", \"9\""), ("PATCH", "*"), ("DELETE", "\"4\"")]
            .into_iter()
            .enumerate()
    {
        let body = if method == "DELETE" { "" } else { "{}" };
        let held = write(&app, method, CAR, &[("if-match", tags)], body).await;
        assert_receipt(&held, 200, "c1", version as u64 + 2, false);
    }
    let deleted = write(&app, "PUT", CAR, &[("if-match", "\"5\"")], "{}").await;
    assert_unmet(&deleted, &Value::Null, "the entity does not exist; expected version 5");
    assert_receipt(&write(&app, "PUT", CAR, &only_new, "{}").await, 201, "c1", 6, true);
}

#[tokio::test]
async fn conditions_decide_on_sqlite() {
    conditions_decide(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn conditions_decide_on_postgres() {
    conditions_decide(TestApp::postgres().await).await;
}

/// `?condition=` with this filter.
fn on(path: &str, filter: &str) -> String {
    let mut url = reqwest::Url::parse("http://host").unwrap();
    url.query_pairs_mut().append_pair("condition", filter);
    format!("{path}?{}", url.query().unwrap())
}

async fn a_filter_decides(app: TestApp) {
    // none holds of what does not exist: where it must exist that is 404, as without a condition
    let any = "!has(data.a)";
    for (method, path, body, status) in [
        ("PUT", CAR, "{}", 412),
        ("POST", CARS, "{}", 412),
        ("PATCH", CAR, "{}", 404),
        ("DELETE", CAR, "", 404),
    ] {
        let refused = write(&app, method, &on(path, any), &[], body).await;
        assert_eq!(refused.status, status, "{method}: {refused:?}");
        if status == 412 {
            assert_unmet(&refused, &Value::Null, "the entity does not exist");
        }
    }
    // If-Match comes before 404
    for method in ["PATCH", "DELETE"] {
        let body = if method == "DELETE" { "" } else { "{}" };
        let refused = write(&app, method, &on(CAR, any), &[("if-match", "*")], body).await;
        assert_unmet(&refused, &Value::Null, "the entity does not exist");
    }
    assert_eq!(get(&app, CAR).await.status, 404, "nothing was applied");

    put(&app, &json!({"n": 1, "o": {"é": [1, 2]}})).await;
    let unmet = "the entity does not fulfil the condition in version 1";
    for (method, body) in [("PUT", "{}"), ("PATCH", "{\"n\":9}"), ("DELETE", "")] {
        for filter in ["data.n > 1", "has(data.o.e)", "version == 1 && id != 'c1'"] {
            let refused = write(&app, method, &on(CAR, filter), &[], body).await;
            assert_unmet(&refused, &json!(1), unmet);
        }
    }
    // both must hold, and the version is looked at first
    let holds = "data.n == 1.0 && data.o[\"é\"].exists(x, x == 2)";
    let stale = write(&app, "PATCH", &on(CAR, holds), &[("if-match", "\"2\"")], "{}").await;
    assert_unmet(&stale, &json!(1), "the entity has version 1; expected version 2");
    let other = write(&app, "PATCH", &on(CAR, "data.n > 1"), &[("if-match", "\"1\"")], "{}").await;
    assert_unmet(&other, &json!(1), unmet);
    assert_eq!(get(&app, CAR).await.header("etag"), "\"1\"", "nothing was applied");

    let held = write(&app, "PATCH", &on(CAR, holds), &[("if-match", "\"1\"")], "{\"n\":2}").await;
    assert_receipt(&held, 200, "c1", 2, false);
    let key = [("idempotency-key", "k")];
    let replaced = write(&app, "PUT", &on(CAR, "data.n == 2"), &key, "{\"n\":3}").await;
    assert_receipt(&replaced, 200, "c1", 3, false);
    let again = write(&app, "PUT", &on(CAR, "data.n == 2"), &key, "{\"n\":3}").await;
    assert_eq!((again.status, &again.body["duplicate"]), (200, &json!(true)));
    let deleted = write(&app, "DELETE", &on(CAR, "data.n == 3"), &[], "").await;
    assert_receipt(&deleted, 200, "c1", 4, false);
    assert_eq!(write(&app, "PATCH", &on(CAR, any), &[], "{}").await.status, 404);
}

#[tokio::test]
async fn a_filter_decides_on_sqlite() {
    a_filter_decides(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn a_filter_decides_on_postgres() {
    a_filter_decides(TestApp::postgres().await).await;
}

#[tokio::test]
async fn a_duplicate_fulfils_every_condition() {
    let app = TestApp::sqlite().await;
    let headers = [("if-none-match", "*"), ("idempotency-key", "k")];
    assert_eq!(write(&app, "PUT", CAR, &headers, "{}").await.status, 201);
    let again = write(&app, "PUT", CAR, &headers, "{}").await;
    assert_eq!((again.status, &again.body["duplicate"]), (201, &json!(true)));
    let headers = [("if-match", "\"1\""), ("idempotency-key", "k")];
    assert_eq!(write(&app, "DELETE", CAR, &headers, "").await.body["duplicate"], false);
    assert_eq!(write(&app, "DELETE", CAR, &headers, "").await.body["duplicate"], true);
}

#[tokio::test]
async fn repeated_headers_are_one_list() {
    let app = TestApp::sqlite().await;
    put(&app, &json!({})).await;
    let request = app.request("PATCH", CAR).header("if-match", "\"7\"").header("if-match", "\"1\"");
    assert_receipt(&answer(request.body("{}")).await, 200, "c1", 2, false);
    let request = app.request("PATCH", CAR).header("idempotency-key", "a");
    let twice = answer(request.header("idempotency-key", "a").body("{}")).await;
    assert_receipt(&twice, 200, "c1", 3, false);
}

#[tokio::test]
async fn a_condition_that_is_no_filter_is_malformed_with_its_column() {
    let app = TestApp::sqlite().await;
    put(&app, &json!({"n": 1})).await;
    let long = format!("data.a == '{}'", "x".repeat(4096));
    for (filter, column) in [
        ("", 1),
        ("data.n", 7),
        ("version=1", 8),
        ("n == 1", 1),
        ("data.n == 1 and data.m == 2", 13),
        ("version == '1'", 12),
        ("patch.n == 1", 1),
        ("data.é == 1", 6),
        (&long, 4097),
    ] {
        for (method, path, body) in
            [("PUT", CAR, "{}"), ("PATCH", CAR, "{}"), ("DELETE", CAR, ""), ("POST", CARS, "{}")]
        {
            let refused = write(&app, method, &on(path, filter), &[], body).await;
            assert_eq!((refused.status, refused.problem()), (400, "malformed"), "{filter}");
            let detail = refused.body["detail"].as_str().unwrap();
            let place = format!("the query parameter condition, column {column}: expected ");
            assert!(detail.starts_with(&place), "{filter}: {detail}");
        }
    }
    // the longest
    let most = format!("data.n == 1 || data.a == '{}'", "x".repeat(4096 - 27));
    assert_receipt(&write(&app, "PATCH", &on(CAR, &most), &[], "{}").await, 200, "c1", 2, false);
    // by another body's rules too: the text that can't be read comes first
    let both = write(&app, "PUT", &on(CAR, "n"), &[], "{\"a\":1e999}").await;
    assert_eq!((both.status, both.problem()), (400, "malformed"));
    assert_eq!(app.car("c1").await, json!({"n": 1}), "nothing was applied");
}

#[tokio::test]
async fn an_etag_that_compression_weakened_still_matches() {
    let app = TestApp::sqlite().await;
    put(&app, &json!({"text": "x".repeat(5000)})).await;
    for coding in ["gzip", "zstd"] {
        let read = answer(app.get(CAR).header("accept-encoding", coding)).await;
        assert_eq!(read.header("content-encoding"), coding);
        let tag = read.header("etag");
        assert!(tag.starts_with("W/"), "{tag}");
        let headers =
            [("if-match", tag), ("prefer", "return=representation"), ("accept-encoding", coding)];
        let merged = write(&app, "PATCH", CAR, &headers, "{}").await;
        assert_eq!((merged.status, merged.header("content-encoding")), (200, coding));
        let tag = merged.header("etag");
        assert!(tag.starts_with("W/"), "{tag}");
        assert_eq!(write(&app, "PATCH", CAR, &[("if-match", tag)], "{}").await.status, 200);
    }
}

/// Clients that read, decide, and write with what they read: each version has one winner.
async fn no_change_in_between_is_overlooked(app: TestApp) {
    const CLIENTS: usize = 16;
    put(&app, &json!({"n": 0})).await;
    let add_one = async || loop {
        let read = get(&app, CAR).await;
        let next = json!({"n": read.body["data"]["n"].as_u64().unwrap() + 1}).to_string();
        let written = write(&app, "PATCH", CAR, &[("if-match", read.header("etag"))], &next).await;
        match written.status {
            200 => return written.body["version"].as_u64().unwrap(),
            status => assert_eq!(status, 412, "{written:?}"),
        }
    };
    let versions: HashSet<_> =
        join_all((0..CLIENTS).map(|_| add_one())).await.into_iter().collect();
    assert_eq!(versions.len(), CLIENTS);
    let end = get(&app, CAR).await.body;
    assert_eq!((&end["data"]["n"], &end["version"]), (&json!(CLIENTS), &json!(CLIENTS + 1)));
}

#[tokio::test]
async fn no_change_in_between_is_overlooked_on_sqlite() {
    no_change_in_between_is_overlooked(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn no_change_in_between_is_overlooked_on_postgres() {
    no_change_in_between_is_overlooked(TestApp::postgres().await).await;
}
