//! `GET /api/v1/changes`: its forms, its parameters, and where readers go on.

use std::time::{Duration, Instant};

use producer_test_support::sqlite_file;
use serde_json::{Value, json};

use crate::app::{Answer, TIMEOUT, TestApp, answer, car_event};
use crate::feed::{CHANGES, NDJSON, Received, SSE, STREAMS, Stream, only_event};

async fn page(app: &TestApp, query: &str) -> Answer {
    answer(app.get(&format!("{CHANGES}{query}"))).await
}

fn items(page: &Answer) -> &[Value] {
    assert_eq!(page.status, 200, "{page:?}");
    page.body["changes"].as_array().unwrap()
}

/// The items from `from` on, page after page, until nothing more is there: a page ends early where the
/// database is slow. And the token behind them.
async fn read(app: &TestApp, from: &str, parameters: &str) -> (Vec<Value>, String) {
    let (mut all, mut from) = (Vec::new(), from.to_owned());
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let page = page(app, &format!("?from={from}{parameters}")).await;
        all.extend_from_slice(items(&page));
        from = page.body["nextToken"].as_str().unwrap().to_owned();
        if page.body["caughtUp"] == true {
            return (all, from);
        }
        assert!(Instant::now() < deadline, "no end after {from}");
    }
}

/// Id and version of each change.
fn versions(items: &[Value]) -> Vec<(&str, u64)> {
    let version = |item: &Value| item["version"].as_u64().unwrap();
    items.iter().map(|item| (item["entityId"].as_str().unwrap(), version(item))).collect()
}

fn loan_event(id: &str, attributes: Value) -> Value {
    let mut event = car_event(id, attributes);
    event["eventBody"]["entities"][0]["entityType"] = "Loan".into();
    event
}

async fn send(app: &TestApp, event: &Value) {
    let stored = app.send(event).await;
    assert_eq!(stored.status, 200, "{stored:?}");
}

/// Two cars and a loan.
async fn three_entities(app: &TestApp) {
    let mut first = car_event("c1", json!({"n": 1}));
    first["eventHeader"]["source"] = "dealer".into();
    first["eventHeader"]["createdDate"] = "2024-01-15T10:30:00Z".into();
    send(app, &first).await;
    send(app, &loan_event("l1", json!({}))).await;
    send(app, &car_event("c2", json!({}))).await;
    send(app, &car_event("c1", json!({"n": 2}))).await;
}

const ALL: [(&str, u64); 4] = [("c1", 1), ("l1", 1), ("c2", 1), ("c1", 2)];

async fn every_form_has_every_change(app: TestApp) {
    three_entities(&app).await;
    let (changes, next) = read(&app, "start", "").await;
    assert_eq!(versions(&changes), ALL);
    assert_eq!(changes[3]["token"], next);
    let page = page(&app, "").await;
    assert_eq!(items(&page)[0], changes[0], "it begins at the start");
    assert_eq!(page.header("content-type"), "application/json");
    assert_eq!(page.header("cache-control"), "no-cache, no-transform");
    assert_eq!(page.header("x-accel-buffering"), "no");
    // the same item as in the history of its entity, and its token
    let history = answer(app.get("/api/v1/entities/Car/c1/history")).await;
    for (change, update) in
        [&changes[0], &changes[3]].into_iter().zip(history.body["updates"].as_array().unwrap())
    {
        let mut change = change.clone();
        assert!(change.as_object_mut().unwrap().remove("token").is_some());
        assert_eq!(change, *update);
    }
    for media in STREAMS {
        let mut all = Stream::open(&app, media, "?from=start&until=now").await.rest().await;
        let last = all.pop().unwrap();
        assert_eq!((&*last.kind, &last.item["caughtUp"]), ("bookmark", &json!(true)), "{media}");
        assert_eq!(last.token(), next);
        let found: Vec<_> = all.iter().map(|received| &received.item).collect();
        assert_eq!(found, changes.iter().collect::<Vec<_>>(), "{media}");
        for received in all.iter().chain([&last]) {
            let id = (media == SSE).then(|| received.token().to_owned());
            assert_eq!((&received.id, &received.retry), (&id, &None));
        }
    }
}

#[tokio::test]
async fn every_form_has_every_change_on_sqlite() {
    every_form_has_every_change(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn every_form_has_every_change_on_postgres() {
    every_form_has_every_change(TestApp::postgres().await).await;
}

async fn a_reader_goes_on_behind_each_token(app: TestApp) {
    three_entities(&app).await;
    for (index, change) in read(&app, "start", "").await.0.iter().enumerate() {
        let rest = &ALL[index + 1..];
        let token = change["token"].as_str().unwrap();
        assert_eq!(versions(&read(&app, token, "").await.0), rest);
        let read = async |media: &str, from: &str, last_id: &str| {
            let request = app.get(&format!("{CHANGES}?until=now&from={from}"));
            let request = request.header("accept", media).header("last-event-id", last_id);
            let mut all = Stream::of(request.send().await.unwrap()).rest().await;
            all.pop();
            all.iter().map(Received::version).collect::<Vec<_>>()
        };
        let rest: Vec<_> = rest.iter().map(|(id, version)| ((*id).to_owned(), *version)).collect();
        for media in STREAMS {
            assert_eq!(read(media, token, "").await, rest, "{media}");
        }
        assert_eq!(read(SSE, "start", token).await, rest, "Last-Event-ID beats from");
        assert_eq!(read(NDJSON, token, "rubbish").await, rest, "it is for browsers alone");
    }
    // what another form gave is good too, and a bookmark's
    let mut stream = Stream::open(&app, SSE, "").await;
    let bookmark = stream.next().await.unwrap();
    assert_eq!((&*bookmark.kind, &bookmark.item["caughtUp"]), ("bookmark", &json!(true)));
    send(&app, &car_event("c3", json!({}))).await;
    let change = stream.news().await;
    assert_eq!(change.version(), ("c3".to_owned(), 1));
    assert_eq!(read(&app, bookmark.token(), "").await.0, [change.item]);
}

#[tokio::test]
async fn a_reader_goes_on_behind_each_token_on_sqlite() {
    a_reader_goes_on_behind_each_token(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn a_reader_goes_on_behind_each_token_on_postgres() {
    a_reader_goes_on_behind_each_token(TestApp::postgres().await).await;
}

async fn a_snapshot_is_followed_by_its_changes(app: TestApp) {
    three_entities(&app).await;
    for media in STREAMS {
        let mut stream = Stream::open(&app, media, "?from=snapshot&type=Car").await;
        let all = stream.caught_up().await;
        let kinds: Vec<_> = all.iter().map(|received| &*received.kind).collect();
        assert_eq!(kinds, ["snapshot", "snapshot", "snapshotEnd"], "{media}");
        let snapshot = &all[0].item;
        assert_eq!(all[0].version().0, "c1");
        let entity = answer(app.get("/api/v1/entities/Car/c1")).await.body;
        for name in ["entityType", "entityId", "version", "updatedAt", "data"] {
            assert_eq!(snapshot[name], entity[name], "{name}");
        }
        send(&app, &loan_event("l1", json!({}))).await;
        send(&app, &car_event("c1", json!({}))).await;
        let change = stream.news().await;
        assert_eq!(change.version(), ("c1".to_owned(), snapshot["version"].as_u64().unwrap() + 1));
        // the token of a snapshot that broke off keeps its types
        let query = format!("?until=now&from={}", all[0].token());
        let rest = Stream::open(&app, media, &query).await.rest().await;
        let kinds: Vec<_> = rest.iter().map(|received| &*received.kind).collect();
        assert_eq!(kinds, ["snapshot", "snapshotEnd", "change", "bookmark"], "{media}");
        assert_eq!(rest[2].item, change.item);
    }
    for size in [1, 2, 100] {
        let parameters = format!("&type=Loan&type=Car&pageSize={size}");
        let (items, _) = read(&app, "snapshot", &parameters).await;
        let ids: Vec<_> =
            items[..3].iter().map(|item| item["entityId"].as_str().unwrap()).collect();
        assert_eq!(ids, ["c1", "c2", "l1"], "{size}");
        assert_eq!((items.len(), &items[3]["kind"]), (4, &json!("snapshotEnd")), "{size}");
    }
}

#[tokio::test]
async fn a_snapshot_is_followed_by_its_changes_on_sqlite() {
    a_snapshot_is_followed_by_its_changes(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn a_snapshot_is_followed_by_its_changes_on_postgres() {
    a_snapshot_is_followed_by_its_changes(TestApp::postgres().await).await;
}

#[tokio::test]
async fn changes_have_the_state_where_it_is_asked_for() {
    let app = TestApp::sqlite().await;
    three_entities(&app).await;
    assert_eq!(answer(app.request("DELETE", "/api/v1/entities/Car/c2")).await.status, 200);
    let (items, _) = read(&app, "start", "&include=data&type=Car").await;
    let state = |item: &Value| (item["data"].clone(), item["dataVersion"].clone());
    let states: Vec<_> = items.iter().map(state).collect();
    let c1 = (json!({"n": 2}), json!(2));
    assert_eq!(states, [c1.clone(), Default::default(), c1, Default::default()]);
    for media in STREAMS {
        let query = "?from=start&until=now&include=data&type=Car";
        let mut all = Stream::open(&app, media, query).await.rest().await;
        all.pop();
        let found: Vec<_> = all.into_iter().map(|received| received.item).collect();
        assert_eq!(found, items, "{media}");
    }
}

#[tokio::test]
async fn an_item_stays_on_its_line() {
    let app = TestApp::sqlite().await;
    let event =
        serde_json::to_string_pretty(&car_event("c\r\n1", json!({"a": {"b": "x\ny\u{2028}"}})));
    let event = event.unwrap().replace('\n', "\r\n");
    assert_eq!(answer(app.post("/api/v1/events").body(event)).await.status, 200);
    for media in STREAMS {
        let query = "?from=start&until=now&include=data";
        let all = Stream::open(&app, media, query).await.rest().await;
        assert_eq!(all.len(), 2, "{media}");
        assert_eq!(all[0].item["patch"], json!({"a": {"b": "x\ny\u{2028}"}}));
        assert_eq!(all[0].item["data"], all[0].item["patch"]);
        assert_eq!(all[0].version().0, "c\r\n1");
    }
}

#[tokio::test]
async fn bad_parameters_are_refused_and_named() {
    let app = TestApp::sqlite().await;
    const JSON: &str = "application/json";
    let long = format!("?type={}", "x".repeat(256));
    for (query, part) in [
        ("?from=", "from must be a token, start, now, snapshot, or a time"),
        ("?from=yesterday", "from must be"),
        ("?from=Start", "from must be"),
        ("?from=2024-13-01T00:00:00Z", "from must be"),
        ("?from=now&from=now", "from must be given once"),
        ("?until=2024-01-01T00:00:00Z", "until must be now"),
        ("?until=", "until must be now"),
        ("?type=", "type must "),
        (&long, "type must "),
        ("?type=Car&type=%00", "type must "),
        ("?filter=true", "filter is no filter: column 5: "),
        ("?filter=data.a==1&filter=data.a==1", "filter must be given once"),
        ("?include=patch", "include must be data"),
        ("?include=", "include must be data"),
        ("?typ=Car", "\"typ\" is not known; did you mean type?"),
        ("?pagesize=1", "\"pagesize\" is not known; did you mean pageSize?"),
        ("?from=%FF", "the query is not percent-encoded UTF-8"),
        ("?from=%z", "the query is not percent-encoded UTF-8"),
    ] {
        for media in [JSON, SSE, NDJSON] {
            refused(&app, media, query, part).await;
        }
    }
    for (query, part) in [
        ("?until=now", "until is for streams"),
        ("?pageSize=0", "pageSize must be a number from 1"),
        ("?pageSize=-1", "pageSize must be a number from 1"),
        ("?pageSize=1.5", "pageSize must be a number from 1"),
        ("?wait=", "wait must be a duration"),
        ("?wait=-1s", "wait must be a duration"),
        ("?wait=1.5", "wait must be a duration"),
        ("?wait=1d", "wait must be a duration"),
        ("?wait=s", "wait must be a duration"),
    ] {
        refused(&app, JSON, query, part).await;
    }
    for (query, part) in
        [("?wait=1s", "wait is for pages"), ("?pageSize=1", "pageSize is for pages")]
    {
        for media in STREAMS {
            refused(&app, media, query, part).await;
        }
    }
}

async fn refused(app: &TestApp, media: &str, query: &str, part: &str) {
    let request = app.get(&format!("{CHANGES}{query}")).header("accept", media);
    let refused = answer(request).await;
    assert_eq!((refused.status, refused.problem()), (400, "malformed"), "{media} {query}");
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains(part), "{media} {query}: {detail}");
}

#[tokio::test]
async fn cut_and_forged_tokens_are_refused() {
    let app = TestApp::sqlite().await;
    three_entities(&app).await;
    let (_, of_log) = read(&app, "start", "").await;
    let (snapshot, _) = read(&app, "snapshot", "").await;
    for token in [&*of_log, snapshot[0]["token"].as_str().unwrap()] {
        assert_eq!(page(&app, &format!("?from={token}")).await.status, 200);
        let last = token.len() - 1;
        let other = if token.ends_with('A') { 'B' } else { 'A' };
        for bad in [
            &token[1..],
            &token[..last],
            &token[..last / 2],
            &format!("{}{other}", &token[..last]),
            &format!("{token}A"),
            &format!("{token}="),
            &format!("{token}{token}"),
        ] {
            for media in ["application/json", SSE, NDJSON] {
                refused(&app, media, &format!("?from={bad}"), "parameter from must be a token")
                    .await;
            }
            let request = app.get(CHANGES).header("accept", SSE).header("last-event-id", bad);
            let refused = answer(request).await;
            assert_eq!((refused.status, refused.problem()), (400, "malformed"), "{bad}");
            let detail = refused.body["detail"].as_str().unwrap();
            assert!(detail.contains("the header Last-Event-ID"), "{detail}");
        }
    }
    for rubbish in [&b"now"[..], b"snapshot", b"2024-01-01T00:00:00Z", b"\xff", b"1 2"] {
        let request = app.get(CHANGES).header("accept", SSE).header("last-event-id", rubbish);
        assert_eq!(answer(request).await.status, 400, "{rubbish:?}");
    }
    // one beside a good one does not count less
    let request = app.get(&format!("{CHANGES}?from=rubbish")).header("accept", SSE);
    let request = request.header("last-event-id", of_log);
    assert_eq!(answer(request).await.status, 400);
}

async fn what_is_not_kept_is_gone(app: TestApp) {
    let elsewhere = TestApp::sqlite().await;
    three_entities(&elsewhere).await;
    let (_, foreign) = read(&elsewhere, "start", "").await;
    three_entities(&app).await;
    let (changes, _) = read(&app, "start", "").await;
    let pruned = changes[0]["token"].as_str().unwrap();
    app.prune().await;
    for (token, part) in [(&*foreign, "of another log"), (pruned, "were pruned")] {
        let address = format!("{CHANGES}?from={token}");
        for media in ["application/json", NDJSON] {
            let gone = answer(app.get(&address).header("accept", media)).await;
            assert_eq!((gone.status, gone.problem()), (410, "gone"), "{media}");
            assert!(gone.body["detail"].as_str().unwrap().contains(part), "{gone:?}");
        }
        let by_id = app.get(CHANGES).header("last-event-id", token);
        for request in [app.get(&address), by_id] {
            let answered = request.header("accept", SSE).send().await.unwrap();
            let gone = only_event(answered).await;
            assert_eq!((&*gone.kind, gone.id.as_deref()), ("gone", Some("")));
            assert_eq!(gone.retry.as_deref(), Some("5000"));
            assert_eq!(gone.item["type"], "urn:producer:problem:gone");
            assert_eq!(
                (&gone.item["status"], &gone.item["retryable"]),
                (&json!(410), &json!(false))
            );
            assert!(gone.item["detail"].as_str().unwrap().contains(part), "{gone:?}");
        }
    }
    // so the browser begins again with its address
    let mut again = Stream::open(&app, SSE, "?from=snapshot").await;
    assert_eq!(again.caught_up().await.len(), 4);
}

#[tokio::test]
async fn what_is_not_kept_is_gone_on_sqlite() {
    what_is_not_kept_is_gone(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn what_is_not_kept_is_gone_on_postgres() {
    what_is_not_kept_is_gone(TestApp::postgres().await).await;
}

#[tokio::test]
async fn pages_lead_to_each_other_and_end_at_their_size_and_bytes() {
    let app = TestApp::sqlite_with(&["--max-body-bytes", "64KiB"]).await;
    let text = "x".repeat(10 << 10);
    for n in 0..30 {
        send(&app, &car_event(&format!("c{n}"), json!({"text": text}))).await;
    }
    let all: Vec<_> = (0..30).map(|n| format!("c{n}")).collect();
    for (parameters, most) in [("", 7), ("&pageSize=3", 3), ("&pageSize=30000", 7)] {
        let (items, _) = read(&app, "start", parameters).await;
        let ids: Vec<_> = items.iter().map(|item| item["entityId"].as_str().unwrap()).collect();
        assert_eq!(ids, all, "{parameters}");
        let first = page(&app, &format!("?from=start{parameters}")).await;
        assert!((1..=most).contains(&self::items(&first).len()), "{parameters}");
    }
}

#[tokio::test]
async fn a_page_waits_for_its_first_change_and_no_longer_than_it_may() {
    let app = TestApp::sqlite().await;
    let began = Instant::now();
    let empty = page(&app, "?wait=300ms").await;
    assert!(items(&empty).is_empty() && empty.body["caughtUp"] == true);
    assert!(began.elapsed() >= Duration::from_millis(300));
    let token = empty.body["nextToken"].as_str().unwrap();
    for wait in ["60", "60s", "1m", "60000ms", "99999999999999999999"] {
        let query = format!("?wait={wait}&type=Car&from={token}");
        let (page, ()) = tokio::join!(page(&app, &query), async {
            send(&app, &loan_event("l1", json!({}))).await;
            send(&app, &car_event("c1", json!({}))).await;
        });
        assert_eq!(items(&page)[0]["entityId"], "c1", "{wait}");
    }
    let began = Instant::now();
    let at_once = page(&app, &format!("?wait=60s&from={token}")).await;
    assert_eq!(items(&at_once).len(), 10);
    assert!(items(&page(&app, "?wait=0&from=now").await).is_empty());
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn pages_may_be_compressed_and_streams_are_not() {
    let app = TestApp::sqlite().await;
    send(&app, &car_event("c1", json!({"text": "x".repeat(100_000)}))).await;
    let gzip = |media: &str, query: &str| {
        let request = app.get(&format!("{CHANGES}{query}")).header("accept", media);
        request.header("accept-encoding", "gzip").send()
    };
    let page = gzip("application/json", "").await.unwrap();
    assert_eq!(page.headers()["content-encoding"], "gzip");
    for media in STREAMS {
        let answered = gzip(media, "").await.unwrap();
        assert!(!answered.headers().contains_key("content-encoding"), "{media}");
        let mut stream = Stream::of(answered);
        stream.caught_up().await;
        send(&app, &car_event("c2", json!({}))).await;
        assert_eq!(stream.news().await.version().0, "c2");
    }
}

#[tokio::test]
async fn the_form_is_what_the_reader_accepts() {
    let app = TestApp::sqlite().await;
    for (accept, media) in [
        ("*/*", "application/json"),
        ("text/html, */*;q=0.1", "application/json"),
        ("application/*", "application/json"),
        ("text/*", SSE),
        ("application/json;q=0.5, text/event-stream", SSE),
        ("application/x-ndjson, */*", NDJSON),
    ] {
        for method in ["GET", "HEAD"] {
            let request = app.request(method, CHANGES).header("accept", accept);
            let answered = request.header("origin", "https://a.example").send().await.unwrap();
            let header = |name: &str| answered.headers()[name].to_str().unwrap();
            assert_eq!((answered.status().as_u16(), header("content-type")), (200, media));
            assert_eq!(header("cache-control"), "no-cache, no-transform");
            assert_eq!(header("x-accel-buffering"), "no");
            assert_eq!(header("vary"), "accept");
            assert_eq!(header("access-control-allow-origin"), "*");
            assert!(answered.headers().contains_key("x-request-id"));
        }
    }
    for accept in ["text/html", "application/json;q=0", "image/*"] {
        let refused = answer(app.get(CHANGES).header("accept", accept)).await;
        assert_eq!((refused.status, refused.problem()), (406, "not-acceptable"), "{accept}");
    }
    let refused = answer(app.post(CHANGES)).await;
    assert_eq!((refused.status, refused.header("allow")), (405, "GET,HEAD"));
}

#[tokio::test]
async fn a_time_has_what_was_committed_from_then_on() {
    let app = TestApp::sqlite().await;
    three_entities(&app).await;
    let (changes, _) = read(&app, "start", "").await;
    let time = changes[0]["committedAt"].as_str().unwrap();
    for from in [time, "1970-01-01T00:00:00Z", "0"] {
        assert_eq!(versions(&read(&app, from, "").await.0), ALL, "{from}");
    }
    app.prune().await;
    let gone = page(&app, "?from=0").await;
    assert_eq!((gone.status, gone.problem()), (410, "gone"));
}

#[tokio::test]
async fn two_processes_know_each_others_tokens() {
    let file = sqlite_file();
    let (first, second) = (TestApp::on(&file.url()).await, TestApp::on(&file.url()).await);
    let mut stream = Stream::open(&second, SSE, "").await;
    stream.caught_up().await;
    three_entities(&first).await;
    for expected in ALL {
        let change = stream.news().await;
        assert_eq!(change.version(), (expected.0.to_owned(), expected.1));
        assert_eq!(page(&first, &format!("?from={}", change.token())).await.status, 200);
    }
}
