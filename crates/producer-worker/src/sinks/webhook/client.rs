//! The HTTP client: one request, one answer, each within the time that it has.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};
use tower::ServiceExt;

use super::connect::{Connector, innermost, why_not_connected};
use super::outcome::Answer;
use super::target::Target;

/// Bytes of an answer's body that are read.
const MAX_BODY: usize = 16 * 1024;

/// Bytes that the head of an answer may have.
const MAX_HEAD: usize = 64 * 1024;

/// Shorter than servers keep idle connections (Node.js: 5 s), so that they do not close one that is about
/// to be used.
const IDLE: Duration = Duration::from_secs(4);

/// Connections to one receiver.
#[derive(Debug)]
pub(super) struct Client {
    pool: Pool<Connector, Full<Bytes>>,
    connector: Connector,
    timeout: Duration,
}

impl Client {
    /// `connections` of them are kept while they are idle.
    pub(super) fn new(connector: Connector, connections: usize, timeout: Duration) -> Self {
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(connections)
            .http1_max_buf_size(MAX_HEAD)
            .build(connector.clone());
        Self { pool, connector, timeout }
    }

    /// Sends a request to the target.
    ///
    /// # Errors
    /// One sentence: there was no answer. The request may have arrived all the same.
    pub(super) async fn send(
        &self,
        target: &Target,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, String> {
        let deadline = Instant::now() + self.timeout;
        let answered = timeout_at(deadline, self.pool.request(request)).await;
        let answer = answered.map_err(|_elapsed| self.no_answer(target))?;
        let answer = answer.map_err(|error| match error.is_connect() {
            true => why_not_connected(target.host(), &error),
            false => format!("the connection to {} broke: {}", target.host(), innermost(&error)),
        })?;
        let (head, incoming) = answer.into_parts();
        let mut body = Vec::new();
        // the status says it all; what is missing of the body is missing in an error's text
        let _ = timeout_at(deadline, read(incoming, &mut body)).await;
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// Connects without sending a request.
    ///
    /// # Errors
    /// One sentence: there is no connection.
    pub(super) async fn connect(&self, target: &Target) -> Result<(), String> {
        let connecting = self.connector.clone().oneshot(target.uri().clone());
        match tokio::time::timeout(self.timeout, connecting).await {
            Ok(Ok(_connection)) => Ok(()),
            Ok(Err(error)) => Err(why_not_connected(target.host(), &*error)),
            Err(_elapsed) => Err(self.no_answer(target)),
        }
    }

    fn no_answer(&self, target: &Target) -> String {
        format!(
            "no answer from {} within {}",
            target.host(),
            humantime::format_duration(self.timeout)
        )
    }
}

/// Reads the body to its end, so that the connection can be used again, or as much as is allowed; then the
/// connection is closed.
async fn read(mut incoming: Incoming, body: &mut Vec<u8>) {
    while body.len() < MAX_BODY {
        let Some(Ok(frame)) = incoming.frame().await else { return };
        if let Ok(data) = frame.into_data() {
            let rest = MAX_BODY - body.len();
            body.extend_from_slice(&data[..data.len().min(rest)]);
        }
    }
}
