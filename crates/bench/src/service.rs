//! One of the two services as a process.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use producer_grpc::Grpc;
use producer_rest::Rest;
use producer_server::{Api as _, Connection};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::Result;

/// For the start and the end of a service.
const TIMEOUT: Duration = Duration::from_secs(40);

/// One of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    /// `producer-rest`
    Rest,
    /// `producer-grpc`
    Grpc,
}

/// The services that a command drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Apis {
    Rest,
    Grpc,
    Both,
}

impl Apis {
    /// One after the other.
    pub(crate) fn list(self) -> &'static [Api] {
        match self {
            Self::Rest => &[Api::Rest],
            Self::Grpc => &[Api::Grpc],
            Self::Both => &[Api::Rest, Api::Grpc],
        }
    }
}

impl Api {
    /// The name in commands and file names, the name in reports, and the setting for the port.
    const fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Rest => ("rest", "REST", "SERVER_PORT"),
            Self::Grpc => ("grpc", "gRPC", "GRPC_SERVER_PORT"),
        }
    }

    /// The name in commands and file names.
    pub(crate) const fn name(self) -> &'static str {
        self.names().0
    }

    /// The name in reports.
    pub(crate) const fn title(self) -> &'static str {
        self.names().1
    }

    /// Its binary, without arguments.
    pub(crate) fn command(self) -> Result<Command> {
        Ok(Command::new(sibling_binary(&format!("producer-{}", self.name()))?))
    }

    async fn is_ready(self, address: SocketAddr) -> bool {
        let ready = async {
            let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
            match self {
                Self::Rest => Rest::healthcheck(address, Connection::Left(stream)).await,
                Self::Grpc => Grpc::healthcheck(address, Connection::Left(stream)).await,
            }
        };
        matches!(timeout(Duration::from_secs(1), ready).await, Ok(Ok(())))
    }
}

/// A binary of the same build, in the folder of this one.
pub(crate) fn sibling_binary(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(format!("{} is missing: build it with the same profile", path.display()).into())
}

/// A running service on a port of its own; killed when dropped.
#[derive(Debug)]
pub(crate) struct Service {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Service {
    /// Starts the real binary on a database and waits until it is ready. All other settings have
    /// their defaults, the log level too. The log goes into a file.
    pub(crate) async fn start(
        api: Api,
        database_url: &str,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let mut command = api.command()?;
        command.env("DATABASE_URL", database_url).envs(settings.iter().copied());
        Self::start_command(api, command).await
    }

    /// Starts a command that serves like one of the binaries, with the same setting for the port.
    /// Its environment has only what the command sets, and its working folder is empty.
    pub(crate) async fn start_command(api: Api, mut command: Command) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let folder = tempfile::Builder::new().prefix("producer-bench-").tempdir()?;
        let log = File::create(folder.path().join("service.log"))?;
        clear_inherited_env(&mut command);
        let child = command
            .env(api.names().2, address.port().to_string())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let mut service = Self { child, address, folder };
        service.wait_until_ready(api).await?;
        Ok(service)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub(crate) fn process(&self) -> Result<u32> {
        Ok(self.child.id().ok_or("the service has ended")?)
    }

    /// Sends SIGTERM and waits for its end.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let id = Pid::from_raw(self.process()?.cast_signed()).ok_or("no process id")?;
        kill_process(id, Signal::TERM)?;
        let status = timeout(TIMEOUT, self.child.wait()).await.map_err(|_| {
            format!("the service didn't end within {TIMEOUT:?}:\n{}", self.log_tail())
        })??;
        if status.success() {
            return Ok(());
        }
        Err(format!("the service ended with {status}:\n{}", self.log_tail()).into())
    }

    /// The end of its log.
    pub(crate) fn log_tail(&self) -> String {
        let log = std::fs::read(self.folder.path().join("service.log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(4000)..]).into_owned()
    }

    async fn wait_until_ready(&mut self, api: Api) -> Result<()> {
        let start = Instant::now();
        while !api.is_ready(self.address).await {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!(
                    "the service ended at its start with {status}:\n{}",
                    self.log_tail()
                )
                .into());
            }
            if start.elapsed() > TIMEOUT {
                return Err(format!(
                    "the service wasn't ready within {TIMEOUT:?}:\n{}",
                    self.log_tail()
                )
                .into());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// Settings in this process's environment must not reach the service.
pub(crate) fn clear_inherited_env(command: &mut Command) {
    let set: Vec<_> = command
        .as_std()
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    command.env_clear().envs(set);
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
