//! `producer-worker` as a process, with its own `worker.toml`.

use tempfile::TempDir;

use crate::{Binary, DEADLINE, Service, Signal, eventually};

/// A running worker, killed when dropped.
#[derive(Debug)]
pub struct Worker {
    /// Its process.
    pub process: Service,
    config: TempDir,
}

impl Worker {
    /// Starts a worker with this `worker.toml`, and waits until it is ready.
    pub async fn start(settings: &[(&str, &str)], config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("worker.toml");
        std::fs::write(&file, config).expect("a file in the temporary folder");
        let file = file.to_str().expect("a path in UTF-8");
        let settings = [settings, &[("WORKER_CONFIG", file)]].concat();
        Self { process: Service::start(Binary::Worker, &settings).await, config: folder }
    }

    /// Writes another `worker.toml`, for its next start.
    pub fn set_config(&self, config: &str) {
        let file = self.config.path().join("worker.toml");
        std::fs::write(file, config).expect("a file in the temporary folder");
    }

    /// Its name since its last start, as `worker` of what it runs has it.
    pub fn name(&self) -> String {
        let lines = self.process.logged("running");
        let name = lines.last().and_then(|line| line["worker"].as_str());
        name.expect("a worker that is ready has said that it runs").to_owned()
    }

    /// Waits until it runs these sinks and sources.
    pub async fn runs(&self, names: &[&str]) {
        let started = |kind: &str, name: &str| {
            let lines = self.process.logged(&format!("running the {kind}"));
            lines.iter().any(|line| line[kind] == name)
        };
        eventually("the worker runs all", async || {
            names.iter().all(|name| started("sink", name) || started("source", name))
        })
        .await;
    }

    /// Stops it where it is (SIGSTOP).
    pub async fn freeze(&self) {
        self.process.freeze().await;
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Kills it.
    pub async fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.exit(DEADLINE).await;
    }

    /// Starts it again, and waits until it is ready.
    pub async fn restart(&mut self) {
        self.process.restart().await;
    }

    /// Sends SIGTERM, and expects exit status 0.
    pub async fn stop(self) {
        self.process.stop().await;
    }
}
