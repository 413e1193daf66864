//! Memory that the largest messages take: the peak of the binary's process, as Linux counts it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use producer_grpc::proto::v1::change_item::Item;
use producer_grpc::proto::v1::change_service_client::ChangeServiceClient;
use producer_grpc::proto::v1::{EventStatus, WatchChangesRequest};
use prost::encoding::{WireType, encode_key, encode_varint};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt;

use crate::app::{client_of, error_info, event, send_until_no_room};
use crate::raw::{PROCESS, exchange, framed, raw};

const PROCESS_MANY: &str = "/producer.v1.EventService/ProcessEvents";
const REPLACE: &str = "/producer.v1.EntityService/ReplaceEntity";
/// Less than the default, so that the tests are short.
const MAX_BODY_BYTES: &str = "4MiB";
/// The same, less room for what surrounds the part that fills it.
const LARGEST: usize = (4 << 20) - 1024;
/// What one message may add to the process as it starts: a small multiple of the message. Decoded by
/// prost it would be a hundred times its size.
const MEMORY: u64 = 104 << 20;

/// The binary, killed when dropped.
struct Process {
    child: Child,
    address: SocketAddr,
    /// Its peak just after the start.
    at_start: u64,
    _folder: TempDir,
}

impl Process {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = Command::new(env!("CARGO_BIN_EXE_producer-grpc"))
            .env_clear()
            .envs([("GRPC_SERVER_PORT", "0"), ("MAX_BODY_BYTES", MAX_BODY_BYTES)])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut log = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let address = log
            .by_ref()
            .map(|line| line.expect("a line of the log"))
            .find_map(|line| line.split_once(r#""address":""#).map(|(_, rest)| rest.to_owned()))
            .expect("it says where it listens");
        let address = address.split('"').next().and_then(|text| text.parse().ok());
        std::thread::spawn(move || log.for_each(drop));
        let address = address.expect("an address");
        let at_start = peak(&child);
        Self { child, address, at_start, _folder: folder }
    }

    #[track_caller]
    fn is_small(&self, what: &str) {
        let cost = peak(&self.child) - self.at_start;
        assert!(cost < MEMORY, "{what}: {} MiB at its peak", cost >> 20);
    }
}

/// `VmHWM`, in bytes.
fn peak(process: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()));
    let status = status.expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok()).expect("VmHWM in kB") << 10
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("our own child ends");
    }
}

/// A field with these bytes.
fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 10);
    encode_key(number, WireType::LengthDelimited, &mut out);
    encode_varint(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}

/// An event with these attributes of its only entity. It has no name, so that it is refused as soon
/// as it is read: only the reading is measured.
fn event_with(attributes: &[u8]) -> Vec<u8> {
    let entity = [field(1, b"Loan"), field(2, b"1"), attributes.to_vec()].concat();
    [field(1, b""), field(2, &field(1, &entity))].concat()
}

#[tokio::test]
async fn a_message_of_empty_entities_stays_small() {
    let service = Process::start();
    let body = field(2, &field(1, b"").repeat(LARGEST / 2));
    let status = raw(service.address, PROCESS, &[], framed(0, &body)).await;
    service.is_small("empty entities");
    assert_eq!(
        (status.code(), error_info(&status).reason.as_str()),
        (Code::InvalidArgument, "VALIDATION")
    );
    let details = status.get_details_bad_request().expect("a BadRequest");
    assert!(!details.field_violations.is_empty());
}

#[tokio::test]
async fn a_call_of_empty_events_stays_small() {
    let service = Process::start();
    let body = field(1, b"").repeat(LARGEST / 2);
    let status = raw(service.address, PROCESS_MANY, &[], framed(0, &body)).await;
    service.is_small("empty events");
    let details = status.get_details_bad_request().expect("a BadRequest");
    assert_eq!(details.field_violations[0].field, "events");
    assert_eq!(details.field_violations[0].description, "must have at most 10,000 items");
}

#[tokio::test]
async fn a_call_of_many_events_of_many_empty_entities_stays_small() {
    let service = Process::start();
    let event = field(2, &field(1, b"").repeat(200));
    let body = field(1, &event).repeat(10_000);
    let (status, _) = exchange(service.address, PROCESS_MANY, &[], framed(0, &body)).await;
    assert_eq!(status.code(), Code::Ok);
    service.is_small("events of empty entities");
}

#[tokio::test]
async fn a_struct_of_empty_values_stays_small() {
    let service = Process::start();
    let list = field(6, &field(1, b"").repeat(LARGEST / 2));
    let entry = field(1, &[field(1, b"a"), field(2, &list)].concat());
    let body = event_with(&field(4, &entry));
    let status = raw(service.address, PROCESS, &[], framed(0, &body)).await;
    assert_eq!(
        (status.code(), error_info(&status).reason.as_str()),
        (Code::InvalidArgument, "VALIDATION")
    );
    service.is_small("a Struct of empty values");
}

#[tokio::test]
async fn a_struct_of_nulls_stays_small() {
    let service = Process::start();
    let list = field(6, &field(1, &[8, 0]).repeat(LARGEST / 4));
    let entry = field(1, &[field(1, b"a"), field(2, &list)].concat());
    let body = event_with(&field(4, &entry));
    let status = raw(service.address, PROCESS, &[], framed(0, &body)).await;
    assert_eq!(
        (status.code(), error_info(&status).reason.as_str()),
        (Code::InvalidArgument, "VALIDATION")
    );
    service.is_small("a Struct of nulls");
}

/// A write of one entity without its id, so that only the reading is measured.
#[tokio::test]
async fn a_write_with_a_struct_of_nulls_stays_small() {
    let service = Process::start();
    let list = field(6, &field(1, &[8, 0]).repeat(LARGEST / 4));
    let entry = field(1, &[field(1, b"a"), field(2, &list)].concat());
    let body = [field(1, b"Loan"), field(4, &entry)].concat();
    let status = raw(service.address, REPLACE, &[], framed(0, &body)).await;
    let details = status.get_details_bad_request().expect("a BadRequest");
    assert_eq!(details.field_violations[0].field, "entity_id");
    service.is_small("a write with a Struct of nulls");
}

#[tokio::test]
async fn maps_of_short_keys_stay_small() {
    for (what, number) in [("a map", 3), ("a Struct", 4)] {
        let service = Process::start();
        let mut entries = Vec::new();
        for n in 0_u32.. {
            let key = format!("{n:x}");
            let value = if number == 3 { vec![] } else { field(2, &[8, 0]) };
            let entry = [field(1, key.as_bytes()), value].concat();
            entries.extend(field(if number == 3 { 3 } else { 1 }, &entry));
            if entries.len() > LARGEST - 100 {
                break;
            }
        }
        let attributes = if number == 3 { entries } else { field(4, &entries) };
        let body = framed(0, &event_with(&attributes));
        let status = raw(service.address, PROCESS, &[], body).await;
        assert_eq!(error_info(&status).reason, "VALIDATION");
        service.is_small(what);
    }
}

#[tokio::test]
async fn results_that_nobody_reads_stay_small() {
    let service = Process::start();
    let value = r#"{"a":1,"a":1,"a":1,"a":1}"#;
    let text = (0..60).fold(value.to_owned(), |inner, _| format!(r#"{{"some key here":{inner}}}"#));
    let json = text.replace(value, &format!(r#"{{"a":1{}}}"#, r#","a":1"#.repeat(150)));
    let broken = event("", "1", &json);
    let (mut client, other) = (client_of(service.address).await, client_of(service.address).await);
    let (sender, events) = mpsc::channel(1);
    let call = tokio::spawn(async move { client.stream_events(ReceiverStream::new(events)).await });
    let sent = send_until_no_room(&sender, &other, |_| broken.clone(), 3000).await;
    service.is_small(&format!("results of {sent} events that nobody reads"));
    drop(sender);
    let mut results = call.await.expect("no panic").expect("a stream").into_inner();
    let mut received = 0;
    while let Some(result) = results.message().await.expect("no error") {
        assert_eq!((result.status(), result.violations.len()), (EventStatus::Invalid, 100));
        received += 1;
    }
    assert_eq!(received, sent, "each has its result");
}

#[tokio::test]
async fn streams_of_changes_that_nobody_reads_stay_small() {
    const STREAMS: usize = 50;
    const CHANGES: usize = 300;
    let service = Process::start();
    let mut writer = client_of(service.address).await;
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(200 << 10));
    let events = (0..CHANGES).map(move |n| event("", &n.to_string(), &long));
    let results = writer.stream_events(tokio_stream::iter(events)).await.expect("a stream");
    let mut results = results.into_inner();
    while let Some(result) = results.message().await.expect("no error") {
        assert_eq!(result.status(), EventStatus::Processed);
    }
    let endpoint = Channel::from_shared(format!("http://{}", service.address)).expect("a URL");
    let endpoint = endpoint.initial_stream_window_size(65_535);
    let channel = endpoint.connect().await.expect("a connection");
    let request = WatchChangesRequest { from: "start".into(), ..WatchChangesRequest::default() };
    let mut open = Vec::new();
    for _ in 0..STREAMS {
        let mut client = ChangeServiceClient::new(channel.clone());
        open.push(client.watch_changes(request.clone()).await.expect("a stream").into_inner());
    }
    // by then each stream that is not read has sent what its window takes
    let mut last = open.pop().expect("a stream");
    let mut changes = 0;
    while changes < CHANGES {
        let item = last.message().await.expect("no error").expect("an item").item;
        changes += usize::from(matches!(item, Some(Item::Change(_))));
    }
    service.is_small(&format!("{} streams of 60 MiB that nobody reads", open.len()));
}
