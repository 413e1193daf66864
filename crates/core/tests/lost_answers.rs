//! What senders are answered when PostgreSQL commits and its answer is lost: a proxy in between
//! forwards everything until it is asked to drop the answer to one message.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use producer_core::ingest::Limits;
use producer_core::{Ingest, Receipt};
use support::{Db, START, car, clock, default, event, open, settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

/// A proxy in front of a server.
struct Proxy {
    port: u16,
    /// The answer to the message that holds these bytes is swallowed, once, and the connection ends.
    swallow: Arc<Mutex<Option<&'static str>>>,
}

impl Proxy {
    async fn before(server: (String, u16)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let swallow = Arc::<Mutex<Option<&'static str>>>::default();
        let swallow_next = Arc::clone(&swallow);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect((server.0.as_str(), server.1)).await.unwrap();
                tokio::spawn(forward(client, server, Arc::clone(&swallow_next)));
            }
        });
        Self { port, swallow }
    }

    fn swallow_the_answer_to(&self, message: &'static str) {
        *self.swallow.lock().unwrap() = Some(message);
    }
}

/// What a client sends is small here, so that one read returns all of it.
async fn forward(
    mut client: TcpStream,
    mut server: TcpStream,
    swallow: Arc<Mutex<Option<&'static str>>>,
) -> std::io::Result<()> {
    let (mut sent, mut answered) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut swallows = false;
    loop {
        tokio::select! {
            length = client.read(&mut sent) => {
                let message = &sent[..length?];
                if message.is_empty() {
                    return Ok(());
                }
                let holds = |wanted: &mut &str| {
                    message.windows(wanted.len()).any(|bytes| bytes == wanted.as_bytes())
                };
                swallows |= swallow.lock().unwrap().take_if(holds).is_some();
                server.write_all(message).await?;
            }
            length = server.read(&mut answered) => {
                let answer = &answered[..length?];
                if answer.is_empty() || swallows {
                    return Ok(());
                }
                client.write_all(answer).await?;
            }
        }
    }
}

/// An ingest whose database is behind a proxy.
async fn behind_a_proxy(db: &Db) -> (Ingest, Proxy) {
    let url: sqlx::postgres::PgConnectOptions = db.url.parse().unwrap();
    let proxy = Proxy::before((url.get_host().to_owned(), url.get_port())).await;
    let (at, proxied) = (url.get_port().to_string(), proxy.port.to_string());
    let settings = settings(&db.url.replace(&at, &proxied), default);
    let store = open(&settings, clock(START)).await;
    let limits = Limits { request_timeout: Duration::from_secs(30), ..support::limits() };
    (Ingest::start(store, limits, &Handle::current()), proxy)
}

fn summary(receipt: &Receipt) -> (bool, Vec<u64>) {
    (receipt.duplicate, receipt.entities.iter().map(|entity| entity.version).collect())
}

#[tokio::test]
async fn an_event_whose_answer_was_lost_is_no_duplicate_of_itself() {
    let db = Db::postgres(default).await;
    let (ingest, proxy) = behind_a_proxy(&db).await;
    ingest.submit(car(1, "a", "{}")).await.unwrap();
    for (n, version, patch, message) in
        [(2, 2, r#"{"flat":"lost"}"#, "lost"), (3, 3, r#"{"deep":{}}"#, "COMMIT")]
    {
        proxy.swallow_the_answer_to(message);
        let receipt = ingest.submit(car(n, "a", patch)).await.unwrap();
        assert_eq!(*proxy.swallow.lock().unwrap(), None, "the answer was lost");
        assert_eq!(summary(&receipt), (false, vec![version]));
        let again = ingest.submit(car(n, "a", patch)).await.unwrap();
        assert_eq!(summary(&again), (true, vec![version]));
    }
}

#[tokio::test]
async fn a_duplicate_in_a_batch_whose_answer_was_lost_stays_one() {
    let db = Db::postgres(default).await;
    let (ingest, proxy) = behind_a_proxy(&db).await;
    let old = car(1, "a", "{}");
    ingest.submit(old.clone()).await.unwrap();
    let new = event(2, &[("Car", "a", r#"{"x":1}"#), ("Car", "b", "{}")]);
    proxy.swallow_the_answer_to("COMMIT");
    let outcomes = ingest.submit_atomic(vec![old, new.clone(), new]).await.unwrap();
    assert_eq!(*proxy.swallow.lock().unwrap(), None, "the answer was lost");
    let summaries: Vec<_> =
        outcomes.iter().map(|outcome| summary(outcome.as_ref().unwrap())).collect();
    assert_eq!(summaries, [(true, vec![1]), (false, vec![2, 1]), (true, vec![2, 1])]);
    assert_eq!(db.entity("Car", "a").await.unwrap().version, 2);
}
