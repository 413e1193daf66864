//! The parts of the end-to-end tests: the real binaries as processes ([`Service`]), databases
//! ([`Database`]), clients of both APIs with one type of result ([`Api`], [`Outcome`]), a network
//! that fails on demand ([`Proxy`]), a receiver of traces ([`Receiver`]), continuous writers
//! ([`Load`]), and the check of what they did ([`History`]); readers of the change feed
//! ([`ChangesReader`]), and the check of what they got ([`Received`]); workers ([`Worker`]), targets of
//! their sinks ([`RedisTarget`], [`TopicTarget`], [`IndexTarget`], [`Webhook`]), and the check of what a stream
//! or a topic got ([`StreamLog`], [`VersionLog`]).
#![expect(clippy::panic, reason = "for tests only: a panic is how a helper fails a test")]

mod api;
mod changes;
mod database;
mod history;
mod index_target;
mod load;
mod local_copy;
mod merge;
mod proxy;
mod received;
mod receiver;
mod redis_target;
mod service;
mod stream_log;
mod tls;
mod topic_target;
mod version_log;
mod webhook;
mod worker;

use std::time::{Duration, Instant};

pub use api::{Api, Grpc, Outcome, Rest, SentEvent, SentUpdate, outcome_from_status};
pub use changes::{
    ChangeItem, ChangesReader, ChangesRequest, EntityChange, EntityKey, EntitySnapshot, Form,
    ReaderError,
};
pub use database::Database;
pub use history::{History, Record};
pub use index_target::IndexTarget;
pub use load::Load;
pub use local_copy::{Beginning, CopyFilter, LocalCopy, StateSource, StoredEntities};
pub use merge::merge_patch;
pub use proxy::{NetworkConditions, Proxy};
pub use received::{Committed, Received};
pub use receiver::{Receiver, SentSpan};
pub use redis_target::{RedisTarget, StreamEntry};
pub use service::{Binary, Service, Signal};
pub use stream_log::StreamLog;
pub use tls::{Certificate, CertificateFiles};
pub use topic_target::TopicTarget;
pub use version_log::VersionLog;
pub use webhook::{Answer, Delivered, Webhook};
pub use worker::Worker;

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

/// The timeout for what should take moments; only a failing test waits that long.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The time limit of a response while the database is down: 3 s by contract, plus slack for a busy
/// machine.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// The time limit of a response to a client that is not part of an abuse: 1 s by contract, plus
/// slack.
pub const NEIGHBOUR_DEADLINE: Duration = Duration::from_secs(3);

/// The time limit for a service to recover after its database does: 5 s by contract, plus slack.
pub const RECOVERY_DEADLINE: Duration = Duration::from_secs(7);

/// The slack of this machine over what a contract promises.
pub const SLACK: Duration = Duration::from_secs(2);

/// Polls `condition` until it is true; returns how long that took.
///
/// # Panics
/// After `within`.
pub async fn eventually_within(
    within: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) -> Duration {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < within, "waited {within:?} for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    start.elapsed()
}

/// Polls `condition` until it is true.
///
/// # Panics
/// After [`DEADLINE`].
pub async fn eventually(what: &str, condition: impl AsyncFnMut() -> bool) {
    eventually_within(DEADLINE, what, condition).await;
}
