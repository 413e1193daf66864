//! `ListChanges` and `WatchChanges`.

use std::time::{Duration, Instant};

use producer_core::feed::Token;
use producer_grpc::proto::v1::change_item::Item;
use producer_grpc::proto::v1::change_service_client::ChangeServiceClient;
use producer_grpc::proto::v1::{
    Bookmark, Change, ChangeItem, ChangeKind, EntitySnapshot, EntityUpdate, EventHeader,
    EventRequest, EventStatus, ListChangesRequest, ListChangesResponse, Operation, SnapshotEnd,
    WatchChangesRequest,
};
use producer_test_support::{Postgres, sqlite_file};
use prost::Message;
use prost_types::Timestamp;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use crate::app::{Service, client_of, error_info, event_of, on_both, reflected};
use crate::history::{gone, invalid, prune_up_to};
use crate::raw::{framed, raw};

type Client = ChangeServiceClient<Channel>;

const DEADLINE: Duration = Duration::from_secs(30);

fn update(entity_type: &str, id: &str, json: &str) -> EntityUpdate {
    EntityUpdate {
        entity_type: entity_type.into(),
        entity_id: id.into(),
        attributes_json: Some(json.into()),
        ..EntityUpdate::default()
    }
}

/// Applies an event of these updates.
async fn write(service: &Service, updates: Vec<EntityUpdate>) {
    service.client().await.process_event(event_of("", updates)).await.expect("a receipt");
}

/// Applies an event of one car.
async fn write_car(service: &Service, id: &str, json: &str) {
    write(service, vec![update("Car", id, json)]).await;
}

/// Applies many events, one of each document.
async fn write_cars(service: &Service, documents: impl Iterator<Item = String>) {
    let events = documents
        .enumerate()
        .map(|(number, json)| event_of("", vec![update("Car", &number.to_string(), &json)]));
    let mut client = service.client().await;
    let results = client.stream_events(tokio_stream::iter(events.collect::<Vec<_>>())).await;
    let mut results = results.expect("a stream").into_inner();
    while let Some(result) = results.message().await.expect("no error") {
        assert_eq!(result.status(), EventStatus::Processed, "{result:?}");
    }
}

fn list(from: &str) -> ListChangesRequest {
    ListChangesRequest { from: from.into(), ..ListChangesRequest::default() }
}

fn watch(from: &str) -> WatchChangesRequest {
    WatchChangesRequest { from: from.into(), ..WatchChangesRequest::default() }
}

fn until_now(from: &str) -> WatchChangesRequest {
    WatchChangesRequest { until: "now".into(), ..watch(from) }
}

async fn page(client: &mut Client, request: ListChangesRequest) -> ListChangesResponse {
    client.list_changes(request).await.expect("a page").into_inner()
}

/// The items of all pages up to the one after which nothing more is there. A page may end early.
async fn pages(client: &mut Client, mut request: ListChangesRequest) -> Vec<Item> {
    let mut all = Vec::new();
    loop {
        let answer = page(client, request.clone()).await;
        all.extend(of_page(&answer));
        if answer.caught_up {
            return all;
        }
        request.from = answer.next_token;
    }
}

async fn stream(client: &mut Client, request: WatchChangesRequest) -> Streaming<ChangeItem> {
    client.watch_changes(request).await.expect("a stream").into_inner()
}

/// The next item; `None` at the end.
async fn next(items: &mut Streaming<ChangeItem>) -> Result<Option<Item>, Status> {
    let item = timeout(DEADLINE, items.message()).await.expect("in time")?;
    Ok(item.map(|item| item.item.expect("a known item")))
}

/// The items up to and with the first that is `last`.
async fn items_to(items: &mut Streaming<ChangeItem>, last: impl Fn(&Item) -> bool) -> Vec<Item> {
    let mut all = Vec::new();
    while let Some(item) = next(items).await.expect("no error") {
        let is_last = last(&item);
        all.push(item);
        if is_last {
            return all;
        }
    }
    unreachable!("it ended after {all:?}");
}

/// The items until all that is committed was read, without the bookmark that says so.
async fn caught_up(items: &mut Streaming<ChangeItem>) -> Vec<Item> {
    let mut all = items_to(items, |item| matches!(item, Item::Bookmark(it) if it.caught_up)).await;
    all.pop();
    all
}

/// All items up to the end.
async fn to_end(items: &mut Streaming<ChangeItem>) -> (Vec<Item>, Option<Status>) {
    let mut all = Vec::new();
    loop {
        match next(items).await {
            Ok(Some(item)) => all.push(item),
            Ok(None) => return (all, None),
            Err(status) => return (all, Some(status)),
        }
    }
}

fn of_page(page: &ListChangesResponse) -> Vec<Item> {
    page.items.iter().map(|item| item.item.clone().expect("a known item")).collect()
}

/// Short texts: `Car/a@1`, `=Car/a@1` of a snapshot, `end`, and `mark` or `caught up`.
fn shown(items: &[Item]) -> Vec<String> {
    let show = |item: &Item| match item {
        Item::Change(it) => format!("{}/{}@{}", it.entity_type, it.entity_id, it.version),
        Item::Snapshot(it) => format!("={}/{}@{}", it.entity_type, it.entity_id, it.version),
        Item::SnapshotEnd(_) => "end".into(),
        Item::Bookmark(it) => if it.caught_up { "caught up" } else { "mark" }.into(),
    };
    items.iter().map(show).collect()
}

fn token(item: &Item) -> &str {
    match item {
        Item::Change(Change { token, .. })
        | Item::Snapshot(EntitySnapshot { token, .. })
        | Item::SnapshotEnd(SnapshotEnd { token })
        | Item::Bookmark(Bookmark { token, .. }) => token,
    }
}

/// The document and its version, where the change has them.
fn data(item: &Item) -> Option<(String, u64)> {
    let Item::Change(change) = item else { unreachable!("{item:?}") };
    let json = change.data_json.as_deref().map(|json| json.replace(' ', ""));
    json.zip(change.data_version)
}

/// The reason of a status that says that the reader may try again.
#[track_caller]
fn unavailable(status: &Status) -> String {
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.get_details_retry_info().is_some());
    error_info(status).reason
}

async fn series(service: &Service, name: &str) -> Option<String> {
    let text = service.app.metrics.exposition().text().await.expect("metrics");
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
    text.lines().find_map(value)
}

/// Waits until a series has a value.
async fn until_series_is(service: &Service, name: &str, value: &str) {
    let began = Instant::now();
    while series(service, name).await.as_deref() != Some(value) {
        assert!(began.elapsed() < DEADLINE, "{name} is {:?}", series(service, name).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

const READERS: &str = r#"producer_change_readers{form="grpc"}"#;
const SENT: &str = r#"producer_changes_sent_total{form="grpc"}"#;

#[tokio::test]
async fn a_change_has_what_its_event_said_and_the_state_that_was_asked_for() {
    on_both(|service| async move {
        let event = EventRequest {
            event_header: Some(EventHeader {
                uuid: "550e8400-e29b-41d4-a716-446655440000".into(),
                event_name: "CarSold".into(),
                created_date: "2024-01-15T10:30:00.5Z".into(),
                event_type: "sale".into(),
                source: "shop".into(),
                actor: "Ann".into(),
                ..EventHeader::default()
            }),
            ..event_of("", vec![update("Loan", "1", "{}"), update("Car", "a", r#"{ "a" : 1 }"#)])
        };
        service.client().await.process_event(event).await.expect("a receipt");
        let mut client = service.changes().await;
        let request = ListChangesRequest { include_data: true, ..list("") };
        let mut items = pages(&mut client, request).await;
        assert_eq!(shown(&items), ["Loan/1@1", "Car/a@1"]);
        assert_eq!(data(&items[1]), Some((r#"{"a":1}"#.into(), 1)));
        let streamed = caught_up(&mut stream(&mut client, watch("start")).await).await;
        let Some(Item::Change(mut change)) = items.pop() else { panic!("{items:?}") };
        (change.data_json, change.data_version) = (None, None);
        assert_eq!(streamed[1], Item::Change(change.clone()), "the same without the state");
        assert!(change.committed_at.take().is_some() && !change.token.is_empty());
        let expected = Change {
            kind: ChangeKind::Change.into(),
            token: change.token.clone(),
            entity_type: "Car".into(),
            entity_id: "a".into(),
            version: 1,
            operation: Operation::Merge.into(),
            created: true,
            event_id: "550e8400-e29b-41d4-a716-446655440000".into(),
            ordinal: Some(1),
            event_name: "CarSold".into(),
            event_type: "sale".into(),
            event_source: "shop".into(),
            event_actor: "Ann".into(),
            created_date: Some(Timestamp { seconds: 1_705_314_600, nanos: 500_000_000 }),
            committed_at: None,
            patch_json: r#"{ "a" : 1 }"#.into(),
            data_json: None,
            data_version: None,
        };
        assert_eq!(change, expected);
    })
    .await;
}

#[tokio::test]
async fn pages_go_on_from_every_token() {
    on_both(|service| async move {
        let mut client = service.changes().await;
        let empty = page(&mut client, list("")).await;
        assert!(empty.items.is_empty() && empty.caught_up);
        write_car(&service, "a", r#"{"n":1}"#).await;
        write(&service, vec![update("Loan", "1", "{}"), update("Car", "a", r#"{"n":2}"#)]).await;
        write_car(&service, "b", "{}").await;
        let delete = EntityUpdate { operation: Operation::Delete.into(), ..update("Car", "b", "") };
        write(&service, vec![EntityUpdate { attributes_json: None, ..delete }]).await;
        let expected = ["Car/a@1", "Loan/1@1", "Car/a@2", "Car/b@1", "Car/b@2"];

        let two = ListChangesRequest { page_size: 2, ..list(&empty.next_token) };
        assert!(page(&mut client, two.clone()).await.items.len() <= 2);
        let all = pages(&mut client, two).await;
        assert_eq!(shown(&all), expected);
        for (index, item) in all.iter().enumerate() {
            let items = pages(&mut client, list(token(item))).await;
            assert_eq!(shown(&items), expected[index + 1..]);
            let request = ListChangesRequest { types: vec!["Loan".into()], ..list(token(item)) };
            let rest = expected[index + 1..].iter().copied();
            let loans = rest.filter(|shown| shown.starts_with("Loan"));
            assert_eq!(
                shown(&of_page(&page(&mut client, request).await)),
                loans.collect::<Vec<_>>()
            );
        }
        let with_data = ListChangesRequest { include_data: true, ..list("start") };
        let items = pages(&mut client, with_data).await;
        let states: Vec<_> = items.iter().map(data).collect();
        let a = Some((r#"{"n":2}"#.to_owned(), 2));
        assert_eq!(states, [a.clone(), Some(("{}".into(), 1)), a, None, None]);
        assert!(page(&mut client, list("now")).await.items.is_empty());
        let since = pages(&mut client, list("2024-01-15T10:30:00Z")).await;
        assert_eq!(shown(&since), expected);
    })
    .await;
}

#[tokio::test]
async fn a_page_ends_at_the_largest_body() {
    let service = Service::start_with(&["--max-body-bytes", "64KiB"]).await;
    let text = |length: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(length));
    write_cars(&service, (0..10).map(|_| text(20_000)).chain([text(60_000)])).await;
    let mut client = service.changes().await;
    let max = 64 << 10;
    for (include_data, fitting) in [(false, 3), (true, 1)] {
        let (mut from, mut read) = ("start".to_owned(), Vec::new());
        loop {
            let request = ListChangesRequest { include_data, ..list(&from) };
            let answer = page(&mut client, request).await;
            let items = of_page(&answer);
            assert!(answer.encoded_len() <= max || items.len() == 1, "{}", answer.encoded_len());
            assert!(items.len() <= fitting);
            if let Some(last) = items.last() {
                assert_eq!(answer.next_token, token(last));
            }
            read.extend(items);
            from = answer.next_token;
            if answer.caught_up {
                break;
            }
        }
        assert_eq!(read.len(), 11);
        assert_eq!(read.iter().filter(|item| data(item).is_some()).count() > 0, include_data);
    }
}

#[tokio::test]
async fn a_page_waits_for_its_first_item() {
    on_both(|service| async move {
        let mut client = service.changes().await;
        let wait = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let waiting = ListChangesRequest { wait: wait(3600), ..list("now") };
        let mut waiter = client.clone();
        let waiting = tokio::spawn(async move { page(&mut waiter, waiting).await });
        let readers = r#"producer_change_readers{form="page"}"#;
        until_series_is(&service, readers, "1").await;
        write_car(&service, "a", "{}").await;
        let answer = timeout(DEADLINE, waiting).await.expect("in time").expect("no panic");
        assert_eq!(shown(&of_page(&answer)), ["Car/a@1"]);
        let waiting = ListChangesRequest { wait: wait(1), ..list(&answer.next_token) };
        let began = Instant::now();
        let answer = page(&mut client, waiting).await;
        assert!(answer.items.is_empty());
        assert!(began.elapsed() >= Duration::from_secs(1) || !answer.caught_up);
    })
    .await;
}

#[tokio::test]
async fn a_stream_has_what_is_there_then_what_comes_and_goes_on_from_every_token() {
    on_both(|service| async move {
        write_car(&service, "a", r#"{"n":1}"#).await;
        write(&service, vec![update("Loan", "1", "{}"), update("Car", "a", r#"{"n":2}"#)]).await;
        let mut client = service.changes().await;
        let mut from_now = stream(&mut client, watch("")).await;
        let mut items = stream(&mut client, watch("start")).await;
        let mut all = caught_up(&mut items).await;
        assert!(caught_up(&mut from_now).await.is_empty());
        write_car(&service, "b", "{}").await;
        let is_last = |item: &Item| matches!(item, Item::Change(it) if it.entity_id == "b");
        let then = items_to(&mut items, is_last).await;
        assert_eq!(items_to(&mut from_now, is_last).await, then);
        all.extend(then);
        let expected = ["Car/a@1", "Loan/1@1", "Car/a@2", "Car/b@1"];
        assert_eq!(shown(&all), expected);
        for (index, item) in all.iter().enumerate() {
            let mut again = stream(&mut client, watch(token(item))).await;
            assert_eq!(caught_up(&mut again).await, all[index + 1..]);
        }
        let types = vec!["Loan".to_owned(), "Car".into(), "Car".into(), "None".into()];
        for (types, expected) in [(&types[..1], &expected[1..2]), (&types, &expected[..])] {
            let request =
                WatchChangesRequest { types: types.to_vec(), include_data: true, ..watch("start") };
            let items = caught_up(&mut stream(&mut client, request).await).await;
            assert_eq!(shown(&items), expected);
            assert!(items.iter().all(|item| data(item).is_some()));
        }
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_is_followed_by_what_comes() {
    on_both(|service| async move {
        for id in ["a", "b", "c"] {
            write_car(&service, id, r#"{"n":1}"#).await;
        }
        write(&service, vec![update("Loan", "1", "{}"), update("Car", "c", r#"{"n":2}"#)]).await;
        let mut client = service.changes().await;
        let mut items = stream(&mut client, watch("snapshot")).await;
        let snapshot = caught_up(&mut items).await;
        let expected = ["=Car/a@1", "=Car/b@1", "=Car/c@2", "=Loan/1@1", "end"];
        assert_eq!(shown(&snapshot), expected);
        let Item::Snapshot(c) = &snapshot[2] else { panic!("{snapshot:?}") };
        assert_eq!(c.data_json.replace(' ', ""), r#"{"n":2}"#);
        assert!(c.updated_at.is_some());
        write_car(&service, "a", "{}").await;
        let then = items_to(&mut items, |item| matches!(item, Item::Change(_))).await;
        assert_eq!(shown(&then), ["Car/a@2"]);

        // one that breaks off goes on, as a stream and as pages; then what was committed meanwhile
        for (index, item) in snapshot.iter().enumerate() {
            let mut again = stream(&mut client, watch(token(item))).await;
            let mut rest = expected[index + 1..].to_vec();
            rest.push("Car/a@2");
            assert_eq!(shown(&caught_up(&mut again).await), rest);
            let (mut paged, mut from) = (Vec::new(), token(item).to_owned());
            while paged.len() < rest.len() {
                let request = ListChangesRequest { page_size: 1, ..list(&from) };
                let answer = page(&mut client, request).await;
                paged.extend(of_page(&answer));
                from = answer.next_token;
            }
            assert_eq!(shown(&paged), rest);
        }
        // the token keeps the types
        let cars = WatchChangesRequest { types: vec!["Car".into()], ..until_now("snapshot") };
        let (cars, end) = to_end(&mut stream(&mut client, cars).await).await;
        let expected = ["=Car/a@2", "=Car/b@1", "=Car/c@2", "end", "caught up"];
        assert_eq!(
            (shown(&cars), end.map(|it| it.code())),
            (expected.map(Into::into).into(), None)
        );
        let mut rest = stream(&mut client, until_now(token(&cars[1]))).await;
        assert_eq!(shown(&to_end(&mut rest).await.0), expected[2..]);
    })
    .await;
}

#[tokio::test]
async fn a_stream_until_now_ends_where_the_log_stood() {
    on_both(|service| async move {
        let mut client = service.changes().await;
        let (items, end) = to_end(&mut stream(&mut client, until_now("start")).await).await;
        assert_eq!((shown(&items), end.map(|it| it.code())), (vec!["caught up".into()], None));
        // more than one batch
        write_cars(&service, (0..1500).map(|n| format!(r#"{{"n":{n}}}"#))).await;
        let mut open = stream(&mut client, until_now("start")).await;
        write_car(&service, "later", "{}").await;
        let (items, end) = to_end(&mut open).await;
        assert_eq!(end.map(|it| it.code()), None);
        assert_eq!((items.len(), shown(&items[1500..])), (1501, vec!["caught up".into()]));
        let rest = pages(&mut client, list(token(&items[1500]))).await;
        assert_eq!(shown(&rest), ["Car/later@1"]);
        for (page_size, most) in [(0, 100), (101, 101), (1001, 1000), (u64::MAX, 1000)] {
            let request = ListChangesRequest { page_size, ..list("start") };
            let count = page(&mut client, request).await.items.len();
            assert!(count <= most && count > 0, "{count} of {page_size}");
        }
        until_series_is(&service, READERS, "0").await;
        let sent = series(&service, SENT).await;
        assert_eq!(sent.as_deref(), Some("1500"));
    })
    .await;
}

#[tokio::test]
async fn a_bad_field_is_named() {
    let service = Service::start().await;
    write_car(&service, "a", "{}").await;
    let mut client = service.changes().await;
    let good = page(&mut client, list("now")).await.next_token;
    let long = vec!["x".repeat(255); 33];
    for from in [
        " ",
        "Now",
        "snapshots",
        "2024-01-15T",
        "é",
        &good[1..],
        &good[..good.len() - 1],
        &format!("{good}A"),
        &good.replacen('A', "B", 1),
        &"A".repeat(200_000),
    ] {
        let message = invalid(client.list_changes(list(from)).await, "from");
        assert_eq!(
            message, "/from must be a token, start, now, snapshot, or a time (RFC 3339)",
            "{from}"
        );
        assert_eq!(invalid(client.watch_changes(watch(from)).await, "from"), message);
    }
    for types in [vec![String::new()], vec!["Car".into(), "a\0".into()], long] {
        let request = ListChangesRequest { types: types.clone(), ..list("") };
        let message = invalid(client.list_changes(request).await, "types");
        assert!(message.starts_with("/types must"), "{message}");
        let request = WatchChangesRequest { types, ..watch("") };
        assert_eq!(invalid(client.watch_changes(request).await, "types"), message);
    }
    let request = ListChangesRequest { filter: "data.a = 1".into(), ..list("") };
    let message = invalid(client.list_changes(request).await, "filter");
    assert!(message.starts_with("/filter is no filter: column 8: "), "{message}");
    let request = WatchChangesRequest { filter: "data.a = 1".into(), ..watch("") };
    assert_eq!(invalid(client.watch_changes(request).await, "filter"), message);
    for until in ["end", "Now", " ", &good] {
        let request = WatchChangesRequest { until: until.into(), ..watch("") };
        assert_eq!(invalid(client.watch_changes(request).await, "until"), "/until must be now");
    }
    for (seconds, nanos) in [(-1, 0), (0, -1), (i64::MIN, i32::MIN)] {
        let wait = Some(prost_types::Duration { seconds, nanos });
        let request = ListChangesRequest { wait, ..list("") };
        let message = invalid(client.list_changes(request).await, "wait");
        assert_eq!(message, "/wait must not be negative");
    }
    let wait = Some(prost_types::Duration { seconds: 0, nanos: 1_000_000_000 });
    let request = ListChangesRequest { wait, ..list("") };
    let message = invalid(client.list_changes(request).await, "wait");
    assert_eq!(message, "/wait must have nanos from 0 to 999,999,999");
    until_series_is(&service, READERS, "0").await;
}

/// It would take a dozen times its size when it is decoded.
#[tokio::test]
async fn a_request_full_of_types_is_too_large() {
    let service = Service::start().await;
    for path in
        ["/producer.v1.ChangeService/ListChanges", "/producer.v1.ChangeService/WatchChanges"]
    {
        let body = framed(0, &[0x12, 0].repeat(200_000));
        let status = raw(service.address, path, &[], body).await;
        assert_eq!(status.code(), Code::OutOfRange, "{status}");
        assert_eq!(error_info(&status).reason, "TOO_LARGE");
    }
}

#[tokio::test]
async fn a_token_of_another_log_or_ahead_of_it_is_gone() {
    on_both(|service| async move {
        let other = Service::start().await;
        write_car(&other, "a", "{}").await;
        let foreign = page(&mut other.changes().await, list("")).await.next_token;
        write_car(&service, "a", "{}").await;
        let mut client = service.changes().await;
        let good = page(&mut client, list("now")).await.next_token;
        let epoch = Token::parse(&good).expect("a token").epoch;
        let ahead = Token::in_log(epoch, 1 << 40).to_string();
        for (token, word) in [(foreign, "another log"), (ahead, "ahead")] {
            let message = gone(client.list_changes(list(&token)).await);
            assert!(message.contains(word), "{message}");
            assert_eq!(gone(client.watch_changes(watch(&token)).await), message);
        }
        assert!(pages(&mut client, list(&good)).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_token_that_pruning_passed_is_gone() {
    on_both(|service| async move {
        for n in 1..5 {
            write_car(&service, "a", &format!(r#"{{"n":{n}}}"#)).await;
        }
        let mut client = service.changes().await;
        let before = pages(&mut client, list("")).await;
        let Item::Change(third) = &before[2] else { panic!("{before:?}") };
        prune_up_to(&service, third).await;
        for item in &before[..2] {
            let message = gone(client.list_changes(list(token(item))).await);
            assert!(message.contains("pruned"), "{message}");
            assert_eq!(gone(client.watch_changes(watch(token(item))).await), message);
        }
        gone(client.list_changes(list("2024-01-15T10:30:00Z")).await);
        for from in ["start", token(&before[2])] {
            let mut items = stream(&mut client, watch(from)).await;
            assert_eq!(caught_up(&mut items).await, before[3..]);
        }
        let requests = r#"producer_requests_total{api="grpc",method="POST",route="/producer.v1.ChangeService/WatchChanges",status="OUT_OF_RANGE"}"#;
        until_series_is(&service, requests, "2").await;
    })
    .await;
}

#[tokio::test]
async fn a_reader_too_many_is_refused_until_another_one_leaves() {
    let service = Service::start_with(&["--max-change-readers", "2"]).await;
    let mut client = service.changes().await;
    let mut first = stream(&mut client, watch("")).await;
    caught_up(&mut first).await;
    let mut leaving = service.changes().await;
    let mut second = stream(&mut leaving, watch("")).await;
    caught_up(&mut second).await;
    let refused = [
        client.list_changes(list("")).await.expect_err("no place"),
        client.watch_changes(watch("")).await.expect_err("no place"),
    ];
    for status in refused {
        assert_eq!(unavailable(&status), "OVERLOADED");
        assert!(status.message().contains("MAX_CHANGE_READERS"), "{status}");
    }
    // a stream that is cancelled, then one whose connection is closed
    drop(first);
    until_series_is(&service, READERS, "1").await;
    let mut first = stream(&mut client, watch("")).await;
    caught_up(&mut first).await;
    drop((second, leaving));
    until_series_is(&service, READERS, "1").await;
    page(&mut client, list("")).await;
    let requests = r#"producer_requests_total{api="grpc",method="POST",route="/producer.v1.ChangeService/WatchChanges",status="CANCELLED"}"#;
    until_series_is(&service, requests, "2").await;
}

#[tokio::test]
async fn a_stream_holds_no_place_of_a_request_and_no_bytes_of_its_own() {
    let flags = [
        ["--max-concurrent-requests", "1"],
        ["--max-body-bytes", "16KiB"],
        ["--max-entity-bytes", "16KiB"],
        ["--body-buffer-bytes", "16KiB"],
        // none of them ends a stream
        ["--request-timeout", "300ms"],
        ["--body-timeout", "300ms"],
    ];
    let service = Service::start_with(flags.as_flattened()).await;
    let mut client = service.changes().await;
    let mut open = Vec::new();
    for _ in 0..10 {
        let types = vec!["x".repeat(250); 30];
        let request =
            WatchChangesRequest { types: [types, vec!["Car".into()]].concat(), ..watch("") };
        let mut items = stream(&mut client, request).await;
        caught_up(&mut items).await;
        open.push(items);
    }
    // longer than each of these deadlines: nothing happens that could be waited for
    tokio::time::sleep(Duration::from_millis(700)).await;
    write_car(&service, "a", "{}").await;
    for items in &mut open {
        let change = items_to(items, |item| matches!(item, Item::Change(_))).await;
        assert_eq!(shown(&change[change.len() - 1..]), ["Car/a@1"]);
    }
}

#[tokio::test]
async fn draining_ends_all_streams_at_once() {
    on_both(|service| async move {
        let mut client = service.changes().await;
        let mut open = Vec::new();
        for _ in 0..200 {
            let mut items = stream(&mut client, watch("")).await;
            caught_up(&mut items).await;
            open.push(items);
        }
        let mut waiting = client.clone();
        let wait = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        let waiting = tokio::spawn(async move {
            waiting.list_changes(ListChangesRequest { wait, ..list("now") }).await
        });
        until_series_is(&service, r#"producer_change_readers{form="page"}"#, "1").await;
        let began = Instant::now();
        service.drain();
        for items in &mut open {
            let (rest, end) = to_end(items).await;
            assert!(rest.iter().all(|item| matches!(item, Item::Bookmark(_))), "{rest:?}");
            assert_eq!(unavailable(&end.expect("a status")), "UNAVAILABLE");
        }
        let page = waiting.await.expect("no panic");
        if let Err(status) = page {
            assert_eq!(unavailable(&status), "UNAVAILABLE");
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        drop((open, client));
        timeout(DEADLINE, service.stopped()).await.expect("the shutdown isn't delayed");
    })
    .await;
}

/// A client whose streams take few bytes before they are read.
async fn narrow(service: &Service) -> Client {
    let endpoint = Channel::from_shared(format!("http://{}", service.address)).expect("a URL");
    let endpoint = endpoint.initial_stream_window_size(65_535);
    ChangeServiceClient::new(endpoint.connect().await.expect("a connection"))
}

#[tokio::test]
async fn draining_does_not_wait_until_a_slow_client_has_read_a_batch() {
    let file = sqlite_file();
    let service = Service::on(&file.url(), &[]).await;
    let mut client = narrow(&service).await;
    let mut items = stream(&mut client, watch("")).await;
    caught_up(&mut items).await;
    // one event, so that a batch is as large as it may be, and larger than the window
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(1000));
    let updates: Vec<_> = (0..500).map(|n| update("Car", &n.to_string(), &long)).collect();
    write(&service, updates).await;
    let mut read = vec![next(&mut items).await.expect("no error").expect("an item")];
    service.drain();
    let (then, end) = to_end(&mut items).await;
    assert_eq!(unavailable(&end.expect("a status")), "UNAVAILABLE");
    read.extend(then);
    let taken = series(&service, SENT).await.expect("a series");
    let taken: usize = taken.parse().expect("a number");
    assert!(read.len() < taken, "{} of {taken}", read.len());
    drop((items, client));
    timeout(DEADLINE, service.stopped()).await.expect("the shutdown isn't delayed");

    // what was read are whole items, and the last token goes on behind them
    let service = Service::on(&file.url(), &[]).await;
    let mut client = service.changes().await;
    let last = token(&read[read.len() - 1]).to_owned();
    read.extend(caught_up(&mut stream(&mut client, watch(&last)).await).await);
    let all = caught_up(&mut stream(&mut client, watch("start")).await).await;
    assert_eq!(shown(&read), shown(&all));
    assert_eq!(all.len(), 500);
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_up_no_other_and_misses_nothing() {
    on_both(|service| async move {
        let mut client = service.changes().await;
        let mut fast = stream(&mut client, watch("start")).await;
        let mut slow = stream(&mut narrow(&service).await, watch("start")).await;
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(10_000));
        write_cars(&service, (0..1000).map(|_| long.clone())).await;
        // events of different entities may be committed in another order than they were sent
        write_car(&service, "last", "{}").await;
        let is_last = |item: &Item| matches!(item, Item::Change(it) if it.entity_id == "last");
        let of = |items: Vec<Item>| -> Vec<Item> {
            items.into_iter().filter(|item| matches!(item, Item::Change(_))).collect()
        };
        let fast = of(items_to(&mut fast, is_last).await);
        let sent = series(&service, SENT).await;
        let sent: u64 = sent.expect("a series").parse().expect("a number");
        assert!(sent < 1500, "{sent} of 1000 and what a window and a batch hold");
        assert_eq!(of(items_to(&mut slow, is_last).await), fast);
        assert_eq!(fast.len(), 1001);
    })
    .await;
}

#[tokio::test]
async fn an_item_may_be_larger_than_clients_receive_by_default() {
    let service = Service::start_with(&["--max-entity-bytes", "8MiB"]).await;
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(5 << 20));
    let client = service.client().await.max_encoding_message_size(16 << 20);
    let event = event_of("", vec![update("Car", "a", &large)]);
    client.clone().process_event(event).await.expect("a receipt");
    let mut client = service.changes().await.max_decoding_message_size(24 << 20);
    let request = WatchChangesRequest { include_data: true, ..until_now("start") };
    let (items, end) = to_end(&mut stream(&mut client, request).await).await;
    assert_eq!(end.map(|it| it.code()), None);
    assert_eq!(shown(&items), ["Car/a@1", "caught up"]);
    assert_eq!(data(&items[0]), Some((large, 1)));
}

#[tokio::test]
async fn a_database_that_is_away_refuses_new_readers_and_streams_go_on_after_it() {
    let server = tokio::task::spawn_blocking(Postgres::own).await.expect("a server");
    let database = server.fresh_database().await;
    let service = Service::on(database.url(), &[]).await;
    write_car(&service, "a", "{}").await;
    let mut client = service.changes().await;
    let mut items = stream(&mut client, watch("start")).await;
    assert_eq!(shown(&caught_up(&mut items).await), ["Car/a@1"]);
    server.stop();
    let refused = [
        client.list_changes(list("")).await.expect_err("no database"),
        client.watch_changes(watch("")).await.expect_err("no database"),
    ];
    for status in refused {
        assert_eq!(unavailable(&status), "UNAVAILABLE");
    }
    server.start();
    let began = Instant::now();
    let mut writer = client_of(service.address).await;
    let event = || event_of("", vec![update("Car", "b", "{}")]);
    while let Err(status) = writer.process_event(event()).await {
        assert!(began.elapsed() < DEADLINE, "{status}");
    }
    let then = items_to(&mut items, |item| matches!(item, Item::Change(_))).await;
    let Some(Item::Change(change)) = then.last() else { panic!("{then:?}") };
    assert_eq!(change.entity_id, "b");
}

#[tokio::test]
async fn reflection_describes_the_items() {
    let service = Service::start().await;
    let messages = reflected(&service, "producer.v1.ChangeService").await;
    // kinds of items have the names of REST's
    assert_eq!(messages["ChangeItem"], ["change", "snapshot", "snapshotEnd", "bookmark"]);
    assert_eq!(messages["ListChangesResponse"], ["items", "nextToken", "caughtUp"]);
    let request = ["from", "types", "filter", "includeData", "pageSize", "wait"];
    assert_eq!(messages["ListChangesRequest"], request);
}
