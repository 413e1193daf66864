//! `examples/cars.py` and `examples/books.py`, as in the README's first minute, and `examples/follow.py`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use futures_util::{StreamExt, stream};
use producer_e2e::proto::{
    EntityUpdate, EventBody, EventHeader, EventRequest, EventStatus, Operation,
};
use producer_e2e::{Binary, DEADLINE, Database, Load, Outcome, SentEvent, Service, Signal};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::macros::on_both_databases;

/// Events of the script's 406 cars.
const EVENTS: usize = 1962;

fn example(name: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples").join(name));
    command.kill_on_drop(true);
    command
}

/// Runs the script and returns its output.
async fn cars(arguments: &[&str]) -> String {
    run("cars.py", arguments).await
}

async fn run(script: &str, arguments: &[&str]) -> String {
    let output = example(script).args(arguments).output().await;
    let output = output.expect("python3 (3.8 or newer) runs the examples: install it");
    let printed = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{printed}{errors}", output.status);
    printed
}

/// Sends the cars over one interface, which also checks every entity; then again over another, which
/// must change nothing.
async fn send_cars(way: &str, again: &str) {
    let rest = Service::start(Binary::Rest, &[]).await;
    let url = format!("http://{}", rest.address());
    let printed = cars(&["--url", &url, "--way", way]).await;
    assert!(printed.contains(&format!("{EVENTS} new, 0 duplicates")), "{printed}");
    let printed = cars(&["--url", &url, "--way", again]).await;
    assert!(printed.contains(&format!("0 new, {EVENTS} duplicates")), "{printed}");
}

#[tokio::test]
async fn cars_as_single_posts() {
    send_cars("single", "bulk").await;
}

#[tokio::test]
async fn cars_as_bulk() {
    send_cars("bulk", "ndjson").await;
}

#[tokio::test]
async fn cars_as_ndjson() {
    send_cars("ndjson", "single").await;
}

/// The stream is sent by the tests' client, since grpcurl may be missing; the script checks the result.
#[tokio::test]
async fn cars_as_a_grpc_stream() {
    let database = Database::sqlite();
    let (rest, grpc) = Service::start_both(&database.settings()).await;
    let lines = cars(&["--events"]).await;
    let messages: Vec<_> = lines.lines().map(message).collect();
    assert_eq!(messages.len(), EVENTS);
    let results = grpc.grpc().client.stream_events(stream::iter(messages)).await.unwrap();
    let results: Vec<_> = results.into_inner().map(Result::unwrap).collect().await;
    assert_eq!(results.len(), EVENTS);
    assert!(results.iter().all(|result| result.status() == EventStatus::Processed));
    let url = format!("http://{}", rest.address());
    let printed = cars(&["--url", &url, "--way", "bulk"]).await;
    assert!(printed.contains(&format!("0 new, {EVENTS} duplicates")), "{printed}");
}

fn message(line: &str) -> EventRequest {
    let event: Value = serde_json::from_str(line).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let header = &event["eventHeader"];
    let updates = event["eventBody"]["entities"].as_array().unwrap().iter();
    let updates = updates.map(|update| EntityUpdate {
        entity_type: text(&update["entityType"]),
        entity_id: text(&update["entityId"]),
        attributes_json: Some(update["updatedAttributes"].to_string()),
        ..Default::default()
    });
    EventRequest {
        event_header: Some(EventHeader {
            uuid: text(&header["uuid"]),
            event_name: text(&header["eventName"]),
            event_type: text(&header["eventType"]),
            created_date: text(&header["createdDate"]),
            ..Default::default()
        }),
        event_body: Some(EventBody { entities: updates.collect() }),
    }
}

on_both_databases!(
    books_are_loaded_once_and_found,
    a_copy_stays_true_while_service_and_follower_are_killed,
);

async fn books_are_loaded_once_and_found(database: &Database) {
    let rest = Service::start(Binary::Rest, &database.settings()).await;
    let url = format!("http://{}", rest.address());
    let printed = run("books.py", &["--url", &url]).await;
    let stored = rest.rest().get("/api/v1/types/Book").await.1;
    for expected in [
        "10000 new books, 0 duplicates in ",
        "2 indexes and search are ready after ",
        "    The Fellowship of the *Ring* (The Lord of the *Rings*, #1)\n      J.R.R. *Tolkien*, 1954;",
        "  data.language\n    eng ",
        "      Bill Watterson, 2005; 4.82 of 5",
        "-d count=exact -d pageSize=3\n  25 found in ",
    ] {
        assert!(printed.contains(expected), "{expected}: {printed}");
    }
    assert!(!printed.contains("\n  0 found"), "{printed}");

    let printed = run("books.py", &["--url", &url, "\"war and peace\" -tolstoy"]).await;
    for expected in ["0 new books, 10000 duplicates in ", "\n  0 found in "] {
        assert!(printed.contains(expected), "{expected}: {printed}");
    }
    assert_eq!(rest.rest().get("/api/v1/types/Book").await.1, stored);
}

/// The copy of `examples/follow.py`.
struct Copy {
    folder: TempDir,
    url: String,
}

impl Copy {
    fn of(rest: &Service) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, url: format!("http://{}", rest.address()) }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("copy.db")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = example("follow.py");
        command.args(["--url", &self.url, "--file"]).arg(self.file()).args(arguments);
        command
    }

    /// Follows until it is killed.
    fn follow(&self) -> Follower {
        let mut child = self.command(&[]).stdout(Stdio::piped()).spawn().unwrap();
        let printed = BufReader::new(child.stdout.take().unwrap()).lines();
        Follower { child, printed }
    }

    /// Runs it to its end; returns whether it succeeded, and what it printed.
    async fn run(&self, arguments: &[&str]) -> (bool, String) {
        let output = timeout(DEADLINE, self.command(arguments).output()).await;
        let output = output.expect("it ends in time").unwrap();
        let printed = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(printed).unwrap())
    }

    /// The copy is the same as the service, entity by entity.
    async fn verify(&self, entities: usize) {
        let (is_true, printed) = self.run(&["--verify"]).await;
        assert!(
            is_true && printed.contains(&format!("same as the service, entities: {entities}\n")),
            "{printed}"
        );
    }

    /// After this statement has changed the copy, `--verify` fails and says this.
    async fn is_found_manipulated(&self, statement: &'static str, expected: &str) {
        let mut copy = SqliteConnection::connect(self.file().to_str().unwrap()).await.unwrap();
        let changed = sqlx::query(statement).execute(&mut copy).await.unwrap();
        assert_eq!(changed.rows_affected(), 1);
        copy.close().await.unwrap();
        let (is_true, printed) = self.run(&["--verify"]).await;
        assert!(!is_true && printed.contains(expected), "{printed}");
    }
}

struct Follower {
    child: Child,
    printed: Lines<BufReader<ChildStdout>>,
}

impl Follower {
    /// Waits until it has printed this many more changes of its copy.
    async fn more_changes(&mut self, n: usize) {
        for _ in 0..n {
            let line = timeout(DEADLINE, self.printed.next_line()).await;
            line.expect("a change in time").unwrap().expect("it runs on");
        }
    }

    async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

async fn send(rest: &Service, operation: Operation, entity_id: &str) {
    let mut event = SentEvent::new("Car", entity_id, json!({}));
    event.updates[0].operation = operation;
    let outcome = rest.rest().send(&event).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
}

async fn a_copy_stays_true_while_service_and_follower_are_killed(database: &Database) {
    let mut rest = Service::start(Binary::Rest, &database.settings()).await;
    let load = Load::start(&[rest.rest().into()], 4, 40);
    load.history().more_done(200).await;
    let copy = Copy::of(&rest);
    // killed within its snapshot, or soon after it
    let mut follower = copy.follow();
    for sold in ["sold-0", "sold-1", "sold-2", "sold-3"] {
        send(&rest, Operation::Merge, sold).await;
        follower.more_changes(20).await;
        follower.kill().await;
        send(&rest, Operation::Delete, sold).await;
        load.history().more_done(20).await;
        follower = copy.follow();
        follower.more_changes(20).await;
        rest.signal(Signal::KILL);
        rest.exit(DEADLINE).await;
        rest.restart().await;
        load.history().more_done(20).await;
    }
    follower.more_changes(20).await;
    follower.kill().await;
    load.stop().await;
    send(&rest, Operation::Merge, "sold-0").await;

    // of the load 40 cars and 10 loans, and the car that was made anew
    copy.verify(51).await;
    copy.is_found_manipulated(
        "UPDATE entities SET data = json_set(data, '$.odd', 1) WHERE type = 'Car' AND id = 'car-7'",
        "Car car-7: version ",
    )
    .await;
    copy.is_found_manipulated(
        "DELETE FROM entities WHERE type = 'Loan' AND id = 'car-7'",
        "Loan car-7: not in the copy, version ",
    )
    .await;
    copy.is_found_manipulated(
        "INSERT INTO entities VALUES ('Car', 'sold-1', 1, '{}', 1)",
        "Car sold-1: version 1 in the copy, not in the service",
    )
    .await;
}

/// The service has another log: the versions of its entities begin again.
#[tokio::test]
async fn a_copy_begins_again_where_its_token_is_gone() {
    let before = Service::start(Binary::Rest, &[]).await;
    for n in 1..=3 {
        before.rest().send(&SentEvent::new("Car", "kept", json!({"n": n}))).await;
    }
    before.rest().send(&SentEvent::new("Car", "lost", json!({"n": 1}))).await;
    let mut copy = Copy::of(&before);
    copy.verify(2).await;

    let after = Service::start(Binary::Rest, &[]).await;
    after.rest().send(&SentEvent::new("Car", "kept", json!({"n": 9}))).await;
    copy.url = format!("http://{}", after.address());
    let (is_done, printed) = copy.run(&["--once"]).await;
    assert!(is_done, "{printed}");
    for expected in [
        "beginning again",
        "Car kept: version 1, snapshot",
        "Car lost: removed, not in the snapshot",
    ] {
        assert!(printed.contains(expected), "{expected}: {printed}");
    }
    copy.verify(1).await;
}

/// A copy of some types has only these, and is not mistaken for one of others.
#[tokio::test]
async fn a_copy_may_be_of_some_types() {
    let rest = Service::start(Binary::Rest, &[]).await;
    let event = SentEvent::new("Car", "1", json!({})).and("Loan", "1", json!({}));
    rest.rest().send(&event.and("Shop", "1", json!({}))).await;
    let copy = Copy::of(&rest);
    let types = ["--type", "Loan", "--type", "Car", "--once"];
    let (is_done, printed) = copy.run(&types).await;
    assert!(is_done && printed.contains("committed, entities: 2\n"), "{printed}");
    let (is_done, printed) = copy.run(&["--type", "Car"]).await;
    assert!(!is_done && printed.contains("is a copy of Car, Loan"), "{printed}");
}

/// A copy of what matches a filter has that, and drops what matches no more.
#[tokio::test]
async fn a_copy_may_be_of_what_matches() {
    let rest = Service::start(Binary::Rest, &[]).await;
    let set_prices = async |prices: &[(&'static str, u32)]| {
        for (id, price) in prices {
            let event = SentEvent::new("Car", id, json!({"price": price}));
            let outcome = rest.rest().send(&event).await;
            assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
        }
    };
    set_prices(&[("cheap", 1), ("dear", 9), ("dearer", 10), ("sold", 11)]).await;
    let copy = Copy::of(&rest);
    let matching = ["--filter", "data.price > 5", "--verify"];
    let (is_true, printed) = copy.run(&matching).await;
    assert!(is_true && printed.contains("same as the service, entities: 3\n"), "{printed}");

    set_prices(&[("dear", 2), ("cheap", 3), ("dearer", 12), ("new", 7)]).await;
    send(&rest, Operation::Delete, "sold").await;
    let (is_true, printed) = copy.run(&matching).await;
    assert!(is_true, "{printed}");
    for expected in [
        "Car dear: removed, no longer matches",
        "Car sold: removed, no longer matches",
        "Car dearer: version 2",
        "same as the service, entities: 2\n",
    ] {
        assert!(printed.contains(expected), "{expected}: {printed}");
    }
    assert!(!printed.contains("cheap"), "it was never in the copy: {printed}");

    let (is_done, printed) = copy.run(&["--once"]).await;
    assert!(
        !is_done && printed.contains("is a copy of all types where data.price > 5"),
        "{printed}"
    );
}
