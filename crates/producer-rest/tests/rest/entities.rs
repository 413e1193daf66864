//! `GET /api/v1/entities/{type}/{id}`.

use serde_json::json;

use crate::app::{TestApp, answer, car_event};

async fn numbers_keep_their_value(app: TestApp) {
    let body = r#"{"eventHeader":{"eventName":"Exact"},"eventBody":{"entities":[
        {"entityType":"Car","entityId":"a/b c","updatedAttributes":{"n":24439.750000000000000001}}]}}"#;
    assert_eq!(answer(app.post("/api/v1/events").body(body)).await.status, 200);
    let entity = app.get("/api/v1/entities/Car/a%2Fb%20c").send().await.unwrap();
    assert_eq!(entity.status(), 200);
    assert!(entity.text().await.unwrap().contains("24439.750000000000000001"));
}

#[tokio::test]
async fn numbers_keep_their_value_on_sqlite() {
    numbers_keep_their_value(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn numbers_keep_their_value_on_postgres() {
    numbers_keep_their_value(TestApp::postgres().await).await;
}

#[tokio::test]
async fn the_version_is_the_etag() {
    let app = TestApp::sqlite().await;
    app.send(&car_event("c1", json!({"a": 1}))).await;
    app.send(&car_event("c1", json!({"b": 2}))).await;
    let entity = answer(app.get("/api/v1/entities/Car/c1")).await;
    assert_eq!(entity.header("etag"), "\"2\"");
    assert_eq!(entity.header("cache-control"), "no-cache");
    assert!(entity.header("vary").contains("accept-encoding"));
    assert!(entity.header("last-modified").ends_with("GMT"));
    assert_eq!(
        (&entity.body["version"], &entity.body["data"]),
        (&json!(2), &json!({"a": 1, "b": 2}))
    );
    for (tags, status) in
        [("\"2\"", 304), ("W/\"2\"", 304), ("\"1\", \"2\"", 304), ("*", 304), ("\"1\"", 200)]
    {
        let request = app.get("/api/v1/entities/Car/c1").header("if-none-match", tags);
        assert_eq!(answer(request).await.status, status, "{tags}");
    }
    let since = "Fri, 31 Dec 2100 23:59:59 GMT";
    let request = app.get("/api/v1/entities/Car/c1").header("if-modified-since", since);
    assert_eq!(answer(request).await.status, 200);
}

#[tokio::test]
async fn a_compressed_answer_has_a_weak_etag() {
    let app = TestApp::sqlite().await;
    app.send(&car_event("c1", json!({"text": "x".repeat(5000)}))).await;
    for coding in ["gzip", "zstd"] {
        let request = app.get("/api/v1/entities/Car/c1").header("accept-encoding", coding);
        let compressed = answer(request).await;
        assert_eq!(compressed.header("content-encoding"), coding);
        assert_eq!(compressed.header("etag"), "W/\"1\"");
    }
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let app = TestApp::sqlite().await;
    app.send(&car_event("c1", json!({}))).await;
    let head = answer(app.request("HEAD", "/api/v1/entities/Car/c1")).await;
    assert_eq!((head.status, head.header("etag")), (200, "\"1\""));
    let head = answer(app.request("HEAD", "/api/v1/entities/Car/none")).await;
    assert_eq!((head.status, head.header("content-type")), (404, "application/problem+json"));
}

#[tokio::test]
async fn path_values_obey_the_rules_of_ids() {
    let app = TestApp::sqlite().await;
    for path in [
        "Car/".to_owned(),
        "/x".to_owned(),
        "Car/%FF".to_owned(),
        format!("Car/{}", "i".repeat(256)),
    ] {
        let bad = answer(app.get(&format!("/api/v1/entities/{path}"))).await;
        assert_eq!((bad.status, bad.problem()), (400, "malformed"), "{path}");
    }
    let mut raw = app.connect().await;
    raw.write("GET /api/v1/entities/Car/%zz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(raw.read_until("malformed").await.starts_with("HTTP/1.1 400"));
    let mut raw = app.connect().await;
    raw.write("GET /api/v1/entities/Car/%2E%2E HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(raw.read_to_end().await.starts_with("HTTP/1.1 400"));
    let none = answer(app.get("/api/v1/entities/Car/none")).await;
    assert_eq!((none.status, none.problem()), (404, "not-found"));
}
