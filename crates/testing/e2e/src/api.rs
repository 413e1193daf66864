//! Both APIs behind one face: send an event, hear one word.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use crate::proto::event_service_client::EventServiceClient;
use crate::proto::{self, EntityVersion, EventBody, EventHeader, EventRequest, HealthRequest};

/// Longer than any answer may take: who waits so long has found a fault.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(20);

/// An event as a test sends it.
#[derive(Debug, Clone, PartialEq)]
pub struct SentEvent {
    /// The idempotency key.
    pub uuid: Uuid,
    /// Type, id and attributes of each entity.
    pub updates: Vec<(String, String, Value)>,
}

impl SentEvent {
    /// An event with a new uuid that updates one entity.
    pub fn new(entity_type: &str, entity_id: &str, attributes: Value) -> Self {
        Self { uuid: Uuid::new_v4(), updates: Vec::new() }.and(entity_type, entity_id, attributes)
    }

    /// The event with one entity more.
    #[must_use]
    pub fn and(mut self, entity_type: &str, entity_id: &str, attributes: Value) -> Self {
        self.updates.push((entity_type.into(), entity_id.into(), attributes));
        self
    }

    /// The document that REST takes.
    pub fn json(&self) -> Value {
        let entities: Vec<_> = self
            .updates
            .iter()
            .map(|(entity_type, entity_id, attributes)| {
                json!({
                    "entityType": entity_type,
                    "entityId": entity_id,
                    "updatedAttributes": attributes,
                })
            })
            .collect();
        json!({
            "eventHeader": {"uuid": self.uuid.to_string(), "eventName": "Tested"},
            "eventBody": {"entities": entities},
        })
    }

    /// The message that gRPC takes.
    pub fn message(&self) -> EventRequest {
        let updates =
            self.updates.iter().map(|(entity_type, entity_id, attributes)| proto::EntityUpdate {
                entity_type: entity_type.clone(),
                entity_id: entity_id.clone(),
                attributes_json: Some(attributes.to_string()),
                ..Default::default()
            });
        EventRequest {
            event_header: Some(EventHeader {
                uuid: self.uuid.to_string(),
                event_name: "Tested".into(),
                ..Default::default()
            }),
            event_body: Some(EventBody { entities: updates.collect() }),
        }
    }
}

/// What became of an event, as its sender heard it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// 200, OK: it is stored, and made these versions.
    Done {
        /// An earlier call had stored it.
        duplicate: bool,
        /// One for each entity of the event.
        versions: Vec<u64>,
    },
    /// 503, `UNAVAILABLE` in our own words: nothing is stored.
    Refused {
        /// Whether the answer says when to come again.
        retry_after: bool,
    },
    /// 504, `DEADLINE_EXCEEDED`: it may be stored.
    Unknown,
    /// No connection came about, so nothing was sent.
    NotConnected,
    /// The connection ended without an answer: it may be stored.
    Silent(String),
    /// An answer that no valid event should get.
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
    /// For whatever the methods here don't say.
    pub http: reqwest::Client,
    base: String,
}

impl Rest {
    /// A client with connections of its own.
    pub fn new(address: SocketAddr) -> Self {
        let http = reqwest::Client::builder().timeout(CLIENT_TIMEOUT).no_proxy().build();
        Self { http: http.expect("a client without TLS"), base: format!("http://{address}") }
    }

    /// Where `path` is.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Whether `/readyz` says so.
    pub async fn ready(&self) -> bool {
        let answer = self.http.get(self.url("/readyz")).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    }

    /// Gets `path`: the status and the document.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.http.get(self.url(path)).send().await.expect("an answer");
        read(answer).await
    }

    /// Posts `body` to `path`: the status and the document.
    pub async fn post(
        &self,
        path: &str,
        content_type: &str,
        body: impl Into<reqwest::Body>,
    ) -> (u16, Value) {
        let request = self.http.post(self.url(path)).header("content-type", content_type);
        read(request.body(body).send().await.expect("an answer")).await
    }

    /// An entity's version and document; version 0 where there is none.
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
            Ok(answer) => outcome_of_answer(answer).await,
            Err(error) if error.is_connect() => Outcome::NotConnected,
            Err(error) => Outcome::Silent(format!("{error:?}")),
        }
    }
}

async fn read(answer: reqwest::Response) -> (u16, Value) {
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("a whole answer");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn outcome_of_answer(answer: reqwest::Response) -> Outcome {
    let status = answer.status().as_u16();
    let retry_after = answer.headers().contains_key("retry-after");
    let text = match answer.text().await {
        Ok(text) => text,
        Err(error) => return Outcome::Silent(format!("{error:?}")),
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
        503 => Outcome::Refused { retry_after },
        504 => Outcome::Unknown,
        _ => Outcome::Unexpected(format!("{status} {text}")),
    }
}

/// A client of `producer-grpc`.
#[derive(Debug, Clone)]
pub struct Grpc {
    /// For whatever the methods here don't say.
    pub client: EventServiceClient<Channel>,
}

impl Grpc {
    /// A client with a connection of its own, made when first needed.
    pub fn new(address: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let channel = endpoint.timeout(CLIENT_TIMEOUT).connect_lazy();
        Self { client: EventServiceClient::new(channel) }
    }

    /// Whether `HealthCheck` says so.
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
            Err(status) => outcome_of_status(&status),
        }
    }
}

/// The versions that an answer names.
fn versions(entities: &[EntityVersion]) -> Vec<u64> {
    entities.iter().map(|entity| entity.version).collect()
}

/// What a status that isn't OK tells about an event.
pub fn outcome_of_status(status: &tonic::Status) -> Outcome {
    // Only our own refusals carry details; what the client library says by itself has none.
    let ours = !status.details().is_empty();
    let text = format!("{status:?}");
    match status.code() {
        Code::Unavailable if ours => {
            Outcome::Refused { retry_after: text_in(status.details(), "RetryInfo") }
        }
        Code::DeadlineExceeded if ours => Outcome::Unknown,
        _ if text.contains("ConnectError") => Outcome::NotConnected,
        _ if ours => Outcome::Unexpected(text),
        _ => Outcome::Silent(text),
    }
}

fn text_in(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
