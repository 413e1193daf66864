//! A PostgreSQL that is stopped, killed or frozen under load.

use std::sync::Arc;

use producer_e2e::{Load, Outcome, Record, Service};
use producer_test_support::Postgres;
use tokio::task::spawn_blocking;

use crate::send_again;

/// Acknowledged events of each API before and after the fault.
const SERVED: usize = 100;
/// Refusals of each API before the database is restored.
const REFUSED: usize = 20;

fn done(record: &Record) -> bool {
    matches!(record.outcome, Outcome::Done { .. })
}

fn failed(record: &Record) -> bool {
    !done(record)
}

/// Both services under load on a server of their own.
struct Environment {
    server: Arc<Postgres>,
    rest: Service,
    grpc: Service,
    load: Load,
}

impl Environment {
    async fn new() -> Self {
        let server = Arc::new(spawn_blocking(Postgres::own).await.unwrap());
        let url = server.url("postgres");
        let (rest, grpc) = Service::start_both(&[("DATABASE_URL", &url)]).await;
        let load = Load::start(&[rest.rest().into(), grpc.grpc().into()], 8, 5);
        let environment = Self { server, rest, grpc, load };
        environment.each_api("events before the fault", SERVED, done).await;
        environment
    }

    /// Acts on the server, on a blocking thread.
    async fn server(&self, act: fn(&Postgres)) {
        let server = Arc::clone(&self.server);
        spawn_blocking(move || act(&server)).await.unwrap();
    }

    /// Waits until each API has this many more matching requests.
    async fn each_api(&self, what: &str, n: usize, matches: fn(&Record) -> bool) {
        for sender in [0, 1] {
            let matches = |record: &Record| record.sender == sender && matches(record);
            self.load.history().more(what, n, matches).await;
        }
    }

    /// Reads and health report the outage in time.
    async fn assert_outage_is_reported(&self) {
        let rest = self.rest.rest();
        for path in ["/api/v1/entities/Car/car-1", "/api/v1/events/health", "/readyz"] {
            let start = std::time::Instant::now();
            let answer = rest.http.get(rest.url(path)).send().await.unwrap();
            assert_eq!(answer.status(), 503, "{path}");
            assert!(
                start.elapsed() < producer_e2e::ANSWER_DEADLINE,
                "{path}: {:?}",
                start.elapsed()
            );
        }
        let read = rest.http.get(rest.url("/api/v1/entities/Car/car-1")).send().await.unwrap();
        assert!(read.headers().contains_key("retry-after"));
        assert_eq!(rest.get("/livez").await.0, 200, "the process itself is healthy");
        assert!(!self.grpc.grpc().ready().await);
    }
}

#[tokio::test]
async fn postgres_stopped_and_started_under_load() {
    let environment = Environment::new().await;
    environment.server(Postgres::stop).await;
    environment.each_api("refusals", REFUSED, failed).await;
    environment.assert_outage_is_reported().await;
    environment.server(Postgres::start).await;
    environment.each_api("events after the fault", SERVED, done).await;
    let history = environment.load.stop().await;
    history.print_summary("PostgreSQL stopped and started");
    history.assert_all_answered();
    history.check(&environment.rest.rest()).await;
}

#[tokio::test]
async fn postgres_killed_and_started_under_load() {
    let environment = Environment::new().await;
    environment.server(Postgres::kill).await;
    environment.each_api("refusals", REFUSED, failed).await;
    environment.server(Postgres::start).await;
    environment.each_api("events after the fault", SERVED, done).await;
    let history = environment.load.stop().await;
    history.print_summary("PostgreSQL killed and started");
    history.assert_all_answered();
    history.check(&environment.rest.rest()).await;
}

#[tokio::test]
async fn postgres_frozen_and_thawed_under_load() {
    let environment = Environment::new().await;
    environment.server(Postgres::freeze).await;
    environment.each_api("responses while frozen", REFUSED, failed).await;
    environment.assert_outage_is_reported().await;
    environment.server(Postgres::thaw).await;
    environment.each_api("events after the fault", SERVED, done).await;
    let history = environment.load.stop().await;
    history.print_summary("PostgreSQL frozen and thawed");
    history.assert_all_answered();
    history.check(&environment.rest.rest()).await;
    send_again(&history, failed, &environment.rest.rest().into()).await;
    history.check(&environment.rest.rest()).await;
}
