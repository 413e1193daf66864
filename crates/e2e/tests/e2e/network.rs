//! A bad network between the services and PostgreSQL.

use std::time::{Duration, Instant};

use e2e::{Database, Load, Outcome, Proxy, RECOVERY_DEADLINE, Record, Service, Weather};

fn done(record: &Record) -> bool {
    matches!(record.outcome, Outcome::Done { .. })
}

fn failed(record: &Record) -> bool {
    !done(record)
}

/// Latency, resets and half-open connections, one after the other.
#[tokio::test]
async fn a_bad_network_to_postgres_loses_nothing() {
    let database = Database::postgres().await;
    let (proxy, url) = Proxy::before(database.url()).await;
    let settings = [("DATABASE_URL", url.as_str())];
    let (rest, grpc) = Service::start_both(&settings).await;
    let load = Load::start(&[rest.rest().into(), grpc.grpc().into()], 8, 5);
    load.history().more_done(100).await;

    proxy.set(Weather { latency: Duration::from_millis(50), silent: false });
    load.history().more_done(100).await;
    proxy.set(Weather::default());
    for _ in 0..10 {
        proxy.reset();
        load.history().more_done(20).await;
    }
    proxy.set(Weather { silent: true, ..Weather::default() });
    load.history().more("answers though nothing passes", 40, failed).await;
    proxy.set(Weather::default());
    let healed = Instant::now();
    for sender in [0, 1] {
        let served = |record: &Record| record.sender == sender && done(record);
        load.history().more("events of each API after the silence", 20, served).await;
    }
    let recovery = healed.elapsed();
    assert!(recovery < RECOVERY_DEADLINE, "{recovery:?}");

    let history = load.stop().await;
    history.print_figures(&format!("bad network to PostgreSQL, recovery {recovery:.2?}"));
    history.assert_all_answered();
    history.check(&rest.rest()).await;
}
