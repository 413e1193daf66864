//! A PostgreSQL that goes away, and one that freezes, under load.

use std::sync::Arc;

use e2e::{Load, Outcome, Record, Service};
use test_support::Postgres;
use tokio::task::spawn_blocking;

use crate::send_again;

/// Events that each API must get through before the fault, and after it.
const SERVED: usize = 100;
/// Refusals that each API must have given before the database comes back.
const REFUSED: usize = 20;

fn done(record: &Record) -> bool {
    matches!(record.outcome, Outcome::Done { .. })
}

fn failed(record: &Record) -> bool {
    !done(record)
}

/// Both services under load on a server that the test may torment.
struct Scene {
    server: Arc<Postgres>,
    rest: Service,
    grpc: Service,
    load: Load,
}

impl Scene {
    async fn new() -> Self {
        let server = Arc::new(spawn_blocking(Postgres::own).await.unwrap());
        let url = server.url("postgres");
        let (rest, grpc) = Service::start_both(&[("DATABASE_URL", &url)]).await;
        let load = Load::start(&[rest.rest().into(), grpc.grpc().into()], 8, 5);
        let scene = Self { server, rest, grpc, load };
        scene.each_api("events before the fault", SERVED, done).await;
        scene
    }

    /// Does something to the server, off the runtime, which has a load to carry.
    async fn torment(&self, act: fn(&Postgres)) {
        let server = Arc::clone(&self.server);
        spawn_blocking(move || act(&server)).await.unwrap();
    }

    /// Waits until each API has given so many more such answers.
    async fn each_api(&self, what: &str, n: usize, is_so: fn(&Record) -> bool) {
        for sender in [0, 1] {
            let is_so = |record: &Record| record.sender == sender && is_so(record);
            self.load.history().more(what, n, is_so).await;
        }
    }

    /// Reads and health say what is so, in time.
    async fn says_that_it_is_down(&self) {
        let rest = self.rest.rest();
        for path in ["/api/v1/entities/Car/car-1", "/api/v1/events/health", "/readyz"] {
            let start = std::time::Instant::now();
            let answer = rest.http.get(rest.url(path)).send().await.unwrap();
            assert_eq!(answer.status(), 503, "{path}");
            assert!(start.elapsed() < e2e::ANSWER_DEADLINE, "{path}: {:?}", start.elapsed());
        }
        let read = rest.http.get(rest.url("/api/v1/entities/Car/car-1")).send().await.unwrap();
        assert!(read.headers().contains_key("retry-after"));
        assert_eq!(rest.get("/livez").await.0, 200, "the process itself is well");
        assert!(!self.grpc.grpc().ready().await);
    }
}

#[tokio::test]
async fn postgres_stopped_and_started_under_load() {
    let scene = Scene::new().await;
    scene.torment(Postgres::stop).await;
    scene.each_api("refusals", REFUSED, failed).await;
    scene.says_that_it_is_down().await;
    scene.torment(Postgres::start).await;
    scene.each_api("events after the fault", SERVED, done).await;
    let history = scene.load.stop().await;
    history.print_figures("PostgreSQL stopped and started");
    history.assert_all_answered();
    history.check(&scene.rest.rest()).await;
}

#[tokio::test]
async fn postgres_killed_and_started_under_load() {
    let scene = Scene::new().await;
    scene.torment(Postgres::kill).await;
    scene.each_api("refusals", REFUSED, failed).await;
    scene.torment(Postgres::start).await;
    scene.each_api("events after the fault", SERVED, done).await;
    let history = scene.load.stop().await;
    history.print_figures("PostgreSQL killed and started");
    history.assert_all_answered();
    history.check(&scene.rest.rest()).await;
}

#[tokio::test]
async fn postgres_frozen_and_thawed_under_load() {
    let scene = Scene::new().await;
    scene.torment(Postgres::freeze).await;
    scene.each_api("answers in spite of the frost", REFUSED, failed).await;
    scene.says_that_it_is_down().await;
    scene.torment(Postgres::thaw).await;
    scene.each_api("events after the fault", SERVED, done).await;
    let history = scene.load.stop().await;
    history.print_figures("PostgreSQL frozen and thawed");
    history.assert_all_answered();
    history.check(&scene.rest.rest()).await;
    send_again(&history, failed, &scene.rest.rest().into()).await;
    history.check(&scene.rest.rest()).await;
}
