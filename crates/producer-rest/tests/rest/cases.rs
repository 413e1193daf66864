//! The table of cases that both APIs are tested with.

use producer_test_support::event_cases::{Expect, cases};

use crate::app::{TestApp, answer};

async fn every_case_gets_its_verdict(app: TestApp) {
    let mut wrong = Vec::new();
    for case in cases() {
        let got = answer(app.post("/api/v1/events").body(case.event)).await;
        let verdict = match got.status {
            200 => Expect::Stored,
            _ => {
                let name = if got.problem() == "malformed" { "malformed" } else { "validation" };
                assert_eq!(got.problem(), name);
                Expect::Refused(name, got.pointers())
            }
        };
        if verdict != case.expect {
            wrong.push(format!("{}: {verdict:?} instead of {:?}", case.name, case.expect));
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
