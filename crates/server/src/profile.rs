//! `GET /debug/pprof/profile` of the operators' port: where the process spends its CPU time, sampled
//! during the request.
//!
//! Nothing runs, and nothing is set up, until the first request. Stacks are unwound by framehop, which
//! reads unwind tables and checks memory before it reads it, so a profile can't crash the service. The
//! compiler's own unwinder crashes when a sample interrupts a panic, and frame pointers miss the
//! function that is running.

mod protobuf;
mod recording;
mod stacks;

use std::collections::HashMap;
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::Response;
use http::{HeaderValue, header};
use producer_core::{Problem, ProblemKind};
use stacks::Stacks;
use tokio::sync::oneshot;

use crate::problem;

/// How long a profile may take, in seconds.
const SECONDS: RangeInclusive<u64> = 1..=60;
/// How long it takes by default.
const DEFAULT_SECONDS: u64 = 30;

/// Allows one profile at a time: signals and their handler belong to the process. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Profiler(Arc<Mutex<Option<Instant>>>);

/// The right to profile, until it is dropped.
struct ProfilerGuard(Profiler);

impl Profiler {
    /// Begins a profile; the error is how long the running one still takes.
    fn begin(&self, length: Duration) -> Result<ProfilerGuard, Duration> {
        let mut end = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(end) = *end {
            return Err(end.saturating_duration_since(Instant::now()));
        }
        *end = Some(Instant::now() + length);
        Ok(ProfilerGuard(self.clone()))
    }
}

impl Drop for ProfilerGuard {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The format of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// What `go tool pprof` reads.
    Pprof,
    /// A flame graph.
    Svg,
}

impl Format {
    fn write(self, stacks: &Stacks) -> io::Result<Vec<u8>> {
        match self {
            Self::Pprof => protobuf::write(stacks),
            Self::Svg => stacks.flame_graph(),
        }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Pprof => "application/octet-stream",
            Self::Svg => "image/svg+xml",
        }
    }
}

/// The route: `?seconds=30` and `?format=pprof` or `svg`.
pub(crate) async fn profile(
    State(profiler): State<Profiler>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let (length, format) = match (seconds(&query), format(&query)) {
        (Ok(length), Ok(format)) => (length, format),
        (Err(problem), _) | (_, Err(problem)) => return refuse(&problem, None),
    };
    let guard = match profiler.begin(length) {
        Ok(guard) => guard,
        Err(remaining) => return refuse(&busy(), Some(remaining)),
    };
    match record(guard, length, format).await {
        Ok(body) => answer(format.media_type(), body),
        Err(error) => {
            tracing::error!(%error, "profiling failed");
            refuse(&Problem::new(ProblemKind::Internal, "profiling failed; the log says why"), None)
        }
    }
}

/// Records on a thread of its own, which the end of the process doesn't wait for. Dropping the future
/// ends the recording.
async fn record(guard: ProfilerGuard, length: Duration, format: Format) -> io::Result<Vec<u8>> {
    let (_caller, cancelled) = mpsc::channel();
    let (sender, receiver) = oneshot::channel();
    let work = move || {
        let _guard = guard;
        recording::record(length, &cancelled).and_then(|stacks| format.write(&stacks))
    };
    let thread = std::thread::Builder::new().name("profile".into());
    thread.spawn(|| drop(sender.send(work())))?;
    receiver.await.map_err(io::Error::other)?
}

fn seconds(query: &HashMap<String, String>) -> Result<Duration, Problem> {
    let Some(text) = query.get("seconds") else { return Ok(Duration::from_secs(DEFAULT_SECONDS)) };
    let seconds = text.parse().ok().filter(|seconds| SECONDS.contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| {
        let (from, to) = (SECONDS.start(), SECONDS.end());
        let detail = format!("seconds must be a whole number from {from} to {to}");
        Problem::new(ProblemKind::Malformed, detail)
    })
}

fn format(query: &HashMap<String, String>) -> Result<Format, Problem> {
    match query.get("format").map(String::as_str) {
        None | Some("pprof") => Ok(Format::Pprof),
        Some("svg") => Ok(Format::Svg),
        Some(_) => Err(Problem::new(ProblemKind::Malformed, "format must be pprof or svg")),
    }
}

fn busy() -> Problem {
    Problem::new(
        ProblemKind::Unavailable,
        "another profile is being recorded; one is recorded at a time",
    )
}

fn answer(media_type: &'static str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

fn refuse(problem: &Problem, wait: Option<Duration>) -> Response {
    let mut response = problem::response(problem);
    if let Some(wait) = wait {
        response.headers_mut().insert(header::RETRY_AFTER, (wait.as_secs() + 1).into());
    }
    response
}
