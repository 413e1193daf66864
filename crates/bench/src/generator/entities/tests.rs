use std::collections::HashSet;
use std::time::Instant;

use super::*;
use crate::events::Size;

fn sender(requests: Requests, known: &Known, unused: &Unused) -> Sender {
    let event = events::json(Keys::New, Size::Base);
    let event = events::request("/api/v1/events", "application/json", &event);
    Sender {
        sequence: sequence(requests),
        next: 0,
        event: Template::new(event, Keys::New, 5),
        attributes: events::attributes(Size::Base),
        buffer: String::new(),
        random: Rng::with_seed(5),
        made: None,
        unused: unused.clone(),
        known: known.clone(),
    }
}

fn alone(requests: Requests) -> Sender {
    sender(requests, &Known::default(), &Unused::default())
}

fn call(sender: &mut Sender) -> Call {
    sender.next_call().expect("a call")
}

fn rendered(sender: &mut Sender, call: Call) -> String {
    String::from_utf8(sender.render(call).to_vec()).expect("UTF-8")
}

/// Lets the sender take this response; returns events, acknowledged events, conditional writes and
/// the error so far.
fn after(
    sender: &mut Sender,
    call: Call,
    (status, body): (u16, &str),
    meter: &Meter,
) -> (u64, u64, (u64, u64), Option<String>) {
    let response = Response { status, body: body.as_bytes() };
    sender.take(call, Instant::now().into(), &response, meter);
    let preconditions = meter.preconditions();
    let preconditions = (preconditions.met, preconditions.failed);
    (meter.events(), meter.acknowledged(), preconditions, meter.error())
}

fn open_meter() -> Meter {
    let meter = Meter::new().expect("a meter");
    meter.open();
    meter
}

fn applied(version: u64) -> String {
    let id = events::UUID;
    format!(
        r#"{{"eventId":"{id}","duplicate":false,"entityType":"Loan","entityId":"loan-1","version":{version},"created":false}}"#
    )
}

fn event_processed(version: u64) -> String {
    format!(
        r#"{{"success":true,"message":"m","eventId":"x","duplicate":false,"entities":[{{"entityType":"Loan","entityId":"loan-1","version":{version},"created":true}}]}}"#
    )
}

#[test]
fn a_mix_has_the_shares_that_are_documented() {
    let count = |requests, operation| {
        sequence(requests).iter().filter(|&&there| there == operation).count()
    };
    use Operation::{DeleteMade, Event, Get, Patch, PatchIfMatch, Put};
    let mixed = [Get, Patch, Put, DeleteMade, Event].map(|one| count(Requests::Mixed, one));
    assert_eq!(mixed, [10, 5, 3, 1, 1]);
    assert_eq!([Event, PatchIfMatch].map(|one| count(Requests::Match, one)), [19, 1]);
}

#[test]
fn every_prepared_entity_is_deleted_once() {
    let unused = Unused::default();
    let mut senders = [(); 2].map(|()| sender(Requests::Delete, &Known::default(), &unused));
    let mut deleted = HashSet::new();
    let count = Keys::Once.numbers().count();
    for at in 0..count {
        let call = call(&mut senders[at % 2]);
        assert_eq!(call.operation, Operation::Delete);
        assert!(Keys::Once.numbers().contains(&call.entity) && deleted.insert(call.entity));
    }
    assert_eq!(senders[0].next_call(), None, "all {count} are deleted");
}

#[test]
fn requests_are_complete() {
    let key_and_body = |text: &str| {
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().expect("a number"));
        assert_eq!(body.len(), length, "{text}");
        (head.contains("\r\nidempotency-key: "), body.starts_with('{'))
    };
    for (requests, method, expected) in [
        (Requests::Get, "GET", (false, false)),
        (Requests::Put, "PUT", (true, true)),
        (Requests::Patch, "PATCH", (true, true)),
        (Requests::Delete, "DELETE", (true, false)),
    ] {
        let mut sender = alone(requests);
        let call = call(&mut sender);
        let text = rendered(&mut sender, call);
        let line = format!("{method} /api/v1/entities/Loan/loan-{} HTTP/1.1\r\n", call.entity);
        assert!(text.starts_with(&line), "{text}");
        assert_eq!(key_and_body(&text), expected, "{text}");
    }
}

#[test]
fn a_mix_deletes_only_what_it_has_made() {
    let mut sender = alone(Requests::Mixed);
    let meter = open_meter();
    sender.next = sequence(Requests::Mixed)
        .iter()
        .position(|&operation| operation == Operation::DeleteMade)
        .expect("a delete");
    let delete = sender.next;
    let first = call(&mut sender);
    assert_eq!(first.operation, Operation::Event, "nothing is made yet");
    after(&mut sender, first, (200, &event_processed(1)), &meter);
    sender.next = delete;
    let second = call(&mut sender);
    assert_eq!((second.operation, second.entity), (Operation::DeleteMade, first.entity));
    sender.next = delete;
    assert_eq!(call(&mut sender).operation, Operation::Event, "it is deleted once");
}

#[test]
fn reads_count_but_are_not_expected_in_the_log() {
    let mut sender = alone(Requests::Get);
    let (meter, get) = (open_meter(), call(&mut sender));
    let entity =
        |number| format!(r#"{{"entityType":"Loan","entityId":"loan-{number}","version":1}}"#);
    assert_eq!(after(&mut sender, get, (200, &entity(get.entity)), &meter), (1, 0, (0, 0), None));
    let (.., error) = after(&mut sender, get, (200, &entity(7)), &meter);
    assert!(error.is_some_and(|error| error.contains("Get: 200")), "another entity");
}

#[test]
fn a_write_that_is_not_applied_to_an_existing_entity_is_an_error() {
    let duplicate = applied(2).replace("false,\"entityType", "true,\"entityType");
    let wrong =
        [(201, applied(1)), (404, "{}".to_owned()), (200, duplicate), (412, "{}".to_owned())];
    for (status, body) in wrong {
        let mut sender = alone(Requests::Put);
        let (meter, put) = (open_meter(), call(&mut sender));
        let (events, acknowledged, _, error) = after(&mut sender, put, (status, &body), &meter);
        assert!(events == 0 && acknowledged == 0 && error.is_some(), "{status} {body}");
        let counted = after(&mut sender, put, (200, &applied(2)), &meter);
        assert_eq!((counted.0, counted.1), (1, 1));
    }
}

#[test]
fn a_patch_has_the_version_of_the_latest_answer_and_412_is_no_error() {
    let known = Known::default();
    let [mut one, mut two] = [(); 2].map(|()| sender(Requests::Match, &known, &Unused::default()));
    let meter = open_meter();
    one.next = one.sequence.len() - 1;
    let first = call(&mut one);
    assert_eq!(first.operation, Operation::Event, "no version is known yet");
    after(&mut one, first, (200, &event_processed(1)), &meter);
    let patch = |sender: &mut Sender| {
        sender.next = sender.sequence.len() - 1;
        call(sender)
    };
    let (winner, loser) = (patch(&mut one), patch(&mut two));
    assert_eq!((winner.entity, winner.expected), (first.entity, Some((0, 1))));
    assert!(rendered(&mut one, winner).contains("\r\nif-match: \"1\"\r\n"));
    assert_eq!(after(&mut one, winner, (200, &applied(2)), &meter), (2, 2, (1, 0), None));
    // the answer to the loser also has the version of a third one's write
    let refused = r#"{"status":412,"currentVersion":3,"retryable":false}"#;
    assert_eq!(after(&mut two, loser, (412, refused), &meter), (2, 2, (1, 1), None));
    assert_eq!(patch(&mut two).expected, Some((0, 3)));
    after(&mut one, winner, (200, &applied(2)), &meter);
    assert_eq!(patch(&mut one).expected, Some((0, 3)), "an older answer changes nothing");
}
