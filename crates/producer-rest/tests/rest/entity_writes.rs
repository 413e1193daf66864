//! `POST /api/v1/entities/{type}`, and `PUT`, `PATCH`, `DELETE` of `/api/v1/entities/{type}/{id}`.

use std::collections::HashSet;

use async_compression::tokio::bufread::GzipEncoder;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::app::{Answer, TestApp, answer, car_event, car_event_with_uuid};

const UUID: &str = "550e8400-e29b-41d4-a716-446655440000";
pub(crate) const CARS: &str = "/api/v1/entities/Car";
pub(crate) const CAR: &str = "/api/v1/entities/Car/c1";

pub(crate) type Headers<'a> = [(&'a str, &'a str)];

/// Sends a body, with headers.
pub(crate) async fn write(
    app: &TestApp,
    method: &str,
    path: &str,
    headers: &Headers<'_>,
    body: &str,
) -> Answer {
    let request = app.request(method, path).body(body.to_owned());
    answer(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)))
        .await
}

pub(crate) async fn put(app: &TestApp, body: &Value) -> Answer {
    write(app, "PUT", CAR, &[], &body.to_string()).await
}

async fn delete(app: &TestApp) -> Answer {
    write(app, "DELETE", CAR, &[], "").await
}

pub(crate) async fn get(app: &TestApp, path: &str) -> Answer {
    answer(app.get(path)).await
}

/// The event that an answer is about, as the log has it.
async fn logged(app: &TestApp, answered: &Answer) -> Value {
    let uuid = answered.body["eventId"].as_str().unwrap();
    get(app, &format!("/api/v1/events/{uuid}")).await.body
}

#[track_caller]
pub(crate) fn assert_receipt(
    answered: &Answer,
    status: u16,
    id: &str,
    version: u64,
    created: bool,
) {
    assert_eq!(answered.status, status, "{answered:?}");
    assert_eq!(answered.header("etag"), format!("\"{version}\""));
    let event_id = &answered.body["eventId"];
    assert_eq!(
        answered.body,
        json!({"eventId": event_id, "duplicate": false, "entityType": "Car", "entityId": id,
               "version": version, "created": created})
    );
}

async fn an_entity_is_created_replaced_merged_and_deleted(app: TestApp) {
    let created = put(&app, &json!({"make": "Skoda", "tyres": {"front": 1, "rear": 2}})).await;
    assert_receipt(&created, 201, "c1", 1, true);
    assert_eq!(created.header("location"), CAR);

    let patch = r#"{"km": 12400.50, "tyres": {"rear": null}}"#;
    let merge_patch = [("content-type", "application/merge-patch+json; charset=utf-8")];
    let merged = write(&app, "PATCH", CAR, &merge_patch, patch).await;
    assert_receipt(&merged, 200, "c1", 2, false);
    assert_eq!(merged.header("location"), "");
    let merged = json!({"make": "Skoda", "km": 12400.5, "tyres": {"front": 1}});
    assert_eq!(app.car("c1").await, merged);

    assert_receipt(&put(&app, &json!({"make": "Seat"})).await, 200, "c1", 3, false);
    let replaced = get(&app, CAR).await;
    assert_eq!(
        (&replaced.body["data"], replaced.header("etag")),
        (&json!({"make": "Seat"}), "\"3\"")
    );

    assert_receipt(&delete(&app).await, 200, "c1", 4, false);
    assert_eq!(get(&app, CAR).await.problem(), "not-found");
    for method in ["DELETE", "PATCH"] {
        let absent = write(&app, method, CAR, &[], if method == "PATCH" { "{}" } else { "" }).await;
        assert_eq!((absent.status, absent.problem()), (404, "not-found"));
        assert!(absent.body.get("currentVersion").is_none() && absent.body.get("errors").is_none());
    }

    let anew = put(&app, &json!({"make": "Audi"})).await;
    assert_receipt(&anew, 201, "c1", 5, true);
    let anew = get(&app, CAR).await.body;
    assert_eq!((&anew["data"], &anew["version"]), (&json!({"make": "Audi"}), &json!(5)));
    assert!(anew["createdAt"].as_str() > replaced.body["createdAt"].as_str(), "{anew}");
}

#[tokio::test]
async fn an_entity_is_created_replaced_merged_and_deleted_on_sqlite() {
    an_entity_is_created_replaced_merged_and_deleted(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn an_entity_is_created_replaced_merged_and_deleted_on_postgres() {
    an_entity_is_created_replaced_merged_and_deleted(TestApp::postgres().await).await;
}

async fn a_creation_that_is_sent_again_creates_no_second(app: TestApp) {
    let created = write(&app, "POST", CARS, &[], r#"{"n": 1}"#).await;
    let id = created.body["entityId"].as_str().unwrap();
    assert_receipt(&created, 201, id, 1, true);
    assert_eq!(
        (id, created.header("location")),
        (created.body["eventId"].as_str().unwrap(), &*format!("{CARS}/{id}"),)
    );
    assert_eq!(get(&app, created.header("location")).await.body["data"], json!({"n": 1}));

    let key = [("idempotency-key", "order-4711")];
    let first = write(&app, "POST", CARS, &key, r#"{"n": 2}"#).await;
    assert_eq!((first.status, first.header("etag")), (201, "\"1\""));
    let again = write(&app, "POST", CARS, &key, r#" {"n":2.0} "#).await;
    assert_eq!((again.status, again.header("etag")), (201, ""), "a duplicate has no ETag");
    assert_eq!(again.header("location"), first.header("location"));
    let mut expected = first.body.clone();
    expected["duplicate"] = true.into();
    assert_eq!(again.body, expected);

    let other = write(&app, "POST", CARS, &key, r#"{"n": 3}"#).await;
    assert_eq!((other.status, other.problem()), (409, "conflict"));
    let by_uuid = write(&app, "POST", CARS, &[("idempotency-key", UUID)], "{}").await;
    assert_eq!((by_uuid.status, &by_uuid.body["entityId"]), (201, &json!(UUID)));
}

#[tokio::test]
async fn a_creation_that_is_sent_again_creates_no_second_on_sqlite() {
    a_creation_that_is_sent_again_creates_no_second(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn a_creation_that_is_sent_again_creates_no_second_on_postgres() {
    a_creation_that_is_sent_again_creates_no_second(TestApp::postgres().await).await;
}

/// A UUID is the event's uuid, whatever the route; another text is a key for one route and entity.
async fn a_key_is_of_one_request(app: TestApp) {
    let text = [("idempotency-key", "k")];
    let versions = [
        write(&app, "PUT", CAR, &text, r#"{"n": 1}"#).await,
        write(&app, "PATCH", CAR, &text, r#"{"n": 1}"#).await,
        write(&app, "PATCH", "/api/v1/entities/Car/c2", &[], "{}").await,
        write(&app, "PUT", "/api/v1/entities/Car/c2", &text, r#"{"n": 1}"#).await,
        write(&app, "PUT", "/api/v1/entities/Cat/c1", &text, r#"{"n": 1}"#).await,
        write(&app, "POST", CARS, &text, r#"{"n": 1}"#).await,
        write(&app, "POST", "/api/v1/events", &text, &car_event("c1", json!({"n": 1})).to_string())
            .await,
        write(&app, "DELETE", CAR, &[("idempotency-key", "\"k\"")], "").await,
    ];
    let statuses: Vec<_> = versions.iter().map(|answered| answered.status).collect();
    assert_eq!(statuses, [201, 200, 404, 201, 201, 201, 200, 200]);
    let versions: HashSet<_> = versions.iter().map(|one| one.body["eventId"].as_str()).collect();
    assert_eq!(versions.len(), 8, "each has a uuid of its own");

    // what was answered before, although the entity is deleted since
    let again = write(&app, "PATCH", CAR, &[("idempotency-key", "\"k\"")], r#"{"n":1}"#).await;
    assert_eq!((again.status, again.header("etag")), (200, ""));
    let answered = (&again.body["duplicate"], &again.body["version"], &again.body["created"]);
    assert_eq!(answered, (&json!(true), &json!(2), &json!(false)));
    let again = write(&app, "PUT", CAR, &text, r#"{"n":1}"#).await;
    assert_eq!((again.status, again.header("location")), (201, CAR));
    let again = write(&app, "DELETE", CAR, &text, "").await;
    assert_eq!((again.status, &again.body["duplicate"]), (200, &json!(true)));
    assert_eq!(get(&app, CAR).await.status, 404, "nothing has happened");

    let uuid = [("idempotency-key", UUID)];
    assert_eq!(write(&app, "PUT", CAR, &uuid, r#"{"n": 2}"#).await.status, 201);
    for (method, path, body) in [
        ("PUT", CAR, r#"{"n": 3}"#),
        ("PATCH", CAR, r#"{"n": 2}"#),
        ("DELETE", CAR, ""),
        ("PUT", "/api/v1/entities/Car/c2", r#"{"n": 2}"#),
        ("POST", CARS, r#"{"n": 2}"#),
        ("PUT", "/api/v1/entities/Car/c1?eventName=Other", r#"{"n": 2}"#),
    ] {
        let other = write(&app, method, path, &uuid, body).await;
        assert_eq!((other.status, other.problem()), (409, "conflict"), "{method} {path}");
        assert_eq!(other.body["eventId"], UUID);
    }
    let event = car_event_with_uuid(UUID, "c1", json!({"n": 2}));
    assert_eq!(app.send(&event).await.problem(), "conflict", "it was a replacement");
    // the source and the actor are no content
    let again = write(&app, "PUT", "/api/v1/entities/Car/c1?actor=b", &uuid, r#"{"n": 2}"#).await;
    assert_eq!((again.status, &again.body["duplicate"]), (201, &json!(true)));
}

#[tokio::test]
async fn a_key_is_of_one_request_on_sqlite() {
    a_key_is_of_one_request(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn a_key_is_of_one_request_on_postgres() {
    a_key_is_of_one_request(TestApp::postgres().await).await;
}

#[tokio::test]
async fn an_event_takes_its_uuid_from_the_key() {
    let app = TestApp::sqlite().await;
    let event = car_event("c1", json!({"n": 1})).to_string();
    let key = [("idempotency-key", "k")];
    let first = write(&app, "POST", "/api/v1/events", &key, &event).await;
    let again = write(&app, "POST", "/api/v1/events", &key, &event).await;
    assert_eq!((first.status, &first.body["duplicate"]), (200, &json!(false)));
    assert_eq!((again.status, &again.body["duplicate"]), (200, &json!(true)));
    assert_eq!(again.body["eventId"], first.body["eventId"]);
    let by_uuid = write(&app, "POST", "/api/v1/events", &[("idempotency-key", UUID)], &event).await;
    assert_eq!(by_uuid.body["eventId"], UUID);
    let mut null = car_event("c1", json!({"n": 1}));
    null["eventHeader"]["uuid"] = Value::Null;
    let again = write(&app, "POST", "/api/v1/events", &key, &null.to_string()).await;
    assert_eq!(again.body["duplicate"], true);

    let both = car_event_with_uuid(UUID, "c1", json!({"n": 1})).to_string();
    let both = write(&app, "POST", "/api/v1/events", &[("idempotency-key", UUID)], &both).await;
    assert_eq!((both.status, both.problem()), (400, "malformed"));
    let request = app.post("/api/v1/events").header("idempotency-key", "a");
    let two = answer(request.header("idempotency-key", "b").body(event)).await;
    assert_eq!((two.status, two.problem()), (400, "malformed"));
    assert_eq!(two.body["detail"], "the header Idempotency-Key must have one value");
}

#[tokio::test]
async fn a_bad_header_is_malformed_and_named() {
    let app = TestApp::sqlite().await;
    let long = "k".repeat(256);
    for (name, value) in [
        ("If-Match", &b"3"[..]),
        ("If-Match", b""),
        ("If-Match", b"\"1\" \"2\""),
        ("If-Match", b"*, \"1\""),
        ("If-Match", b"\"open"),
        ("If-Match", b"\xff\xfe"),
        ("If-None-Match", b"\"1\""),
        ("If-None-Match", b""),
        ("If-None-Match", b"\xff"),
        ("Idempotency-Key", b""),
        ("Idempotency-Key", b"\"\""),
        ("Idempotency-Key", b"a b"),
        ("Idempotency-Key", b"\xc3\xa4"),
        ("Idempotency-Key", long.as_bytes()),
    ] {
        for (method, path, body) in
            [("PUT", CAR, "{}"), ("PATCH", CAR, "{}"), ("DELETE", CAR, ""), ("POST", CARS, "{}")]
        {
            let value = reqwest::header::HeaderValue::from_bytes(value).unwrap();
            let request = app.request(method, path).header(name, value).body(body);
            let refused = answer(request).await;
            assert_eq!((refused.status, refused.problem()), (400, "malformed"), "{name} {method}");
            let detail = refused.body["detail"].as_str().unwrap();
            assert!(detail.starts_with(&format!("the header {name} must ")), "{detail}");
        }
    }
    // an ETag, though none of ours
    let value = reqwest::header::HeaderValue::from_bytes(b"\"\xff\"").unwrap();
    let unmet = answer(app.request("PUT", CAR).header("if-match", value).body("{}")).await;
    assert_eq!((unmet.status, unmet.problem()), (412, "precondition-failed"));
}

async fn the_query_names_the_event(app: TestApp) {
    let path = format!("{CAR}?eventName=Car%20sold&source=dealer+9&actor=J%C3%BCrgen");
    let named = write(&app, "PUT", &path, &[], "{}").await;
    let event = logged(&app, &named).await;
    let header = &event["eventHeader"];
    assert_eq!(
        (&header["eventName"], &header["source"], &header["actor"]),
        (&json!("Car sold"), &json!("dealer 9"), &json!("J\u{fc}rgen"))
    );
    let update = &event["eventBody"]["entities"][0];
    assert_eq!((&update["operation"], &update["created"]), (&json!("replace"), &json!(true)));

    for (method, path, body, name, operation) in [
        ("POST", CARS, "{}", "EntityCreated", json!("replace")),
        ("PUT", CAR, "{}", "EntityReplaced", json!("replace")),
        ("PATCH", CAR, "{\"a\":null}", "EntityUpdated", Value::Null),
        ("DELETE", CAR, "", "EntityDeleted", json!("delete")),
    ] {
        // an empty text is none
        let written = write(&app, method, &format!("{path}?source="), &[], body).await;
        let event = logged(&app, &written).await;
        assert_eq!(event["eventHeader"]["eventName"], name);
        assert!(event["eventHeader"].get("source").is_none(), "{event}");
        let update = &event["eventBody"]["entities"][0];
        assert_eq!(update.get("operation").unwrap_or(&Value::Null), &operation, "{event}");
        assert_eq!(update["version"], written.body["version"]);
        let patch = if method == "PATCH" { json!({"a": null}) } else { json!({}) };
        assert_eq!(update["updatedAttributes"], patch);
    }
}

#[tokio::test]
async fn the_query_names_the_event_on_sqlite() {
    the_query_names_the_event(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn the_query_names_the_event_on_postgres() {
    the_query_names_the_event(TestApp::postgres().await).await;
}

#[tokio::test]
async fn a_bad_query_is_malformed_and_named() {
    let app = TestApp::sqlite().await;
    put(&app, &json!({"n": 1})).await;
    let long = format!("source={}", "x".repeat(256));
    for (query, detail) in [
        ("eventName=", "the query parameter eventName must not be empty"),
        (&long, "the query parameter source must have at most 255 characters"),
        ("actor=a&actor=b", "the query parameter actor must be given once"),
        ("eventname=x", "the query parameter \"eventname\" is not known; did you mean eventName?"),
        ("aktor=x", "the query parameter \"aktor\" is not known; did you mean actor?"),
        ("x", "the query parameter \"x\" is not known; did you mean actor?"),
        (
            "conditions=x",
            "the query parameter \"conditions\" is not known; did you mean condition?",
        ),
        ("source=%FF", "the query is not percent-encoded UTF-8"),
        ("source=%4", "the query is not percent-encoded UTF-8"),
        (
            "condition=version==1&condition=version==1",
            "the query parameter condition must be given once",
        ),
    ] {
        for (method, path, body) in
            [("PUT", CAR, "{}"), ("PATCH", CAR, "{}"), ("DELETE", CAR, ""), ("POST", CARS, "{}")]
        {
            let refused = write(&app, method, &format!("{path}?{query}"), &[], body).await;
            assert_eq!((refused.status, refused.problem()), (400, "malformed"), "{query}");
            assert_eq!(refused.body["detail"], detail);
        }
    }
    let nul = write(&app, "PUT", &format!("{CAR}?actor=%00"), &[], "{}").await;
    assert_eq!((nul.status, nul.problem()), (400, "malformed"));
    assert!(nul.body["detail"].as_str().unwrap().starts_with("the query parameter actor "));
    assert_eq!(app.car("c1").await, json!({"n": 1}), "nothing was applied");
}

#[tokio::test]
async fn path_values_obey_the_rules_of_ids() {
    let app = TestApp::sqlite().await;
    let long = "i".repeat(256);
    for (path, rule) in [
        ("Car/", "a path value breaks a rule: /entityId must not be empty"),
        ("/x", "a path value breaks a rule: /entityType must not be empty"),
        ("Car/%FF", "a path value is not percent-encoded UTF-8"),
        (
            &*format!("Car/{long}"),
            "a path value breaks a rule: /entityId must have at most 255 characters",
        ),
        (
            &*format!("{long}/1"),
            "a path value breaks a rule: /entityType must have at most 255 characters",
        ),
    ] {
        for (method, body) in [("PUT", "{}"), ("PATCH", "{}"), ("DELETE", "")] {
            let bad = write(&app, method, &format!("/api/v1/entities/{path}"), &[], body).await;
            assert_eq!((bad.status, bad.problem()), (400, "malformed"), "{method} {path}");
            assert_eq!(bad.body["detail"], rule);
        }
    }
    for path in ["", "%FF", &long, "Car/"] {
        let bad = write(&app, "POST", &format!("/api/v1/entities/{path}"), &[], "{}").await;
        assert_eq!((bad.status, bad.problem()), (400, "malformed"), "{path}");
    }
    for target in [
        "PUT /api/v1/entities/Car/%2E%2E",
        "POST /api/v1/entities/%2E",
        "PUT /api/v1/entities/Car/%zz",
    ] {
        let mut raw = app.connect().await;
        raw.write(format!(
            "{target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}"
        ))
        .await;
        let answered = raw.read_to_end().await;
        assert!(answered.starts_with("HTTP/1.1 400"), "{answered}");
    }
}

#[tokio::test]
async fn a_location_leads_to_the_entity() {
    let app = TestApp::sqlite().await;
    for (segment, encoded) in [
        ("a%2Fb%20c%3F%25", "a%2Fb%20c%3F%25"),
        ("~.-_%C3%A4%22", "~.-_%C3%A4%22"),
        ("a+b:@", "a%2Bb%3A%40"),
    ] {
        let created =
            write(&app, "PUT", &format!("/api/v1/entities/T%2F1/{segment}"), &[], "{}").await;
        let location = created.header("location");
        assert_eq!(
            (created.status, location),
            (201, &*format!("/api/v1/entities/T%2F1/{encoded}"))
        );
        assert_eq!(get(&app, location).await.body["entityId"], created.body["entityId"]);
    }
}

async fn a_body_breaks_rules_at_its_own_places(app: TestApp) {
    put(&app, &json!({"n": 1})).await;
    let nul = r#"{"a": {"b/c": ["\u0000"]}, "d": 1, "d": 2}"#;
    for (method, path) in [("PUT", CAR), ("PATCH", CAR), ("POST", CARS)] {
        for (body, pointers) in
            [(nul, &["/a/b~1c/0", "/d"][..]), ("[]", &[""]), ("null", &[""]), ("1", &[""])]
        {
            let refused = write(&app, method, path, &[], body).await;
            assert_eq!((refused.status, refused.problem()), (422, "validation"), "{method} {body}");
            assert_eq!(refused.pointers(), pointers);
            assert_eq!(refused.body["errorCount"], pointers.len());
        }
        for (body, detail) in [
            ("", "line 1 of the body, column 1: not valid JSON, the text ends too early"),
            ("{\n\"a\" 1}", "line 2 of the body, column 5: not valid JSON, expected ':'"),
            ("{} {}", "line 1 of the body, column 4: not valid JSON, unexpected text"),
        ] {
            let refused = write(&app, method, path, &[], body).await;
            assert_eq!((refused.status, refused.problem()), (400, "malformed"), "{method} {body}");
            assert_eq!(refused.body["detail"], detail);
        }
        // over twice the limit of an entity
        let large = json!({"text": "x".repeat(2 << 20)}).to_string();
        let refused = write(&app, method, path, &[], &large).await;
        assert_eq!((refused.status, refused.problem()), (422, "validation"));
        assert_eq!(refused.pointers(), [""]);
        let detail = "the value would make the entity's document larger than 1048576 bytes";
        assert_eq!(refused.body["detail"], detail);
    }
    assert_eq!(get(&app, CAR).await.body["version"], 1, "nothing was applied");
    // a replacement counts alone
    let half = json!({"text": "x".repeat(900 << 10)});
    assert_eq!(put(&app, &half).await.status, 200);
    let mut other = half.clone();
    other["text"] = "y".repeat(900 << 10).into();
    assert_eq!(put(&app, &other).await.status, 200);
}

#[tokio::test]
async fn a_body_breaks_rules_at_its_own_places_on_sqlite() {
    a_body_breaks_rules_at_its_own_places(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn a_body_breaks_rules_at_its_own_places_on_postgres() {
    a_body_breaks_rules_at_its_own_places(TestApp::postgres().await).await;
}

#[tokio::test]
async fn each_route_has_its_media_types() {
    let app = TestApp::sqlite().await;
    put(&app, &json!({})).await;
    let supported = |method| match method {
        "PATCH" => "application/merge-patch+json or application/json",
        _ => "application/json",
    };
    for (method, path) in [("PUT", CAR), ("PATCH", CAR), ("POST", CARS)] {
        for media in ["text/plain", "application/x-ndjson", "application/json-patch+json", "x"] {
            let refused = write(&app, method, path, &[("content-type", media)], "{}").await;
            assert_eq!(
                (refused.status, refused.problem()),
                (415, "media-type"),
                "{method} {media}"
            );
            let detail = refused.body["detail"].as_str().unwrap();
            assert!(detail.ends_with(&format!("supported is {}", supported(method))), "{detail}");
        }
        let merge_patch = [("content-type", "Application/Merge-Patch+JSON")];
        let status = write(&app, method, path, &merge_patch, "{}").await.status;
        assert_eq!(status, if method == "PATCH" { 200 } else { 415 }, "{method}");
    }
    let mut body = Vec::new();
    GzipEncoder::new(&br#"{"n": 1}"#[..]).read_to_end(&mut body).await.unwrap();
    let request = app.request("PATCH", CAR).header("content-encoding", "gzip").body(body);
    assert_eq!(answer(request).await.status, 200);
    assert_eq!(app.car("c1").await, json!({"n": 1}));
}

#[tokio::test]
async fn a_delete_has_no_body() {
    let app = TestApp::sqlite().await;
    put(&app, &json!({})).await;
    for body in ["{}", " "] {
        let refused = write(&app, "DELETE", CAR, &[], body).await;
        assert_eq!((refused.status, refused.problem()), (400, "malformed"));
        assert_eq!(refused.body["detail"], "the request must have no body");
    }
    // with an empty body, whatever its type is said to be
    let mut raw = app.connect().await;
    raw.write(format!(
        "DELETE {CAR} HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\n\
         transfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    ))
    .await;
    assert_eq!(raw.read_success().await["version"], 2);
}

#[tokio::test]
async fn a_body_over_a_limit_is_refused() {
    let app = TestApp::sqlite_with(&["--max-body-bytes", "64KiB"]).await;
    let large = json!({"a": "x".repeat(70 << 10)}).to_string();
    for (method, path) in [("PUT", CAR), ("PATCH", CAR), ("POST", CARS)] {
        let refused = write(&app, method, path, &[], &large).await;
        assert_eq!((refused.status, refused.problem()), (413, "too-large"), "{method}");
    }
    let app = TestApp::sqlite_with(&["--body-buffer-bytes", "1KiB"]).await;
    let refused = put(&app, &json!({"a": "x".repeat(2000)})).await;
    assert_eq!((refused.status, refused.problem()), (503, "overloaded"));
    assert_receipt(&put(&app, &json!({})).await, 201, "c1", 1, true);
    assert_receipt(&put(&app, &json!({"a": "x".repeat(1000)})).await, 200, "c1", 2, false);
}

async fn the_entity_is_returned_where_it_is_preferred(app: TestApp) {
    let prefer = [("prefer", "return=representation")];
    let created = write(&app, "PUT", CAR, &prefer, r#"{"n": 1.50}"#).await;
    assert_eq!((created.status, created.header("location")), (201, CAR));
    assert_eq!(created.header("preference-applied"), "return=representation");
    assert_eq!(created.header("etag"), "\"1\"");
    let entity = get(&app, CAR).await;
    assert_eq!(created.body, entity.body);
    for name in ["etag", "last-modified", "cache-control"] {
        assert_eq!(created.header(name), entity.header(name), "{name}");
    }
    let merged = write(&app, "PATCH", CAR, &prefer, r#"{"m": 2}"#).await;
    assert_eq!((merged.status, &merged.body["version"]), (200, &json!(2)));
    assert_eq!(merged.body["data"], json!({"n": 1.5, "m": 2}));
    let posted = write(&app, "POST", CARS, &prefer, "{}").await;
    assert_eq!((posted.status, &posted.body["version"]), (201, &json!(1)));
    assert!(posted.header("location").ends_with(posted.body["entityId"].as_str().unwrap()));

    // a duplicate: as the entity is now, with the ETag of that
    let headers = [prefer[0], ("idempotency-key", "k")];
    assert_eq!(write(&app, "PATCH", CAR, &headers, r#"{"m": 3}"#).await.header("etag"), "\"3\"");
    put(&app, &json!({"later": true})).await;
    let again = write(&app, "PATCH", CAR, &headers, r#"{"m": 3}"#).await;
    assert_eq!((again.header("etag"), &again.body["data"]), ("\"4\"", &json!({"later": true})));

    // what is deleted since is answered without
    let deleted = write(&app, "DELETE", CAR, &prefer, "").await;
    assert_receipt(&deleted, 200, "c1", 5, false);
    assert_eq!(deleted.header("preference-applied"), "");
    let again = write(&app, "PATCH", CAR, &headers, r#"{"m": 3}"#).await;
    assert_eq!((again.status, again.header("etag")), (200, ""));
    assert_eq!((&again.body["duplicate"], &again.body["version"]), (&json!(true), &json!(3)));
    assert_eq!(again.header("preference-applied"), "");

    for other in ["return=minimal", "respond-async", "return", "\"", ""] {
        let written = write(&app, "PUT", CAR, &[("prefer", other)], "{}").await;
        assert!(written.body["eventId"].is_string(), "{other}: {written:?}");
        assert_eq!(written.header("preference-applied"), "");
    }
}

#[tokio::test]
async fn the_entity_is_returned_where_it_is_preferred_on_sqlite() {
    the_entity_is_returned_where_it_is_preferred(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn the_entity_is_returned_where_it_is_preferred_on_postgres() {
    the_entity_is_returned_where_it_is_preferred(TestApp::postgres().await).await;
}

#[tokio::test]
async fn draining_refuses_writes_and_names_their_events() {
    let app = TestApp::sqlite().await;
    put(&app, &json!({})).await;
    app.ingest.drain();
    for (method, path, body) in
        [("PUT", CAR, "{}"), ("PATCH", CAR, "{}"), ("DELETE", CAR, ""), ("POST", CARS, "{}")]
    {
        let refused = write(&app, method, path, &[("idempotency-key", UUID)], body).await;
        assert_eq!((refused.status, refused.problem()), (503, "unavailable"), "{method}");
        assert_eq!(
            (&refused.body["eventId"], &refused.body["retryable"]),
            (&json!(UUID), &json!(true))
        );
        assert!(!refused.header("retry-after").is_empty());
    }
}
