//! Pruning keeps what sinks of the worker still need.

use producer_core::Operation;
use producer_maintenance::prune;

use super::fixture::Fixture;

/// The log as `position/kind`, in order.
async fn log(fixture: &Fixture) -> String {
    let rows = "SELECT position || '/' || kind FROM event_log ORDER BY position";
    fixture.lines(rows).await.join(" ")
}

async fn floor(fixture: &Fixture) -> String {
    fixture.text("SELECT floor FROM event_log_epoch").await
}

/// A sink that has delivered up to a position.
async fn sink(fixture: &Fixture, name: &str, token: &str, position: u64) {
    fixture
        .run(&format!(
            "INSERT INTO connectors (role, name, kind, token, position, lease_epoch)
             VALUES (0, '{name}', 'stdout', '{token}', {position}, 1)"
        ))
        .await;
}

async fn move_to(fixture: &Fixture, name: &str, position: u64) {
    let update = "UPDATE connectors SET position =";
    fixture.run(&format!("{update} {position} WHERE role = 0 AND name = '{name}'")).await;
}

async fn dead_letter(fixture: &Fixture, sink: &str, position: u64, state: u8) {
    let (message, time) = (fixture.sql("''", "x''"), fixture.time(2024));
    fixture
        .run(&format!(
            "INSERT INTO dead_letters (role, connector, state, place, position, entity_type, entity_id,
                 version, message, error, tries, first_at, last_at)
             VALUES (0, '{sink}', {state}, '{position}', {position}, 'Car', 'a', 1, {message}, '', 1,
                 {time}, {time})"
        ))
        .await;
}

/// Surveys and prunes, with the same result; returns how many entries are deleted, and the warnings.
async fn pruned(fixture: &Fixture, year: i64) -> (u64, Vec<String>) {
    let before = log(fixture).await;
    let surveyed = fixture.survey(year).await;
    assert_eq!(log(fixture).await, before);
    let (summary, warnings) = fixture.prune(year).await;
    assert_eq!(surveyed, (summary, warnings.clone()));
    let (differing, _) = fixture.rebuild(false).await;
    assert_eq!((differing.differing, differing.unexplained), (0, 0));
    (summary.deleted, warnings)
}

/// One entity with an entry a year, at positions 1 to 5.
async fn yearly(fixture: &Fixture) {
    for (version, year) in [(1, 2024), (2, 2025), (3, 2026), (4, 2027), (5, 2028)] {
        fixture.row("a", version, (u128::from(version), 0, 0), year, r#"{"x":1}"#).await;
    }
    fixture.rebuild(true).await;
}

fn delivered(name: &str, position: u64) -> String {
    format!(
        "sink {name} has delivered up to position {position}, and the log is kept behind that: run its \
         worker, delete the sink, or use --past-sinks"
    )
}

fn has_letter(name: &str, position: u64) -> String {
    format!(
        "sink {name} has a dead letter of position {position}, and the log is kept from there on: replay or \
         delete its dead letters, or use --past-sinks"
    )
}

#[tokio::test]
async fn the_slowest_sink_decides() {
    for fixture in Fixture::both_migrated().await {
        yearly(&fixture).await;
        sink(&fixture, "fast", "t", 4).await;
        sink(&fixture, "slow", "t", 2).await;
        let warnings = vec![delivered("slow", 2)];
        assert_eq!(pruned(&fixture, 2027).await, (2, warnings.clone()));
        assert_eq!(log(&fixture).await, "2/2 3/0 4/0 5/0");
        assert_eq!(floor(&fixture).await, "2", "the sink's token goes on");
        assert_eq!(pruned(&fixture, 2027).await, (0, warnings));
        move_to(&fixture, "slow", 5).await;
        assert_eq!(pruned(&fixture, 2027).await, (1, Vec::new()));
        assert_eq!(log(&fixture).await, "3/2 4/0 5/0");
        // both need what is old now, and both are named
        move_to(&fixture, "slow", 3).await;
        move_to(&fixture, "fast", 3).await;
        let warnings = vec![delivered("fast", 3), delivered("slow", 3)];
        assert_eq!(pruned(&fixture, 2029).await, (0, warnings));
    }
}

#[tokio::test]
async fn nobody_is_warned_of_a_sink_that_needs_nothing_old() {
    for fixture in Fixture::both_migrated().await {
        yearly(&fixture).await;
        sink(&fixture, "s", "t", 3).await;
        assert_eq!(pruned(&fixture, 2027).await, (3, Vec::new()));
        assert_eq!(log(&fixture).await, "3/2 4/0 5/0");
        // at the end of the log, and ahead of it
        for position in [5, 9] {
            move_to(&fixture, "s", position).await;
            assert_eq!(fixture.survey(2029).await.1, Vec::<String>::new());
        }
    }
}

/// What goes on behind a snapshot begins at the position.
#[tokio::test]
async fn a_sink_that_takes_a_snapshot_keeps_what_comes_behind_it() {
    for fixture in Fixture::both_migrated().await {
        yearly(&fixture).await;
        sink(&fixture, "s", "snapshot", 1).await;
        assert_eq!(pruned(&fixture, 2027).await, (1, vec![delivered("s", 1)]));
        assert_eq!(log(&fixture).await, "1/2 2/0 3/0 4/0 5/0");
    }
}

#[tokio::test]
async fn the_oldest_dead_letter_is_kept_with_all_behind_it() {
    for fixture in Fixture::both_migrated().await {
        yearly(&fixture).await;
        sink(&fixture, "s", "t", 5).await;
        sink(&fixture, "t", "t", 5).await;
        // whatever its state
        for (state, position) in [(0, 4), (1, 3), (2, 2)] {
            dead_letter(&fixture, "s", position, state).await;
        }
        dead_letter(&fixture, "t", 4, 0).await;
        assert_eq!(pruned(&fixture, 2027).await, (1, vec![has_letter("s", 2)]));
        assert_eq!(log(&fixture).await, "1/2 2/0 3/0 4/0 5/0");
        fixture.run("DELETE FROM dead_letters WHERE position = 2").await;
        assert_eq!(pruned(&fixture, 2027).await, (1, vec![has_letter("s", 3)]));
        assert_eq!(log(&fixture).await, "2/2 3/0 4/0 5/0");
        fixture.run("DELETE FROM dead_letters WHERE connector = 's'").await;
        assert_eq!(pruned(&fixture, 2027).await, (1, Vec::new()));
        assert_eq!(log(&fixture).await, "3/2 4/0 5/0");
        assert_eq!(pruned(&fixture, 2029).await, (0, vec![has_letter("t", 4)]));
    }
}

/// A source's dead letters have no positions, and a source keeps nothing.
#[tokio::test]
async fn sources_keep_nothing() {
    for fixture in Fixture::both_migrated().await {
        yearly(&fixture).await;
        fixture
            .run(
                "INSERT INTO connectors (role, name, kind, lease_epoch)
                 VALUES (1, 's', 'kafka', 1)",
            )
            .await;
        let (message, time) = (fixture.sql("''", "x''"), fixture.time(2024));
        fixture
            .run(&format!(
                "INSERT INTO dead_letters (role, connector, state, place, message, error, tries, first_at,
                     last_at)
                 VALUES (1, 's', 0, 'orders 3 1', {message}, '', 1, {time}, {time})"
            ))
            .await;
        assert_eq!(pruned(&fixture, 2027).await, (3, Vec::new()));
    }
}

#[tokio::test]
async fn past_sinks_goes_on() {
    for fixture in Fixture::both_migrated().await {
        yearly(&fixture).await;
        sink(&fixture, "s", "t", 1).await;
        dead_letter(&fixture, "s", 1, 0).await;
        assert_eq!(pruned(&fixture, 2027).await, (0, vec![has_letter("s", 1)]));
        let (summary, warnings) = fixture.prune_past_sinks(2027).await;
        assert_eq!((summary.deleted, warnings), (3, Vec::new()));
        assert_eq!(
            (log(&fixture).await, floor(&fixture).await),
            ("3/2 4/0 5/0".into(), "3".into())
        );
        // what is there is needed still; what is gone is not waited for
        assert_eq!(pruned(&fixture, 2029).await, (0, vec![has_letter("s", 1)]));
    }
}

/// A row that is detached is passed over by readers: so an event is kept as a whole for a sink too.
#[tokio::test]
async fn an_event_that_a_sink_needs_in_part_is_kept() {
    for fixture in Fixture::both_migrated().await {
        // positions 1 and 3 are one event
        for (id, version, uuid, ordinal) in [("a", 1, 1, 0), ("b", 1, 2, 0), ("b", 2, 1, 1)] {
            fixture.row(id, version, (uuid, ordinal, 0), 2024, r#"{"x":1}"#).await;
        }
        fixture.rebuild(true).await;
        sink(&fixture, "s", "t", 2).await;
        let warnings = vec![delivered("s", 2)];
        assert_eq!(pruned(&fixture, 2027).await, (1, warnings));
        assert_eq!(log(&fixture).await, "1/0 2/2 3/0");
        move_to(&fixture, "s", 3).await;
        assert_eq!(pruned(&fixture, 2027).await, (2, Vec::new()));
        assert_eq!(log(&fixture).await, "1/2 3/2");
    }
}

#[tokio::test]
async fn a_deleted_entity_stays_until_sinks_have_its_deletion() {
    for fixture in Fixture::both_migrated().await {
        let updates =
            [(2024, true, Operation::Merge, "{}"), (2024, false, Operation::Delete, "{}")];
        fixture.history("a", &updates).await;
        fixture.end_log().await;
        fixture.rebuild(true).await;
        sink(&fixture, "s", "t", 1).await;
        let found = fixture.prune(2027).await;
        let kept = prune::Summary { deleted: 1, checkpointed: 1, ..prune::Summary::default() };
        assert_eq!(found, (kept, vec![delivered("s", 1)]));
        assert_eq!(log(&fixture).await, "1/2 2/0 3/0");
        move_to(&fixture, "s", 2).await;
        let (summary, warnings) = fixture.prune(2027).await;
        assert_eq!((summary.removed, warnings), (1, Vec::new()));
        assert_eq!(log(&fixture).await, "3/0");
    }
}
