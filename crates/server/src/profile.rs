//! `GET /debug/pprof/profile` of the operators' port: where the process spends its CPU time, sampled
//! while somebody waits for it.
//!
//! Nothing runs, and nothing is set up, until somebody asks. Stacks are read by unwind tables and
//! memory is looked at only where it can be read, so a profile can't take the service down with it,
//! panics included. That is why it is framehop: the compiler's own unwinder crashes when a sample
//! falls into a panic on its way, and frame pointers lose the function that is running.

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
use http::{HeaderValue, StatusCode, header};
use producer_core::{Problem, ProblemKind};
use serde_json::json;
use stacks::Stacks;
use tokio::sync::oneshot;

/// How long a profile may take.
const SECONDS: RangeInclusive<u64> = 1..=60;
/// How long it takes where nobody says.
const DEFAULT_SECONDS: u64 = 30;

/// Who profiles now. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Profiler(Arc<Mutex<Option<Instant>>>);

/// One profile at a time: signals and their handler are the process's.
struct Turn(Profiler);

impl Profiler {
    /// Begins; the error says how long the running one still takes.
    fn begin(&self, length: Duration) -> Result<Turn, Duration> {
        let mut end = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(end) = *end {
            return Err(end.saturating_duration_since(Instant::now()));
        }
        *end = Some(Instant::now() + length);
        Ok(Turn(self.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// What is answered.
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
    let turn = match profiler.begin(length) {
        Ok(turn) => turn,
        Err(left) => return refuse(&busy(), Some(left)),
    };
    match made(turn, length, format).await {
        Ok(body) => answer(format.media_type(), body),
        Err(error) => {
            tracing::error!(%error, "no profile can be made");
            refuse(&Problem::new(ProblemKind::Internal, "no profile; the log says why"), None)
        }
    }
}

/// A thread of its own makes it, which the end of the process doesn't wait for. Dropping the future
/// ends the recording.
async fn made(turn: Turn, length: Duration, format: Format) -> io::Result<Vec<u8>> {
    let (_asker, asker_left) = mpsc::channel();
    let (tell, told) = oneshot::channel();
    let make = move || {
        let _turn = turn;
        recording::record(length, &asker_left).and_then(|stacks| format.write(&stacks))
    };
    let thread = std::thread::Builder::new().name("profile".into());
    thread.spawn(|| drop(tell.send(make())))?;
    told.await.map_err(io::Error::other)?
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
    Problem::new(ProblemKind::Unavailable, "a profile is being made, and one is made at a time")
}

fn answer(media_type: &'static str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

fn refuse(problem: &Problem, wait: Option<Duration>) -> Response {
    let kind = problem.kind;
    let body = json!({
        "type": format!("urn:producer:problem:{}", kind.as_str()),
        "title": kind.title(),
        "status": kind.http_status(),
        "detail": problem.detail,
        "error": problem.detail,
    });
    let mut response = answer("application/problem+json", body.to_string().into_bytes());
    *response.status_mut() =
        StatusCode::from_u16(kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(wait) = wait {
        response.headers_mut().insert(header::RETRY_AFTER, (wait.as_secs() + 1).into());
    }
    response
}
