use producer_maintenance::epoch;

use super::fixture::Fixture;

#[tokio::test]
async fn a_new_epoch_changes_nothing_else_of_the_log() {
    for fixture in Fixture::both_migrated().await {
        fixture.row("a", 1, (1, 0, 0), 2024, "{}").await;
        fixture.run("UPDATE event_log_epoch SET floor = 1").await;
        let epoch = fixture
            .sql("SELECT epoch FROM event_log_epoch", "SELECT hex(epoch) FROM event_log_epoch");
        let mut epochs = vec![fixture.text(epoch).await];
        for _ in 0..2 {
            epoch::renew(&fixture.database()).await.expect("renewed");
            let epoch = fixture.text(epoch).await;
            assert!(!epochs.contains(&epoch), "{epoch} again");
            assert_eq!(epoch.replace('-', "").len(), 32, "{epoch}");
            epochs.push(epoch);
        }
        assert_eq!(fixture.text("SELECT floor FROM event_log_epoch").await, "1");
        assert_eq!(fixture.text("SELECT count(*) FROM event_log_epoch").await, "1");
        assert_eq!(fixture.text("SELECT count(*) FROM event_log").await, "1");
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_gets_no_epoch() {
    let [_, fixture] = Fixture::both().await;
    epoch::renew(&fixture.database()).await.expect_err("no file");
    let Fixture::Sqlite(file) = &fixture else { unreachable!() };
    assert!(!file.path().exists(), "it made the file");
}
