//! `?filter=` of the change feed and of the history.

use serde_json::{Value, json};

use crate::app::{Answer, TestApp, answer, car_event};
use crate::feed::{CHANGES, NDJSON, SSE, STREAMS, Stream};

const CARS: &str = "type%20==%20%22Car%22%20%26%26%20data.n%20%3E%201";
const HISTORY: &str = "/api/v1/entities/Car/a/history";

async fn send(app: &TestApp, method: &str, id: &str, body: &Value) {
    let request = app.request(method, &format!("/api/v1/entities/Car/{id}"));
    let request = match body {
        Value::Null => request,
        body => request.header("content-type", "application/json").body(body.to_string()),
    };
    let written = answer(request).await;
    assert!([200, 201].contains(&written.status), "{written:?}");
}

/// One that matches `data.n > 1`, does no more, does again and is deleted, and one that stays.
async fn live(app: &TestApp) {
    for n in [2, 1, 3] {
        send(app, "PUT", "a", &json!({"n": n})).await;
    }
    send(app, "PUT", "b", &json!({"n": 2})).await;
    send(app, "DELETE", "a", &Value::Null).await;
}

/// Kind, id and version of each item.
fn shown(items: &[Value]) -> Vec<String> {
    let shown = |item: &Value| {
        let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
        format!("{} {}@{}", text("kind"), text("entityId"), item["version"])
    };
    items.iter().map(shown).collect()
}

fn items(page: &Answer) -> &[Value] {
    assert_eq!(page.status, 200, "{page:?}");
    page.body["changes"].as_array().unwrap()
}

async fn a_filter_lets_through_what_matches_and_says_what_has_left(app: TestApp) {
    live(&app).await;
    // the states are the last ones: a is deleted
    let expected = ["left a@2", "left a@3", "change b@1", "left a@4"];
    let mut paged = Vec::new();
    let mut from = "start".to_owned();
    loop {
        let address = format!("{CHANGES}?from={from}&filter={CARS}&include=data&pageSize=1");
        let page = answer(app.get(&address)).await;
        paged.extend_from_slice(items(&page));
        page.body["nextToken"].as_str().unwrap().clone_into(&mut from);
        if page.body["caughtUp"] == true {
            break;
        }
    }
    assert_eq!(shown(&paged), expected);
    assert_eq!((&paged[2]["data"], &paged[2]["dataVersion"]), (&json!({"n": 2}), &json!(1)));
    let left = paged[0].as_object().unwrap();
    assert_eq!((left.get("data"), left.get("dataVersion")), (None, None));
    assert_eq!((&left["operation"], &left["patch"]), (&json!("replace"), &json!({"n": 1})));
    for media in STREAMS {
        let query = format!("?from=start&until=now&filter={CARS}&include=data");
        let mut all = Stream::open(&app, media, &query).await.rest().await;
        assert_eq!(all.pop().unwrap().kind, "bookmark", "{media}");
        let streamed: Vec<_> = all.iter().map(|received| received.item.clone()).collect();
        assert_eq!(streamed, paged, "{media}");
        // a browser hears of it by its kind
        assert!(all.iter().all(|received| received.kind == received.item["kind"]));
    }
    let snapshot = format!("?from=snapshot&until=now&filter={CARS}");
    let mut all = Stream::open(&app, NDJSON, &snapshot).await.rest().await;
    all.pop();
    let snapshot: Vec<_> = all.into_iter().map(|received| received.item).collect();
    assert_eq!(shown(&snapshot), ["snapshot b@1", "snapshotEnd @null"]);
    // its token keeps the filter
    let token = snapshot[0]["token"].as_str().unwrap();
    send(&app, "PUT", "c", &json!({"n": 1})).await;
    send(&app, "PUT", "d", &json!({"n": 2})).await;
    let page = answer(app.get(&format!("{CHANGES}?from={token}"))).await;
    assert_eq!(shown(items(&page)), ["snapshot d@1", "snapshotEnd @null", "change d@1"]);
}

#[tokio::test]
async fn a_filter_lets_through_what_matches_and_says_what_has_left_on_sqlite() {
    a_filter_lets_through_what_matches_and_says_what_has_left(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn a_filter_lets_through_what_matches_and_says_what_has_left_on_postgres() {
    a_filter_lets_through_what_matches_and_says_what_has_left(TestApp::postgres().await).await;
}

#[tokio::test]
async fn a_stream_says_at_once_that_an_entity_has_left() {
    let app = TestApp::sqlite().await;
    let mut stream = Stream::open(&app, SSE, &format!("?filter={CARS}")).await;
    assert!(stream.caught_up().await.is_empty());
    send(&app, "PUT", "a", &json!({"n": 2})).await;
    let came = stream.news().await;
    assert_eq!((&*came.kind, came.version()), ("change", ("a".to_owned(), 1)));
    send(&app, "PATCH", "a", &json!({"n": 1})).await;
    let left = stream.news().await;
    assert_eq!((&*left.kind, left.version()), ("left", ("a".to_owned(), 2)));
    assert_eq!(left.id.as_deref(), Some(left.token()));
}

async fn the_history_has_what_matches(app: TestApp) {
    live(&app).await;
    let mut loan = car_event("a", json!({}));
    loan["eventBody"]["entities"][0]["entityType"] = "Loan".into();
    assert_eq!(app.send(&loan).await.status, 200);
    for (filter, expected) in [
        ("operation==%22replace%22", &[1, 2, 3][..]),
        ("patch.n%3E1", &[1, 3]),
        ("touches(%22data.n%22)%26%26created==false", &[2, 3, 4]),
        ("eventName==%22none%22", &[]),
    ] {
        for (order, is_descending) in [("", false), ("&orderBy=version+desc", true)] {
            let mut address = Some(format!("{HISTORY}?filter={filter}&pageSize=1{order}"));
            let mut listed = Vec::new();
            while let Some(page) = address {
                let page = answer(app.get(&page)).await;
                assert_eq!(page.status, 200, "{page:?}");
                let updates = page.body["updates"].as_array().unwrap();
                listed.extend(updates.iter().map(|update| update["version"].as_u64().unwrap()));
                // the link repeats the filter
                let link = page.headers.get("link").map(|link| link.to_str().unwrap());
                address = link
                    .map(|link| link.trim_start_matches('<').split_once('>').unwrap().0.to_owned());
                assert_eq!(address.is_some(), page.body["nextPageToken"].is_string());
            }
            if is_descending {
                listed.reverse();
            }
            assert_eq!(listed, expected, "{filter}{order}");
        }
    }
    let page = answer(app.get(&format!("{HISTORY}?filter=patch.n%3E0&pageSize=1"))).await;
    let token = page.body["nextPageToken"].as_str().unwrap();
    for other in ["", "&filter=patch.n%3E1"] {
        let refused = answer(app.get(&format!("{HISTORY}?pageToken={token}{other}"))).await;
        assert_eq!((refused.status, refused.problem()), (400, "malformed"), "{other}");
    }
}

#[tokio::test]
async fn the_history_has_what_matches_on_sqlite() {
    the_history_has_what_matches(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn the_history_has_what_matches_on_postgres() {
    the_history_has_what_matches(TestApp::postgres().await).await;
}

#[tokio::test]
async fn a_bad_filter_is_refused_with_its_column() {
    let app = TestApp::sqlite().await;
    send(&app, "PUT", "a", &json!({})).await;
    for (filter, detail) in [
        ("", "column 1: "),
        ("data.n%20=%201", "column 8: "),
        ("data.n", "column 7: "),
        ("colour==%22red%22", "column 1: "),
        ("version==%223%22", "column 10: "),
        ("committedAt%3Enow", "column 13: "),
    ] {
        for media in ["application/json", SSE, NDJSON] {
            let request = app.get(&format!("{CHANGES}?filter={filter}")).header("accept", media);
            refused(&answer(request).await, detail);
        }
    }
    // updates have no state
    for (filter, detail) in [("data.n==1", "column 1: "), ("updatedAt==createdAt", "column 1: ")] {
        refused(&answer(app.get(&format!("{HISTORY}?filter={filter}"))).await, detail);
    }
}

fn refused(refused: &Answer, part: &str) {
    assert_eq!((refused.status, refused.problem()), (400, "malformed"), "{refused:?}");
    let detail = refused.body["detail"].as_str().unwrap();
    let begin = format!("the query parameter filter is no filter: {part}");
    assert!(detail.starts_with(&begin), "{detail}");
}
