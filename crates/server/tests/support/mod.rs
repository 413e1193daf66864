//! The example program, and its embedded database.

use std::path::PathBuf;
use std::process::Command;

/// The example beside this test's binary; cargo builds both.
pub(crate) fn tiny_file() -> PathBuf {
    let test = std::env::current_exe().expect("this binary");
    let profile = test.ancestors().nth(2).expect("target/PROFILE/deps");
    profile.join("examples").join("tiny")
}

/// The program in an empty folder, with an empty environment.
pub(crate) fn tiny(folder: &tempfile::TempDir) -> Command {
    let mut command = Command::new(tiny_file());
    command.current_dir(folder.path()).env_clear();
    command
}

/// Runs statements on the embedded database.
pub(crate) fn sql(folder: &tempfile::TempDir, statements: &str) {
    use sqlx::{AssertSqlSafe, Connection, Executor, SqliteConnection};
    let url = format!("sqlite://{}", folder.path().join("data/producer.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut connection = SqliteConnection::connect(&url).await.expect("a connection");
        connection.execute(AssertSqlSafe(statements.to_owned())).await.expect("done");
        connection.close().await.expect("closed");
    });
}
