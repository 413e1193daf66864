//! Services behind PgBouncer in transaction mode.

use std::process::Output;
use std::sync::Arc;

use producer_e2e::{Binary, Load, Outcome, Record, Service};
use producer_test_support::{PgBouncer, Postgres};
use tokio::task::spawn_blocking;

fn failed(record: &Record) -> bool {
    !matches!(record.outcome, Outcome::Done { .. })
}

async fn bouncer() -> Arc<PgBouncer> {
    let start = || PgBouncer::before(Postgres::shared(), &[]);
    Arc::new(spawn_blocking(start).await.unwrap())
}

#[tokio::test]
async fn pgbouncer_restarted_under_load() {
    let bouncer = bouncer().await;
    let database = Postgres::shared().fresh_database().await;
    let url = bouncer.url(database.name());
    let settings = [("DATABASE_URL", url.as_str()), ("DATABASE_POOLER", "transaction")];
    let (rest, grpc) = Service::start_both(&settings).await;
    let load = Load::start(&[rest.rest().into(), grpc.grpc().into()], 8, 5);
    for _ in 0..3 {
        load.history().more_done(200).await;
        let down = Arc::clone(&bouncer);
        spawn_blocking(move || down.kill()).await.unwrap();
        for sender in [0, 1] {
            let refused = |record: &Record| record.sender == sender && failed(record);
            load.history().more("refusals of each API", 20, refused).await;
        }
        let up = Arc::clone(&bouncer);
        spawn_blocking(move || up.start()).await.unwrap();
        for sender in [0, 1] {
            let served = |record: &Record| record.sender == sender && !failed(record);
            load.history().more("events after the fault", 50, served).await;
        }
    }
    let history = load.stop().await;
    history.print_summary("PgBouncer killed and started, three times");
    history.assert_all_answered();
    history.check(&rest.rest()).await;
    drop((rest, grpc));
    assert_rebuild_is_clean(database.url()).await;
}

async fn assert_rebuild_is_clean(url: &str) {
    let output = run(&["rebuild"], &[("DATABASE_URL", url)]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

async fn run(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Binary::Rest.command(folder.path(), settings);
    command.args(arguments).output().await.unwrap()
}

#[tokio::test]
async fn errors_of_the_command_line_have_a_hint() {
    let bouncer = bouncer().await;
    let database = Postgres::shared().fresh_database().await;
    let url = bouncer.url(database.name());
    let plain = [("DATABASE_URL", url.as_str()), ("SERVER_PORT", "0")];
    let pooled = [("DATABASE_URL", url.as_str()), ("DATABASE_POOLER", "transaction")];
    for (arguments, settings, hint) in [
        (["serve"], &plain[..], "allowed is transaction"),
        (["migrate"], &plain[..], "allowed is transaction"),
        (["rebuild"], &pooled[..], "leads to PostgreSQL itself"),
    ] {
        let output = run(&arguments, settings).await;
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(printed.contains("DATABASE_POOLER: ") && printed.contains(hint), "{printed}");
    }
    assert!(run(&["migrate"], &pooled).await.status.success());
}
