//! A sink from its worker's start to its end: it waits for the lease, and runs from the position that the
//! database has.

use std::sync::Arc;

use producer_core::feed::{Reader, ReaderKind, Start, Token, WatchRequest};
use producer_core::model::{Problem, ProblemKind};
use producer_core::worker::{LastError, Lease, Registered, Role};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::DATABASE_PAUSE;
use super::lease::{self, Claim};
use super::leased_sink::LeasedSink;
use super::parts::Parts;
use super::register::pause_after;
use super::session::{End, Session};
use super::settings::{digest, read_last_error};
use crate::config::{Mode, SinkConfig};
use crate::sink::Sink;

/// Where a snapshot is to be taken, in place of a token.
const SNAPSHOT: &str = "snapshot";

/// Runs a sink whenever no other worker does, until the shutdown.
pub async fn run(
    config: Arc<SinkConfig>,
    sink: Arc<dyn Sink>,
    parts: Parts,
    shutdown: CancellationToken,
) {
    let claim = Claim {
        store: parts.store.clone(),
        role: Role::Sink,
        name: config.name.clone(),
        worker: parts.worker.to_string(),
        times: parts.lease_times,
    };
    while !shutdown.is_cancelled() {
        // again each time, since it may have been deleted
        let register = register(&config, &parts);
        if shutdown.run_until_cancelled(register).await.is_none() {
            return;
        }
        let Some((lease, held)) = lease::take(&claim, &shutdown).await else { continue };
        let runner = LeasedSink {
            metrics: parts.metrics.of(Role::Sink, &config.name),
            settings: digest(&*config),
            config: Arc::clone(&config),
            sink: Arc::clone(&sink),
            parts: parts.clone(),
            held,
            shutdown: shutdown.clone(),
        };
        let last_error =
            read_last_error(&*parts.store, Role::Sink, &config.name, &runner.settings).await;
        tracing::info!(sink = config.name, kind = config.kind.as_str(), "running the sink");
        runner.run(lease, last_error).await;
        runner.held.release().await;
        tracing::info!(sink = config.name, "no longer running the sink");
    }
}

/// Makes the sink known, with the place where it begins, as soon as the database can be reached.
async fn register(config: &SinkConfig, parts: &Parts) {
    let (name, kind) = (config.name.as_str(), config.kind.as_str());
    while let Some(pause) = pause_after(try_register(config, parts).await, Role::Sink, name, kind) {
        sleep(pause).await;
    }
}

async fn try_register(config: &SinkConfig, parts: &Parts) -> Result<Registered, Problem> {
    let (role, name, kind) = (Role::Sink, config.name.as_str(), config.kind.as_str());
    let known = parts.store.connectors(role, Some(name)).await.map_err(|error| error.problem())?;
    let start = match known.as_slice() {
        [] => {
            let token = open(config, parts, config.from.clone()).await?.token();
            Some((text(&config.from, &token), token.position()))
        }
        _ => None,
    };
    let start = start.as_ref().map(|(text, position)| (text.as_str(), *position));
    let registered = parts.store.register(role, name, kind, start).await;
    registered.map_err(|error| error.problem())
}

/// The place as the database keeps it: a snapshot begins when it is read.
fn text(start: &Start, token: &Token) -> String {
    match start {
        Start::Snapshot => SNAPSHOT.to_owned(),
        _ => token.to_string(),
    }
}

async fn open(config: &SinkConfig, parts: &Parts, start: Start) -> Result<Reader, Problem> {
    let request = WatchRequest {
        kind: ReaderKind::Sink,
        start,
        until_now: false,
        types: config.types.clone(),
        filter: config.filter.clone(),
        include_data: true,
    };
    parts.feed.watch(request).await
}

/// What follows on the end of a run.
enum Next {
    Run(Start),
    End,
}

impl LeasedSink {
    /// Runs until the lease is lost or the worker stops.
    async fn run(&self, mut lease: Lease, mut last_error: Option<LastError>) {
        let mut next = self.start(lease.token.as_deref());
        while let Next::Run(start) = next {
            next = self.run_from(start, &mut lease, &mut last_error).await;
        }
    }

    fn start(&self, token: Option<&str>) -> Next {
        let start = token.map_or(Ok(self.config.from.clone()), Start::parse);
        Next::Run(start.unwrap_or_else(|_| {
            self.warn("the position is no token of this release", token.unwrap_or_default());
            self.config.from.clone()
        }))
    }

    async fn run_from(
        &self,
        start: Start,
        lease: &mut Lease,
        last_error: &mut Option<LastError>,
    ) -> Next {
        if !self.wait_while_paused(last_error.as_ref()).await {
            return Next::End;
        }
        let generation = self.control().generation;
        if generation != lease.generation {
            return self.read_reset(generation, lease, start).await;
        }
        let reader = match open(&self.config, &self.parts, start.clone()).await {
            Ok(reader) => reader,
            Err(problem) if problem.kind == ProblemKind::Gone => {
                return self.gone(&problem, start, lease, last_error).await;
            }
            Err(problem) => return self.wait(&problem, start, last_error).await,
        };
        let mut session = Session::new(self, lease.clone(), reader.token(), last_error.take());
        let end = session.run(reader).await;
        let (token, error) = session.into_place();
        *last_error = error;
        let here = Start::Token(token.clone());
        match end {
            End::Stopped | End::LeaseLost => Next::End,
            End::Paused | End::Reset => Next::Run(here),
            End::TargetLost => {
                self.warn("a snapshot is taken", "the target has lost what it had");
                self.begin_snapshot(lease, &token, here).await
            }
            End::Gone(problem) => self.gone(&problem, here, lease, last_error).await,
            End::Unavailable(problem) => self.wait(&problem, here, last_error).await,
        }
    }

    /// Waits until the sink is not paused; false where it ends meanwhile.
    async fn wait_while_paused(&self, last_error: Option<&LastError>) -> bool {
        if self.control().paused {
            tracing::info!(sink = self.config.name, "the sink is paused");
            self.report_idle(false, last_error);
        }
        let mut control = self.held.control();
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => false,
            () = self.held.lost().cancelled() => false,
            resumed = control.wait_for(|control| !control.paused) => resumed.is_ok(),
        }
    }

    /// The position was reset: reads the new one.
    async fn read_reset(&self, generation: u64, lease: &mut Lease, start: Start) -> Next {
        match self.parts.store.connectors(Role::Sink, Some(&self.config.name)).await {
            Ok(found) => {
                let token = found.into_iter().next().and_then(|connector| connector.token);
                lease.generation = generation;
                tracing::info!(sink = self.config.name, "the position was reset");
                self.start(token.as_deref())
            }
            Err(error) => {
                tracing::debug!(%error, "the new position can't be read now");
                self.pause(start).await
            }
        }
    }

    /// Tries again later, unless the sink ends meanwhile.
    async fn pause(&self, start: Start) -> Next {
        tokio::select! {
            () = self.shutdown.cancelled() => Next::End,
            () = self.held.lost().cancelled() => Next::End,
            () = sleep(DATABASE_PAUSE) => Next::Run(start),
        }
    }

    async fn wait(
        &self,
        problem: &Problem,
        start: Start,
        last_error: &mut Option<LastError>,
    ) -> Next {
        let now = self.parts.clock.now();
        *last_error = Some(LastError::new(now, problem.detail.clone()));
        self.report_idle(true, last_error.as_ref());
        self.pause(start).await
    }

    /// What follows on the position is not kept: states can be sent anew, missed changes can't.
    async fn gone(
        &self,
        problem: &Problem,
        start: Start,
        lease: &Lease,
        last_error: &mut Option<LastError>,
    ) -> Next {
        if self.config.mode == Mode::Latest {
            self.warn("a snapshot is taken", &problem.detail);
            let nowhere = Token::in_log(uuid::Uuid::nil(), 0);
            let token = if let Start::Token(token) = &start { token.clone() } else { nowhere };
            return self.begin_snapshot(lease, &token, start).await;
        }
        let name = &self.config.name;
        let why = format!(
            "{}; reset the sink (POST /api/v1/sinks/{name}/reset), then resume it",
            problem.detail
        );
        self.warn("the sink pauses itself", &why);
        *last_error = Some(LastError::new(self.parts.clock.now(), why));
        let paused = self.parts.store.set_paused(Role::Sink, name, true).await;
        if let Err(error) = paused {
            tracing::debug!(%error, "the sink can't be paused now");
        }
        self.pause(start).await
    }

    /// Puts the position to a snapshot, so that another worker takes it too.
    async fn begin_snapshot(&self, lease: &Lease, from: &Token, otherwise: Start) -> Next {
        match self.parts.store.advance(lease, SNAPSHOT, from.position()).await {
            Ok(true) => Next::Run(Start::Snapshot),
            // lost or reset, as will be seen
            Ok(false) | Err(_) => self.pause(otherwise).await,
        }
    }
}
