//! `/api/v1/dead-letters` and what is below it.

use producer_core::worker::{DeadLetterState, Lease, Report, Role};
use serde_json::{Value, json};

use crate::app::{Answer, TestApp, answer};
use crate::workers::{AT, add, end_of_log, no_event, refused, report, run, waiting};

const LETTERS: &str = "/api/v1/dead-letters";

/// A sink with a refused change of each of two entities, the first with one that waits behind it, and a source
/// with a message that is no event.
async fn two_connectors(app: &TestApp) -> (Lease, Lease) {
    let sink = run(app, Role::Sink, "order-events").await;
    let letters = [refused(1, "4711", 1), waiting(2, "4711", 2), refused(3, "4712", 1)];
    add(app, &sink, &letters).await;
    let source = run(app, Role::Source, "shop").await;
    add(app, &source, &[no_event("orders:events 1-0", b"\xff{}")]).await;
    (sink, source)
}

async fn list(app: &TestApp, query: &str) -> Answer {
    answer(app.get(&format!("{LETTERS}{query}"))).await
}

/// Dead letters as `entityId/version` or their place, with their state.
fn summary(page: &Answer) -> Vec<(String, String)> {
    let letters = page.body["deadLetters"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let summary = |letter: &Value| {
        let place = match letter.get("place") {
            Some(place) => text(place),
            None => format!("{}/{}", text(&letter["entityId"]), letter["version"]),
        };
        (place, text(&letter["state"]))
    };
    letters.map(summary).collect()
}

/// The id of the only dead letter with this summary.
async fn id_of(app: &TestApp, place: &str) -> String {
    let page = list(app, "").await;
    let index = summary(&page).iter().position(|(found, _)| found == place).unwrap();
    page.body["deadLetters"][index]["id"].as_str().unwrap().to_owned()
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(place, state)| ((*place).to_owned(), (*state).to_owned())).collect()
}

async fn dead_letters_are_listed_newest_first(app: TestApp) {
    assert_eq!(list(&app, "").await.body, json!({"deadLetters": []}));
    two_connectors(&app).await;
    let all = owned(&[
        ("orders:events 1-0", "dead"),
        ("4712/1", "dead"),
        ("4711/2", "waiting"),
        ("4711/1", "dead"),
    ]);
    let page = list(&app, "").await;
    assert_eq!((page.status, summary(&page)), (200, all.clone()));
    assert_eq!((page.header("link"), page.header("cache-control")), ("", "no-store"));
    assert_eq!(summary(&list(&app, "?sink=order-events").await), all[1..]);
    assert_eq!(summary(&list(&app, "?source=shop").await), all[..1]);

    for (filter, expected) in [("", &all[..]), ("&sink=order-events", &all[1..])] {
        let (mut listed, mut address) = (Vec::new(), format!("{LETTERS}?pageSize=1{filter}"));
        loop {
            let page = answer(app.get(&address)).await;
            assert_eq!(summary(&page).len(), 1, "{page:?}");
            listed.extend(summary(&page));
            let Some(token) = page.body.get("nextPageToken") else {
                assert_eq!(page.header("link"), "");
                break;
            };
            address = format!("{LETTERS}?pageSize=1{filter}&pageToken={}", token.as_str().unwrap());
            assert_eq!(page.header("link"), format!("<{address}>; rel=\"next\""));
        }
        assert_eq!(listed, expected);
    }
    let all_of_it = list(&app, "?pageSize=4").await;
    assert!(all_of_it.body.get("nextPageToken").is_none(), "the last page has no token");

    let token = list(&app, "?pageSize=1").await.body["nextPageToken"].as_str().unwrap().to_owned();
    let foreign = "pageToken must be a token that a page of this list returned";
    for (query, status, rule) in [
        (format!("pageToken={token}&source=shop"), 400, foreign),
        ("pageToken=x".into(), 400, foreign),
        ("pageSize=0".into(), 400, "pageSize must be a number from 1"),
        ("sink=order-events&source=shop".into(), 400, "source must not be given beside sink"),
        ("sink=A".into(), 400, "sink must have 1 to 63 characters of a-z, 0-9 and -"),
        ("source=".into(), 400, "source must have 1 to 63 characters of a-z, 0-9 and -"),
        ("snik=shop".into(), 400, "\"snik\" is not known; did you mean sink?"),
        ("sink=shop".into(), 404, ""),
    ] {
        let answered = list(&app, &format!("?{query}")).await;
        let kind = if status == 400 { "malformed" } else { "not-found" };
        assert_eq!((answered.status, answered.problem()), (status, kind), "{query}");
        let rule = format!("the query parameter {rule}");
        let detail = if status == 400 { &*rule } else { "no such sink" };
        assert_eq!(answered.body["detail"], detail, "{query}");
    }
}

#[tokio::test]
async fn dead_letters_are_listed_newest_first_on_sqlite() {
    dead_letters_are_listed_newest_first(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn dead_letters_are_listed_newest_first_on_postgres() {
    dead_letters_are_listed_newest_first(TestApp::postgres().await).await;
}

async fn a_dead_letter_has_its_message(app: TestApp) {
    let (sink, _) = two_connectors(&app).await;
    let id = id_of(&app, "4711/1").await;
    let mut expected = json!({
        "id": id, "sink": "order-events", "state": "dead", "entityType": "Order",
        "entityId": "4711", "version": 1, "error": "the target answered with 422", "tries": 1,
        "firstAt": AT, "lastAt": AT
    });
    let mut token = end_of_log(&app).await;
    token = producer_core::feed::Token::in_log(token.epoch, 1);
    expected["token"] = token.to_string().into();
    let listed = list(&app, "?sink=order-events").await.body["deadLetters"][2].clone();
    assert_eq!(listed, expected);
    expected["message"] = r#"{"id":"4711","total":-1}"#.into();
    assert_eq!(answer(app.get(&format!("{LETTERS}/{id}"))).await.body, expected);

    let waiting = id_of(&app, "4711/2").await;
    let waiting = answer(app.get(&format!("{LETTERS}/{waiting}"))).await.body;
    assert_eq!((&waiting["error"], &waiting["tries"]), (&json!(""), &json!(0)));
    assert!(waiting.get("message").is_none(), "it is read from the log");

    let source = id_of(&app, "orders:events 1-0").await;
    let expected = json!({
        "id": source, "source": "shop", "state": "dead", "place": "orders:events 1-0",
        "error": "/eventHeader is required", "tries": 1, "firstAt": AT, "lastAt": AT,
        "messageBase64": "/3t9"
    });
    let source = answer(app.get(&format!("{LETTERS}/{source}"))).await;
    assert_eq!((&source.body, source.header("cache-control")), (&expected, "no-store"));

    add(&app, &sink, &[no_event("a", b"")]).await;
    let empty = id_of(&app, "a").await;
    assert_eq!(answer(app.get(&format!("{LETTERS}/{empty}"))).await.body["message"], "");
    for id in ["999999", "18446744073709551615", "99999999999999999999999"] {
        for (method, path) in [("GET", ""), ("DELETE", ""), ("POST", "/replay")] {
            let none = answer(app.request(method, &format!("{LETTERS}/{id}{path}"))).await;
            assert_eq!((none.status, none.problem()), (404, "not-found"), "{method} {id}");
            assert_eq!(none.body["detail"], "no such dead letter");
        }
    }
    for id in ["x", "-1", "1.0", "+1"] {
        for (method, path) in [("GET", ""), ("DELETE", ""), ("POST", "/replay")] {
            let refused = answer(app.request(method, &format!("{LETTERS}/{id}{path}"))).await;
            assert_eq!((refused.status, refused.problem()), (400, "malformed"), "{method} {id}");
            assert_eq!(refused.pointers(), ["/id"]);
        }
    }
}

#[tokio::test]
async fn a_dead_letter_has_its_message_on_sqlite() {
    a_dead_letter_has_its_message(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn a_dead_letter_has_its_message_on_postgres() {
    a_dead_letter_has_its_message(TestApp::postgres().await).await;
}

async fn a_dead_letter_is_replayed_before_what_waits_behind_it(app: TestApp) {
    let (sink, _) = two_connectors(&app).await;
    let (first, second) = (id_of(&app, "4711/1").await, id_of(&app, "4711/2").await);
    let replay = |id: &str| answer(app.post(&format!("{LETTERS}/{id}/replay")));
    let before = report(&app, &sink, &Report::default()).await.letters_generation;
    let refused = replay(&second).await;
    assert_eq!((refused.status, refused.problem()), (409, "in-use"));
    let detail =
        format!("it waits behind the dead letter {first} of its entity; replay or delete that one");
    assert_eq!(refused.body["detail"], detail);
    for _ in 0..2 {
        let accepted = replay(&first).await;
        assert_eq!((accepted.status, &accepted.body), (202, &json!({"accepted": 1})));
        let found = answer(app.get(&format!("{LETTERS}/{first}"))).await.body;
        assert_eq!(found["state"], "replaying");
    }
    let after = report(&app, &sink, &Report::default()).await.letters_generation;
    assert!(after > before, "the worker sees a new generation");
    let due = app.store.due_dead_letters((Role::Sink, "order-events"), 10).await.unwrap();
    let due: Vec<_> = due.iter().map(|due| (due.id.to_string(), due.letter.state)).collect();
    assert_eq!(due, [(first.clone(), DeadLetterState::Replaying)]);

    let deleted = app.request("DELETE", &format!("{LETTERS}/{first}")).send().await.unwrap();
    assert_eq!((deleted.status().as_u16(), deleted.text().await.unwrap().as_str()), (204, ""));
    let again = answer(app.request("DELETE", &format!("{LETTERS}/{first}"))).await;
    assert_eq!((again.status, again.problem()), (404, "not-found"));
    let due = replay(&second).await;
    assert_eq!(
        due.body["detail"],
        "nothing is before it any more; it is delivered as soon as a worker runs its sink"
    );
    let due = app.store.due_dead_letters((Role::Sink, "order-events"), 10).await.unwrap();
    assert_eq!(due.iter().map(|due| due.id.to_string()).collect::<Vec<_>>(), [second]);
}

#[tokio::test]
async fn a_dead_letter_is_replayed_before_what_waits_behind_it_on_sqlite() {
    a_dead_letter_is_replayed_before_what_waits_behind_it(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn a_dead_letter_is_replayed_before_what_waits_behind_it_on_postgres() {
    a_dead_letter_is_replayed_before_what_waits_behind_it(TestApp::postgres().await).await;
}

async fn many_are_replayed_or_given_up(app: TestApp) {
    two_connectors(&app).await;
    let replay = |query: &str| answer(app.post(&format!("{LETTERS}/replay{query}")));
    let delete = |query: &str| answer(app.request("DELETE", &format!("{LETTERS}{query}")));
    let dead = || async {
        let states = summary(&list(&app, "?sink=order-events").await);
        states.into_iter().filter(|(_, state)| state == "dead").map(|(place, _)| place).collect()
    };
    let first = replay("?sink=order-events&limit=1").await;
    assert_eq!((first.status, &first.body), (202, &json!({"accepted": 1})));
    let left: Vec<String> = dead().await;
    assert_eq!(left, ["4712/1"], "the oldest is the first");
    assert_eq!(replay("?sink=order-events").await.body, json!({"accepted": 1}));
    assert_eq!(replay("?sink=order-events&limit=99999999999").await.body, json!({"accepted": 0}));
    assert_eq!(summary(&list(&app, "?source=shop").await)[0].1, "dead", "others stay");

    for query in [
        "",
        "?limit=1",
        "?sink=order-events&source=shop",
        "?sink=order-events&limit=0",
        "?sink=order-events&limit=x",
        "?sink=order-events&pageSize=1",
        "?sink=Order",
    ] {
        for refused in [replay(query).await, delete(query).await] {
            assert_eq!((refused.status, refused.problem()), (400, "malformed"), "{query}");
        }
    }
    let missing = replay("").await;
    assert_eq!(missing.body["detail"], "the query parameter sink must be given, or source");
    for unknown in [replay("?sink=shop").await, delete("?source=order-events").await] {
        assert_eq!((unknown.status, unknown.problem()), (404, "not-found"));
    }
    for (method, path) in [("POST", "/replay"), ("DELETE", "")] {
        let request = app.request(method, &format!("{LETTERS}{path}?sink=order-events"));
        let refused = answer(request.body("{}")).await;
        assert_eq!(refused.body["detail"], "the request must have no body");
    }
    assert_eq!(summary(&list(&app, "").await).len(), 4, "nothing was given up");

    let first = delete("?sink=order-events&limit=1").await;
    assert_eq!((first.status, &first.body), (202, &json!({"accepted": 1})));
    let left = summary(&list(&app, "?sink=order-events").await);
    assert_eq!(left.iter().map(|(place, _)| &**place).collect::<Vec<_>>(), ["4712/1", "4711/2"]);
    assert_eq!(delete("?sink=order-events").await.body, json!({"accepted": 2}));
    assert_eq!(delete("?source=shop").await.body, json!({"accepted": 1}));
    assert_eq!(list(&app, "").await.body, json!({"deadLetters": []}));
    for path in ["", "/replay"] {
        let method = if path.is_empty() { "PUT" } else { "GET" };
        let refused = answer(app.request(method, &format!("{LETTERS}{path}"))).await;
        assert_eq!((refused.status, refused.problem()), (405, "method"));
    }
}

#[tokio::test]
async fn many_are_replayed_or_given_up_on_sqlite() {
    many_are_replayed_or_given_up(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn many_are_replayed_or_given_up_on_postgres() {
    many_are_replayed_or_given_up(TestApp::postgres().await).await;
}
