//! What the end-to-end tests are made of: the real binaries as processes ([`Service`]), a database
//! of one's own ([`Database`]), clients that tell both APIs' answers in one word ([`Api`],
//! [`Outcome`]), a network that fails on demand ([`Proxy`]), a
//! receiver of traces ([`Receiver`]), writers that never stop ([`Load`]) and the judge of what they saw ([`History`]).
#![expect(clippy::panic, reason = "for tests only: a panic is how a helper fails a test")]

mod api;
mod database;
mod history;
mod load;
mod proxy;
mod receiver;
mod service;
mod tls;

use std::time::{Duration, Instant};

pub use api::{Api, Grpc, Outcome, Rest, SentEvent, outcome_of_status};
pub use database::Database;
pub use history::{History, Record};
pub use load::Load;
pub use proxy::{Proxy, Weather};
pub use receiver::{Receiver, SentSpan};
pub use service::{Binary, Service, Signal};
pub use tls::{Certificate, CertificateFiles};

/// The messages and the client of `producer.v1`.
#[expect(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated; the .proto documents them"
)]
pub mod proto {
    tonic::include_proto!("producer.v1");
}

/// How long something may take that should take moments: only a failing test waits so long.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How long an answer may take when the database is gone: 3 s by contract, and slack for a machine
/// that does other things too.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// How long a neighbour may wait who has nothing to do with an abuse: 1 s by contract, and slack.
pub const NEIGHBOUR_DEADLINE: Duration = Duration::from_secs(3);

/// How long a service may need to serve again once its database is back: 5 s by contract, and slack.
pub const RECOVERY_DEADLINE: Duration = Duration::from_secs(7);

/// Asks `condition` again and again until it says yes.
///
/// # Panics
/// When [`DEADLINE`] has passed.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
