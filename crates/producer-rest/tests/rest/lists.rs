//! `GET /api/v1/entities/{type}` and `GET /api/v1/entities`.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use producer_core::ProblemKind;
use producer_test_support::Postgres;
use serde_json::{Value, json};

use crate::app::{Answer, TestApp, answer, car_event};
use crate::examples::Document;

const CARS: &str = "/api/v1/entities/Car";
const ALL: &str = "/api/v1/entities";

/// Query parameters in a URL.
fn query(parameters: &[(&str, &str)]) -> String {
    let pairs = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
    format!("?{}", pairs.collect::<Vec<_>>().join("&"))
}

fn encoded(value: &str) -> String {
    utf8_percent_encode(value, NON_ALPHANUMERIC).to_string()
}

async fn list(app: &TestApp, path: &str, parameters: &[(&str, &str)]) -> Answer {
    answer(app.get(&format!("{path}{}", query(parameters)))).await
}

/// The `type/id` of the entities of a page.
fn keys(page: &Answer) -> Vec<String> {
    let entities = page.body["entities"].as_array();
    assert!(page.status == 200 && entities.is_some(), "{page:?}");
    let text = |entity: &Value, name: &str| entity[name].as_str().unwrap().to_owned();
    let key = |entity| format!("{}/{}", text(entity, "entityType"), text(entity, "entityId"));
    entities.unwrap().iter().map(key).collect()
}

fn ids(page: &Answer) -> Vec<String> {
    keys(page).iter().map(|key| key.split_once('/').unwrap().1.to_owned()).collect()
}

/// The address of the next page by `Link`.
fn next(page: &Answer) -> Option<String> {
    let link = page.header("link");
    let token = page.body.get("nextPageToken").and_then(Value::as_str);
    assert_eq!(link.is_empty(), token.is_none(), "{page:?}");
    let address = link.strip_prefix('<')?.strip_suffix(">; rel=\"next\"").unwrap();
    assert!(address.ends_with(&format!("pageToken={}", token.unwrap())), "{page:?}");
    Some(address.to_owned())
}

/// All pages from an address on.
async fn pages(app: &TestApp, address: String) -> Vec<Answer> {
    let (mut pages, mut address) = (Vec::new(), Some(address));
    while let Some(next_address) = address {
        let page = answer(app.get(&next_address)).await;
        assert_eq!(page.status, 200, "{next_address}: {page:?}");
        address = next(&page);
        pages.push(page);
    }
    pages
}

/// Ten cars, of which one is deleted; entities of two other types, of which one sorts before and one behind.
async fn garage(app: &TestApp) {
    let mut event = car_event("c0", json!({"n": 0}));
    let update = event["eventBody"]["entities"][0].clone();
    let updates = (0..10).map(|n| {
        let mut update = update.clone();
        update["entityId"] = format!("c{n}").into();
        update["updatedAttributes"] =
            json!({"n": n, "make": if n % 2 == 0 { "Skoda" } else { "Fiat" }, "a": {"b": [n]}});
        update
    });
    let others = ["Auto", "Van"].map(|name| {
        let mut update = update.clone();
        update["entityType"] = name.into();
        update
    });
    event["eventBody"]["entities"] = updates.chain(others).collect();
    assert_eq!(app.send(&event).await.status, 200);
    let odd =
        app.request("PUT", &format!("{CARS}/a%2F50%25%20%22%C3%A4")).body("{\"make\": \"Skoda\"}");
    assert_eq!(answer(odd).await.status, 201);
    assert_eq!(answer(app.request("DELETE", &format!("{CARS}/c9"))).await.status, 200);
}

/// The ids of the cars that are there.
fn car_ids() -> Vec<String> {
    let numbered = (0..9).map(|n| format!("c{n}"));
    ["a/50% \"\u{e4}".to_owned()].into_iter().chain(numbered).collect()
}

async fn a_list_has_every_entity_once(app: TestApp) {
    garage(&app).await;
    let all = list(&app, CARS, &[]).await;
    assert_eq!(all.header("content-type"), "application/json");
    assert_eq!(next(&all), None);
    assert_eq!(ids(&all).into_iter().collect::<BTreeSet<_>>(), car_ids().into_iter().collect());
    for entity in all.body["entities"].as_array().unwrap() {
        let id = entity["entityId"].as_str().unwrap();
        let path = format!("{CARS}/{}", encoded(id));
        assert_eq!(*entity, answer(app.get(&path)).await.body, "{path}");
    }
    let everything = list(&app, ALL, &[]).await;
    let types = keys(&everything);
    assert_eq!(types.len(), 12);
    for name in ["Auto/c0", "Van/c0"] {
        assert!(types.iter().any(|key| key == name), "{types:?}");
    }
    for (path, whole) in [(CARS, &all), (ALL, &everything)] {
        for size in ["1", "3", "10", "12", "1000", "1001", "99999999999999999999"] {
            let pages = pages(&app, format!("{path}?pageSize={size}")).await;
            let listed: Vec<_> = pages.iter().flat_map(keys).collect();
            assert_eq!(listed, keys(whole), "{path} {size}");
            let most = size.parse().unwrap_or(usize::MAX);
            assert!(pages.iter().all(|page| keys(page).len() <= most));
        }
    }
    let none = list(&app, "/api/v1/entities/Truck", &[("count", "exact")]).await;
    assert_eq!(none.body, json!({"entities": [], "count": {"value": 0, "exact": true}}));
}

#[tokio::test]
async fn a_list_has_every_entity_once_on_sqlite() {
    a_list_has_every_entity_once(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn a_list_has_every_entity_once_on_postgres() {
    a_list_has_every_entity_once(TestApp::postgres().await).await;
}

async fn every_parameter_narrows_or_shapes_the_list(app: TestApp) {
    garage(&app).await;
    for (path, filter, count) in [
        (CARS, "data.make == \"Skoda\"", 6),
        (CARS, "data.make == 'Skoda' && data.n >= 4", 3),
        (CARS, "id in [\"c1\", \"c9\", \"none\"]", 1),
        (CARS, "id.startsWith(\"c\") && version == 1", 9),
        (CARS, "type == \"Van\"", 0),
        (CARS, "data.a.b.exists(x, x > 6)", 2),
        (ALL, "type in [\"Van\", \"Auto\"]", 2),
        (ALL, "data.n < 1 && updatedAt > now - duration(\"1h\")", 3),
    ] {
        let found = list(&app, path, &[("filter", filter), ("count", "exact")]).await;
        assert_eq!(keys(&found).len(), count, "{filter}");
        assert_eq!(found.body["count"], json!({"value": count, "exact": true}), "{filter}");
        // every page keeps all parameters
        let parameters =
            [("fields", "data.n"), ("filter", filter), ("pageSize", "2"), ("count", "exact")];
        let pages = pages(&app, format!("{path}{}", query(&parameters))).await;
        assert_eq!(pages.iter().flat_map(keys).count(), count, "{filter}");
        for page in pages {
            assert_eq!(page.body["count"]["value"], count, "{filter}");
            for entity in page.body["entities"].as_array().unwrap() {
                assert_eq!(entity.as_object().unwrap().len(), 3, "{entity}");
            }
        }
    }
    let mut descending = car_ids();
    descending.reverse();
    for (order, expected) in [("id", car_ids()), ("id desc", descending)] {
        let pages =
            pages(&app, format!("{CARS}{}", query(&[("orderBy", order), ("pageSize", "3")])));
        assert_eq!(pages.await.iter().flat_map(ids).collect::<Vec<_>>(), expected, "{order}");
    }
    for (names, expected) in [
        ("type,id", json!({})),
        ("version", json!({"version": 1})),
        ("data.a.b,data.none", json!({"data": {"a": {"b": [3]}}})),
        ("data[\"make\"],entityId", json!({"data": {"make": "Fiat"}})),
        ("data", json!({"data": {"n": 3, "make": "Fiat", "a": {"b": [3]}}})),
    ] {
        let found = list(&app, CARS, &[("id", "c3"), ("fields", names)]).await;
        let mut expected = expected;
        expected["entityType"] = "Car".into();
        expected["entityId"] = "c3".into();
        assert_eq!(found.body, json!({"entities": [expected]}), "{names}");
    }
    let estimated = list(&app, CARS, &[("count", "estimated"), ("pageSize", "1")]).await;
    assert!(estimated.body["count"]["exact"].is_boolean(), "{estimated:?}");
}

#[tokio::test]
async fn every_parameter_narrows_or_shapes_the_list_on_sqlite() {
    every_parameter_narrows_or_shapes_the_list(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn every_parameter_narrows_or_shapes_the_list_on_postgres() {
    every_parameter_narrows_or_shapes_the_list(TestApp::postgres().await).await;
}

async fn ids_are_returned_in_their_order(app: TestApp) {
    garage(&app).await;
    let odd = "a/50% \"\u{e4}";
    let asked = ["c5", "none", odd, "c9", "c1", "c5"].map(|id| ("id", id));
    let found = list(&app, CARS, &asked).await;
    assert_eq!(ids(&found), ["c5", odd, "c1", "c5"]);
    assert_eq!((next(&found), found.body.get("count")), (None, None));
    let hundred = vec![("id", "c1"); 100];
    assert_eq!(ids(&list(&app, CARS, &hundred).await).len(), 100);
    let more = vec![("id", "c1"); 101];
    assert_malformed(&app, CARS, &more, "id must be given at most 100 times").await;
}

#[tokio::test]
async fn ids_are_returned_in_their_order_on_sqlite() {
    ids_are_returned_in_their_order(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn ids_are_returned_in_their_order_on_postgres() {
    ids_are_returned_in_their_order(TestApp::postgres().await).await;
}

async fn assert_malformed(app: &TestApp, path: &str, parameters: &[(&str, &str)], rule: &str) {
    let refused = list(app, path, parameters).await;
    assert_eq!((refused.status, refused.problem()), (400, "malformed"), "{parameters:?}");
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.starts_with(&format!("the query parameter {rule}")), "{parameters:?}: {detail}");
    assert!(refused.body.get("errors").is_none(), "a query has no pointers: {refused:?}");
}

#[tokio::test]
async fn bad_parameters_are_refused_with_their_name() {
    let app = TestApp::sqlite().await;
    garage(&app).await;
    for path in [CARS, ALL] {
        for (name, value, rule) in [
            ("filter", "", "filter is no filter: column 1: "),
            ("filter", "data.n = 1", "filter is no filter: column 8: "),
            ("filter", "data.n == 1 AND true", "filter is no filter: column 13: "),
            ("filter", "versoin == 1", "filter is no filter: column 1: "),
            ("filter", "version == \"3\"", "filter is no filter: column 12: "),
            ("filter", "operation == \"merge\"", "filter is no filter: column 1: "),
            ("orderBy", "total", "orderBy must be id, version, "),
            ("orderBy", "data.a[0]", "orderBy has an error at column 7"),
            ("pageSize", "0", "pageSize must be a number from 1"),
            ("pageSize", "-1", "pageSize must be a number from 1"),
            ("pageSize", "ten", "pageSize must be a number from 1"),
            ("pageToken", "", "pageToken must be a token that a page of this list returned"),
            ("pageToken", "AAAA", "pageToken must be a token that a page of this list returned"),
            ("fields", "", "fields must name fields with commas"),
            (
                "fields",
                "verson",
                "fields must name known fields; \"verson\" is none, the nearest is version",
            ),
            ("count", "yes", "count must be exact or estimated"),
            ("filtr", "true", "\"filtr\" is not known; did you mean filter?"),
            ("page_size", "1", "\"page_size\" is not known; did you mean pageSize?"),
            ("ids", "c1", "\"ids\" is not known; did you mean id?"),
        ] {
            assert_malformed(&app, path, &[(name, value)], rule).await;
        }
        let twice = [("pageSize", "1"), ("pageSize", "1")];
        assert_malformed(&app, path, &twice, "pageSize must be given once").await;
    }
    assert_malformed(&app, ALL, &[("id", "c1")], "id must not be given for all types").await;
    assert_malformed(&app, ALL, &[("orderBy", "id")], "orderBy must not be given for all types")
        .await;
    for other in ["filter", "orderBy", "pageSize", "pageToken", "count"] {
        let both = [("id", "c1"), (other, "x")];
        assert_malformed(&app, CARS, &both, &format!("{other} must not be given beside id")).await;
    }
    let long = "x".repeat(256);
    for (id, rule) in [
        ("", "id must not be empty"),
        (".", "id must not be . or .."),
        (&*long, "id must have at most 255 characters"),
    ] {
        assert_malformed(&app, CARS, &[("id", "c1"), ("id", id)], rule).await;
    }
    let undecodable = answer(app.get(&format!("{CARS}?filter=%FF"))).await;
    assert_eq!(undecodable.body["detail"], "the query is not percent-encoded UTF-8");
    for path in ["/api/v1/entities/", &format!("{ALL}/{long}")] {
        let refused = answer(app.get(path)).await;
        assert_eq!((refused.status, refused.problem()), (400, "malformed"), "{path}");
        assert!(refused.body["detail"].as_str().unwrap().contains("/entityType must"), "{path}");
    }
    let method = answer(app.request("PUT", CARS)).await;
    assert_eq!((method.status, method.header("allow")), (405, "GET,HEAD,POST"));
}

async fn a_list_has_the_order_that_was_asked_for(app: TestApp) {
    garage(&app).await;
    let by_make = ["c1", "c3", "c5", "c7", "a/50% \"\u{e4}", "c0", "c2", "c4", "c6", "c8"];
    let numbered: Vec<_> = (0..9).map(|n| format!("c{n}")).collect();
    let (mut make_reversed, mut reversed) = (by_make.map(String::from), numbered.clone());
    make_reversed.reverse();
    reversed.reverse();
    let make = by_make.map(String::from);
    let check = async || {
        for (order, expected) in [
            ("data.n", &numbered[..]),
            ("data.n desc", &reversed),
            ("data.make", &make),
            ("data[\"make\"] desc", &make_reversed),
            ("data.a.b", &[]),
            ("data.none", &[]),
        ] {
            for size in ["1", "4", "100"] {
                let address = format!("{CARS}{}", query(&[("orderBy", order), ("pageSize", size)]));
                let listed: Vec<_> = pages(&app, address).await.iter().flat_map(ids).collect();
                assert_eq!(listed, expected, "{order} {size}");
            }
        }
        let later = [("orderBy", "data.n desc"), ("filter", "data.n < 4 && data.make == 'Fiat'")];
        assert_eq!(ids(&list(&app, CARS, &later).await), ["c3", "c1"]);
    };
    check().await;
    for order in ["version", "createdAt desc", "updatedAt"] {
        assert_eq!(ids(&list(&app, CARS, &[("orderBy", order)]).await).len(), 10, "{order}");
    }
    // the same by indexes
    let definition = json!({"indexes": ["data.n", ["data.make"]]});
    assert_eq!(answer(app.request("PUT", "/api/v1/types/Car").json(&definition)).await.status, 201);
    app.start_builder();
    app.until_ready("Car").await;
    check().await;
}

#[tokio::test]
async fn a_list_has_the_order_that_was_asked_for_on_sqlite() {
    a_list_has_the_order_that_was_asked_for(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn a_list_has_the_order_that_was_asked_for_on_postgres() {
    a_list_has_the_order_that_was_asked_for(TestApp::postgres().await).await;
}

async fn an_order_of_many_entities_needs_an_index(app: TestApp) {
    const LOANS: &str = "/api/v1/entities/Loan";
    let document = Document::of(&app).await;
    let loan = |n: u32| json!({"entityType": "Loan", "entityId": format!("l{n}"), "updatedAttributes": {"balance": n}});
    let event = |thousand: u32| {
        let entities: Vec<_> = (0..1000).map(|n| loan(1000 * thousand + n)).collect();
        json!({"eventHeader": {"eventName": "Imported"}, "eventBody": {"entities": entities}})
    };
    let events: Vec<_> = (0..11).map(event).collect();
    let stored = app.bulk("?results=none", "application/json", json!(events).to_string()).await;
    assert_eq!(stored.body["processedCount"], 11, "{stored:?}");

    let ordered = [("orderBy", "data.balance desc"), ("pageSize", "2")];
    let refused = list(&app, LOANS, &ordered).await;
    assert_eq!(refused.status, 422);
    document.assert_problem("get", "/api/v1/entities/{type}", ProblemKind::TooExpensive, &refused);
    let definition = json!({"indexes": ["data.balance"]});
    assert_eq!(
        answer(app.request("PUT", "/api/v1/types/Loan").json(&definition)).await.status,
        201
    );
    let building = list(&app, LOANS, &ordered).await;
    assert_eq!((building.status, building.problem()), (400, "malformed"));
    let detail = building.body["detail"].as_str().unwrap();
    let rule = "the query parameter orderBy must wait for an index that is being built";
    assert!(detail.starts_with(rule), "{detail}");
    app.start_builder();
    app.until_ready("Loan").await;
    let first = list(&app, LOANS, &ordered).await;
    assert_eq!(ids(&first), ["l10999", "l10998"]);
    let second = answer(app.get(&next(&first).unwrap())).await;
    assert_eq!(ids(&second), ["l10997", "l10996"]);
    let found =
        list(&app, LOANS, &[("filter", "data.balance in [7, 10999]"), ("count", "exact")]).await;
    assert_eq!(found.body["count"], json!({"value": 2, "exact": true}));
    // the index of the page's token is dropped
    assert_eq!(app.request("DELETE", "/api/v1/types/Loan").send().await.unwrap().status(), 204);
    let gone = answer(app.get(&next(&first).unwrap())).await;
    assert_eq!((gone.status, gone.problem()), (400, "malformed"));
    assert!(gone.body["detail"].as_str().unwrap().contains("begin again"), "{gone:?}");
}

#[tokio::test]
async fn an_order_of_many_entities_needs_an_index_on_sqlite() {
    an_order_of_many_entities_needs_an_index(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn an_order_of_many_entities_needs_an_index_on_postgres() {
    an_order_of_many_entities_needs_an_index(TestApp::postgres().await).await;
}

#[tokio::test]
async fn a_token_is_of_one_list() {
    let app = TestApp::sqlite().await;
    garage(&app).await;
    let first = list(&app, CARS, &[("pageSize", "2"), ("filter", "data.n >= 0")]).await;
    let token = first.body["nextPageToken"].as_str().unwrap();
    // another size, other fields and counting are of the same list
    let same =
        [("pageToken", token), ("filter", "data.n >= 0"), ("fields", "id"), ("count", "exact")];
    assert_eq!(ids(&list(&app, CARS, &same).await).len(), 7);
    let rule = "pageToken must be a token that a page of this list returned";
    for (path, parameters) in [
        (CARS, &[("pageToken", token)][..]),
        (CARS, &[("pageToken", token), ("filter", "data.n >= 1")]),
        (CARS, &[("pageToken", token), ("filter", "data.n >= 0"), ("orderBy", "id")]),
        (ALL, &[("pageToken", token), ("filter", "data.n >= 0")]),
        ("/api/v1/entities/Van", &[("pageToken", token), ("filter", "data.n >= 0")]),
        ("/api/v1/types", &[("pageToken", token)]),
    ] {
        let refused = list(&app, path, parameters).await;
        assert_eq!(refused.status, 400, "{parameters:?}");
        assert_eq!(refused.body["detail"], format!("the query parameter {rule}"), "{parameters:?}");
    }
}

#[tokio::test]
async fn a_page_ends_at_the_largest_body() {
    let app = TestApp::sqlite_with(&["--max-body-bytes", "64KiB"]).await;
    for n in 0..10 {
        app.send(&car_event(&format!("c{n}"), json!({"text": "x".repeat(20_000)}))).await;
    }
    let pages = pages(&app, format!("{CARS}?pageSize=1000&fields=version")).await;
    assert_eq!(pages.iter().map(|page| keys(page).len()).collect::<Vec<_>>(), [3, 3, 3, 1]);
    let page = app.get(CARS).send().await.unwrap().bytes().await.unwrap();
    assert!(page.len() < 64 << 10, "{}", page.len());
    let asked = ["c0", "c1", "c2", "c3"].map(|id| ("id", id));
    assert_eq!(ids(&list(&app, CARS, &asked[..3]).await).len(), 3);
    let refused = list(&app, CARS, &asked).await;
    assert_eq!((refused.status, refused.problem()), (422, "too-expensive"));
    // one alone always fits
    let app = TestApp::sqlite_with(&["--max-body-bytes", "1KiB"]).await;
    let half = "x".repeat(700);
    for name in ["a", "b"] {
        app.send(&car_event("c0", json!({name: half}))).await;
    }
    assert_eq!(ids(&list(&app, CARS, &[]).await), ["c0"]);
    assert_eq!(ids(&list(&app, CARS, &[("id", "c0")]).await), ["c0"]);
}

async fn numbers_keep_their_value(app: TestApp) {
    let put = app.request("PUT", &format!("{CARS}/c1"));
    let put = put.body(r#"{"n":24439.750000000000000001,"text":"\u00e4\u0001"}"#);
    assert_eq!(answer(put).await.status, 201);
    for query in ["", "?fields=data.n", "?id=c1", "?filter=data.n%20%3E%2024439.75"] {
        let page = app.get(&format!("{CARS}{query}")).send().await.unwrap();
        assert!(page.text().await.unwrap().contains("24439.750000000000000001"), "{query}");
    }
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
async fn head_is_get_without_a_body() {
    let app = TestApp::sqlite().await;
    garage(&app).await;
    for path in [CARS, ALL] {
        let address = format!("{path}?pageSize=2");
        let head = answer(app.request("HEAD", &address)).await;
        assert_eq!((head.status, &head.body), (200, &Value::Null));
        assert!(head.header("link").starts_with(&format!("<{address}&pageToken=")), "{head:?}");
        let length: usize = head.header("content-length").parse().unwrap();
        assert_eq!(app.get(&address).send().await.unwrap().text().await.unwrap().len(), length);
        let refused = answer(app.request("HEAD", &format!("{path}?pageSize=0"))).await;
        assert_eq!(refused.status, 400);
    }
}

#[tokio::test]
async fn lists_are_compressed_and_open_to_scripts() {
    let app = TestApp::sqlite().await;
    garage(&app).await;
    let request = app.get(CARS).header("accept-encoding", "gzip");
    let list = answer(request.header("origin", "https://foreign.example")).await;
    assert_eq!((list.status, list.header("content-encoding")), (200, "gzip"));
    assert_eq!(list.header("access-control-allow-origin"), "*");
    assert!(list.header("access-control-expose-headers").contains("link"));
}

#[tokio::test]
async fn lists_that_wait_too_long_for_their_turn_are_refused() {
    let server = tokio::task::spawn_blocking(Postgres::own).await.unwrap();
    let database = server.fresh_database().await;
    let app = TestApp::on_with(database.url(), &["--request-timeout", "3s"]).await;
    garage(&app).await;
    server.freeze();
    let answers = join_all((0..12).map(|_| list(&app, CARS, &[]))).await;
    server.thaw();
    let refused = answers.iter().find(|answered| {
        answered.body["detail"].as_str().is_some_and(|text| text.starts_with("too many lists"))
    });
    let refused = refused.unwrap_or_else(|| panic!("{answers:?}"));
    assert_eq!((refused.status, refused.problem()), (503, "overloaded"));
    assert_eq!((refused.header("retry-after"), &refused.body["retryable"]), ("1", &json!(true)));
    for answered in &answers {
        assert!([200, 503].contains(&answered.status), "{answered:?}");
    }
}
