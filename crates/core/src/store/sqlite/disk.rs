//! Where the file is.

use std::fs;
use std::path::{Path, PathBuf};

use crate::store::port::ConnectError;

/// File systems whose locks and shared memory other machines don't see: a write-ahead log on one of
/// them corrupts the database.
const NETWORK: [&str; 8] = ["nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "fuse.sshfs"];

/// Makes the file's folder, and refuses one on a network.
pub(super) fn prepare(file: &Path) -> Result<(), ConnectError> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).map_err(|error| cannot_open(file, &error))?;
    let folder = folder.canonicalize().map_err(|error| cannot_open(file, &error))?;
    let folder = file.canonicalize().map_or(folder, |mut file| {
        file.pop();
        file
    });
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    match file_system(&folder, &mounts) {
        Some(kind) if NETWORK.contains(&kind) => {
            let reason = format!(
                "it is on a network file system ({kind}), where SQLite's log \
                                  corrupts; use a local disk or PostgreSQL"
            );
            Err(cannot_open(file, &reason))
        }
        _ => Ok(()),
    }
}

/// The name with `suffix` beside a database. Where a link leads to it, SQLite keeps its log beside
/// the file itself, and so does everything of ours.
pub(super) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.canonicalize().unwrap_or_else(|_| file.to_owned()).into_os_string();
    name.push(suffix);
    name.into()
}

/// The type of the file system that holds `folder`, by a table as in `/proc/mounts`: the longest
/// mount point above it counts, of equal ones the last.
fn file_system<'m>(folder: &Path, mounts: &'m str) -> Option<&'m str> {
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let point = PathBuf::from(fields.nth(1)?.replace("\\040", " "));
        folder.starts_with(&point).then_some((point.components().count(), fields.next()?))
    });
    mounted.max_by_key(|&(depth, _)| depth).map(|(_, kind)| kind)
}

/// The error of a file that can't be opened.
pub(super) fn cannot_open(file: &Path, error: &dyn std::fmt::Display) -> ConnectError {
    ConnectError(format!("DATABASE_URL: {} can't be opened: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "/dev/vda / ext4 rw 0 0\nhost:/a /mnt/my\\040share nfs4 rw 0 0\n\
                          tmpfs /mnt tmpfs rw 0 0\n";

    #[test]
    fn the_longest_mount_point_counts() {
        let kind = |folder: &str| file_system(Path::new(folder), MOUNTS);
        assert_eq!(kind("/var/data"), Some("ext4"));
        assert_eq!(kind("/mnt/x"), Some("tmpfs"));
        assert_eq!(kind("/mnt/my share/x"), Some("nfs4"));
        assert_eq!(kind("/mnt/my sharexy"), Some("tmpfs"));
    }
}
