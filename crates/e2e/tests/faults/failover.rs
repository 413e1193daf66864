//! A PostgreSQL that dies, and its standby that takes over, behind one address.

use std::time::Duration;

use e2e::{Load, Proxy, Record, Service};
use test_support::Postgres;
use tokio::net::lookup_host;
use tokio::task::spawn_blocking;

use crate::{failed, judge, recovery};

#[tokio::test]
async fn a_standby_takes_over_and_nothing_acknowledged_is_lost() {
    let (primary, standby) = spawn_blocking(|| {
        let primary = Postgres::own();
        let standby = primary.standby();
        (primary, standby)
    })
    .await
    .unwrap();
    let (proxy, url) = Proxy::before(&primary.url("postgres")).await;
    let settings = [("DATABASE_URL", url.as_str())];
    let (rest, grpc) = Service::start_both(&settings).await;
    let load = Load::start(&[rest.rest().into(), grpc.grpc().into()], 8, 5);
    load.history().more_done(200).await;

    spawn_blocking(move || primary.kill()).await.unwrap();
    for sender in [0, 1] {
        let refused = |record: &Record| record.sender == sender && failed(record);
        load.history().more("refusals of each API", 20, refused).await;
    }
    // by now each commit that was under way has been settled or given up on
    let standby = spawn_blocking(move || {
        standby.promote();
        standby
    });
    let standby = standby.await.unwrap();
    let url = standby.url("postgres");
    let address = url.split(['@', '/']).nth(3).unwrap();
    proxy.lead_to(lookup_host(address).await.unwrap().next().unwrap());
    let recovery: Duration = recovery(&load, 2).await;
    judge(load, &rest.rest(), &format!("failover to a standby, recovery {recovery:.2?}")).await;
    drop((rest, grpc, standby));
}
