//! A failover from a killed PostgreSQL to its standby, behind the same address or the same name.

use std::net::SocketAddr;
use std::time::Duration;

use producer_e2e::{Binary, Load, Proxy, Record, Service};
use producer_test_support::Postgres;
use tokio::net::lookup_host;
use tokio::task::spawn_blocking;

use crate::{failed, recovery, stop_and_check};

async fn primary_and_standby() -> (Postgres, Postgres) {
    let both = spawn_blocking(|| {
        let primary = Postgres::own();
        let standby = primary.standby();
        (primary, standby)
    });
    both.await.unwrap()
}

/// Kills the primary and promotes the standby after each API has refused events. Returns the standby.
async fn fail_over(load: &Load, primary: Postgres, standby: Postgres) -> Postgres {
    let primary = spawn_blocking(move || {
        primary.kill();
        primary
    });
    drop(primary.await.unwrap());
    for sender in [0, 1] {
        let refused = |record: &Record| record.sender == sender && failed(record);
        load.history().more("refusals of each API", 20, refused).await;
    }
    // by now the outcome of every commit in flight is resolved or reported as unknown
    let standby = spawn_blocking(move || {
        standby.promote();
        standby
    });
    standby.await.unwrap()
}

async fn address_of(server: &Postgres) -> SocketAddr {
    let url = server.url("postgres");
    lookup_host(url.split(['@', '/']).nth(3).unwrap()).await.unwrap().next().unwrap()
}

#[tokio::test]
async fn a_standby_takes_over_and_nothing_acknowledged_is_lost() {
    let (primary, standby) = primary_and_standby().await;
    let (proxy, url) = Proxy::for_database(&primary.url("postgres")).await;
    let settings = [("DATABASE_URL", url.as_str())];
    let (rest, grpc) = Service::start_both(&settings).await;
    let load = Load::start(&[rest.rest().into(), grpc.grpc().into()], 8, 5);
    load.history().more_done(200).await;

    let standby = fail_over(&load, primary, standby).await;
    proxy.set_upstream(address_of(&standby).await);
    let recovery: Duration = recovery(&load, 2).await;
    stop_and_check(load, &rest.rest(), &format!("failover to a standby, recovery {recovery:.2?}"))
        .await;
    drop((rest, grpc, standby));
}

/// Two addresses of this machine with the same port, and a name that changes from one to the other.
#[tokio::test]
async fn a_changed_dns_name_is_followed() {
    assert!(
        producer_test_support::is_root(),
        "a hosts file of its own is a mount, which needs root"
    );
    let (primary, standby) = primary_and_standby().await;
    let primary_proxy = Proxy::new(address_of(&primary).await).await;
    let old = primary_proxy.address();
    let new = SocketAddr::from(([127, 0, 0, 2], old.port()));
    let standby_proxy = Proxy::at(new, address_of(&standby).await).await;
    let hosts = tempfile::NamedTempFile::new().unwrap();
    let set_name = |address: SocketAddr| {
        // in place: the mount refers to this inode
        std::fs::write(hosts.path(), format!("{} database.test\n", address.ip())).unwrap();
    };
    set_name(old);
    let url = format!("postgres://postgres@database.test:{}/postgres", old.port());
    let settings = [("DATABASE_URL", url.as_str())];
    let rest = Service::start_with_hosts(Binary::Rest, &settings, hosts.path()).await;
    let grpc = Service::start_with_hosts(Binary::Grpc, &settings, hosts.path()).await;
    let load = Load::start(&[rest.rest().into(), grpc.grpc().into()], 8, 5);
    load.history().more_done(200).await;

    let standby = fail_over(&load, primary, standby).await;
    drop(primary_proxy);
    set_name(new);
    let recovery: Duration = recovery(&load, 2).await;
    stop_and_check(load, &rest.rest(), &format!("failover by name, recovery {recovery:.2?}")).await;
    drop((rest, grpc, standby_proxy, standby));
}
