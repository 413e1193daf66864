//! What a ping says of a database that can't be served from.

use producer_core::query::ReadErrorKind;
use producer_core::store::{DatabaseSettings, connect};
use test_support::{Postgres, sqlite_file};

async fn ping(url: String) -> Option<ReadErrorKind> {
    let settings = DatabaseSettings { url: Some(url), ..DatabaseSettings::default() };
    let store = connect(&settings).await.expect("a store");
    let answer = store.ping().await;
    store.close().await;
    answer.err().map(|error| error.kind)
}

#[tokio::test]
async fn each_cause_has_its_kind() {
    let server = Postgres::shared();
    let database = server.fresh_database().await;
    assert_eq!(ping(database.url().into()).await, Some(ReadErrorKind::Schema), "no tables yet");
    assert_eq!(ping(server.url("no_such_database")).await, Some(ReadErrorKind::Schema));
    let stranger = database.url().replacen("//postgres", "//stranger", 1);
    assert_eq!(ping(stranger).await, Some(ReadErrorKind::Authentication));
    let nobody = "postgres://postgres@127.0.0.1:1/postgres".to_owned();
    assert_eq!(ping(nobody).await, Some(ReadErrorKind::Unreachable));
    assert_eq!(ping(sqlite_file().url()).await, Some(ReadErrorKind::Schema), "no tables yet");
}
