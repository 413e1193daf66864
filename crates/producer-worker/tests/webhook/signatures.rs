//! Signatures, verified by a library of Standard Webhooks in Python: the receiver of
//! `docs/recipes/webhooks.md`, as it stands there.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use producer_test_support::{fetched, free_port};
use producer_worker::config::Form;
use producer_worker::update::Update;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};

use crate::receiver::Receiver;
use crate::sinks::{SECRET, Settings, change, deliver, failure, snapshot};

const OTHER_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// For the start of Python, on a machine that compiles meanwhile.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The Python program of the recipe.
fn program() -> String {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/recipes/webhooks.md");
    let text = std::fs::read_to_string(recipe).expect("the recipe");
    let program = text.split_once("```python\n").and_then(|(_, rest)| rest.split_once("```"));
    program.expect("a block of Python").0.to_owned()
}

/// A receiver in Python that accepts what is signed with [`SECRET`].
struct Python {
    _process: Child,
    printed: Lines<BufReader<ChildStdout>>,
    url: String,
}

impl Python {
    async fn start() -> Self {
        let python = fetched("python").join("bin/python");
        assert!(python.is_file(), "no Python for the tests: run scripts/python-for-tests");
        let port = free_port();
        let mut command = Command::new(python);
        command.arg("-c").arg(program()).stdout(Stdio::piped()).kill_on_drop(true);
        command.env("WEBHOOK_SECRET", SECRET).env("PORT", port.to_string());
        let mut process = command.spawn().expect("Python starts");
        let listens = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                assert_eq!(process.try_wait().expect("a process"), None, "Python has ended");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(START_TIMEOUT, listens).await.expect("Python listens");
        let printed = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        Self { _process: process, printed, url: format!("http://127.0.0.1:{port}/orders") }
    }

    fn settings(&self, secrets: &[&str]) -> Settings {
        let secrets = secrets.iter().map(|&secret| secret.to_owned()).collect();
        Settings { secrets, ..Settings::new(&self.url) }
    }

    async fn printed(&mut self) -> String {
        self.printed.next_line().await.expect("text").expect("a line")
    }
}

#[tokio::test]
async fn another_library_verifies_the_signatures() {
    let mut python = Python::start().await;
    let sink = python.settings(&[SECRET]).open();
    let escaped = "snapshot/Order/%C3%A9%20a%2Eb%2Fc%25%0A/3";
    let cases: [(Update, &str, &str); 3] = [
        (change("o-1", 1), "00000000-0000-0000-0000-000000000001/0 producer.entity.created", "o-1"),
        (snapshot("o-2", 3), "snapshot/Order/o-2/3 producer.entity.snapshot", "o-2"),
        (snapshot("é", 3), "snapshot/Order/%C3%A9/3 producer.entity.snapshot", "é"),
    ];
    for (update, printed, id) in cases {
        assert_eq!(deliver(&sink, update).await, Ok(()), "{printed}");
        assert_eq!(python.printed().await, format!("{printed} Order/{id}"));
    }
    let receiver = Receiver::answering(204).await;
    let other = Settings::new(receiver.url()).open();
    assert_eq!(deliver(&other, snapshot("é a.b/c%\n", 3)).await, Ok(()));
    let request = &receiver.received()[0];
    assert_eq!((request.header("webhook-id"), &request.json()["id"]), (escaped, &escaped.into()));
    // without secrets there is no signature
    assert_eq!(request.header("webhook-signature"), "");
    assert_eq!(request.header("content-type"), "application/cloudevents+json; charset=utf-8");
}

#[tokio::test]
async fn while_a_secret_is_replaced_either_is_enough() {
    let mut python = Python::start().await;
    for secrets in [[SECRET, OTHER_SECRET], [OTHER_SECRET, SECRET]] {
        let sink = python.settings(&secrets).open();
        assert_eq!(deliver(&sink, change("o-1", 1)).await, Ok(()));
        python.printed().await;
    }
    for secrets in [&[OTHER_SECRET][..], &[]] {
        let sink = python.settings(secrets).open();
        let failure = failure(&sink).await;
        assert!(failure.detail.contains(" answered 401 Unauthorized"), "{failure}");
    }
}

#[tokio::test]
async fn the_plain_form_is_signed_with_the_same_id() {
    let receiver = Receiver::answering(204).await;
    let secrets = vec![SECRET.to_owned()];
    let sink = Settings { secrets, form: Form::Plain, ..Settings::new(receiver.url()) }.open();
    assert_eq!(deliver(&sink, change("o-1", 1)).await, Ok(()));
    let request = &receiver.received()[0];
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("webhook-id"), "00000000-0000-0000-0000-000000000001/0");
    assert_eq!(request.header("webhook-signature").len(), "v1,".len() + 44);
    assert_eq!(request.json()["event_type"], "order.created");
    assert!(request.header("user-agent").starts_with("producer/"));
}
