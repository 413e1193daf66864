//! Entities as they were: `?version=`, `?at=`, and the routes `history`, `diff` and `provenance`.

use producer_test_support::Postgres;
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, TestApp, answer, car_event};

const CAR: &str = "/api/v1/entities/Car/c1";
/// The entity `a/50%`.
const ODD: &str = "/api/v1/entities/Car/a%2F50%25";

async fn get(app: &TestApp, path: &str) -> Answer {
    answer(app.get(path)).await
}

async fn write(app: &TestApp, method: &str, path: &str, body: &Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let written = answer(app.request(method, path).body(body)).await;
    assert!([200, 201].contains(&written.status), "{written:?}");
}

/// What is done with an entity, and what its document is after that.
fn life() -> [(&'static str, Value, Option<Value>); 6] {
    [
        ("PUT", json!({"a": 1, "b": {"c": 1}}), Some(json!({"a": 1, "b": {"c": 1}}))),
        ("PATCH", json!({"b": {"c": null, "d": [1]}}), Some(json!({"a": 1, "b": {"d": [1]}}))),
        ("PATCH", json!({"a": 1}), Some(json!({"a": 1, "b": {"d": [1]}}))),
        ("DELETE", Value::Null, None),
        ("PUT", json!({"e": "x"}), Some(json!({"e": "x"}))),
        ("PATCH", json!({"a": 2.50}), Some(json!({"a": 2.5, "e": "x"}))),
    ]
}

async fn live(app: &TestApp, path: &str) {
    for (method, body, _) in life() {
        write(app, method, path, &body).await;
    }
}

/// `committedAt` of each update.
async fn times(app: &TestApp, path: &str) -> Vec<String> {
    let history = get(app, &format!("{path}/history")).await;
    let updates = history.body["updates"].as_array().unwrap();
    updates.iter().map(|update| update["committedAt"].as_str().unwrap().to_owned()).collect()
}

/// The versions of a page.
fn versions(page: &Answer) -> Vec<u64> {
    let updates = page.body["updates"].as_array();
    assert!(updates.is_some(), "{page:?}");
    updates.unwrap().iter().map(|update| update["version"].as_u64().unwrap()).collect()
}

/// The address of the next page by `Link`.
fn next(page: &Answer) -> Option<String> {
    let link = page.header("link");
    let token = page.body.get("nextPageToken").and_then(Value::as_str);
    assert_eq!(link.is_empty(), token.is_none(), "{page:?}");
    let path = link.strip_prefix('<')?.strip_suffix(">; rel=\"next\"").unwrap();
    assert!(path.ends_with(token.unwrap()), "{page:?}");
    Some(path.to_owned())
}

async fn an_entity_is_returned_as_it_was(app: TestApp) {
    for path in [CAR, ODD] {
        live(&app, path).await;
        let times = times(&app, path).await;
        for ((version, time), (.., data)) in (1..).zip(&times).zip(life()) {
            for query in [format!("version={version}"), format!("at={time}")] {
                let address = format!("{path}?{query}");
                let entity = get(&app, &address).await;
                let Some(data) = &data else {
                    assert_eq!((entity.status, entity.problem()), (404, "not-found"), "{query}");
                    continue;
                };
                assert_eq!(entity.status, 200, "{query}: {entity:?}");
                let expected = json!({
                    "entityType": "Car", "entityId": if path == CAR { "c1" } else { "a/50%" },
                    "version": version,
                    "createdAt": times[if version < 4 { 0 } else { 4 }], "updatedAt": time,
                    "data": data,
                });
                assert_eq!(entity.body, expected, "{query}");
                let tag = format!("\"{version}\"");
                assert_eq!(entity.header("etag"), tag);
                assert_eq!(entity.header("cache-control"), "no-cache");
                assert!(entity.header("last-modified").ends_with("GMT"));
                let not_modified = answer(app.get(&address).header("if-none-match", &tag)).await;
                assert_eq!((not_modified.status, not_modified.header("etag")), (304, &*tag));
                let modified = answer(app.get(&address).header("if-none-match", "\"9\"")).await;
                assert_eq!(modified.status, 200);
                let head = answer(app.request("HEAD", &address)).await;
                assert_eq!((head.status, head.header("etag")), (200, &*tag));
            }
        }
        let present = get(&app, path).await;
        assert_eq!(present.body, get(&app, &format!("{path}?version=6")).await.body);
        for query in ["version=7", "version=99999999999999999999", "at=0", "at=0001-01-01T00:00:00"]
        {
            let none = get(&app, &format!("{path}?{query}")).await;
            assert_eq!((none.status, none.problem()), (404, "not-found"), "{query}");
        }
        for query in ["at=9999-12-31T23:59:59Z", "at=253402300799999"] {
            assert_eq!(get(&app, &format!("{path}?{query}")).await.body, present.body, "{query}");
        }
        // the same instant in another zone
        let time = times[0].trim_end_matches('Z');
        let at = format!("{path}?at={time}%2B00:00");
        assert_eq!(get(&app, &at).await.body["version"], 1);
    }
    let never = get(&app, "/api/v1/entities/Car/never?version=1").await;
    assert_eq!((never.status, never.problem()), (404, "not-found"));
}

#[tokio::test]
async fn an_entity_is_returned_as_it_was_on_sqlite() {
    an_entity_is_returned_as_it_was(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn an_entity_is_returned_as_it_was_on_postgres() {
    an_entity_is_returned_as_it_was(TestApp::postgres().await).await;
}

async fn updates_are_listed_page_by_page(app: TestApp) {
    for path in [CAR, ODD] {
        live(&app, path).await;
        for (order, expected) in [
            ("", [1, 2, 3, 4, 5, 6]),
            ("&orderBy=version", [1, 2, 3, 4, 5, 6]),
            ("&orderBy=version+desc", [6, 5, 4, 3, 2, 1]),
        ] {
            for size in ["1", "2", "4", "5", "6", "7", "1000", "1001", "99999999999999999999"] {
                let mut address = Some(format!("{path}/history?pageSize={size}{order}"));
                let mut listed = Vec::new();
                while let Some(page) = address {
                    let page = get(&app, &page).await;
                    let found = versions(&page);
                    assert!(!found.is_empty() && found.len() <= size.parse().unwrap_or(usize::MAX));
                    listed.extend(found);
                    address = next(&page);
                }
                assert_eq!(listed, expected, "{size}{order}");
            }
        }
        let all = get(&app, &format!("{path}/history")).await;
        let operations = all.body["updates"].as_array().unwrap().iter().map(|one| {
            let patch = if one["operation"] == "delete" { &Value::Null } else { &one["patch"] };
            (one["operation"].as_str().unwrap(), patch.clone(), one["created"] == true)
        });
        let expected = (1..).zip(life()).map(|(version, (method, body, _))| {
            let operation = match method {
                "PUT" => "replace",
                "PATCH" => "merge",
                _ => "delete",
            };
            (operation, body, version == 1 || version == 5)
        });
        assert_eq!(operations.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        let head = answer(app.request("HEAD", &format!("{path}/history?pageSize=1"))).await;
        assert!(head.status == 200 && head.header("link").contains("pageSize=1&pageToken="));
    }
    // without a query the page has 100
    for n in 0..101 {
        app.send(&car_event("many", json!({"n": n}))).await;
    }
    let first = get(&app, "/api/v1/entities/Car/many/history").await;
    assert_eq!(versions(&first), (1..=100).collect::<Vec<_>>());
    assert_eq!(versions(&get(&app, &next(&first).unwrap()).await), [101]);
    let never = get(&app, "/api/v1/entities/Car/never/history").await;
    assert_eq!((never.status, never.problem()), (404, "not-found"));
}

#[tokio::test]
async fn updates_are_listed_page_by_page_on_sqlite() {
    updates_are_listed_page_by_page(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn updates_are_listed_page_by_page_on_postgres() {
    updates_are_listed_page_by_page(TestApp::postgres().await).await;
}

async fn an_update_names_its_event(app: TestApp) {
    let event = json!({
        "eventHeader": {
            "uuid": "550e8400-e29b-41d4-a716-446655440000",
            "eventName": "Sold", "eventType": "Sale", "createdDate": "2024-01-15T10:30:00Z",
            "source": "shop", "actor": "ada",
        },
        "eventBody": {"entities": [
            {"entityType": "Person", "entityId": "ada", "updatedAttributes": {"cars": 1}},
            {"entityType": "Car", "entityId": "c1", "updatedAttributes": {"owner": {"id": "ada"}}},
        ]}
    });
    assert_eq!(app.send(&event).await.status, 200);
    app.send(&car_event("c1", json!({"price": 24439.75}))).await;
    let history = get(&app, &format!("{CAR}/history")).await;
    let updates = &history.body["updates"];
    let logged = get(&app, "/api/v1/events/550e8400-e29b-41d4-a716-446655440000").await;
    let expected = json!({
        "kind": "change", "entityType": "Car", "entityId": "c1", "version": 1,
        "operation": "merge", "created": true,
        "eventId": "550e8400-e29b-41d4-a716-446655440000", "ordinal": 1,
        "eventName": "Sold", "eventType": "Sale", "eventSource": "shop", "eventActor": "ada",
        "createdDate": "2024-01-15T10:30:00Z", "committedAt": logged.body["committedAt"],
        "patch": {"owner": {"id": "ada"}},
    });
    assert_eq!(updates[0], expected);
    for name in ["eventType", "eventSource", "eventActor", "createdDate", "token", "data"] {
        assert!(updates[1].get(name).is_none(), "{name}: {updates}");
    }

    let provenance = get(&app, &format!("{CAR}/provenance")).await;
    let expected = json!({"paths": [
        {
            "path": "data.owner.id", "version": 1,
            "eventId": "550e8400-e29b-41d4-a716-446655440000", "eventName": "Sold",
            "eventSource": "shop", "eventActor": "ada", "committedAt": logged.body["committedAt"],
        },
        {
            "path": "data.price", "version": 2, "eventId": updates[1]["eventId"],
            "eventName": "CarChanged", "committedAt": updates[1]["committedAt"],
        },
    ]});
    assert_eq!(provenance.body, expected);
}

#[tokio::test]
async fn an_update_names_its_event_on_sqlite() {
    an_update_names_its_event(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn an_update_names_its_event_on_postgres() {
    an_update_names_its_event(TestApp::postgres().await).await;
}

async fn versions_are_compared(app: TestApp) {
    live(&app, ODD).await;
    for (query, expected) in [
        (
            "from=1&to=2",
            json!({"from": 1, "to": 2, "patch": {"b": {"c": null, "d": [1]}}, "changes": [
                {"path": "data.b.c", "from": 1}, {"path": "data.b.d", "to": [1]},
            ]}),
        ),
        (
            "to=1&from=2",
            json!({"from": 2, "to": 1, "patch": {"b": {"c": 1, "d": null}}, "changes": [
                {"path": "data.b.c", "to": 1}, {"path": "data.b.d", "from": [1]},
            ]}),
        ),
        ("from=2&to=3", json!({"from": 2, "to": 3, "patch": {}, "changes": []})),
        ("from=6", json!({"from": 6, "to": 6, "patch": {}, "changes": []})),
        (
            "from=3",
            json!({"from": 3, "to": 6, "patch": {"a": 2.5, "b": null, "e": "x"}, "changes": [
                {"path": "data.a", "from": 1, "to": 2.5},
                {"path": "data.b.d", "from": [1]},
                {"path": "data.e", "to": "x"},
            ]}),
        ),
    ] {
        let diff = get(&app, &format!("{ODD}/diff?{query}")).await;
        assert_eq!((diff.status, &diff.body), (200, &expected), "{query}");
    }
    for query in ["from=1&to=4", "from=4", "from=7", "from=1&to=7"] {
        let none = get(&app, &format!("{ODD}/diff?{query}")).await;
        assert_eq!((none.status, none.problem()), (404, "not-found"), "{query}");
    }
    write(&app, "DELETE", ODD, &Value::Null).await;
    let deleted = get(&app, &format!("{ODD}/diff?from=1")).await;
    assert_eq!((deleted.status, deleted.problem()), (404, "not-found"));
}

#[tokio::test]
async fn versions_are_compared_on_sqlite() {
    versions_are_compared(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn versions_are_compared_on_postgres() {
    versions_are_compared(TestApp::postgres().await).await;
}

/// The paths of an answer, each with its version.
fn origins(provenance: &Answer) -> Vec<String> {
    let paths = provenance.body["paths"].as_array().unwrap();
    paths
        .iter()
        .map(|one| format!("{} {}", one["path"].as_str().unwrap(), one["version"]))
        .collect()
}

async fn values_name_the_update_that_wrote_them(app: TestApp) {
    for (method, body, _) in &life()[..3] {
        write(&app, method, ODD, body).await;
    }
    write(&app, "PATCH", ODD, &json!({"odd key": {"x": {}}})).await;
    for (path, expected) in [
        ("", &["data.a 3", "data.b.d 2", "data[\"odd key\"].x 4"][..]),
        ("?path=data", &["data.a 3", "data.b.d 2", "data[\"odd key\"].x 4"]),
        ("?path=data.b", &["data.b.d 2"]),
        ("?path=data%5B%22odd+key%22%5D", &["data[\"odd key\"].x 4"]),
        ("?path=data.b.d", &["data.b.d 2"]),
        ("?path=data.b.c", &[]),
    ] {
        let provenance = get(&app, &format!("{ODD}/provenance{path}")).await;
        assert_eq!(provenance.status, 200, "{provenance:?}");
        assert_eq!(origins(&provenance), expected, "{path}");
    }
    write(&app, "DELETE", ODD, &Value::Null).await;
    for path in [ODD, "/api/v1/entities/Car/never"] {
        let none = get(&app, &format!("{path}/provenance")).await;
        assert_eq!((none.status, none.problem()), (404, "not-found"));
    }
}

#[tokio::test]
async fn values_name_the_update_that_wrote_them_on_sqlite() {
    values_name_the_update_that_wrote_them(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn values_name_the_update_that_wrote_them_on_postgres() {
    values_name_the_update_that_wrote_them(TestApp::postgres().await).await;
}

async fn what_is_pruned_is_gone(app: TestApp) {
    for (method, body, _) in &life()[..3] {
        write(&app, method, CAR, body).await;
    }
    let first_page = get(&app, &format!("{CAR}/history?pageSize=1")).await;
    let first_time = times(&app, CAR).await.remove(0);
    app.prune().await;
    for (method, body, _) in &life()[3..] {
        write(&app, method, CAR, body).await;
    }
    for gone in [
        format!("{CAR}?version=2"),
        format!("{CAR}?at={first_time}"),
        format!("{CAR}?at=0"),
        format!("{CAR}/diff?from=1&to=3"),
        format!("{CAR}/diff?from=6&to=2"),
        next(&first_page).unwrap(),
    ] {
        let gone = get(&app, &gone).await;
        assert_eq!((gone.status, gone.problem()), (410, "gone"));
        let detail = gone.body["detail"].as_str().unwrap();
        let names_oldest = ["from version 3 on", "from version 4 on"];
        assert!(names_oldest.iter().any(|oldest| detail.contains(oldest)), "{detail}");
    }
    let oldest = get(&app, &format!("{CAR}?version=3")).await;
    assert_eq!(Some(&oldest.body["data"]), life()[2].2.as_ref());
    assert_eq!(oldest.body["createdAt"], first_time);
    assert_eq!(versions(&get(&app, &format!("{CAR}/history")).await), [4, 5, 6]);
    let last = get(&app, &format!("{CAR}/history?orderBy=version%20desc&pageSize=2")).await;
    assert_eq!(versions(&last), [6, 5]);
    let rest = get(&app, &next(&last).unwrap()).await;
    assert_eq!((versions(&rest), next(&rest)), (vec![4], None));

    app.prune().await;
    write(&app, "PATCH", CAR, &json!({"a": 3})).await;
    let provenance = get(&app, &format!("{CAR}/provenance")).await;
    assert_eq!(origins(&provenance), ["data.a 7", "data.e null"]);
    assert_eq!(provenance.body["paths"][1], json!({"path": "data.e", "version": null}));
    let id = provenance.body["paths"][0]["eventId"].as_str();
    assert!(id.is_some(), "{provenance:?}");

    // with the whole log of a deleted entity goes its last version
    write(&app, "DELETE", CAR, &Value::Null).await;
    // the end of the log is not removed
    app.send(&car_event("last", json!({}))).await;
    app.prune().await;
    let nothing = get(&app, &format!("{CAR}/history")).await;
    assert_eq!((nothing.status, nothing.problem()), (404, "not-found"));
    write(&app, "PUT", CAR, &json!({"anew": true})).await;
    let anew = get(&app, &format!("{CAR}?version=1")).await;
    assert_eq!(anew.body["data"], json!({"anew": true}));
}

#[tokio::test]
async fn what_is_pruned_is_gone_on_sqlite() {
    what_is_pruned_is_gone(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn what_is_pruned_is_gone_on_postgres() {
    what_is_pruned_is_gone(TestApp::postgres().await).await;
}

#[tokio::test]
async fn a_bad_parameter_is_named() {
    let app = TestApp::sqlite().await;
    app.send(&car_event("c1", json!({"a": 1}))).await;
    for (path, parameter) in [
        ("?version=0", "version"),
        ("?version=00", "version"),
        ("?version=-1", "version"),
        ("?version=%2B1", "version"),
        ("?version=1.0", "version"),
        ("?version=x", "version"),
        ("?version=", "version"),
        ("?version=%FF", "version"),
        ("?version=1&version=1", "version"),
        ("?at=", "at"),
        ("?at=yesterday", "at"),
        ("?at=2024-13-01T00:00:00Z", "at"),
        ("?at=99999999999999999999", "at"),
        ("?at=2024-01-15T10:30:00Z&at=0", "at"),
        ("?version=1&at=0", "version"),
        ("/history?pageSize=0", "pageSize"),
        ("/history?pageSize=-1", "pageSize"),
        ("/history?pageSize=ten", "pageSize"),
        ("/history?pageSize=", "pageSize"),
        ("/history?pageSize=1&pageSize=1", "pageSize"),
        ("/history?orderBy=version%20asc", "orderBy"),
        ("/history?orderBy=data.a", "orderBy"),
        ("/history?orderBy=", "orderBy"),
        ("/history?pageToken=", "pageToken"),
        ("/history?filter=operation=%22delete%22", "filter"),
        ("/history?filter=", "filter"),
        ("/diff", "from"),
        ("/diff?to=1", "from"),
        ("/diff?from=0", "from"),
        ("/diff?from=1&to=0", "to"),
        ("/diff?from=1&to=now", "to"),
        ("/provenance?path=balance", "path"),
        ("/provenance?path=", "path"),
        ("/provenance?path=data.a[0]", "path"),
        ("/provenance?path=data.a&path=data.b", "path"),
    ] {
        let refused = get(&app, &format!("{CAR}{path}")).await;
        assert_eq!((refused.status, refused.problem()), (400, "malformed"), "{path}");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(
            detail.contains(&format!("the query parameter {parameter} "))
                || detail.contains(&format!("beside {parameter}")),
            "{path}: {detail}"
        );
    }
    // a plus sign means a space
    let refused = get(&app, &format!("{CAR}?at=2024-01-15T10:30:00+01:00")).await;
    assert!(refused.body["detail"].as_str().unwrap().ends_with("; write + as %2B"), "{refused:?}");
}

#[tokio::test]
async fn an_unknown_parameter_is_refused_where_nobody_relies_on_it() {
    let app = TestApp::sqlite().await;
    app.send(&car_event("c1", json!({"a": 1}))).await;
    for (path, nearest) in [
        ("/history?pagesize=1", "pageSize"),
        ("/history?order=version", "orderBy"),
        ("/diff?from=1&until=2", "to"),
        ("/diff?from=1&frm=2", "from"),
        ("/provenance?paths=data", "path"),
    ] {
        let refused = get(&app, &format!("{CAR}{path}")).await;
        assert_eq!((refused.status, refused.problem()), (400, "malformed"), "{path}");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.ends_with(&format!("is not known; did you mean {nearest}?")), "{detail}");
    }
    let refused = get(&app, &format!("{CAR}/provenance?path=%FF")).await;
    assert_eq!((refused.status, refused.problem()), (400, "malformed"));
    for ignored in ["?colour=red", "?version=1&colour=red", "?Version=0", "?"] {
        let entity = get(&app, &format!("{CAR}{ignored}")).await;
        assert_eq!((entity.status, &entity.body["version"]), (200, &json!(1)), "{ignored}");
    }
}

#[tokio::test]
async fn a_token_that_no_page_of_this_list_returned_is_refused() {
    let app = TestApp::sqlite().await;
    live(&app, CAR).await;
    live(&app, ODD).await;
    let page = get(&app, &format!("{CAR}/history?pageSize=1")).await;
    let token = page.body["nextPageToken"].as_str().unwrap();
    let descending = get(&app, &format!("{CAR}/history?pageSize=1&orderBy=version%20desc")).await;
    let descending = descending.body["nextPageToken"].as_str().unwrap();
    let forged = format!("{}AAAA", &token[..token.len() - 4]);
    for address in [
        format!("{CAR}/history?pageToken={}", &token[1..]),
        format!("{CAR}/history?pageToken={}", &token[..token.len() - 1]),
        format!("{CAR}/history?pageToken={forged}"),
        format!("{CAR}/history?pageToken={token}{token}"),
        format!("{CAR}/history?pageToken={token}&orderBy=version%20desc"),
        format!("{CAR}/history?pageToken={descending}"),
        format!("{ODD}/history?pageToken={token}"),
        format!("{CAR}/history?pageToken=1"),
        format!("{CAR}/history?pageToken=%00"),
    ] {
        let refused = get(&app, &address).await;
        assert_eq!((refused.status, refused.problem()), (400, "malformed"), "{address}");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.starts_with("the query parameter pageToken must be "), "{detail}");
    }
    // another size is no other list
    let page = get(&app, &format!("{CAR}/history?pageToken={token}&pageSize=3")).await;
    assert_eq!(versions(&page), [2, 3, 4]);
}

#[tokio::test]
async fn the_routes_obey_the_rules_of_paths_and_methods() {
    let app = TestApp::sqlite().await;
    for route in ["history", "diff?from=1", "provenance"] {
        let long = "i".repeat(256);
        for path in [&*format!("Car/{long}"), "Car/%FF", &format!("{long}/c1")] {
            let bad = get(&app, &format!("/api/v1/entities/{path}/{route}")).await;
            assert_eq!((bad.status, bad.problem()), (400, "malformed"), "{path}");
        }
        for method in [Method::POST, Method::PUT, Method::DELETE] {
            let refused = app.request(method.as_str(), &format!("{CAR}/{route}"));
            let refused = answer(refused).await;
            assert_eq!((refused.status, refused.header("allow")), (405, "GET,HEAD"));
        }
        let head = answer(app.request("HEAD", &format!("{CAR}/{route}"))).await;
        assert_eq!((head.status, head.header("content-type")), (404, "application/problem+json"));
    }
}

#[tokio::test]
async fn a_database_that_is_gone_is_unavailable() {
    let server = tokio::task::spawn_blocking(Postgres::own).await.unwrap();
    let database = server.fresh_database().await;
    let app = TestApp::on(database.url()).await;
    live(&app, CAR).await;
    server.stop();
    for route in ["?version=1", "?at=0", "/history", "/diff?from=1", "/provenance"] {
        let refused = get(&app, &format!("{CAR}{route}")).await;
        assert_eq!((refused.status, refused.problem()), (503, "unavailable"), "{route}");
        assert_eq!(refused.header("retry-after"), "1");
        assert_eq!(refused.body["retryable"], true);
    }
    // what is wrong by itself needs no database
    assert_eq!(get(&app, &format!("{CAR}?version=0")).await.status, 400);
}
