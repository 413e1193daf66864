//! A receiver of webhooks, which records what comes and answers as it is set to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How a receiver answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// With this status and body.
    Status(u16, String),
    /// Not before it is set otherwise.
    Hang,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// When.
    pub at: Instant,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; null where it is no JSON.
    pub body: Value,
}

/// A receiver, which ends when dropped.
#[derive(Debug)]
pub struct Webhook {
    address: SocketAddr,
    shared: Shared,
    server: JoinHandle<()>,
}

#[derive(Debug, Clone)]
struct Shared {
    answer: watch::Sender<Answer>,
    delivered: Arc<Mutex<Vec<Delivered>>>,
}

impl Webhook {
    /// Starts a receiver.
    pub async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Shared { answer: watch::channel(answer).0, delivered: Arc::default() };
        let routes = Router::new().fallback(receive).with_state(shared.clone());
        let server = tokio::spawn(async move {
            axum::serve(listener, routes).await.expect("a server of the test");
        });
        Self { address, shared, server }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How it answers from now on, those too that it let hang.
    pub fn set(&self, answer: Answer) {
        self.shared.answer.send_replace(answer);
    }

    /// All that came.
    pub fn delivered(&self) -> Vec<Delivered> {
        self.shared.delivered.lock().expect("not poisoned").clone()
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let delivered = Delivered { at: Instant::now(), headers, body };
    shared.delivered.lock().expect("not poisoned").push(delivered);
    let mut answers = shared.answer.subscribe();
    loop {
        if let Answer::Status(status, body) = answers.borrow_and_update().clone() {
            return (StatusCode::from_u16(status).expect("a status"), body);
        }
        answers.changed().await.expect("the sender is here");
    }
}
