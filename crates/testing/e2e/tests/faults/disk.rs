//! Full disks.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use producer_e2e::{Load, Service, eventually};
use producer_test_support::Postgres;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::{failed, recovery, stop_and_check};

/// A small disk, unmounted when dropped.
struct Disk(TempDir);

impl Disk {
    fn new(mib: usize) -> Self {
        assert!(
            producer_test_support::is_root(),
            "a small disk is a tmpfs, and only root may mount one"
        );
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={mib}m");
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).status();
        assert!(mounted.unwrap().success(), "a tmpfs can't be mounted here");
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Uses all free space.
    fn fill(&self) {
        let mut file = File::create(self.ballast()).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

#[tokio::test]
async fn sqlite_on_a_full_disk_refuses_reads_on_and_recovers() {
    let disk = Disk::new(24);
    let url = format!("sqlite://{}", disk.path().join("producer.db").display());
    let settings = [("DATABASE_URL", url.as_str())];
    let (rest, grpc) = Service::start_both(&settings).await;
    let load = Load::start(&[rest.rest().into(), grpc.grpc().into()], 4, 5);
    load.history().more_done(100).await;

    disk.fill();
    load.history().more("refusals", 40, failed).await;
    let (version, _) = rest.rest().entity("Car", "car-1").await;
    assert!(version > 0, "reads go on");
    assert_eq!(rest.rest().get("/livez").await.0, 200);
    disk.free();
    let recovery = recovery(&load, 2).await;
    stop_and_check(load, &rest.rest(), &format!("disk full under SQLite, recovery {recovery:.2?}"))
        .await;
    drop((rest, grpc));
}

#[tokio::test]
async fn postgres_on_a_full_disk_refuses_and_recovers() {
    let stopped = full_disk_under_postgres(72, Postgres::own_in, false).await;
    assert!(!stopped, "only the statement fails if a table can't grow");
}

#[tokio::test]
async fn postgres_without_space_for_its_wal_stops_and_the_services_recover() {
    let with_wal_in = |disk: &Path| {
        let wal = disk.join("wal");
        fs::create_dir(&wal).unwrap();
        Postgres::own_with_wal_in(&wal)
    };
    full_disk_under_postgres(24, with_wal_in, true).await;
}

/// Returns whether the server has stopped. If it `stops`, waits for that.
async fn full_disk_under_postgres(
    mib: usize,
    make: impl FnOnce(&Path) -> Postgres + Send + 'static,
    stops: bool,
) -> bool {
    let disk = Disk::new(mib);
    let folder = disk.path().to_owned();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let server = Arc::new(spawn_blocking(move || make(&folder)).await.unwrap());
    let url = server.url("postgres");
    let settings = [("DATABASE_URL", url.as_str())];
    let (rest, grpc) = Service::start_both(&settings).await;
    let load = Load::start(&[rest.rest().into(), grpc.grpc().into()], 4, 5);
    load.history().more_done(100).await;

    disk.fill();
    load.history().more("refusals", 40, failed).await;
    if stops {
        eventually("the server stops", async || !server.runs()).await;
    }
    let stopped = !server.runs();
    assert_eq!(rest.rest().get("/livez").await.0, 200);
    disk.free();
    if stopped {
        let server = Arc::clone(&server);
        spawn_blocking(move || server.start()).await.unwrap();
    }
    let recovery = recovery(&load, 2).await;
    let what =
        format!("disk full under PostgreSQL (stopped itself: {stopped}), recovery {recovery:.2?}");
    stop_and_check(load, &rest.rest(), &what).await;
    drop((rest, grpc, server));
    stopped
}
