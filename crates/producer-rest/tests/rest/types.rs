//! `/api/v1/types` and `/api/v1/types/{type}`.

use serde_json::{Value, json};

use crate::app::{Answer, TestApp, answer, car_event};

const TYPES: &str = "/api/v1/types";
const CAR: &str = "/api/v1/types/Car";

async fn put(app: &TestApp, path: &str, definition: &Value) -> Answer {
    answer(app.request("PUT", path).json(definition)).await
}

/// The status of each part.
fn statuses(found: &Answer) -> Vec<&str> {
    let parts = found.body["parts"].as_array();
    assert!(parts.is_some(), "{found:?}");
    parts.unwrap().iter().map(|part| part["status"].as_str().unwrap()).collect()
}

async fn a_definition_is_kept_and_built(app: TestApp) {
    app.send(&car_event("c1", json!({"total": 1}))).await;
    let none = answer(app.get(CAR)).await;
    assert_eq!((none.status, none.problem()), (404, "not-found"));
    assert_eq!(none.body["detail"], "the type has no definition");

    let text = json!({"indexes": [["data[\"total\"]"], ["data.customerId", "createdAt"]]});
    let created = put(&app, CAR, &text).await;
    assert_eq!((created.status, created.header("location")), (201, CAR), "{created:?}");
    assert_eq!(created.header("etag"), format!("\"{}\"", created.body["version"]));
    assert_eq!(created.header("cache-control"), "no-store");
    assert_eq!(created.body["type"], "Car");
    let expected = json!({"indexes": ["data.total", ["data.customerId", "createdAt"]]});
    assert_eq!(created.body["definition"], expected);
    assert_eq!(created.body["createdAt"], created.body["updatedAt"]);
    let paths = created.body["parts"].as_array().unwrap().iter().map(|part| &part["paths"]);
    let expected = [json!(["data.total"]), json!(["data.customerId", "createdAt"])];
    assert_eq!(paths.cloned().collect::<Vec<_>>(), expected);
    assert_eq!(statuses(&created), ["building"; 2]);
    assert_eq!(created.body["parts"][0]["kind"], "index");
    assert_eq!(created.body["parts"][0]["progress"], json!({"done": 0}));
    assert_eq!(answer(app.get(CAR)).await.body, created.body);

    app.start_builder();
    let ready = app.until_ready("Car").await;
    assert_eq!(ready.header("etag"), created.header("etag"));
    assert!(ready.body["parts"][0].get("progress").is_none());

    // what is the same changes nothing
    let same = put(&app, CAR, &text).await;
    assert_eq!((same.status, same.header("location"), &same.body), (200, "", &ready.body));
    assert_eq!(same.header("etag"), created.header("etag"));
    let mut more = text.clone();
    more["indexes"].as_array_mut().unwrap().push("updatedAt".into());
    let replaced = put(&app, CAR, &more).await;
    assert_eq!(replaced.status, 200);
    assert!(replaced.body["version"].as_u64() > created.body["version"].as_u64());
    assert_eq!(statuses(&replaced)[..2], ["ready"; 2]);
    app.until_ready("Car").await;
    let head = answer(app.request("HEAD", CAR)).await;
    assert_eq!((head.status, head.header("etag")), (200, replaced.header("etag")));

    let deleted = app.request("DELETE", CAR).send().await.unwrap();
    assert_eq!((deleted.status().as_u16(), deleted.text().await.unwrap().as_str()), (204, ""));
    for method in ["GET", "DELETE"] {
        assert_eq!(answer(app.request(method, CAR)).await.problem(), "not-found", "{method}");
    }
    assert_eq!(app.car("c1").await, json!({"total": 1}), "entities stay");
    let anew = put(&app, CAR, &json!({})).await;
    assert_eq!((anew.status, &anew.body["parts"]), (201, &json!([])));
    assert!(anew.body["version"].as_u64() > replaced.body["version"].as_u64());
}

#[tokio::test]
async fn a_definition_is_kept_and_built_on_sqlite() {
    a_definition_is_kept_and_built(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn a_definition_is_kept_and_built_on_postgres() {
    a_definition_is_kept_and_built(TestApp::postgres().await).await;
}

async fn conditions_are_of_the_version(app: TestApp) {
    let conditional = async |method: &str, header: &str, value: &str, indexes: Value| {
        let body =
            if method == "PUT" { json!({"indexes": indexes}).to_string() } else { "".into() };
        answer(app.request(method, CAR).header(header, value).body(body)).await
    };
    let unmet = |answered: &Answer, version: Option<&Value>, detail: &str| {
        assert_eq!((answered.status, answered.problem()), (412, "precondition-failed"));
        assert_eq!(&answered.body["currentVersion"], version.unwrap_or(&Value::Null));
        assert!(answered.body["detail"].as_str().unwrap().contains(detail), "{answered:?}");
    };
    for method in ["PUT", "DELETE"] {
        for tag in ["*", "\"1\""] {
            let refused = conditional(method, "if-match", tag, json!([])).await;
            unmet(&refused, None, "the definition does not exist");
        }
    }
    let first = conditional("PUT", "if-none-match", "*", json!(["data.a"])).await;
    assert_eq!(first.status, 201);
    let version = &first.body["version"];
    let again = conditional("PUT", "if-none-match", "*", json!(["data.b"])).await;
    unmet(&again, Some(version), "the definition exists already, with version");
    let tag = first.header("etag");
    for tag in [tag, &format!("W/{tag}"), &format!("\"x\", {tag}")] {
        let same = conditional("PUT", "if-match", tag, json!(["data.a"])).await;
        assert_eq!((same.status, &same.body["version"]), (200, version));
    }
    let second = conditional("PUT", "if-match", tag, json!(["data.b"])).await;
    assert_eq!(second.status, 200);
    for method in ["PUT", "DELETE"] {
        let late = conditional(method, "if-match", tag, json!(["data.c"])).await;
        unmet(&late, Some(&second.body["version"]), "; expected version ");
    }
    for (name, value) in [
        ("if-match", "3"),
        ("if-none-match", "\"1\""),
        ("if-unmodified-since", "Mon, 01 Jan 2001 00:00:00 GMT"),
    ] {
        for method in ["PUT", "DELETE"] {
            let refused = conditional(method, name, value, json!([])).await;
            assert_eq!((refused.status, refused.problem()), (400, "malformed"), "{method} {name}");
        }
    }
    let deleted = conditional("DELETE", "if-match", second.header("etag"), json!([])).await;
    assert_eq!(deleted.status, 204);
}

#[tokio::test]
async fn conditions_are_of_the_version_on_sqlite() {
    conditions_are_of_the_version(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn conditions_are_of_the_version_on_postgres() {
    conditions_are_of_the_version(TestApp::postgres().await).await;
}

#[tokio::test]
async fn a_definition_that_breaks_rules_is_refused_with_pointers() {
    let app = TestApp::sqlite().await;
    let long: Vec<_> = (0..17).map(|n| format!("data.i{n}")).collect();
    for (definition, pointer, detail) in [
        (json!([]), "", "must be a JSON object"),
        (json!({"indexs": []}), "/indexs", "is unknown; did you mean indexes?"),
        (
            json!({"indexes": ["total"]}),
            "/indexes/0",
            "must be createdAt, updatedAt or a path below data",
        ),
        (json!({"indexes": ["data.a", "data.a"]}), "/indexes/1", "must not be declared twice"),
        (
            json!({"indexes": long}),
            "/indexes/16",
            "must not be there: a type has at most 16 indexes",
        ),
        (json!({"indexes": ["data.a[0]"]}), "/indexes/0", "array"),
        (json!({"search": {}}), "/search", "must have paths"),
        (
            json!({"search": {"paths": {"data.t": 5}}}),
            "/search/paths/data.t",
            "must be a weight of 1 to 4",
        ),
        (
            json!({"search": {"paths": {"data.t": 1}, "language": "klingon"}}),
            "/search/language",
            "must be a language",
        ),
    ] {
        let refused = put(&app, CAR, &definition).await;
        assert_eq!((refused.status, refused.problem()), (422, "validation"), "{definition}");
        assert_eq!(refused.body["title"], "Validation failed");
        assert_eq!(refused.pointers(), [pointer], "{definition}");
        let found = refused.body["errors"][0]["detail"].as_str().unwrap();
        assert!(found.contains(detail), "{definition}: {found}");
    }
    let two = put(&app, CAR, &json!({"indexes": ["a"], "searches": {}})).await;
    assert_eq!((two.pointers().len(), &two.body["errorCount"]), (2, &json!(2)));
    assert_eq!(answer(app.get(CAR)).await.status, 404, "nothing was stored");
}

#[tokio::test]
async fn bodies_and_addresses_have_the_rules_of_other_routes() {
    let app = TestApp::sqlite_with(&["--max-body-bytes", "64KiB", "--body-timeout", "300ms"]).await;
    let request = |method: &str, path: &str| app.request(method, path);
    let text = |body: &str| request("PUT", CAR).body(body.to_owned());
    let long = format!("{TYPES}/{}", "x".repeat(256));
    for (request, status, detail) in [
        (text(""), 400, "line 1 of the body"),
        (text("{\"indexes\" 1}"), 400, "line 1 of the body, column 12: not valid JSON"),
        (request("PUT", CAR).body(b"{}\n\xff".to_vec()), 400, "line 2 of the body"),
        (text("{} {}"), 400, "line 1 of the body"),
        (text(&" ".repeat(65 << 10)), 413, "the body is larger than 65536 bytes"),
        (text("{}").header("content-type", "application/xml"), 415, "the content type"),
        (text("{}").header("content-encoding", "br"), 415, "the content encoding"),
        (text("{}").header("accept", "text/html"), 406, "the answers are"),
        (request("DELETE", CAR).body("{}"), 400, "the request must have no body"),
        (
            request("PUT", &format!("{CAR}?dryRun=1")).body("{}"),
            400,
            "the query parameter \"dryRun\"",
        ),
        (request("GET", &format!("{CAR}?x")), 400, "the query parameter \"x\" is not known"),
        (request("DELETE", &format!("{CAR}?x")), 400, "the query parameter \"x\" is not known"),
        (request("PUT", &long).body("{}"), 400, "a path value breaks a rule: /entityType must"),
        (request("GET", &long), 400, "a path value breaks a rule: /entityType must"),
        (request("DELETE", &long), 400, "a path value breaks a rule: /entityType must"),
        (request("PUT", "/api/v1/types/"), 400, "a path value breaks a rule: /entityType must"),
        (request("GET", "/api/v1/types/%FF"), 400, "a path value is not percent-encoded UTF-8"),
        (request("POST", CAR), 405, "this route doesn't support the method"),
        (request("PUT", TYPES), 405, "this route doesn't support the method"),
    ] {
        let refused = answer(request).await;
        let found = refused.body["detail"].as_str();
        assert!(found.is_some_and(|text| text.starts_with(detail)), "{detail}: {refused:?}");
        assert_eq!(refused.status, status, "{detail}");
    }
    let mut raw = app.connect().await;
    raw.write(format!("PUT {CAR} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{")).await;
    assert_eq!(raw.read_answer().await.0, 408);
    let odd = format!("{TYPES}/a%2F50%25");
    let created = put(&app, &odd, &json!({})).await;
    assert_eq!((created.header("location"), &created.body["type"]), (&*odd, &json!("a/50%")));
    assert_eq!(answer(app.get(&odd)).await.body, created.body);
}

#[tokio::test]
async fn scripts_of_other_origins_declare_nothing() {
    let app = TestApp::sqlite().await;
    let own = format!("http://{}", app.address);
    for (origin, status) in [("https://foreign.example", 403), ("null", 403), (&*own, 201)] {
        for method in ["DELETE", "PUT"] {
            let request = app.request(method, CAR).header("origin", origin);
            let answered = answer(request.body(if method == "PUT" { "{}" } else { "" })).await;
            let expected = if method == "DELETE" && status == 201 { 404 } else { status };
            assert_eq!(answered.status, expected, "{origin} {method}: {answered:?}");
        }
        let asked = app.request("OPTIONS", CAR).header("origin", origin);
        let asked = answer(asked.header("access-control-request-method", "PUT")).await;
        let allowed = asked.header("access-control-allow-origin");
        assert_eq!(allowed, if status == 403 { "" } else { origin });
    }
    for path in [TYPES, CAR] {
        let read = answer(app.get(path).header("origin", "https://foreign.example")).await;
        assert_eq!((read.status, read.header("access-control-allow-origin")), (200, "*"));
    }
}

async fn types_are_listed_page_by_page(app: TestApp) {
    let named = |name: &str| {
        let mut event = car_event("c1", json!({}));
        event["eventBody"]["entities"][0]["entityType"] = name.into();
        event
    };
    for name in ["Car", "Van", "a/50%", "Deleted"] {
        assert_eq!(app.send(&named(name)).await.status, 200);
    }
    app.send(&car_event("c2", json!({}))).await;
    let deleted = answer(app.request("DELETE", "/api/v1/entities/Deleted/c1")).await;
    assert_eq!(deleted.status, 200);
    let none = answer(app.request("PUT", &format!("{TYPES}/Defined")).body("{}")).await;
    assert_eq!(none.status, 201);
    let entry = |name: &str, entities: u64| {
        let entities = json!({"value": entities, "exact": false});
        json!({"type": name, "entities": entities, "defined": name == "Defined"})
    };
    let all = answer(app.get(TYPES)).await;
    let expected = [entry("Car", 2), entry("Defined", 0), entry("Van", 1), entry("a/50%", 1)];
    assert_eq!(all.body, json!({"types": expected}));
    let (mut listed, mut address) = (Vec::new(), format!("{TYPES}?pageSize=1"));
    loop {
        let page = answer(app.get(&address)).await;
        let types = page.body["types"].as_array().unwrap();
        assert!(types.len() <= 1, "{page:?}");
        listed.extend(types.clone());
        let link = page.header("link");
        let Some(token) = page.body.get("nextPageToken") else {
            assert_eq!(link, "");
            break;
        };
        address = format!("{TYPES}?pageSize=1&pageToken={}", token.as_str().unwrap());
        assert_eq!(link, format!("<{address}>; rel=\"next\""));
    }
    assert_eq!(listed, expected);
    for (query, rule) in [
        ("pageSize=0", "pageSize must be a number from 1"),
        ("pageToken=x", "pageToken must be a token that a page of this list returned"),
        ("pagesize=1", "\"pagesize\" is not known; did you mean pageSize?"),
    ] {
        let refused = answer(app.get(&format!("{TYPES}?{query}"))).await;
        assert_eq!(refused.problem(), "malformed", "{query}");
        assert_eq!(refused.body["detail"], format!("the query parameter {rule}"));
    }
}

#[tokio::test]
async fn types_are_listed_page_by_page_on_sqlite() {
    types_are_listed_page_by_page(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn types_are_listed_page_by_page_on_postgres() {
    types_are_listed_page_by_page(TestApp::postgres().await).await;
}
