//! A PostgreSQL that dies, and its standby that takes over, behind one address or one name.

use std::net::SocketAddr;
use std::time::Duration;

use e2e::{Binary, Load, Proxy, Record, Service};
use test_support::Postgres;
use tokio::net::lookup_host;
use tokio::task::spawn_blocking;

use crate::{failed, judge, recovery};

async fn primary_and_standby() -> (Postgres, Postgres) {
    let both = spawn_blocking(|| {
        let primary = Postgres::own();
        let standby = primary.standby();
        (primary, standby)
    });
    both.await.unwrap()
}

/// Returns the standby, which has taken over, when each sender has heard that the primary is gone.
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
    // by now each commit that was under way has been settled or given up on
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
    let (proxy, url) = Proxy::before(&primary.url("postgres")).await;
    let settings = [("DATABASE_URL", url.as_str())];
    let (rest, grpc) = Service::start_both(&settings).await;
    let load = Load::start(&[rest.rest().into(), grpc.grpc().into()], 8, 5);
    load.history().more_done(200).await;

    let standby = fail_over(&load, primary, standby).await;
    proxy.lead_to(address_of(&standby).await);
    let recovery: Duration = recovery(&load, 2).await;
    judge(load, &rest.rest(), &format!("failover to a standby, recovery {recovery:.2?}")).await;
    drop((rest, grpc, standby));
}

/// Two addresses of this machine with one port, and a name that leads to the one, later the other.
#[tokio::test]
async fn a_name_that_leads_elsewhere_is_followed() {
    assert!(test_support::is_root(), "a hosts file of one's own is a mount, and only root may");
    let (primary, standby) = primary_and_standby().await;
    let before_primary = Proxy::new(address_of(&primary).await).await;
    let old = before_primary.address();
    let new = SocketAddr::from(([127, 0, 0, 2], old.port()));
    let before_standby = Proxy::at(new, address_of(&standby).await).await;
    let hosts = tempfile::NamedTempFile::new().unwrap();
    let lead_to = |address: SocketAddr| {
        // in place: a mount shows the file that it was made of
        std::fs::write(hosts.path(), format!("{} database.test\n", address.ip())).unwrap();
    };
    lead_to(old);
    let url = format!("postgres://postgres@database.test:{}/postgres", old.port());
    let settings = [("DATABASE_URL", url.as_str())];
    let rest = Service::start_with_hosts(Binary::Rest, &settings, hosts.path()).await;
    let grpc = Service::start_with_hosts(Binary::Grpc, &settings, hosts.path()).await;
    let load = Load::start(&[rest.rest().into(), grpc.grpc().into()], 8, 5);
    load.history().more_done(200).await;

    let standby = fail_over(&load, primary, standby).await;
    drop(before_primary);
    lead_to(new);
    let recovery: Duration = recovery(&load, 2).await;
    judge(load, &rest.rest(), &format!("failover by name, recovery {recovery:.2?}")).await;
    drop((rest, grpc, before_standby, standby));
}
