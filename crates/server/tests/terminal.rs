//! What maintenance commands show on a terminal.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Output, Stdio};

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use support::{sql, tiny};

/// A terminal: the end that a person would sit at, and the one that a program writes to.
fn terminal() -> (File, OwnedFd) {
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&person).and_then(|()| unlockpt(&person)).expect("it is ours");
    let name = ptsname(&person, Vec::new()).expect("it has a name");
    let program = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("its other end");
    (person.into(), program)
}

/// The program, which knows what terminal it is on.
fn on(folder: &tempfile::TempDir, arguments: &[&str]) -> Command {
    let mut command = tiny(folder);
    command.args(arguments).env("TERM", "xterm");
    command
}

/// Runs it with a terminal as its standard error, and returns what that showed.
fn on_terminal(mut command: Command) -> (Output, String) {
    let (mut person, program) = terminal();
    command.stdout(Stdio::piped()).stderr(program);
    let process = command.spawn().expect("it runs");
    drop(command); // its end of the terminal
    let mut shown = Vec::new();
    // on Linux, reading fails once nobody has the other end open
    let _end = person.read_to_end(&mut shown);
    let output = process.wait_with_output().expect("it ends");
    (output, String::from_utf8_lossy(&shown).into_owned())
}

/// Runs it with a terminal as its standard input and error, on which a person types `answer`.
fn answered(mut command: Command, answer: &str) -> (Output, String) {
    let (mut person, program) = terminal();
    command.stdin(program.try_clone().expect("the same end"));
    command.stdout(Stdio::piped()).stderr(program);
    person.write_all(answer.as_bytes()).expect("typed");
    let process = command.spawn().expect("it runs");
    drop(command);
    let mut shown = Vec::new();
    let _end = person.read_to_end(&mut shown);
    let output = process.wait_with_output().expect("it ends");
    (output, String::from_utf8_lossy(&shown).into_owned())
}

#[test]
fn deleting_needs_a_yes_on_a_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(on(&folder, &["migrate"]).output().expect("it runs").status.success());
    let down = || on(&folder, &["migrate", "down", "--to", "0"]);
    for answer in ["\n", "y\n", "no\n"] {
        let (output, shown) = answered(down(), answer);
        assert_eq!(output.status.code(), Some(1), "{shown}");
        assert!(shown.contains("Type \"yes\"") && shown.contains("nothing was changed"), "{shown}");
    }
    let (output, shown) = answered(down(), "yes\n");
    assert!(output.status.success(), "{shown}");
    let status = on(&folder, &["migrate", "status"]).output().expect("it runs");
    assert!(String::from_utf8_lossy(&status.stdout).contains("pending"));
    let (output, shown) = answered(down(), "");
    assert!(output.status.success() && !shown.contains("Type"), "nothing to ask: {shown}");
}

#[test]
fn long_commands_show_a_bar_on_a_terminal_and_only_their_result_elsewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(on(&folder, &["migrate"]).output().expect("it runs").status.success());
    let statements = "DROP VIEW car_entities;
        CREATE TABLE car_entities (id TEXT PRIMARY KEY, entity_type, created_at, updated_at, data);
        INSERT INTO car_entities VALUES ('a', 'Car', NULL, NULL, '{}'), ('b', 'Car', NULL, NULL, '{}')";
    sql(&folder, statements);
    for (arguments, result) in [
        (&["migrate", "adopt"][..], "2 rows adopted, 0 skipped"),
        (&["rebuild"], "2 entities, 0 differ"),
    ] {
        let (output, shown) = on_terminal(on(&folder, arguments));
        assert!(output.status.success(), "{shown}");
        assert!(shown.contains("/2 "), "{arguments:?} shows how far it is: {shown:?}");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(printed.starts_with(result) && printed.lines().count() == 1, "{printed}");
    }
    std::fs::write(folder.path().join("cars.json"), r#"{"Car": {"indexes": ["data.x"]}}"#)
        .expect("a file");
    let (output, shown) = on_terminal(on(&folder, &["types", "apply", "cars.json"]));
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("Car index \"data.x\" "), "a bar of its own: {shown:?}");
    let piped = on(&folder, &["rebuild"]).output().expect("it runs");
    assert!(piped.stderr.is_empty(), "no bar where no terminal is");
}
