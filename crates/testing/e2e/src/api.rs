//! Clients of both APIs with one interface: send an event, get its outcome.

use std::net::SocketAddr;
use std::time::Duration;

use producer_test_support::http_client_builder;
use serde_json::{Value, json};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use crate::proto::event_service_client::EventServiceClient;
use crate::proto::{
    self, EntityVersion, EventBody, EventHeader, EventRequest, HealthRequest, Operation,
};

/// Longer than any response may take.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(20);

/// An event as a test sends it.
#[derive(Debug, Clone, PartialEq)]
pub struct SentEvent {
    /// The idempotency key.
    pub uuid: Uuid,
    /// What it does with each entity.
    pub updates: Vec<SentUpdate>,
}

/// What an event does with one entity.
#[derive(Debug, Clone, PartialEq)]
pub struct SentUpdate {
    /// `entityType`
    pub entity_type: String,
    /// `entityId`
    pub entity_id: String,
    /// `operation`; left out where it is unspecified, which merges.
    pub operation: Operation,
    /// `updatedAttributes`
    pub attributes: Value,
}

impl SentUpdate {
    /// An update that merges.
    pub fn new(entity_type: &str, entity_id: &str, attributes: Value) -> Self {
        let operation = Operation::Unspecified;
        Self { entity_type: entity_type.into(), entity_id: entity_id.into(), operation, attributes }
    }

    fn json(&self) -> Value {
        let mut item = json!({
            "entityType": self.entity_type,
            "entityId": self.entity_id,
            "updatedAttributes": self.attributes,
        });
        let operation = match self.operation {
            Operation::Unspecified => return item,
            Operation::Merge => "merge",
            Operation::Replace => "replace",
            Operation::Delete => "delete",
        };
        item["operation"] = operation.into();
        item
    }

    fn message(&self) -> proto::EntityUpdate {
        proto::EntityUpdate {
            entity_type: self.entity_type.clone(),
            entity_id: self.entity_id.clone(),
            operation: self.operation.into(),
            attributes_json: Some(self.attributes.to_string()),
            ..Default::default()
        }
    }
}

impl SentEvent {
    /// An event with a new uuid that updates one entity.
    pub fn new(entity_type: &str, entity_id: &str, attributes: Value) -> Self {
        Self { uuid: Uuid::new_v4(), updates: Vec::new() }.and(entity_type, entity_id, attributes)
    }

    /// Adds an entity.
    #[must_use]
    pub fn and(mut self, entity_type: &str, entity_id: &str, attributes: Value) -> Self {
        self.updates.push(SentUpdate::new(entity_type, entity_id, attributes));
        self
    }

    /// The document for REST.
    pub fn json(&self) -> Value {
        let entities: Vec<_> = self.updates.iter().map(SentUpdate::json).collect();
        json!({
            "eventHeader": {"uuid": self.uuid.to_string(), "eventName": "Tested"},
            "eventBody": {"entities": entities},
        })
    }

    /// The message for gRPC.
    pub fn message(&self) -> EventRequest {
        EventRequest {
            event_header: Some(EventHeader {
                uuid: self.uuid.to_string(),
                event_name: "Tested".into(),
                ..Default::default()
            }),
            event_body: Some(EventBody {
                entities: self.updates.iter().map(SentUpdate::message).collect(),
            }),
        }
    }
}

/// The outcome of an event for its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// 200, OK: it is stored.
    Done {
        /// It was stored by an earlier request.
        duplicate: bool,
        /// The version of each of its entities.
        versions: Vec<u64>,
    },
    /// 412, `ABORTED`: a condition does not hold, or it deletes what does not exist; nothing is stored.
    PreconditionFailed,
    /// 503, or `UNAVAILABLE` from the service itself: nothing is stored.
    Refused {
        /// Whether the response says when to retry.
        retry_after: bool,
    },
    /// 504, `DEADLINE_EXCEEDED`: it may be stored.
    Unknown,
    /// No connection, so nothing was sent.
    NotConnected,
    /// The connection ended without a response: it may be stored.
    NoResponse(String),
    /// A response that no valid event should get.
    Unexpected(String),
}

/// A client of either API.
#[derive(Debug, Clone)]
pub enum Api {
    /// `producer-rest`
    Rest(Rest),
    /// `producer-grpc`
    Grpc(Grpc),
}

impl Api {
    /// Sends one event.
    pub async fn send(&self, event: &SentEvent) -> Outcome {
        match self {
            Self::Rest(rest) => rest.send(event).await,
            Self::Grpc(grpc) => grpc.send(event).await,
        }
    }
}

impl From<Rest> for Api {
    fn from(rest: Rest) -> Self {
        Self::Rest(rest)
    }
}

impl From<Grpc> for Api {
    fn from(grpc: Grpc) -> Self {
        Self::Grpc(grpc)
    }
}

/// A client of `producer-rest`.
#[derive(Debug, Clone)]
pub struct Rest {
    /// For what the methods don't cover.
    pub http: reqwest::Client,
    base: String,
}

impl Rest {
    /// A client with its own connections.
    pub fn new(address: SocketAddr) -> Self {
        let http = http_client_builder().timeout(CLIENT_TIMEOUT).no_proxy().build();
        Self { http: http.expect("a client without TLS"), base: format!("http://{address}") }
    }

    /// The URL of `path`.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Whether `/readyz` is 200.
    pub async fn ready(&self) -> bool {
        let answer = self.http.get(self.url("/readyz")).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    }

    /// Gets `path`; returns the status and the document.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.http.get(self.url(path)).send().await.expect("an answer");
        read(answer).await
    }

    /// Posts `body` to `path`; returns the status and the document.
    pub async fn post(
        &self,
        path: &str,
        content_type: &str,
        body: impl Into<reqwest::Body>,
    ) -> (u16, Value) {
        let request = self.http.post(self.url(path)).header("content-type", content_type);
        read(request.body(body).send().await.expect("an answer")).await
    }

    /// Posts to `path` without a body, or with a JSON document; returns the status and the document.
    pub async fn steer(&self, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = self.http.post(self.url(path));
        let request = match &body {
            Some(body) => request.json(body),
            None => request,
        };
        read(request.send().await.expect("an answer")).await
    }

    /// Deletes `path`; returns the status and the document.
    pub async fn delete(&self, path: &str) -> (u16, Value) {
        read(self.http.delete(self.url(path)).send().await.expect("an answer")).await
    }

    /// A sink or source (`sinks/NAME`, `sources/NAME`) as the API has it; null where it is unknown.
    pub async fn connector(&self, path: &str) -> Value {
        match self.get(&format!("/api/v1/{path}")).await {
            (200, connector) => connector,
            (404, _) => Value::Null,
            (status, answer) => panic!("{path}: {status} {answer}"),
        }
    }

    /// An entity's version and document; version 0 if it doesn't exist.
    pub async fn entity(&self, entity_type: &str, entity_id: &str) -> (u64, Value) {
        let (status, answer) =
            self.get(&format!("/api/v1/entities/{entity_type}/{entity_id}")).await;
        match status {
            404 => (0, json!({})),
            200 => (answer["version"].as_u64().expect("a version"), answer["data"].clone()),
            _ => panic!("{entity_type} {entity_id}: {status} {answer}"),
        }
    }

    /// Sends one event.
    pub async fn send(&self, event: &SentEvent) -> Outcome {
        let request = self.http.post(self.url("/api/v1/events")).json(&event.json());
        match request.send().await {
            Ok(answer) => outcome_from_response(answer).await,
            Err(error) if error.is_connect() => Outcome::NotConnected,
            Err(error) => Outcome::NoResponse(format!("{error:?}")),
        }
    }
}

async fn read(answer: reqwest::Response) -> (u16, Value) {
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("a complete response");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn outcome_from_response(answer: reqwest::Response) -> Outcome {
    let status = answer.status().as_u16();
    let retry_after = answer.headers().contains_key("retry-after");
    let text = match answer.text().await {
        Ok(text) => text,
        Err(error) => return Outcome::NoResponse(format!("{error:?}")),
    };
    let document: Value = serde_json::from_str(&text).unwrap_or_default();
    match status {
        200 => Outcome::Done {
            duplicate: document["duplicate"] == true,
            versions: document["entities"]
                .as_array()
                .map(|all| all.iter().filter_map(|entity| entity["version"].as_u64()).collect())
                .unwrap_or_default(),
        },
        412 => Outcome::PreconditionFailed,
        503 => Outcome::Refused { retry_after },
        504 => Outcome::Unknown,
        _ => Outcome::Unexpected(format!("{status} {text}")),
    }
}

/// A client of `producer-grpc`.
#[derive(Debug, Clone)]
pub struct Grpc {
    /// For what the methods don't cover.
    pub client: EventServiceClient<Channel>,
}

impl Grpc {
    /// A client with its own connection, which is opened when first used.
    pub fn new(address: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let channel = endpoint.timeout(CLIENT_TIMEOUT).connect_lazy();
        Self { client: EventServiceClient::new(channel) }
    }

    /// Whether `HealthCheck` is healthy.
    pub async fn ready(&self) -> bool {
        let request = HealthRequest { service: String::new() };
        let answer = self.client.clone().health_check(request).await;
        answer.is_ok_and(|answer| answer.into_inner().healthy)
    }

    /// Sends one event.
    pub async fn send(&self, event: &SentEvent) -> Outcome {
        match self.client.clone().process_event(event.message()).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                let versions = versions(&answer.entities);
                Outcome::Done { duplicate: answer.duplicate, versions }
            }
            Err(status) => outcome_from_status(&status),
        }
    }
}

/// The versions in a response.
fn versions(entities: &[EntityVersion]) -> Vec<u64> {
    entities.iter().map(|entity| entity.version).collect()
}

/// The outcome of an event for a status other than OK.
pub fn outcome_from_status(status: &tonic::Status) -> Outcome {
    // only the service's statuses have details, not those of the client library
    let from_service = !status.details().is_empty();
    let text = format!("{status:?}");
    match status.code() {
        Code::Unavailable if from_service => {
            Outcome::Refused { retry_after: contains(status.details(), "RetryInfo") }
        }
        Code::Aborted if from_service => Outcome::PreconditionFailed,
        Code::DeadlineExceeded if from_service => Outcome::Unknown,
        _ if text.contains("ConnectError") => Outcome::NotConnected,
        _ if from_service => Outcome::Unexpected(text),
        _ => Outcome::NoResponse(text),
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
