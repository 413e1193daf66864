//! A bad network between the services and PostgreSQL, and between clients and the services.

use std::time::{Duration, Instant};

use producer_e2e::{
    Api, Database, Grpc, Load, NetworkConditions, Outcome, Proxy, RECOVERY_DEADLINE, Record, Rest,
    Service,
};

use crate::send_again;

fn done(record: &Record) -> bool {
    matches!(record.outcome, Outcome::Done { .. })
}

fn failed(record: &Record) -> bool {
    !done(record)
}

/// Latency, resets and stalled connections, one after the other.
#[tokio::test]
async fn a_bad_network_to_postgres_loses_nothing() {
    let database = Database::postgres().await;
    let (proxy, url) = Proxy::for_database(database.url()).await;
    let settings = [("DATABASE_URL", url.as_str())];
    let (rest, grpc) = Service::start_both(&settings).await;
    let load = Load::start(&[rest.rest().into(), grpc.grpc().into()], 8, 5);
    load.history().more_done(100).await;

    proxy.set(NetworkConditions::slow(Duration::from_millis(50)));
    load.history().more_done(100).await;
    proxy.set(NetworkConditions::default());
    for _ in 0..10 {
        proxy.reset();
        load.history().more_done(20).await;
    }
    proxy.set(NetworkConditions::stalled());
    load.history().more("responses on a stalled network", 40, failed).await;
    proxy.set(NetworkConditions::default());
    let restored = Instant::now();
    for sender in [0, 1] {
        let served = |record: &Record| record.sender == sender && done(record);
        load.history().more("events of each API after the stall", 20, served).await;
    }
    let recovery = restored.elapsed();
    assert!(recovery < RECOVERY_DEADLINE, "{recovery:?}");

    let history = load.stop().await;
    history.print_summary(&format!("bad network to PostgreSQL, recovery {recovery:.2?}"));
    history.assert_all_answered();
    history.check(&rest.rest()).await;
}

/// Latency and resets between clients and both services. Events without a response are sent again
/// and are stored once: if the first attempt was stored, the second is a duplicate.
#[tokio::test]
async fn a_bad_network_to_the_clients_loses_nothing() {
    let database = Database::postgres().await;
    let (rest, grpc) = Service::start_both(&database.settings()).await;
    let proxies = [Proxy::new(rest.address()).await, Proxy::new(grpc.address()).await];
    let apis: [Api; 2] =
        [Rest::new(proxies[0].address()).into(), Grpc::new(proxies[1].address()).into()];
    let load = Load::start(&apis, 8, 5);
    load.history().more_done(100).await;

    let slow = NetworkConditions::slow(Duration::from_millis(30));
    proxies.iter().for_each(|proxy| proxy.set(slow));
    load.history().more_done(100).await;
    for round in 0..20 {
        proxies[round % 2].reset();
        load.history().more_done(20).await;
    }
    proxies.iter().for_each(|proxy| proxy.set(NetworkConditions::default()));
    for sender in [0, 1] {
        let served = |record: &Record| record.sender == sender && done(record);
        load.history().more("events of each API after the resets", 20, served).await;
    }

    let history = load.stop().await;
    history.print_summary("bad network to the clients");
    let no_response = |record: &Record| matches!(record.outcome, Outcome::NoResponse(_));
    for sender in [0, 1] {
        assert!(history.count(|record| record.sender == sender && no_response(record)) > 0);
    }
    history.check(&rest.rest()).await;
    send_again(&history, no_response, &rest.rest().into()).await;
    let stored_before =
        |record: &Record| matches!(record.outcome, Outcome::Done { duplicate: true, .. });
    let duplicates = history.count(stored_before);
    println!("FIGURES of those without a response {duplicates} were stored by the first attempt");
    assert!(duplicates > 0);
    history.check(&rest.rest()).await;
}
