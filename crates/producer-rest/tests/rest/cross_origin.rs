//! What scripts of web pages may do.

use serde_json::json;

use crate::app::{Answer, TestApp, answer, car_event};

const CARS: &str = "/api/v1/entities/Car";
const CAR: &str = "/api/v1/entities/Car/c1";
const FOREIGN: &str = "https://foreign.example";
const LISTED: [&str; 2] = ["--cors-allowed-origins", "https://a.example,https://b.example"];
const WRITES: [(&str, &str, &str); 4] =
    [("POST", CARS, "{}"), ("PUT", CAR, "{}"), ("PATCH", CAR, "{}"), ("DELETE", CAR, "")];

async fn from_origin(
    app: &TestApp,
    origin: &str,
    (method, path, body): (&str, &str, &str),
) -> Answer {
    answer(app.request(method, path).header("origin", origin).body(body.to_owned())).await
}

/// The answer to the request that a browser sends first.
async fn preflight(app: &TestApp, origin: &str, method: &str, path: &str) -> Answer {
    let request = app.request("OPTIONS", path).header("origin", origin);
    answer(request.header("access-control-request-method", method)).await
}

/// Whether a preflight request allows the method that it asked for.
fn allows(answered: &Answer, origin: &str, method: &str) -> bool {
    let allowed = answered.header("access-control-allow-origin");
    let methods = answered.header("access-control-allow-methods");
    (allowed == "*" || allowed == origin) && methods.split(',').any(|one| one == method)
}

#[tokio::test]
async fn scripts_may_call_and_read_our_headers() {
    let app = TestApp::sqlite().await;
    let answered = answer(app.get("/livez").header("origin", "https://a.example")).await;
    assert_eq!(answered.header("access-control-allow-origin"), "*");
    let exposed = answered.header("access-control-expose-headers").to_lowercase();
    for name in ["etag", "retry-after", "x-request-id", "location", "link", "preference-applied"] {
        assert!(exposed.contains(name), "{exposed}");
    }
    let problem = answer(app.get("/nowhere").header("origin", "https://a.example")).await;
    assert_eq!(problem.header("access-control-allow-origin"), "*");
}

#[tokio::test]
async fn only_listed_origins_may_call() {
    let app = TestApp::sqlite_with(&LISTED).await;
    for (origin, allowed) in [("https://b.example", "https://b.example"), ("https://c.example", "")]
    {
        let answered = answer(app.get("/livez").header("origin", origin)).await;
        assert_eq!(answered.header("access-control-allow-origin"), allowed);
    }
}

#[tokio::test]
async fn scripts_of_everywhere_may_read_and_send_events_and_write_no_entity() {
    let app = TestApp::sqlite().await;
    let event = car_event("c1", json!({"n": 1})).to_string();
    let bulk = format!("[{event}]");
    for (method, path, body) in [
        ("POST", "/api/v1/events", &*event),
        ("POST", "/api/v1/events/bulk", &bulk),
        ("GET", CAR, ""),
        ("HEAD", CAR, ""),
    ] {
        assert!(allows(&preflight(&app, FOREIGN, method, path).await, FOREIGN, method), "{method}");
        let answered = from_origin(&app, FOREIGN, (method, path, body)).await;
        assert_eq!((answered.status, answered.header("access-control-allow-origin")), (200, "*"));
    }
    for origin in [FOREIGN, "null", "http://127.0.0.1", "http://127.0.0.1:1", "x"] {
        for write in WRITES {
            let asked = preflight(&app, origin, write.0, write.1).await;
            assert!(!allows(&asked, origin, write.0), "{origin} {write:?}");
            let refused = from_origin(&app, origin, write).await;
            assert_eq!(
                (refused.status, refused.problem()),
                (403, "forbidden"),
                "{origin} {write:?}"
            );
            assert_eq!(refused.header("access-control-allow-origin"), "");
            assert_eq!(refused.body["retryable"], false);
        }
    }
    let entity = answer(app.get(CAR)).await;
    assert_eq!(entity.body["version"], 2, "nothing was applied");
}

#[tokio::test]
async fn scripts_of_trusted_origins_may_write() {
    for flags in [&[][..], &LISTED] {
        let app = TestApp::sqlite_with(flags).await;
        let own = format!("http://{}", app.address);
        let own_behind_tls = format!("https://{}", app.address);
        let listed =
            if flags.is_empty() { &[][..] } else { &["https://a.example", "https://b.example"] };
        for origin in [&*own, &*own_behind_tls].iter().chain(listed) {
            for write in WRITES {
                let asked = preflight(&app, origin, write.0, write.1).await;
                assert_eq!(asked.header("access-control-allow-origin"), *origin);
                assert!(allows(&asked, origin, write.0), "{origin} {write:?}");
                assert_eq!(asked.header("access-control-allow-headers"), "*");
                let written = from_origin(&app, origin, write).await;
                assert!((200..300).contains(&written.status), "{origin} {write:?}: {written:?}");
                assert_eq!(written.header("access-control-allow-origin"), *origin);
            }
        }
        for origin in [FOREIGN, "null"] {
            for write in WRITES {
                assert_eq!(from_origin(&app, origin, write).await.problem(), "forbidden");
            }
        }
    }
}

#[tokio::test]
async fn what_no_script_sent_is_not_affected() {
    for flags in [&[][..], &LISTED] {
        let app = TestApp::sqlite_with(flags).await;
        for (method, path, body) in WRITES {
            let written = answer(app.request(method, path).body(body)).await;
            assert!((200..300).contains(&written.status), "{method}: {written:?}");
        }
    }
}

#[tokio::test]
async fn a_foreign_write_is_refused_before_its_body_comes() {
    let app = TestApp::sqlite().await;
    let mut raw = app.connect().await;
    raw.write(format!(
        "PUT {CAR} HTTP/1.1\r\nhost: {}\r\norigin: {FOREIGN}\r\ncontent-length: 1000\r\n\r\n{{",
        app.address
    ))
    .await;
    let (status, body) = raw.read_answer().await;
    assert_eq!((status, &body["type"]), (403, &json!("urn:producer:problem:forbidden")));
    // one of two origins is not trusted
    let request = app.request("PUT", CAR).header("origin", format!("http://{}", app.address));
    assert_eq!(answer(request.header("origin", FOREIGN).body("{}")).await.problem(), "forbidden");
    assert_eq!(answer(app.get(CAR)).await.status, 404);
}
