//! SQLite files.

use std::path::PathBuf;

/// The path of an SQLite file in a temporary folder; the file doesn't exist yet.
#[derive(Debug)]
pub struct SqliteFile {
    folder: tempfile::TempDir,
}

/// A new path; the file is removed with the value.
pub fn sqlite_file() -> SqliteFile {
    SqliteFile { folder: tempfile::tempdir().expect("a temporary folder") }
}

impl SqliteFile {
    /// The path.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("producer.db")
    }

    /// Its URL, as in `DATABASE_URL`.
    pub fn url(&self) -> String {
        format!("sqlite://{}", self.path().display())
    }
}
