//! What webhooks are sent to.

use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::Result;

/// A receiver that counts what it has received.
pub(super) struct Receiver {
    address: SocketAddr,
    received: Arc<AtomicU64>,
    server: JoinHandle<()>,
}

impl Receiver {
    /// Answers at once, or reads requests and never answers.
    pub(super) async fn start(answers: bool) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let received = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&received);
        let handler = move |_body: Bytes| {
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                if !answers {
                    pending::<()>().await;
                }
                StatusCode::NO_CONTENT
            }
        };
        let routes = Router::new().route("/", post(handler));
        let server = tokio::spawn(async move {
            // it ends with an error only where the listener does, and then nothing is counted any more
            let _ended = axum::serve(listener, routes).await;
        });
        Ok(Self { address, received, server })
    }

    /// Where it listens.
    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The requests that came.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}
