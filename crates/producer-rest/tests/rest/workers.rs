//! What a worker does, for tests of how it is seen and steered.

use std::time::Duration;

use producer_core::feed::Token;
use producer_core::worker::{
    Breaker, Control, Current, DeadLetterPlace, DeadLetterState, LastError, Lease, NewDeadLetter,
    Report, Role,
};
use producer_core::{EntityKey, Timestamp};

use crate::app::{TestApp, answer};

/// Longer than a test.
const LEASE: Duration = Duration::from_secs(600);
/// When all dead letters and errors of tests were.
pub(crate) const AT: &str = "2024-03-02T10:00:00Z";

fn at() -> Timestamp {
    Timestamp::from_text(AT).unwrap()
}

/// The token of the end of the log.
pub(crate) async fn end_of_log(app: &TestApp) -> Token {
    let page = answer(app.get("/api/v1/changes?from=now")).await;
    Token::parse(page.body["nextToken"].as_str().unwrap()).unwrap()
}

/// Makes a connector known; a sink at the end of the log.
pub(crate) async fn register(app: &TestApp, role: Role, name: &str) {
    let token = end_of_log(app).await;
    let text = token.to_string();
    let start = (role == Role::Sink).then_some((text.as_str(), token.position()));
    app.store.register(role, name, "redis-stream", start).await.unwrap();
}

/// Makes a connector known, and runs it.
pub(crate) async fn run(app: &TestApp, role: Role, name: &str) -> Lease {
    register(app, role, name).await;
    app.store.take(role, name, "worker-1", LEASE).await.unwrap().unwrap()
}

/// Says something of a connector. Returns what is asked of it.
pub(crate) async fn report(app: &TestApp, lease: &Lease, report: &Report) -> Control {
    app.store.renew(lease, LEASE, report).await.unwrap().unwrap()
}

/// The report of a connector that has carried all.
pub(crate) fn caught_up() -> Report {
    Report { caught_up: true, ..Report::default() }
}

/// The report of a sink that can't get past the change before `token`.
pub(crate) fn stuck(token: &str) -> Report {
    Report {
        retrying: true,
        current: Some(Current {
            token: token.into(),
            entity_type: "Order".into(),
            entity_id: "4711".into(),
            tries: 12,
        }),
        last_error: Some(LastError::new(at(), "the connection was refused")),
        breaker: Breaker::Open,
        ..Report::default()
    }
}

/// A change that was refused.
pub(crate) fn refused(position: u64, id: &str, version: u64) -> NewDeadLetter {
    NewDeadLetter {
        place: DeadLetterPlace::Change {
            position,
            key: EntityKey::new("Order", id).unwrap(),
            version,
        },
        state: DeadLetterState::Dead,
        message: br#"{"id":"4711","total":-1}"#.to_vec(),
        error: "the target answered with 422".into(),
        tries: 1,
        first_at: at(),
        last_at: at(),
    }
}

/// A change that waits behind one.
pub(crate) fn waiting(position: u64, id: &str, version: u64) -> NewDeadLetter {
    NewDeadLetter {
        state: DeadLetterState::Waiting,
        message: Vec::new(),
        error: String::new(),
        tries: 0,
        ..refused(position, id, version)
    }
}

/// A message that is no event.
pub(crate) fn no_event(place: &str, message: &[u8]) -> NewDeadLetter {
    NewDeadLetter {
        place: DeadLetterPlace::Message(place.into()),
        message: message.to_vec(),
        error: "/eventHeader is required".into(),
        ..refused(0, "-", 0)
    }
}

/// Stores dead letters of a connector that runs.
pub(crate) async fn add(app: &TestApp, lease: &Lease, letters: &[NewDeadLetter]) {
    let connector = (lease.role, lease.name.as_str());
    let added = app.store.add_dead_letters(connector, Some(lease), letters).await.unwrap();
    assert!(added.is_some(), "the lease is lost");
}
