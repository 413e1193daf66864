//! Writes of single entities: compare and swap between processes, and exactly once through faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use producer_e2e::{Binary, DEADLINE, Database, Rest, Service, Signal, eventually};
use producer_test_support::Postgres;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;
use uuid::Uuid;

use crate::macros::on_both_databases;
use crate::rebuild_is_clean;

on_both_databases!(
    compare_and_swap_has_one_winner_for_each_version,
    each_write_takes_effect_once_though_services_are_killed,
);

const LOOPS: u64 = 64;
const WINS: u64 = 3;

/// Each loop reads, counts up by one, and writes only if nobody wrote meanwhile.
async fn compare_and_swap_has_one_winner_for_each_version(database: &Database) {
    let one = Service::start(Binary::Rest, &database.settings()).await;
    let two = Service::start(Binary::Rest, &database.settings()).await;
    let path = "/api/v1/entities/Counter/hot";
    let (status, _) = write(&one.rest(), Method::PUT, path, &[], Some(json!({"count": 0}))).await;
    assert_eq!(status, Some(201));
    let loops = (0..LOOPS).map(|n| {
        let rest = if n % 2 == 0 { one.rest() } else { two.rest() };
        async move {
            let mut won = Vec::new();
            while (won.len() as u64) < WINS {
                let (version, data) = rest.entity("Counter", "hot").await;
                let etag = format!("\"{version}\"");
                let next = json!({"count": data["count"].as_u64().unwrap() + 1});
                let (status, answer) =
                    write(&rest, Method::PATCH, path, &[("if-match", &etag)], Some(next)).await;
                match status {
                    Some(200) => won.push(answer["version"].as_u64().unwrap()),
                    Some(412) => assert!(answer["currentVersion"].as_u64().unwrap() > version),
                    _ => panic!("{status:?} {answer}"),
                }
            }
            won
        }
    });
    let mut won: Vec<u64> = join_all(loops).await.concat();
    won.sort_unstable();
    assert_eq!(won, (2..LOOPS * WINS + 2).collect::<Vec<_>>(), "each version has one winner");
    let expected = (LOOPS * WINS + 1, json!({"count": LOOPS * WINS}));
    assert_eq!(two.rest().entity("Counter", "hot").await, expected);
}

async fn each_write_takes_effect_once_though_services_are_killed(database: &Database) {
    let mut one = Service::start(Binary::Rest, &database.settings()).await;
    let two = Service::start(Binary::Rest, &database.settings()).await;
    let load = Load::start(&[one.rest(), two.rest()]);
    for _ in 0..3 {
        load.more(100).await;
        one.signal(Signal::KILL);
        one.exit(DEADLINE).await;
        one.restart().await;
    }
    load.more(100).await;
    load.stop().await;
    one.stop().await;
    two.stop().await;
    rebuild_is_clean(database).await;
}

/// 503 means not stored, 504 and no answer mean unknown: whoever acts on that counts right.
#[tokio::test]
async fn each_write_takes_effect_once_though_postgres_goes_away() {
    let server = Arc::new(spawn_blocking(Postgres::own).await.unwrap());
    let url = server.url("postgres");
    let rest = Service::start(Binary::Rest, &[("DATABASE_URL", &url)]).await;
    let load = Load::start(&[rest.rest()]);
    let faults: [[fn(&Postgres); 2]; 3] = [
        [Postgres::stop, Postgres::start],
        [Postgres::kill, Postgres::start],
        [Postgres::freeze, Postgres::thaw],
    ];
    for [begin, end] in faults {
        load.more(100).await;
        let failures = load.counts.failures.load(Ordering::Relaxed);
        on(&server, begin).await;
        eventually("writes fail", async || {
            load.counts.failures.load(Ordering::Relaxed) >= failures + 10
        })
        .await;
        on(&server, end).await;
    }
    load.more(100).await;
    load.stop().await;
}

async fn on(server: &Arc<Postgres>, act: fn(&Postgres)) {
    let server = Arc::clone(server);
    spawn_blocking(move || act(&server)).await.unwrap();
}

/// Sends a request about one entity; no status where there was no answer.
async fn write(
    rest: &Rest,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> (Option<u16>, Value) {
    let mut request = rest.http.request(method, rest.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let Ok(answer) = request.send().await else { return (None, Value::Null) };
    let status = answer.status().as_u16();
    match answer.json().await {
        Ok(document) => (Some(status), document),
        Err(_) => (None, Value::Null),
    }
}

#[derive(Default)]
struct Counts {
    done: AtomicU64,
    failures: AtomicU64,
    stop: AtomicBool,
}

/// Writers with an entity each: whoever alone writes an entity knows the version that each write makes.
struct Load {
    counts: Arc<Counts>,
    writers: JoinSet<()>,
}

impl Load {
    fn start(services: &[Rest]) -> Self {
        let counts = Arc::new(Counts::default());
        let mut writers = JoinSet::new();
        for (place, rest) in services.iter().enumerate() {
            for writer in 0..8 {
                let id = format!("s{place}w{writer}");
                writers.spawn(write_in_turn(rest.clone(), id, Arc::clone(&counts)));
            }
        }
        Self { counts, writers }
    }

    /// Waits for more writes that take effect.
    async fn more(&self, count: u64) {
        let goal = self.counts.done.load(Ordering::Relaxed) + count;
        eventually("writes take effect", async || self.counts.done.load(Ordering::Relaxed) >= goal)
            .await;
    }

    async fn stop(mut self) {
        self.counts.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.writers.join_next().await {
            ended.expect("each write took effect once");
        }
    }
}

/// Replaces, merges and deletes one entity again and again. What was not stored (503) is sent again with
/// another key, what may be stored with the same one: also where only an earlier attempt may be stored.
async fn write_in_turn(rest: Rest, id: String, counts: Arc<Counts>) {
    let path = format!("/api/v1/entities/Car/{id}");
    let mut version = 0;
    while !counts.stop.load(Ordering::Relaxed) {
        let (method, body) = match version % 4 {
            0 => (Method::PUT, Some(json!({"made": version}))),
            3 => (Method::DELETE, None),
            _ => (Method::PATCH, Some(json!({ format!("n{version}"): version }))),
        };
        let mut key = Uuid::new_v4().to_string();
        let mut maybe_stored = false;
        version += 1;
        loop {
            let headers = [("idempotency-key", key.as_str())];
            match write(&rest, method.clone(), &path, &headers, body.clone()).await {
                (Some(200 | 201), answer) => {
                    assert_eq!(answer["version"], version, "{id} {answer}");
                    counts.done.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                (Some(503), _) if !maybe_stored => key = Uuid::new_v4().to_string(),
                (Some(503), _) => {}
                (Some(504) | None, _) => maybe_stored = true,
                (Some(status), answer) => panic!("{method} {id} {version}: {status} {answer}"),
            }
            counts.failures.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(20)).await;
        }
    }
    let (stored, data) = rest.entity("Car", &id).await;
    match version % 4 {
        0 => assert_eq!(stored, 0, "{id} is deleted"),
        n => {
            assert_eq!(stored, version, "{id}");
            assert_eq!(data.as_object().map(serde_json::Map::len), usize::try_from(n).ok());
        }
    }
}
