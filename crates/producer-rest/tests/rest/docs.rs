//! The OpenAPI document and its page.

use producer_core::ProblemKind;

use crate::app::{TestApp, answer};

#[tokio::test]
async fn the_document_names_every_route_and_every_problem() {
    let app = TestApp::sqlite().await;
    let document = answer(app.get("/openapi.json")).await.body;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for path in [
        "/api/v1/events",
        "/api/v1/events/bulk",
        "/api/v1/events/{uuid}",
        "/api/v1/events/health",
        "/api/v1/entities/{type}/{id}",
        "/livez",
        "/readyz",
        "/metrics",
    ] {
        assert!(document["paths"].get(path).is_some(), "{path}");
    }
    let text = document["info"]["description"].as_str().unwrap();
    for kind in ProblemKind::ALL {
        assert!(text.contains(&format!("| {} | `{}` |", kind.http_status(), kind.word())));
    }
}

#[tokio::test]
async fn the_example_of_an_event_works() {
    let app = TestApp::sqlite().await;
    let document = answer(app.get("/openapi.json")).await.body;
    let example = &document["components"]["schemas"]["Event"]["example"];
    assert!(example.is_object(), "{}", document["components"]["schemas"]["Event"]);
    assert_eq!(app.send(example).await.status, 200);
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let app = TestApp::sqlite().await;
    let page = app.get("/docs/").header("accept", "text/html").send().await.unwrap();
    assert_eq!(page.status(), 200);
    let page = page.text().await.unwrap();
    assert!(page.contains("swagger-ui") && !page.contains("src=\"http"), "{page}");
    assert_eq!(app.get("/docs/swagger-ui-bundle.js").send().await.unwrap().status(), 200);
}
