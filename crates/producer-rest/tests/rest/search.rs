//! `GET /api/v1/search`.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::app::{Answer, TestApp, answer};

const SEARCH: &str = "/api/v1/search";

async fn search(app: &TestApp, parameters: &[(&str, &str)]) -> Answer {
    let encoded = |value: &str| utf8_percent_encode(value, NON_ALPHANUMERIC).to_string();
    let pairs = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
    answer(app.get(&format!("{SEARCH}?{}", pairs.collect::<Vec<_>>().join("&")))).await
}

/// The ids of the hits, ordered.
fn ids(found: &Answer) -> Vec<&str> {
    let hits = found.body["hits"].as_array();
    assert!(found.status == 200 && hits.is_some(), "{found:?}");
    let hits = hits.unwrap().iter();
    let mut ids: Vec<_> = hits.map(|hit| hit["entity"]["entityId"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids
}

async fn put(app: &TestApp, path: &str, body: &Value) {
    let stored = answer(app.request("PUT", path).json(body)).await;
    assert!([200, 201].contains(&stored.status), "{stored:?}");
}

async fn book(app: &TestApp, id: &str, title: &str, about: &str, shelf: &str) {
    let book = json!({"title": title, "about": about, "shelf": shelf, "pages": title.len()});
    put(app, &format!("/api/v1/entities/Book/{id}"), &book).await;
}

/// Books and films, whose types declare search, and cars, whose type does not.
async fn library(app: &TestApp) {
    let paths = json!({"data.title": 4, "data.about": 1});
    let english = json!({"search": {"paths": paths, "language": "english"}});
    put(app, "/api/v1/types/Book", &english).await;
    put(app, "/api/v1/types/Film", &json!({"search": {"paths": {"data.title": 1}}})).await;
    book(app, "whale", "The White Whale", "A captain hunts a whale at sea", "novels").await;
    book(app, "sea", "The Sea", "Tides, <b>storms</b> & whales", "nature").await;
    book(app, "garden", "The Garden", "Roses and storms", "nature").await;
    book(app, "gone", "The Whale that is gone", "", "nature").await;
    let deleted = app.request("DELETE", "/api/v1/entities/Book/gone");
    assert_eq!(answer(deleted).await.status, 200);
    put(app, "/api/v1/entities/Film/storm", &json!({"title": "The storm at sea"})).await;
    put(app, "/api/v1/entities/Car/c1", &json!({"title": "The Whale"})).await;
    app.start_builder();
    app.until_ready("Book").await;
    app.until_ready("Film").await;
}

async fn words_are_found(app: TestApp, engine: &str) {
    library(&app).await;
    for (parameters, expected) in [
        (&[("query", "whale")][..], &["sea", "whale"][..]),
        (&[("query", "WHALE captain")], &["whale"]),
        (&[("query", "\"white whale\"")], &["whale"]),
        (&[("query", "\"whale white\"")], &[]),
        (&[("query", "whale -captain")], &["sea"]),
        (&[("query", "captain OR roses")], &["garden", "whale"]),
        (&[("query", "gard*")], &["garden"]),
        (&[("query", "sea")], &["sea", "storm", "whale"]),
        (&[("query", "sea"), ("type", "Film")], &["storm"]),
        (&[("query", "sea"), ("type", "Film"), ("type", "Book")], &["sea", "storm", "whale"]),
        (&[("query", "sea"), ("filter", "data.shelf == 'nature'")], &["sea"]),
        (&[("query", "sea"), ("filter", "type == \"Film\"")], &["storm"]),
        (&[], &["garden", "sea", "storm", "whale"]),
        (&[("query", ""), ("filter", "has(data.pages)")], &["garden", "sea", "whale"]),
        (&[("query", "nothing")], &[]),
    ] {
        let found = search(&app, parameters).await;
        assert_eq!(ids(&found), expected, "{parameters:?}");
        let total = json!({"value": expected.len(), "exact": true});
        assert_eq!(found.body["total"], total, "{parameters:?}");
        assert_eq!(found.body["engine"], engine);
        for name in ["facets", "nextPageToken"] {
            assert!(found.body.get(name).is_none(), "{name}");
        }
    }
    let best = search(&app, &[("query", "whale")]).await;
    let hits = best.body["hits"].as_array().unwrap();
    assert_eq!(hits[0]["entity"], answer(app.get("/api/v1/entities/Book/whale")).await.body);
    assert!(hits[0]["score"].as_f64() > hits[1]["score"].as_f64(), "a title weighs more: {best:?}");
    assert!(hits[0].get("highlights").is_none());

    // what an answered write did is found
    book(&app, "garden", "The Whale's Garden", "", "novels").await;
    assert_eq!(ids(&search(&app, &[("query", "whale")]).await), ["garden", "sea", "whale"]);
}

#[tokio::test]
async fn words_are_found_on_sqlite() {
    words_are_found(TestApp::sqlite().await, "sqlite").await;
}

#[tokio::test]
async fn words_are_found_on_postgres() {
    words_are_found(TestApp::postgres().await, "postgresql").await;
}

async fn facets_fragments_and_fields_shape_the_answer(app: TestApp) {
    library(&app).await;
    let facets = [
        ("filter", "data.shelf == 'novels'"),
        ("type", "Book"),
        ("facet", "data.shelf"),
        ("facet", "data.pages:1"),
    ];
    let found = search(&app, &facets).await;
    assert_eq!(ids(&found), ["whale"]);
    let shelves = json!([{"value": "nature", "count": 2}, {"value": "novels", "count": 1}]);
    let expected = json!({"data.shelf": shelves, "data.pages": [{"value": 15, "count": 1}]});
    assert_eq!(found.body["facets"], expected, "a facet ignores conditions on its own path");

    let parameters = [
        ("query", "storms"),
        ("type", "Book"),
        ("highlight", "true"),
        ("fields", "data.title,version"),
    ];
    let found = search(&app, &parameters).await;
    assert_eq!(ids(&found), ["garden", "sea"]);
    for hit in found.body["hits"].as_array().unwrap() {
        let id = hit["entity"]["entityId"].as_str().unwrap();
        let title = if id == "sea" { "The Sea" } else { "The Garden" };
        let expected =
            json!({"entityType": "Book", "entityId": id, "version": 1, "data": {"title": title}});
        assert_eq!(hit["entity"], expected);
        let fragments = &hit["highlights"];
        assert_eq!(fragments.as_object().unwrap().len(), 1, "{hit}");
        let fragment = fragments["data.about"][0].as_str().unwrap();
        let expected = if id == "sea" {
            "Tides, &lt;b&gt;<em>storms</em>&lt;/b&gt; &amp; whales"
        } else {
            "Roses and <em>storms</em>"
        };
        assert_eq!(fragment, expected);
    }
    let all = search(&app, &[("highlight", "true"), ("fuzzy", "false")]).await;
    assert_eq!(all.body["hits"][0]["highlights"], json!({}));
}

#[tokio::test]
async fn facets_fragments_and_fields_shape_the_answer_on_sqlite() {
    facets_fragments_and_fields_shape_the_answer(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn facets_fragments_and_fields_shape_the_answer_on_postgres() {
    facets_fragments_and_fields_shape_the_answer(TestApp::postgres().await).await;
}

async fn hits_are_read_page_by_page(app: TestApp) {
    library(&app).await;
    let all = search(&app, &[("query", "the OR sea"), ("type", "Film"), ("type", "Book")]).await;
    let all = all.body["hits"].as_array().unwrap().clone();
    assert!(all.len() >= 3, "{all:?}");
    let query = "query=the+OR+sea&type=Film&type=Book&pageSize=1";
    let (mut hits, mut address) = (Vec::new(), format!("{SEARCH}?{query}"));
    loop {
        let page = answer(app.get(&address)).await;
        hits.extend(page.body["hits"].as_array().unwrap().clone());
        assert_eq!(page.body["total"]["value"], all.len());
        let Some(token) = page.body.get("nextPageToken") else {
            assert_eq!(page.header("link"), "");
            break;
        };
        let query = query.replace('+', "%20");
        address = format!("{SEARCH}?{query}&pageToken={}", token.as_str().unwrap());
        assert_eq!(page.header("link"), format!("<{address}>; rel=\"next\""));
    }
    assert_eq!(hits, all);
    let head = answer(app.request("HEAD", &format!("{SEARCH}?{query}"))).await;
    assert!(head.status == 200 && head.header("link").contains("pageSize=1&pageToken="));
    let first = search(&app, &[("query", "sea"), ("pageSize", "1")]).await;
    let token = first.body["nextPageToken"].as_str().unwrap();
    for other in [&[("query", "whale"), ("pageToken", token)][..], &[("pageToken", token)]] {
        assert_malformed(&app, other, "pageToken must be a token").await;
    }
}

#[tokio::test]
async fn hits_are_read_page_by_page_on_sqlite() {
    hits_are_read_page_by_page(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn hits_are_read_page_by_page_on_postgres() {
    hits_are_read_page_by_page(TestApp::postgres().await).await;
}

async fn assert_malformed(app: &TestApp, parameters: &[(&str, &str)], rule: &str) {
    let refused = search(app, parameters).await;
    assert_eq!((refused.status, refused.problem()), (400, "malformed"), "{parameters:?}");
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.starts_with(&format!("the query parameter {rule}")), "{parameters:?}: {detail}");
    assert!(refused.body.get("errors").is_none(), "a query has no pointers: {refused:?}");
}

#[tokio::test]
async fn bad_searches_are_refused_with_the_parameter() {
    let app = TestApp::sqlite().await;
    put(&app, "/api/v1/types/Book", &json!({"search": {"paths": {"data.title": 1}}})).await;
    put(&app, "/api/v1/types/Car", &json!({"indexes": ["data.title"]})).await;
    let long = "x".repeat(1025);
    for (parameters, rule) in [
        (&[("query", &*long)][..], "query must "),
        (&[("type", "Car")], "type \"Car\" has no search in its definition"),
        (&[("type", "None")], "type \"None\" has no search in its definition"),
        (&[("type", "Book")], "type \"Book\" is being built for search"),
        (&[("filter", "data.n = 1")], "filter is no filter: column 8: "),
        (&[("fields", "titel")], "fields must name known fields"),
        (&[("pageSize", "0")], "pageSize must be a number from 1"),
        (&[("pageToken", "x")], "pageToken must be a token"),
        (&[("facet", "category")], "facet must begin with data"),
        (&[("facet", "data")], "facet must name a member of data"),
        (&[("facet", "data.a:0")], "facet must return at least one value"),
        (&[("facet", "data.a"), ("facet", "data[\"a\"]:3")], "facet must not name a path twice"),
        (&[("highlight", "yes")], "highlight must be true or false"),
        (&[("fuzzy", "1")], "fuzzy must be true or false"),
        (&[("q", "whale")], "\"q\" is not known; did you mean "),
        (&[("query", "a"), ("query", "b")], "query must be given once"),
    ] {
        assert_malformed(&app, parameters, rule).await;
    }
    let facets: Vec<_> = (0..9).map(|n| format!("data.f{n}")).collect();
    let facets: Vec<_> = facets.iter().map(|facet| ("facet", &**facet)).collect();
    assert_malformed(&app, &facets, "facet must occur at most 8 times").await;
    let fuzzy = search(&app, &[("query", "whlae"), ("fuzzy", "true")]).await;
    assert_eq!((fuzzy.status, fuzzy.problem()), (422, "validation"));
    let detail = "the query parameter fuzzy is not supported by the engine sqlite";
    assert_eq!(fuzzy.body["detail"], detail);
    // without a type what is being built is left out
    let found = search(&app, &[("query", "whale")]).await;
    assert_eq!(found.body["total"], json!({"value": 0, "exact": false}));
}
