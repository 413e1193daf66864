//! The user of the server processes: PostgreSQL and PgBouncer refuse to run as root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::command::run_to_success;

/// Whether this process runs as root.
pub fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// The user of the servers, where this process is root.
pub(crate) fn server_user() -> &'static str {
    let there = Command::new("id").args(["-u", "postgres"]).output();
    if there.is_ok_and(|output| output.status.success()) { "postgres" } else { "nobody" }
}

/// Makes the servers' user the owner of a folder.
pub(crate) fn give_to_server(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("permissions");
    if is_root() {
        run_to_success(Command::new("chown").arg(server_user()).arg(folder));
    }
}
