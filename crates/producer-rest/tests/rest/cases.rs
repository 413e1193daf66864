//! The table of cases that both APIs are tested with.

use producer_test_support::event_cases::{Case, Expect, cases};
use serde_json::Value;

use crate::app::{Answer, TestApp, answer};

/// How an event is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Alone,
    Item,
    AtomicItem,
    Line,
}

const WAYS: [Way; 4] = [Way::Alone, Way::Item, Way::AtomicItem, Way::Line];

async fn send(app: &TestApp, event: &str, way: Way) -> Answer {
    let (path, media_type, body) = match way {
        Way::Alone => ("/api/v1/events", "application/json", event.to_owned()),
        Way::Item => ("/api/v1/events/bulk", "application/json", format!("[{event}]")),
        Way::AtomicItem => {
            ("/api/v1/events/bulk?mode=atomic", "application/json", format!("[{event}]"))
        }
        Way::Line => ("/api/v1/events/bulk", "application/x-ndjson", event.to_owned()),
    };
    answer(app.post(path).header("content-type", media_type).body(body)).await
}

fn verdict(got: &Answer, way: Way) -> Expect {
    match (way, got.status) {
        (Way::Item | Way::Line, 200) => {
            let item = &got.body["results"][0];
            match item["status"].as_str().expect("a status") {
                "processed" | "duplicate" => Expect::Stored,
                "precondition-failed" => unmet(item, ""),
                "invalid" => Expect::Refused("validation", pointers(item, "")),
                other => unreachable!("{other}: {item}"),
            }
        }
        (Way::Alone | Way::AtomicItem, 200) => Expect::Stored,
        _ => {
            let root = if way == Way::AtomicItem { "/0" } else { "" };
            match got.problem() {
                "validation" => Expect::Refused("validation", pointers(&got.body, root)),
                "malformed" => Expect::Refused("malformed", pointers(&got.body, root)),
                "precondition-failed" => unmet(&got.body, root),
                other => unreachable!("{other}: {got:?}"),
            }
        }
    }
}

/// The pointers of `errors`, relative to the event at `root`.
fn pointers(body: &Value, root: &str) -> Vec<String> {
    let errors = body["errors"].as_array().map_or(&[][..], Vec::as_slice);
    let pointer = |error: &Value| {
        let pointer = error["pointer"].as_str().expect("a pointer");
        pointer.strip_prefix(root).expect("a place in the event").to_owned()
    };
    errors.iter().map(pointer).collect()
}

fn unmet(body: &Value, root: &str) -> Expect {
    let pointers = pointers(body, root);
    assert_eq!(pointers.len(), 1, "{body}");
    assert!(body.get("currentVersion").is_some(), "null where there is no entity: {body}");
    Expect::Unmet { pointer: pointers.concat(), current_version: body["currentVersion"].as_u64() }
}

async fn check(app: &TestApp, case: &Case, way: Way) -> Option<String> {
    let case = case.on_own_entities(&format!("{way:?}"));
    for event in &case.before {
        let stored = send(app, event, Way::Alone).await;
        assert_eq!(stored.status, 200, "before {}: {stored:?}", case.name);
    }
    let expected = match case.expect.clone() {
        Expect::Refused(_, pointers) if way != Way::Alone => {
            Expect::Refused("validation", pointers)
        }
        expected => expected,
    };
    let got = verdict(&send(app, &case.event, way).await, way);
    let is_wrong = got != expected;
    is_wrong.then(|| format!("{}, {way:?}: {got:?} instead of {expected:?}", case.name))
}

async fn every_case_gets_its_verdict(app: TestApp) {
    let mut wrong = Vec::new();
    for case in cases() {
        let is_text = matches!(&case.expect, Expect::Refused("malformed", at) if at.is_empty());
        // what is no JSON makes its array none
        for way in WAYS.into_iter().filter(|way| !is_text || *way == Way::Alone) {
            wrong.extend(check(&app, &case, way).await);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn every_case_gets_its_verdict_on_sqlite() {
    every_case_gets_its_verdict(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn every_case_gets_its_verdict_on_postgres() {
    every_case_gets_its_verdict(TestApp::postgres().await).await;
}
