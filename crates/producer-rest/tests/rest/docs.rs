//! The OpenAPI document and its page.

use producer_core::ProblemKind;
use serde_json::json;

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
        assert!(text.contains(&format!("| {} | `{}` |", kind.http_status(), kind.as_str())));
    }
}

#[tokio::test]
async fn dates_are_strings_numbers_or_null_and_optional() {
    let app = TestApp::sqlite().await;
    let document = answer(app.get("/openapi.json")).await.body;
    let header = &document["components"]["schemas"]["EventHeader"];
    assert_eq!(header["required"], json!(["eventName"]));
    for name in ["createdDate", "savedDate"] {
        let date = &header["properties"][name];
        let forms = date["anyOf"].as_array().unwrap();
        let types: Vec<_> = forms.iter().map(|form| form["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["string", "string", "integer", "null"], "{header}");
        assert!(date["description"].is_string());
    }
}

#[tokio::test]
async fn every_operation_has_an_id_of_its_own() {
    let app = TestApp::sqlite().await;
    let document = answer(app.get("/openapi.json")).await.body;
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    let mut ids: Vec<_> = operations.map(|one| one["operationId"].as_str().unwrap()).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "{ids:?}");
}

#[tokio::test]
async fn the_routes_name_their_problems() {
    let app = TestApp::sqlite().await;
    let document = answer(app.get("/openapi.json")).await.body;
    let ingest = ["400", "406", "408", "409", "413", "415", "422", "500", "503"];
    let read = ["400", "404", "406", "500", "503"];
    for (path, method, statuses) in [
        ("/api/v1/events", "post", &[&ingest[..], &["504"]].concat()[..]),
        ("/api/v1/events/bulk", "post", &ingest),
        ("/api/v1/events/{uuid}", "get", &read),
        ("/api/v1/entities/{type}/{id}", "get", &read),
    ] {
        let responses = &document["paths"][path][method]["responses"];
        for status in statuses {
            let body = &responses[status]["content"]["application/problem+json"]["schema"];
            assert_eq!(body["$ref"], "#/components/schemas/Problem", "{path} {status}");
        }
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
async fn the_page_loads_nothing_from_other_hosts() {
    let app = TestApp::sqlite().await;
    let page = app.get("/docs/").header("accept", "text/html").send().await.unwrap();
    assert_eq!(page.status(), 200);
    let page = page.text().await.unwrap();
    assert!(page.contains("swagger-ui") && !page.contains("src=\"http"), "{page}");
    assert_eq!(app.get("/docs/swagger-ui-bundle.js").send().await.unwrap().status(), 200);
}
