//! `WorkerService`.

use std::sync::Arc;
use std::time::Duration;

use producer_core::feed::Token;
use producer_core::worker::{
    Breaker, Control, Current, DeadLetterPlace, LastError, Lease, NewDeadLetter, Report, Role,
    WorkerStore,
};
use producer_core::{EntityKey, Timestamp};
use producer_grpc::proto::v1::worker_service_client::WorkerServiceClient;
use producer_grpc::proto::v1::{
    BreakerState, Connector, ConnectorError, ConnectorState, CurrentChange, DeadLetter,
    DeadLetterState, DeleteDeadLetterRequest, DeleteDeadLetterResponse, DeleteDeadLettersRequest,
    DeleteSinkRequest, DeleteSinkResponse, DeleteSourceRequest, DeleteSourceResponse,
    GetDeadLetterRequest, GetSinkRequest, GetSourceRequest, ListChangesRequest,
    ListDeadLettersRequest, ListSinksRequest, ListSourcesRequest, PauseSinkRequest,
    PauseSourceRequest, ReplayDeadLetterRequest, ReplayDeadLettersRequest, ResetSinkRequest,
    ResumeSinkRequest, ResumeSourceRequest, SkipSinkRequest, dead_letter,
    delete_dead_letters_request, list_dead_letters_request, replay_dead_letters_request,
};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};
use uuid::Uuid;

use crate::app::{Service, error_info, event, on_both};
use crate::history::{invalid, not_found, refused};

type Client = WorkerServiceClient<Channel>;

/// Longer than a test.
const LEASE: Duration = Duration::from_secs(600);
const NAME: &str = "order-events";

fn at() -> Timestamp {
    Timestamp::from_micros(1_709_373_600_000_000)
}

fn at_message() -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: 1_709_373_600, nanos: 0 })
}

/// For what workers do.
fn store(service: &Service) -> Arc<dyn WorkerStore> {
    service.app.store.clone()
}

async fn end_of_log(service: &Service) -> Token {
    let request = ListChangesRequest { from: "now".into(), ..ListChangesRequest::default() };
    let page = service.changes().await.list_changes(request).await.expect("a page").into_inner();
    Token::parse(&page.next_token).expect("a token")
}

/// Makes a connector known; a sink at the end of the log.
async fn register(service: &Service, role: Role) {
    let token = end_of_log(service).await;
    let text = token.to_string();
    let start = (role == Role::Sink).then_some((text.as_str(), token.position()));
    store(service).register(role, NAME, "redis-stream", start).await.expect("known");
}

/// Makes a connector known, and runs it.
async fn run(service: &Service, role: Role) -> Lease {
    register(service, role).await;
    let lease = store(service).take(role, NAME, "worker-1", LEASE).await;
    lease.expect("an answer").expect("nobody runs it")
}

/// Says something of a connector. Returns what is asked of it.
async fn report(service: &Service, lease: &Lease, report: &Report) -> Control {
    let control = store(service).renew(lease, LEASE, report).await;
    control.expect("an answer").expect("the lease is held")
}

fn stuck(token: &str) -> Report {
    Report {
        retrying: true,
        current: Some(Current {
            token: token.into(),
            entity_type: "Order".into(),
            entity_id: "4711".into(),
            tries: 12,
        }),
        last_error: Some(LastError::new(at(), "the connection was refused")),
        breaker: Breaker::HalfOpen,
        ..Report::default()
    }
}

fn letter(place: DeadLetterPlace, message: &[u8]) -> NewDeadLetter {
    NewDeadLetter {
        place,
        state: producer_core::worker::DeadLetterState::Dead,
        message: message.to_vec(),
        error: "the target answered with 422".into(),
        tries: 1,
        first_at: at(),
        last_at: at(),
    }
}

fn change(position: u64, id: &str, version: u64) -> DeadLetterPlace {
    let key = EntityKey::new("Order", id).expect("a key");
    DeadLetterPlace::Change { position, key, version }
}

/// A refused change, one that waits behind it, one of another entity; and a message that is no event.
async fn add_letters(service: &Service, sink: &Lease, source: &Lease) {
    let waiting = NewDeadLetter {
        state: producer_core::worker::DeadLetterState::Waiting,
        error: String::new(),
        tries: 0,
        ..letter(change(2, "4711", 2), b"")
    };
    let letters =
        [letter(change(1, "4711", 1), b"{}"), waiting, letter(change(3, "4712", 1), b"\xff")];
    let of_source = [letter(DeadLetterPlace::Message("orders:events 1-0".into()), b"\xff{}")];
    for (lease, letters) in [(sink, &letters[..]), (source, &of_source)] {
        let connector = (lease.role, lease.name.as_str());
        let added = store(service).add_dead_letters(connector, Some(lease), letters).await;
        assert_eq!(added.expect("an answer"), Some(letters.len() as u64));
    }
}

fn get() -> GetSinkRequest {
    GetSinkRequest { name: NAME.into() }
}

async fn sink(client: &mut Client) -> Connector {
    client.get_sink(get()).await.expect("a sink").into_inner()
}

#[tokio::test]
async fn a_sink_is_seen() {
    on_both(|service| async move {
        let mut client = service.worker().await;
        assert_eq!(not_found(client.get_sink(get()).await), "no such sink");
        let none = client.list_sinks(ListSinksRequest {}).await.expect("a list").into_inner();
        assert_eq!(none.sinks, []);
        register(&service, Role::Sink).await;
        let token = end_of_log(&service).await.to_string();
        let mut expected = Connector {
            name: NAME.into(),
            kind: "redis-stream".into(),
            state: ConnectorState::Unassigned.into(),
            token: Some(token.clone()),
            lag_changes: Some(0),
            lag_seconds: Some(0.0),
            breaker: BreakerState::Closed.into(),
            ..Connector::default()
        };
        assert_eq!(sink(&mut client).await, expected);

        let lease = run(&service, Role::Sink).await;
        report(&service, &lease, &Report { caught_up: true, ..Report::default() }).await;
        expected.state = ConnectorState::Running.into();
        expected.worker = Some("worker-1".into());
        expected.caught_up = true;
        assert_eq!(sink(&mut client).await, expected);
        let all = client.list_sinks(ListSinksRequest {}).await.expect("a list").into_inner();
        assert_eq!(all.sinks, [expected.clone()]);

        for n in ["1", "2"] {
            let event = event("", "a", &format!("{{\"n\":{n}}}"));
            service.client().await.process_event(event).await.expect("a receipt");
        }
        report(&service, &lease, &stuck(&token)).await;
        let seen = sink(&mut client).await;
        assert!(seen.lag_seconds >= Some(0.0), "{seen:?}");
        expected = Connector {
            state: ConnectorState::Retrying.into(),
            lag_changes: Some(2),
            lag_seconds: seen.lag_seconds,
            caught_up: false,
            current: Some(CurrentChange {
                token,
                entity_type: "Order".into(),
                entity_id: "4711".into(),
                tries: 12,
            }),
            last_error: Some(ConnectorError {
                at: at_message(),
                detail: "the connection was refused".into(),
            }),
            breaker: BreakerState::HalfOpen.into(),
            ..expected
        };
        assert_eq!(seen, expected);
    })
    .await;
}

/// The reason of a refusal with this code, and its message.
#[track_caller]
fn reason<T: std::fmt::Debug>(answer: Result<Response<T>, Status>, code: Code) -> (String, String) {
    let status = answer.expect_err("a refusal");
    assert_eq!(status.code(), code, "{status}");
    (error_info(&status).reason, status.message().to_owned())
}

#[tokio::test]
async fn a_sink_is_steered() {
    on_both(|service| async move {
        let mut client = service.worker().await;
        let skip = |token: &str| SkipSinkRequest { name: NAME.into(), token: token.into() };
        let reset = |from: &str| ResetSinkRequest { name: NAME.into(), from: from.into() };
        let (pause, resume) =
            (PauseSinkRequest { name: NAME.into() }, ResumeSinkRequest { name: NAME.into() });
        assert_eq!(not_found(client.pause_sink(pause.clone()).await), "no such sink");
        assert_eq!(not_found(client.skip_sink(skip("t")).await), "no such sink");
        assert_eq!(not_found(client.reset_sink(reset("now")).await), "no such sink");
        let lease = run(&service, Role::Sink).await;
        for _ in 0..2 {
            let paused = client.pause_sink(pause.clone()).await.expect("paused").into_inner();
            assert_eq!(paused.state(), ConnectorState::Paused);
            assert!(report(&service, &lease, &Report::default()).await.paused);
        }
        let resumed = client.resume_sink(resume).await.expect("resumed").into_inner();
        assert_eq!(resumed.state(), ConnectorState::Running);

        report(&service, &lease, &stuck("t1")).await;
        let (kind, message) = reason(client.skip_sink(skip("t")).await, Code::Aborted);
        assert_eq!(kind, "PRECONDITION_FAILED");
        assert_eq!(message, "the sink's current change has another token");
        let skipped = client.skip_sink(skip("t1")).await.expect("skipped").into_inner();
        assert_eq!(skipped.state(), ConnectorState::Retrying);
        let control = report(&service, &lease, &Report::default()).await;
        assert_eq!(control.skip.as_deref(), Some("t1"));

        let now = end_of_log(&service).await;
        for (from, token) in [
            ("start", Token::in_log(now.epoch, 0).to_string()),
            ("now", now.to_string()),
            ("snapshot", "snapshot".into()),
        ] {
            let moved = client.reset_sink(reset(from)).await.expect("moved").into_inner();
            assert_eq!(moved.token, Some(token), "{from}");
        }
        assert!(report(&service, &lease, &Report::default()).await.generation > lease.generation);
        let (code, kind, fields, _) = refused(client.reset_sink(reset("sometime")).await);
        assert_eq!((code, kind.as_str()), (Code::InvalidArgument, "VALIDATION"));
        assert_eq!(fields, ["from"]);
        let foreign = Token::in_log(Uuid::nil(), 1).to_string();
        let gone = reason(client.reset_sink(reset(&foreign)).await, Code::OutOfRange);
        assert_eq!(gone.0, "GONE");

        let delete = DeleteSinkRequest { name: NAME.into() };
        let in_use = reason(client.delete_sink(delete.clone()).await, Code::FailedPrecondition);
        assert_eq!(in_use.0, "IN_USE");
        assert!(in_use.1.starts_with("the worker worker-1 runs the sink;"), "{}", in_use.1);
        store(&service).release(&lease).await.expect("released");
        let deleted = client.delete_sink(delete.clone()).await.expect("deleted").into_inner();
        assert_eq!(deleted, DeleteSinkResponse {});
        assert_eq!(not_found(client.delete_sink(delete).await), "no such sink");
        let bad = GetSinkRequest { name: "Orders".into() };
        let rule = "/name must have 1 to 63 characters of a-z, 0-9 and -";
        assert_eq!(invalid(client.get_sink(bad).await, "name"), rule);
    })
    .await;
}

#[tokio::test]
async fn a_source_is_seen_and_steered() {
    on_both(|service| async move {
        let mut client = service.worker().await;
        let get = || GetSourceRequest { name: NAME.into() };
        assert_eq!(not_found(client.get_source(get()).await), "no such source");
        let lease = run(&service, Role::Source).await;
        let waiting = Report { waiting: Some(7), waiting_seconds: Some(1.5), ..Report::default() };
        report(&service, &lease, &waiting).await;
        let expected = Connector {
            name: NAME.into(),
            kind: "redis-stream".into(),
            state: ConnectorState::Running.into(),
            lag_changes: Some(7),
            lag_seconds: Some(1.5),
            breaker: BreakerState::Closed.into(),
            worker: Some("worker-1".into()),
            ..Connector::default()
        };
        let seen = client.get_source(get()).await.expect("a source").into_inner();
        assert_eq!(seen, expected);
        let all = client.list_sources(ListSourcesRequest {}).await.expect("a list").into_inner();
        assert_eq!(all.sources, [expected]);
        let none = client.list_sinks(ListSinksRequest {}).await.expect("a list").into_inner();
        assert_eq!(none.sinks, []);

        let pause = PauseSourceRequest { name: NAME.into() };
        let paused = client.pause_source(pause).await.expect("paused").into_inner();
        assert_eq!(paused.state(), ConnectorState::Paused);
        let resume = ResumeSourceRequest { name: NAME.into() };
        let resumed = client.resume_source(resume).await.expect("resumed").into_inner();
        assert_eq!(resumed.state(), ConnectorState::Running);
        let delete = DeleteSourceRequest { name: NAME.into() };
        let in_use = reason(client.delete_source(delete.clone()).await, Code::FailedPrecondition);
        assert_eq!(in_use.0, "IN_USE");
        store(&service).release(&lease).await.expect("released");
        let deleted = client.delete_source(delete).await.expect("deleted").into_inner();
        assert_eq!(deleted, DeleteSourceResponse {});
    })
    .await;
}

fn of_sink() -> Option<list_dead_letters_request::Connector> {
    Some(list_dead_letters_request::Connector::Sink(NAME.into()))
}

fn of_source() -> Option<list_dead_letters_request::Connector> {
    Some(list_dead_letters_request::Connector::Source(NAME.into()))
}

/// All dead letters of a connector, or of all, page by page.
async fn listed(
    client: &mut Client,
    connector: Option<list_dead_letters_request::Connector>,
    page_size: u64,
) -> Vec<DeadLetter> {
    let mut request =
        ListDeadLettersRequest { connector, page_size, ..ListDeadLettersRequest::default() };
    let mut letters = Vec::new();
    loop {
        let page = client.list_dead_letters(request.clone()).await.expect("a page").into_inner();
        assert!(page_size == 0 || page.dead_letters.len() as u64 <= page_size);
        letters.extend(page.dead_letters);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return letters;
        }
    }
}

#[tokio::test]
async fn dead_letters_are_listed_newest_first_and_read_one_by_one() {
    on_both(|service| async move {
        let mut client = service.worker().await;
        let (sink, source) = (run(&service, Role::Sink).await, run(&service, Role::Source).await);
        add_letters(&service, &sink, &source).await;
        let all = listed(&mut client, None, 0).await;
        let epoch = end_of_log(&service).await.epoch;
        let refused = |index: usize, position, entity_id: &str, version| DeadLetter {
            id: all[index].id,
            connector: Some(dead_letter::Connector::Sink(NAME.into())),
            state: DeadLetterState::Dead.into(),
            token: Some(Token::in_log(epoch, position).to_string()),
            entity_type: Some("Order".into()),
            entity_id: Some(entity_id.into()),
            version: Some(version),
            error: "the target answered with 422".into(),
            tries: 1,
            first_at: at_message(),
            last_at: at_message(),
            ..DeadLetter::default()
        };
        let waiting = DeadLetter {
            state: DeadLetterState::Waiting.into(),
            error: String::new(),
            tries: 0,
            ..refused(2, 2, "4711", 2)
        };
        let message = DeadLetter {
            connector: Some(dead_letter::Connector::Source(NAME.into())),
            token: None,
            place: Some("orders:events 1-0".into()),
            entity_type: None,
            entity_id: None,
            version: None,
            ..refused(0, 0, "", 0)
        };
        let expected = [message, refused(1, 3, "4712", 1), waiting, refused(3, 1, "4711", 1)];
        assert_eq!(all, expected);
        assert!(all.windows(2).all(|pair| pair[0].id > pair[1].id));
        for page_size in [1, 3, 4, 1001, u64::MAX] {
            assert_eq!(listed(&mut client, None, page_size).await, expected, "{page_size}");
            assert_eq!(listed(&mut client, of_sink(), page_size).await, expected[1..]);
        }
        assert_eq!(listed(&mut client, of_source(), 1).await, expected[..1]);

        for (index, message) in
            [Some(&b"\xff{}"[..]), Some(b"\xff"), None, Some(b"{}")].into_iter().enumerate()
        {
            let request = GetDeadLetterRequest { id: all[index].id };
            let found = client.get_dead_letter(request).await.expect("a dead letter").into_inner();
            let message = message.map(<[u8]>::to_vec);
            assert_eq!(found, DeadLetter { message, ..expected[index].clone() });
        }
        for id in [999_999, u64::MAX] {
            let missing = client.get_dead_letter(GetDeadLetterRequest { id }).await;
            assert_eq!(not_found(missing), "no such dead letter");
        }

        let page = |connector, page_token: &str| ListDeadLettersRequest {
            connector,
            page_size: 1,
            page_token: page_token.into(),
        };
        let first = client.list_dead_letters(page(None, "")).await.expect("a page").into_inner();
        for (connector, token) in [(of_sink(), &*first.next_page_token), (None, "x")] {
            let refused = client.list_dead_letters(page(connector, token)).await;
            let rule = "/pageToken must be a token that a page of this list returned";
            assert_eq!(invalid(refused, "page_token"), rule);
        }
        let bad = Some(list_dead_letters_request::Connector::Source("A".into()));
        let rule = "/source must have 1 to 63 characters of a-z, 0-9 and -";
        assert_eq!(invalid(client.list_dead_letters(page(bad, "")).await, "source"), rule);
        let unknown = Some(list_dead_letters_request::Connector::Sink("a".into()));
        let unknown = client.list_dead_letters(page(unknown, "")).await;
        assert_eq!(not_found(unknown), "no such sink");
    })
    .await;
}

#[tokio::test]
async fn dead_letters_are_replayed_or_given_up() {
    on_both(|service| async move {
        let mut client = service.worker().await;
        let (sink, source) = (run(&service, Role::Sink).await, run(&service, Role::Source).await);
        add_letters(&service, &sink, &source).await;
        let ids: Vec<_> = listed(&mut client, None, 0).await.iter().map(|one| one.id).collect();
        let replay = |id| ReplayDeadLetterRequest { id };
        let waits = client.replay_dead_letter(replay(ids[2])).await;
        let (kind, message) = reason(waits, Code::FailedPrecondition);
        assert_eq!(kind, "IN_USE");
        assert!(message.starts_with(&format!("it waits behind the dead letter {} ", ids[3])));
        for _ in 0..2 {
            let replayed = client.replay_dead_letter(replay(ids[3])).await.expect("replayed");
            assert_eq!(replayed.into_inner().accepted, 1);
        }
        let replaying = client.get_dead_letter(GetDeadLetterRequest { id: ids[3] }).await;
        let replaying = replaying.expect("a dead letter").into_inner();
        assert_eq!(replaying.state(), DeadLetterState::Replaying);
        let missing = client.replay_dead_letter(replay(999_999)).await;
        assert_eq!(not_found(missing), "no such dead letter");

        let of_sink = || Some(replay_dead_letters_request::Connector::Sink(NAME.into()));
        for (limit, accepted) in [(u64::MAX, 1), (0, 0)] {
            let request = ReplayDeadLettersRequest { connector: of_sink(), limit };
            let replayed = client.replay_dead_letters(request).await.expect("replayed");
            assert_eq!(replayed.into_inner().accepted, accepted);
        }
        let of_all = client.replay_dead_letters(ReplayDeadLettersRequest::default()).await;
        assert_eq!(invalid(of_all, "sink"), "/sink must be given, or source");
        let of_all = client.delete_dead_letters(DeleteDeadLettersRequest::default()).await;
        assert_eq!(invalid(of_all, "sink"), "/sink must be given, or source");

        let delete = DeleteDeadLetterRequest { id: ids[3] };
        let deleted = client.delete_dead_letter(delete).await.expect("deleted").into_inner();
        assert_eq!(deleted, DeleteDeadLetterResponse {});
        assert_eq!(not_found(client.delete_dead_letter(delete).await), "no such dead letter");
        let of_sink = || Some(delete_dead_letters_request::Connector::Sink(NAME.into()));
        for (limit, accepted) in [(1, 1), (0, 1), (0, 0)] {
            let request = DeleteDeadLettersRequest { connector: of_sink(), limit };
            let deleted = client.delete_dead_letters(request).await.expect("deleted");
            assert_eq!(deleted.into_inner().accepted, accepted);
        }
        let of_source = delete_dead_letters_request::Connector::Source(NAME.into());
        let request = DeleteDeadLettersRequest { connector: Some(of_source), limit: 0 };
        let deleted = client.delete_dead_letters(request).await.expect("deleted").into_inner();
        assert_eq!(deleted.accepted, 1);
        assert_eq!(listed(&mut client, None, 0).await, []);
    })
    .await;
}
