//! `types apply`, and what `rebuild` says of the rows that it builds.

mod support;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use producer_test_support::Postgres;
use sqlx::{Connection, Executor, PgConnection};
use support::{sql, tiny};

const CARS: &str = r#"{"Car": {"indexes": ["data.x", ["data.x", "createdAt"]],
    "search": {"paths": {"data.t": 4}, "language": "english"}}}"#;

/// A migrated database with two cars.
fn folder_with_cars() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(run(&folder, &["migrate"]).status.success());
    sql(
        &folder,
        r#"DROP VIEW car_entities;
        CREATE TABLE car_entities (id TEXT PRIMARY KEY, entity_type, created_at, updated_at, data);
        INSERT INTO car_entities VALUES ('a', 'Car', NULL, NULL, '{"x":1,"t":"games"}'),
            ('b', 'Car', NULL, NULL, '{"x":2}')"#,
    );
    assert!(run(&folder, &["migrate", "adopt"]).status.success());
    folder
}

fn run(folder: &tempfile::TempDir, arguments: &[&str]) -> Output {
    tiny(folder).args(arguments).output().expect("it runs")
}

/// Runs it with this text as its standard input.
fn applied(mut command: Command, text: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("it runs");
    process.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("read");
    process.wait_with_output().expect("it ends")
}

fn apply(folder: &tempfile::TempDir, options: &[&str], text: &str) -> Output {
    let mut command = tiny(folder);
    command.args(["types", "apply", "-"]).args(options);
    applied(command, text)
}

fn shown(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_file_of_definitions_is_stored_and_built() {
    let folder = folder_with_cars();
    let done = |line: &str| (Some(0), format!("{line}\n"), String::new());
    let dry = apply(&folder, &["--dry-run"], CARS);
    assert_eq!(shown(&dry), done("Car: would be created: 2 indexes and search"));
    std::fs::write(folder.path().join("cars.json"), CARS).expect("a file");
    let file = run(&folder, &["types", "apply", "cars.json"]);
    assert_eq!(shown(&file), done("Car: created: 2 indexes and search"));
    let again = apply(&folder, &[], CARS);
    assert_eq!(shown(&again), done("Car: unchanged: 2 indexes and search"));

    // all is built: each row that is missing now is a difference
    sql(&folder, "DELETE FROM entity_index; DELETE FROM entity_search_english");
    let (code, printed, _) = shown(&run(&folder, &["rebuild"]));
    assert_eq!(code, Some(1), "{printed}");
    let summary = "2 entities, 0 differ, 0 repaired, 0 unexplained; \
                   5 rows of indexes and search differ, 0 repaired\n";
    assert!(printed.ends_with(summary), "{printed}");
    assert_eq!(shown(&run(&folder, &["rebuild", "--write"])).0, Some(0));
    assert_eq!(shown(&run(&folder, &["rebuild"])).0, Some(0));

    let two = r#"{"Van": {}, "Car": {"indexes": ["data.x"]}}"#;
    let dry = "Van: would be created: nothing to build\nCar: would be replaced: 1 index";
    assert_eq!(shown(&apply(&folder, &["--dry-run"], two)), done(dry));
    let replaced = "Van: created: nothing to build\nCar: replaced: 1 index";
    assert_eq!(shown(&apply(&folder, &[], two)), done(replaced));
}

#[tokio::test]
async fn on_postgresql_too() {
    let database = Postgres::shared().fresh_database().await;
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| {
        let mut command = tiny(&folder);
        command.env("DATABASE_URL", database.url()).args(arguments);
        command
    };
    assert!(run(&["migrate"]).output().expect("it runs").status.success());
    let mut connection = PgConnection::connect(database.url()).await.expect("a connection");
    let insert = r#"INSERT INTO entities
            (entity_type, entity_id, version, size, data, created_at, updated_at)
        SELECT 'Car', 'c' || n, 1, 20, ('{"x":' || n || ',"t":"games"}')::json, now(), now()
        FROM generate_series(1, 2000) AS s (n)"#;
    connection.execute(insert).await.expect("cars");
    let output = applied(run(&["types", "apply", "-"]), CARS);
    let done = "Car: created: 2 indexes and search\n".to_owned();
    assert_eq!(shown(&output), (Some(0), done, String::new()));
    let built = "SELECT (SELECT count(*) FROM entity_index)
        + (SELECT count(*) FROM entity_search WHERE words @@ ('''' || part_id || ':game''')::tsquery)";
    let built: i64 = sqlx::query_scalar(built).fetch_one(&mut connection).await.expect("a count");
    assert_eq!(built, 6000);
    let odd = r#"{"Car": {"search": {"paths": {"data.t": 1}, "language": "odd"}}}"#;
    let (code, _, errors) = shown(&applied(run(&["types", "apply", "-"]), odd));
    assert_eq!(code, Some(2), "{errors}");
    assert!(
        errors.starts_with("standard input: /Car/search/language must be a language"),
        "{errors}"
    );
}

#[test]
fn each_broken_rule_is_reported_with_its_place_and_nothing_is_stored() {
    let folder = folder_with_cars();
    let broken = |text: &str| {
        let (code, printed, errors) = shown(&apply(&folder, &[], text));
        assert_eq!((code, printed.as_str()), (Some(2), ""), "{errors}");
        errors
    };
    let errors =
        broken(r#"{"Van": {"indexes": ["data.a"]}, "Car": {"indexes": ["x"], "serch": 1}}"#);
    let lines: Vec<_> = errors.lines().collect();
    assert_eq!(lines.len(), 2, "{errors}");
    assert!(lines[0].starts_with("standard input: /Car/indexes/0 "), "{errors}");
    assert!(lines[1].starts_with("standard input: /Car/serch is unknown"), "{errors}");
    // known by the database alone
    let errors =
        broken(r#"{"Van": {}, "Car": {"search": {"paths": {"data.t": 1}, "language": "odd"}}}"#);
    assert!(
        errors.starts_with("standard input: /Car/search/language must be a language"),
        "{errors}"
    );
    assert!(broken("{\n").starts_with("standard input: "));
    let (code, _, errors) = shown(&run(&folder, &["types", "apply", "none.json"]));
    assert_eq!((code, errors.lines().count()), (Some(2), 1), "{errors}");
    assert!(errors.starts_with("none.json: can't be read: "), "{errors}");
    let (_, printed, _) = shown(&apply(&folder, &["--dry-run"], r#"{"Van": {}, "Car": {}}"#));
    assert_eq!(printed.matches("would be created").count(), 2, "nothing is stored: {printed}");
}

#[test]
fn a_database_without_the_schema_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(shown(&apply(&folder, &[], CARS)).0, Some(1), "there is no file");
    assert!(run(&folder, &["migrate"]).status.success());
    assert!(run(&folder, &["migrate", "down", "--to", "0", "--yes"]).status.success());
    let (code, _, errors) = shown(&apply(&folder, &[], CARS));
    assert_eq!((code, errors.lines().count()), (Some(1), 1), "{errors}");
    assert!(errors.contains("run `migrate`"), "{errors}");
}
