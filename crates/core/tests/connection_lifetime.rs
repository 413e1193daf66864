//! How long connections to PostgreSQL live, and that one isn't trusted after a rest.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use support::{Db, START, applied, apply, car, clock, default, key, open, settings};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

const DEADLINE: Duration = Duration::from_secs(30);

/// The server's processes that serve connections of ours.
async fn backends(db: &Db) -> Vec<i32> {
    let mut admin = PgConnection::connect(&db.url).await.unwrap();
    let pids = "SELECT pid FROM pg_stat_activity
                WHERE application_name = 'producer' AND datname = current_database()";
    sqlx::query_scalar(pids).fetch_all(&mut admin).await.unwrap()
}

#[tokio::test]
async fn idle_connections_are_closed_the_writers_too() {
    let db = Db::postgres(|settings| settings.idle_timeout = Duration::from_millis(300)).await;
    let mut writer = db.store.writer();
    for version in 1..=2 {
        let batch = [car(u128::from(version), "a", "{}")];
        assert_eq!(apply(&mut *writer, &batch).await, [applied(vec![version])]);
        assert!(db.car("a").await.is_some());
        let started = Instant::now();
        while !backends(&db).await.is_empty() {
            assert!(started.elapsed() < DEADLINE, "still open: {:?}", backends(&db).await);
        }
    }
}

/// Between batches, never in one: none of them fails.
#[tokio::test]
async fn old_connections_are_renewed_while_they_are_used() {
    let db = Db::postgres(|settings| settings.max_lifetime = Duration::from_millis(300)).await;
    let mut writer = db.store.writer();
    let (mut n, started) = (0, Instant::now());
    let mut first = None;
    loop {
        n += 1;
        let batch = [car(u128::from(n), "a", if n % 2 == 0 { "{}" } else { r#"{"o":{}}"# })];
        assert_eq!(apply(&mut *writer, &batch).await, [applied(vec![n])]);
        assert!(db.car("a").await.is_some());
        let now = backends(&db).await;
        let first = first.get_or_insert_with(|| now.clone());
        assert_eq!(first.len(), 2, "a writer's and a reader's");
        if !now.is_empty() && now.iter().all(|pid| !first.contains(pid)) {
            return;
        }
        assert!(started.elapsed() < DEADLINE, "still {now:?}");
    }
}

/// Forwards connections; the open ones stop forwarding for ever on each tick of `silence`, and add a
/// permit to `silent` then.
async fn forgetful_network(
    server: String,
    silence: watch::Receiver<()>,
    silent: Arc<Semaphore>,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (server, mut silence) = (server.clone(), silence.clone());
            let silent = Arc::clone(&silent);
            silence.mark_unchanged();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(server).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    _ = silence.changed() => {
                        silent.add_permits(1);
                        std::future::pending().await
                    }
                }
            });
        }
    });
    port
}

/// As a firewall does that drops an idle connection's state, and later packets silently.
#[tokio::test]
async fn a_connection_that_died_silently_while_idle_fails_no_read() {
    let db = Db::postgres(default).await;
    db.apply(&[car(1, "a", "{}")]).await;
    let server = db.url.split(['@', '/']).nth(3).unwrap();
    for (test_after_idle, is_found) in [(Duration::ZERO, true), (Duration::from_secs(60), false)] {
        let (silence, ticks) = watch::channel(());
        let silent = Arc::new(Semaphore::new(0));
        let port = forgetful_network(server.to_owned(), ticks, Arc::clone(&silent)).await;
        let url = db.url.replace(server, &format!("127.0.0.1:{port}"));
        let mut settings = settings(&url, default);
        settings.test_after_idle = test_after_idle;
        let store = open(&settings, clock(START)).await;
        assert!(store.entity(&key("Car", "a")).await.unwrap().is_some());
        let started = Instant::now();
        while store.pool().unwrap().idle == 0 {
            assert!(started.elapsed() < DEADLINE, "the connection does not return to the pool");
            tokio::task::yield_now().await;
        }
        silence.send_replace(());
        silent.acquire().await.unwrap().forget();
        let read = store.entity(&key("Car", "a")).await;
        // untested, the dead connection is used and nothing is answered
        assert_eq!(read.is_ok_and(|car| car.is_some()), is_found, "{test_after_idle:?}");
        let closing = Instant::now();
        store.close().await;
        assert!(closing.elapsed() < Duration::from_secs(2), "a dead connection is not waited for");
    }
}
