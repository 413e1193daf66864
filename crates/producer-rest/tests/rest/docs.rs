//! The OpenAPI document and its page.

use producer_core::ProblemKind;
use serde_json::{Value, json};

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
        "/api/v1/entities",
        "/api/v1/entities/{type}",
        "/api/v1/search",
        "/api/v1/types",
        "/api/v1/types/{type}",
        "/api/v1/entities/{type}/{id}",
        "/api/v1/entities/{type}/{id}/history",
        "/api/v1/entities/{type}/{id}/diff",
        "/api/v1/entities/{type}/{id}/provenance",
        "/api/v1/changes",
        "/api/v1/sinks",
        "/api/v1/sinks/{name}",
        "/api/v1/sinks/{name}/pause",
        "/api/v1/sinks/{name}/resume",
        "/api/v1/sinks/{name}/skip",
        "/api/v1/sinks/{name}/reset",
        "/api/v1/sources",
        "/api/v1/sources/{name}",
        "/api/v1/sources/{name}/pause",
        "/api/v1/sources/{name}/resume",
        "/api/v1/dead-letters",
        "/api/v1/dead-letters/{id}",
        "/api/v1/dead-letters/{id}/replay",
        "/api/v1/dead-letters/replay",
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
async fn the_writes_name_their_parameters() {
    let app = TestApp::sqlite().await;
    let document = answer(app.get("/openapi.json")).await.body;
    let query = ["eventName", "source", "actor", "condition"];
    let (retry, entity) = (["Idempotency-Key", "Prefer"], ["type", "id"]);
    for (path, method, names) in [
        ("/api/v1/events", "post", vec!["Idempotency-Key"]),
        ("/api/v1/entities/{type}", "post", [&["type"], &query[..], &retry].concat()),
        (
            "/api/v1/entities/{type}/{id}",
            "put",
            [&entity[..], &query, &["If-Match", "If-None-Match"], &retry].concat(),
        ),
        (
            "/api/v1/entities/{type}/{id}",
            "patch",
            [&entity[..], &query, &["If-Match"], &retry].concat(),
        ),
        (
            "/api/v1/entities/{type}/{id}",
            "delete",
            [&entity[..], &query, &["If-Match", "Idempotency-Key"]].concat(),
        ),
    ] {
        let parameters = document["paths"][path][method]["parameters"].as_array().unwrap();
        let found: Vec<_> = parameters.iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(found, names, "{method} {path}");
        for parameter in parameters {
            let is_path = parameter["in"] == "path";
            assert_eq!(parameter["required"], is_path, "{parameter}");
            // the page fills examples in: one of an optional parameter would be sent unasked
            assert_eq!(parameter.get("example").is_some(), is_path, "{parameter}");
        }
    }
}

#[tokio::test]
async fn the_reads_of_the_history_name_their_parameters() {
    let app = TestApp::sqlite().await;
    let document = answer(app.get("/openapi.json")).await.body;
    for (route, names) in [
        ("", &["type", "id", "version", "at", "If-None-Match"][..]),
        ("/history", &["type", "id", "orderBy", "pageSize", "pageToken", "filter"]),
        ("/diff", &["type", "id", "from", "to"]),
        ("/provenance", &["type", "id", "path"]),
    ] {
        let path = format!("/api/v1/entities/{{type}}/{{id}}{route}");
        let parameters = document["paths"][path]["get"]["parameters"].as_array().unwrap();
        let found: Vec<_> = parameters.iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(found, names, "{route}");
        for parameter in parameters {
            let is_required = parameter["in"] == "path" || parameter["name"] == "from";
            assert_eq!(parameter["required"], is_required, "{parameter}");
            assert_eq!(parameter.get("example").is_some(), is_required, "{parameter}");
        }
    }
    let get = &document["paths"]["/api/v1/entities/{type}/{id}"]["get"];
    for (link, operation) in
        [("history", "listEntityHistory"), ("provenance", "getEntityProvenance")]
    {
        assert_eq!(get["responses"]["200"]["links"][link]["operationId"], operation);
    }
}

#[tokio::test]
async fn lists_types_and_sinks_name_their_parameters() {
    let app = TestApp::sqlite().await;
    let document = answer(app.get("/openapi.json")).await.body;
    let list = ["filter", "pageSize", "pageToken", "fields", "count"];
    for (path, method, names) in [
        ("/api/v1/entities", "get", &list[..]),
        (
            "/api/v1/entities/{type}",
            "get",
            &["type", "id", "filter", "orderBy", "pageSize", "pageToken", "fields", "count"],
        ),
        (
            "/api/v1/search",
            "get",
            &[
                "query",
                "type",
                "filter",
                "fields",
                "pageSize",
                "pageToken",
                "facet",
                "highlight",
                "fuzzy",
            ],
        ),
        ("/api/v1/types", "get", &["pageSize", "pageToken"]),
        ("/api/v1/types/{type}", "get", &["type"]),
        ("/api/v1/types/{type}", "put", &["type", "If-Match", "If-None-Match"]),
        ("/api/v1/types/{type}", "delete", &["type", "If-Match"]),
        ("/api/v1/sinks", "get", &[]),
        ("/api/v1/sinks/{name}", "get", &["name"]),
        ("/api/v1/sinks/{name}/reset", "post", &["name"]),
        ("/api/v1/dead-letters", "get", &["sink", "source", "pageSize", "pageToken"]),
        ("/api/v1/dead-letters", "delete", &["sink", "source", "limit"]),
        ("/api/v1/dead-letters/replay", "post", &["sink", "source", "limit"]),
        ("/api/v1/dead-letters/{id}", "get", &["id"]),
    ] {
        let parameters = document["paths"][path][method]["parameters"].as_array();
        let parameters = parameters.map_or(&[][..], Vec::as_slice);
        let found: Vec<_> = parameters.iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(found, names, "{method} {path}");
        for parameter in parameters {
            let is_path = parameter["in"] == "path";
            assert_eq!(parameter["required"], is_path, "{parameter}");
            assert_eq!(parameter.get("example").is_some(), is_path, "{parameter}");
        }
    }
    let schemas = &document["components"]["schemas"];
    let required = |name: &str| schemas[name].get("required").cloned().unwrap_or_default();
    assert_eq!(required("EntitiesPage"), json!(["entities"]));
    assert_eq!(required("ListedEntity"), json!(["entityType", "entityId"]));
    assert_eq!(required("SearchPage"), json!(["hits", "total", "engine"]));
    assert_eq!(required("Hit"), json!(["entity", "score"]));
    assert_eq!(required("TypesPage"), json!(["types"]));
    assert_eq!(required("TypeDefinition"), Value::Null);
    assert_eq!(required("SearchDefinition"), json!(["paths"]));
    assert_eq!(required("TypePart"), json!(["kind", "paths", "status"]));
    let connector = ["name", "kind", "state", "caughtUp", "breaker", "deadLetters"];
    assert_eq!(required("Connector"), json!(connector));
    assert_eq!(required("CurrentChange"), json!(["token", "entityType", "entityId", "tries"]));
    let letter = ["id", "state", "error", "tries", "firstAt", "lastAt"];
    assert_eq!(required("DeadLetter"), json!(letter));
    assert_eq!(required("DeadLettersPage"), json!(["deadLetters"]));
    for name in ["TypeDefinition", "SearchDefinition", "SinkSkip", "SinkReset"] {
        assert_eq!(schemas[name]["additionalProperties"], false, "{name}");
    }
}

#[tokio::test]
async fn the_feed_names_its_parameters_and_its_items() {
    let app = TestApp::sqlite().await;
    let document = answer(app.get("/openapi.json")).await.body;
    let operation = &document["paths"]["/api/v1/changes"]["get"];
    let parameters = operation["parameters"].as_array().unwrap();
    let found: Vec<_> = parameters.iter().map(|one| one["name"].as_str().unwrap()).collect();
    let names = ["from", "until", "type", "filter", "include", "pageSize", "wait", "Last-Event-ID"];
    assert_eq!(found, names);
    for parameter in parameters {
        assert_eq!(parameter["required"], false, "{parameter}");
        assert!(parameter.get("example").is_none(), "{parameter}");
        assert!(parameter["schema"].get("type").is_some(), "{parameter}");
    }
    let forms = operation["responses"]["200"]["content"].as_object().unwrap();
    let forms: Vec<_> = forms.keys().map(|name| &**name).collect();
    assert_eq!(forms, ["application/json", "text/event-stream", "application/x-ndjson"]);
    let schemas = &document["components"]["schemas"];
    let required = |name: &str| schemas[name]["required"].clone();
    assert_eq!(required("ChangesPage"), json!(["changes", "nextToken", "caughtUp"]));
    assert_eq!(required("FeedBookmark"), json!(["kind", "token"]));
    assert_eq!(required("FeedSnapshotEnd"), json!(["kind", "token"]));
    let snapshot = ["kind", "token", "entityType", "entityId", "version", "updatedAt", "data"];
    assert_eq!(required("FeedSnapshot"), json!(snapshot));
    assert_eq!(schemas["FeedItem"]["oneOf"].as_array().unwrap().len(), 5);
    let change = &schemas["FeedChange"]["allOf"];
    assert_eq!(change[0]["$ref"], "#/components/schemas/Change");
    assert_eq!(change[1]["required"], json!(["token"]));
}

#[tokio::test]
async fn members_without_a_value_are_absent_but_for_a_version_that_is_not_kept() {
    let app = TestApp::sqlite().await;
    let document = answer(app.get("/openapi.json")).await.body;
    let schemas = &document["components"]["schemas"];
    let required = |name: &str| schemas[name]["required"].clone();
    assert_eq!(required("EntityHistory"), json!(["updates"]));
    let change = [
        "kind",
        "entityType",
        "entityId",
        "version",
        "operation",
        "created",
        "eventName",
        "committedAt",
        "patch",
    ];
    assert_eq!(required("Change"), json!(change));
    assert_eq!(required("EntityDiff"), json!(["from", "to", "patch", "changes"]));
    assert_eq!(required("LeafDiff"), json!(["path"]));
    assert_eq!(required("Origin"), json!(["path", "version"]));
    assert_eq!(schemas["Origin"]["properties"]["version"]["type"], json!(["integer", "null"]));
    assert_eq!(schemas["Origin"]["properties"]["eventId"]["type"], "string");
}

#[tokio::test]
async fn an_update_has_its_operation_and_conditions() {
    let app = TestApp::sqlite().await;
    let document = answer(app.get("/openapi.json")).await.body;
    let schemas = &document["components"]["schemas"];
    let (change, deletion) = (&schemas["EntityChange"], &schemas["EntityDeletion"]);
    assert_eq!(change["required"], json!(["entityType", "entityId", "updatedAttributes"]));
    assert_eq!(deletion["required"], json!(["entityType", "entityId", "operation"]));
    for schema in [change, deletion] {
        for name in ["operation", "expectedVersion", "exists", "condition", "updatedAttributes"] {
            assert!(schema["properties"].get(name).is_some(), "{schema}");
        }
    }
    assert_eq!(schemas["ChangeOperation"]["enum"], json!(["merge", "replace"]));
    assert_eq!(schemas["DeletionOperation"]["enum"], json!(["delete"]));
    for name in ["source", "actor"] {
        assert!(schemas["EventHeader"]["properties"].get(name).is_some(), "{name}");
        assert!(schemas["LoggedEventHeader"]["properties"].get(name).is_some(), "{name}");
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
    let ingest = ["400", "406", "408", "409", "412", "413", "415", "422", "500", "503"];
    let read = ["400", "404", "406", "500", "503"];
    let write = [&ingest[..], &["403", "504"]].concat();
    let define = ["400", "403", "406", "408", "412", "413", "415", "422", "500", "503"];
    let undefine = ["400", "403", "404", "406", "408", "412", "500", "503"];
    let steer = ["400", "403", "404", "406", "408", "500", "503"];
    let delete = ["400", "403", "404", "406", "408", "409", "412", "500", "503", "504"];
    for (path, method, statuses) in [
        ("/api/v1/events", "post", &[&ingest[..], &["504"]].concat()[..]),
        ("/api/v1/events/bulk", "post", &ingest),
        ("/api/v1/events/{uuid}", "get", &read),
        ("/api/v1/entities/{type}/{id}", "get", &[&read[..], &["410", "422"]].concat()),
        ("/api/v1/entities/{type}/{id}/history", "get", &[&read[..], &["410"]].concat()),
        ("/api/v1/entities/{type}/{id}/diff", "get", &[&read[..], &["410", "422"]].concat()),
        ("/api/v1/entities/{type}/{id}/provenance", "get", &[&read[..], &["422"]].concat()),
        ("/api/v1/changes", "get", &["400", "406", "410", "500", "503"]),
        ("/api/v1/entities", "get", &["400", "406", "500", "503"]),
        ("/api/v1/entities/{type}", "get", &["400", "406", "422", "500", "503"]),
        ("/api/v1/search", "get", &["400", "406", "422", "500", "503"]),
        ("/api/v1/types", "get", &["400", "406", "500", "503"]),
        ("/api/v1/types/{type}", "get", &read),
        ("/api/v1/types/{type}", "put", &define),
        ("/api/v1/types/{type}", "delete", &undefine),
        ("/api/v1/sinks", "get", &["400", "406", "500", "503"]),
        ("/api/v1/sinks/{name}", "get", &read),
        ("/api/v1/sinks/{name}", "delete", &[&steer[..], &["409"]].concat()),
        ("/api/v1/sinks/{name}/pause", "post", &steer),
        (
            "/api/v1/sinks/{name}/skip",
            "post",
            &[&steer[..], &["412", "413", "415", "422"]].concat(),
        ),
        (
            "/api/v1/sinks/{name}/reset",
            "post",
            &[&steer[..], &["410", "413", "415", "422"]].concat(),
        ),
        ("/api/v1/sources/{name}/resume", "post", &steer),
        ("/api/v1/dead-letters", "get", &read),
        ("/api/v1/dead-letters", "delete", &steer),
        ("/api/v1/dead-letters/replay", "post", &steer),
        ("/api/v1/dead-letters/{id}/replay", "post", &[&steer[..], &["409"]].concat()),
        ("/api/v1/entities/{type}", "post", &write),
        ("/api/v1/entities/{type}/{id}", "put", &write),
        ("/api/v1/entities/{type}/{id}", "patch", &[&write[..], &["404"]].concat()),
        ("/api/v1/entities/{type}/{id}", "delete", &delete),
    ] {
        let responses = &document["paths"][path][method]["responses"];
        for status in statuses {
            let body = &responses[status]["content"]["application/problem+json"]["schema"];
            assert_eq!(body["$ref"], "#/components/schemas/Problem", "{path} {status}");
        }
    }
}

#[tokio::test]
async fn the_introduction_has_the_limits_of_this_service() {
    let app =
        TestApp::sqlite_with(&["--max-body-bytes", "3MiB", "--request-timeout", "1500ms"]).await;
    let document = answer(app.get("/openapi.json")).await.body;
    let text = document["info"]["description"].as_str().unwrap().replace('\u{a0}', " ");
    for row in
        ["| 3 MiB | `MAX_BODY_BYTES` |", "| 1500 ms | `REQUEST_TIMEOUT` |", "| 20,000 events,"]
    {
        assert!(text.contains(row), "{row}: {text}");
    }
    let is_name = |after: &str| after.starts_with(|first: char| first.is_ascii_lowercase());
    assert!(!text.split('{').skip(1).any(is_name), "a value is missing: {text}");
    for word in [
        "createdDate",
        "grpcurl",
        "GRPC_SERVER_PORT",
        "Merge Patch",
        "If-Match",
        "provenance",
        "bookmark",
    ] {
        assert!(text.contains(word), "{word}");
    }
}

/// Calls `visit` with each description and summary of a document.
fn visit_texts(value: &Value, visit: &mut impl FnMut(&str)) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if ["description", "summary"].contains(&&**name) => {
                        visit(text)
                    }
                    _ if ["example", "examples"].contains(&&**name) => {}
                    _ => visit_texts(value, visit),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| visit_texts(item, visit)),
        _ => {}
    }
}

#[tokio::test]
async fn no_description_mentions_the_code() {
    let app = TestApp::sqlite().await;
    let document = answer(app.get("/openapi.json")).await.body;
    visit_texts(&document, &mut |text| {
        for internal in ["::", "[`", "Doc", "Option", "struct", "serde", "ProblemLayer", "scanner"]
        {
            assert!(!text.contains(internal), "{text}");
        }
        assert!(!text.is_empty());
    });
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let leaked: Vec<_> =
        schemas.keys().filter(|name| name.ends_with("Doc") || *name == "HeaderBody").collect();
    assert!(leaked.is_empty(), "{leaked:?}");
}

#[tokio::test]
async fn the_page_has_a_title_and_loads_nothing_from_other_hosts() {
    let app = TestApp::sqlite().await;
    let page = app.get("/docs").header("accept", "text/html").send().await.unwrap();
    assert_eq!((page.status().as_u16(), page.url().path()), (200, "/docs/"));
    assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    let page = page.text().await.unwrap();
    assert!(page.contains("<title>producer REST API</title>"), "{page}");
    // the name of a namespace is not loaded
    let addresses = page.replace("xmlns='http://www.w3.org/2000/svg'", "");
    assert!(!addresses.contains("http:") && !addresses.contains("https:"), "{page}");
    assert!(page.contains("validatorUrl: null"), "the default is a host on the internet");
    for file in ["swagger-ui.css", "swagger-ui-bundle.js"] {
        assert!(page.contains(&format!("\"{file}\"")), "{page}");
        let asset = app.get(&format!("/docs/{file}")).send().await.unwrap();
        assert_eq!(asset.status(), 200, "{file}");
    }
    let missing = answer(app.get("/docs/nothing.js")).await;
    assert_eq!((missing.status, missing.problem()), (404, "not-found"));
}

#[tokio::test]
async fn the_root_leads_to_the_page() {
    let app = TestApp::sqlite().await;
    let mut raw = app.connect().await;
    raw.write("GET / HTTP/1.1\r\nhost: x\r\naccept: text/html\r\n\r\n").await;
    let answered = raw.read_until("\r\n\r\n").await;
    assert!(answered.starts_with("HTTP/1.1 303"), "{answered}");
    assert!(answered.contains("location: /docs\r\n"), "{answered}");
    assert_eq!(answer(app.request("POST", "/")).await.status, 405);
    let document = answer(app.get("/openapi.json")).await.body;
    assert!(document["paths"].get("/").is_none());
}
