//! What scripts fetch for the tests, once.

use std::path::{Path, PathBuf};

/// The folder into which `scripts/java-servers-for-tests` and `scripts/python-for-tests` put something: below
/// `TEST_SERVERS`, else below `target/`.
pub fn fetched(name: &str) -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let named = |variable| std::env::var_os(variable).filter(|value| !value.is_empty());
    let folder = match (named("TEST_SERVERS"), named("CARGO_TARGET_DIR")) {
        (Some(folder), _) => PathBuf::from(folder),
        (None, Some(target)) => Path::new(&target).join("test-servers"),
        (None, None) => Path::new("target").join("test-servers"),
    };
    // a relative path is one of the repository, as it is for the scripts
    repository.join(folder).join(name)
}
