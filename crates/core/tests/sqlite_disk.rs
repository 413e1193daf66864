//! A disk that takes no more in the midst of SQLite's COMMIT. It is a limit on the size of files,
//! which is the whole process's: so the test runs in a process of its own.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

mod support;

use std::process::Command;
use std::time::Duration;

use producer_core::ingest::{ApplyError, ApplyMode, Limits};
use producer_core::{Ingest, ProblemKind};
use support::{Db, applied, apply, car, default, uuid};
use tokio::runtime::Handle;

const NAME: &str = "a_commit_that_the_disk_refuses_is_told_truly";
const CHILD: &str = "PRODUCER_TEST_IS_LIMITED";

#[test]
fn a_commit_that_the_disk_refuses_is_told_truly() {
    if std::env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        return runtime.unwrap().block_on(with_limits());
    }
    // who writes past the limit gets a signal, which ends those who don't ignore it
    let ignoring = r#"trap "" XFSZ; exec "$0" "$@""#;
    let mut child = Command::new("sh");
    child.args(["-c", ignoring]).arg(std::env::current_exe().unwrap());
    let output = child.args(["--exact", NAME, "--nocapture"]).env(CHILD, "1").output().unwrap();
    let output_text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output_text));
}

/// From now on no file of this process grows past `bytes`.
fn limit_files(bytes: &str) {
    let limit = format!("--fsize={bytes}:unlimited");
    let pid = std::process::id().to_string();
    let status = Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap();
    assert!(status.success(), "prlimit (util-linux) {limit}");
}

async fn with_limits() {
    let db = Db::sqlite(default).await;
    let wal = format!("{}-wal", db.url.strip_prefix("sqlite://").unwrap());
    let fill = || limit_files(&(std::fs::metadata(&wal).unwrap().len() + 2000).to_string());
    let mut writer = db.store.writer();
    apply(&mut *writer, &[car(1, "a", r#"{"n":1}"#)]).await;

    fill();
    let batch = [car(2, "a", r#"{"n":2}"#)];
    let refused = writer.apply(&batch, ApplyMode::Normal).await;
    assert!(matches!(refused, Err(ApplyError::Unknown { .. })), "{refused:?}");
    limit_files("unlimited");
    assert_eq!(db.car("a").await.unwrap(), r#"{"n":1}"#);
    assert_eq!(apply(&mut *writer, &batch).await, [applied(vec![2])], "found out");

    let limits = Limits { request_timeout: Duration::from_millis(500), ..support::limits() };
    let ingest = Ingest::start(db.store.clone(), limits, &Handle::current());
    ingest.submit(car(4, "b", "{}")).await.unwrap();
    fill();
    let event = car(3, "a", r#"{"n":3}"#);
    let problem = ingest.submit(event.clone()).await.unwrap_err();
    assert_eq!((problem.kind, problem.event_id), (ProblemKind::OutcomeUnknown, Some(uuid(3))));
    limit_files("unlimited");
    let receipt = ingest.submit(event).await.unwrap();
    assert_eq!((receipt.duplicate, receipt.entities[0].version), (false, 3));
}
