//! A service on a real socket and a real database, and clients of it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Parser;
use producer_core::store::DatabaseUrl;
use producer_core::types::BuilderSettings;
use producer_core::{Clock, store};
use producer_grpc::proto::v1::change_service_client::ChangeServiceClient;
use producer_grpc::proto::v1::entity_service_client::EntityServiceClient;
use producer_grpc::proto::v1::event_service_client::EventServiceClient;
use producer_grpc::proto::v1::search_service_client::SearchServiceClient;
use producer_grpc::proto::v1::type_service_client::TypeServiceClient;
use producer_grpc::proto::v1::worker_service_client::WorkerServiceClient;
use producer_grpc::proto::v1::{
    EntityUpdate, EventBody, EventHeader, EventRequest, GetEntityRequest, GetTypeRequest,
    HealthRequest, Type, TypePartStatus,
};
use producer_grpc::{Args, Grpc};
use producer_maintenance::{Database, migrate};
use producer_server::settings::Settings;
use producer_server::{Api, App};
use producer_test_support::{Postgres, SqliteFile, sqlite_file};
use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorProto};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::{ErrorInfo, StatusExt};

#[derive(Debug, Parser)]
struct CommandLine {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    args: Args,
}

/// A running service.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) app: App<Args>,
    task: JoinHandle<std::io::Result<()>>,
    _file: Option<SqliteFile>,
}

impl Service {
    /// On an SQLite file of its own.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with some flags.
    pub(crate) async fn start_with(flags: &[&str]) -> Self {
        let file = sqlite_file();
        let service = Self::on(&file.url(), flags).await;
        Self { _file: Some(file), ..service }
    }

    pub(crate) async fn on(url: &str, flags: &[&str]) -> Self {
        Self::with_clock(Clock::system(), url, flags).await
    }

    /// With a clock of the test's own.
    pub(crate) async fn with_clock(clock: Clock, url: &str, flags: &[&str]) -> Self {
        let line = ["test", "--database-url", url].into_iter().chain(flags.iter().copied());
        let CommandLine { settings, args } = CommandLine::parse_from(line);
        let database = Database::from(DatabaseUrl::parse(Some(url)).expect("a valid URL"));
        migrate::up(&database).await.expect("a migrated database");
        let store = store::connect(&settings.common.database()).await.expect("a store");
        let app = App::new(Grpc::API, settings, args, store, clock, &Handle::current());
        let listener = producer_server::serve::bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(Grpc::serve(app.clone(), listener.into()));
        Self { address, app, task, _file: None }
    }

    pub(crate) async fn channel(&self) -> Channel {
        channel_to(self.address).await
    }

    pub(crate) async fn client(&self) -> EventServiceClient<Channel> {
        EventServiceClient::new(self.channel().await)
    }

    pub(crate) async fn entities(&self) -> EntityServiceClient<Channel> {
        EntityServiceClient::new(self.channel().await)
    }

    pub(crate) async fn changes(&self) -> ChangeServiceClient<Channel> {
        ChangeServiceClient::new(self.channel().await)
    }

    pub(crate) async fn types(&self) -> TypeServiceClient<Channel> {
        TypeServiceClient::new(self.channel().await)
    }

    pub(crate) async fn search(&self) -> SearchServiceClient<Channel> {
        SearchServiceClient::new(self.channel().await)
    }

    pub(crate) async fn worker(&self) -> WorkerServiceClient<Channel> {
        WorkerServiceClient::new(self.channel().await)
    }

    /// Builds what is declared, as the binary does.
    pub(crate) fn start_builder(&self) {
        let shutdown = self.app.shutdown.clone();
        tokio::spawn(self.app.types.builder(BuilderSettings::default(), shutdown).run());
    }

    /// Waits until all that is declared about a type is ready. Returns the definition.
    pub(crate) async fn until_ready(&self, name: &str) -> Type {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut client = self.types().await;
        loop {
            let found = client.get_type(GetTypeRequest { r#type: name.into() }).await;
            let found = found.expect("a definition").into_inner();
            if found.parts.iter().all(|part| part.status() == TypePartStatus::Ready) {
                return found;
            }
            assert!(Instant::now() < deadline, "never ready: {found:?}");
        }
    }

    /// The version of an entity and its document.
    pub(crate) async fn entity(&self, entity_type: &str, entity_id: &str) -> Option<(u64, String)> {
        let request = GetEntityRequest {
            entity_type: entity_type.into(),
            entity_id: entity_id.into(),
            ..GetEntityRequest::default()
        };
        match self.client().await.get_entity(request).await {
            Ok(answer) => {
                let entity = answer.into_inner();
                Some((entity.version, entity.attributes_json))
            }
            Err(status) => {
                assert_eq!(status.code(), Code::NotFound, "{status}");
                None
            }
        }
    }

    /// Shuts down as on a signal.
    pub(crate) fn drain(&self) {
        self.app.shutdown.cancel();
        self.app.ingest.drain();
    }

    pub(crate) async fn stopped(self) {
        self.task.await.expect("no panic").expect("a clean end");
    }
}

/// Runs `test` on both databases.
pub(crate) async fn on_both<F: Future<Output = ()>>(test: impl Fn(Service) -> F) {
    test(Service::start().await).await;
    let database = Postgres::shared().fresh_database().await;
    test(Service::on(database.url(), &[]).await).await;
}

/// An event with one entity and its attributes as JSON.
pub(crate) fn event(uuid: &str, entity_id: &str, attributes_json: &str) -> EventRequest {
    let update = EntityUpdate {
        entity_type: "Loan".into(),
        entity_id: entity_id.into(),
        attributes_json: Some(attributes_json.into()),
        ..EntityUpdate::default()
    };
    event_of(uuid, vec![update])
}

pub(crate) fn event_of(uuid: &str, entities: Vec<EntityUpdate>) -> EventRequest {
    EventRequest {
        event_header: Some(EventHeader {
            uuid: uuid.into(),
            event_name: "LoanPaymentSubmitted".into(),
            ..EventHeader::default()
        }),
        event_body: Some(EventBody { entities }),
    }
}

/// Our `ErrorInfo`, which every error of ours has.
pub(crate) fn error_info(status: &Status) -> ErrorInfo {
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(info.domain, "producer");
    assert!(info.metadata.contains_key("request_id"));
    let is_retryable = matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded);
    assert_eq!(info.metadata["retryable"], is_retryable.to_string());
    info
}

/// The fields of the messages in the files of a service, by their names in JSON, as reflection returns them.
pub(crate) async fn reflected(service: &Service, name: &str) -> HashMap<String, Vec<String>> {
    let mut client = ServerReflectionClient::new(service.channel().await);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(name.into())),
    };
    let answers = client.server_reflection_info(tokio_stream::iter([request])).await;
    let answer = answers.expect("a stream").into_inner().message().await.expect("no error");
    let files = answer.and_then(|answer| match answer.message_response? {
        MessageResponse::FileDescriptorResponse(files) => Some(files),
        _ => None,
    });
    let files = files.expect("files").file_descriptor_proto.into_iter();
    let files = files.map(|bytes| FileDescriptorProto::decode(&bytes[..]).expect("a file"));
    let fields = |message: DescriptorProto| {
        let names = message.field.iter().map(|field| field.json_name().to_owned()).collect();
        (message.name().to_owned(), names)
    };
    files.flat_map(|file| file.message_type).map(fields).collect()
}

async fn channel_to(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("a URL");
    endpoint.connect().await.expect("the service listens")
}

/// A client with a connection of its own.
pub(crate) async fn client_of(address: SocketAddr) -> EventServiceClient<Channel> {
    EventServiceClient::new(channel_to(address).await)
}

/// Sends events until the service reads no more of them, or `most` are sent. It reads no more if it
/// answers many calls of another client meanwhile.
pub(crate) async fn send_until_no_room(
    sender: &mpsc::Sender<EventRequest>,
    other: &EventServiceClient<Channel>,
    event: impl Fn(usize) -> EventRequest,
    most: usize,
) -> usize {
    const ANSWERS: usize = 200;
    // each until its answer: a client that resets calls is disconnected
    let ask = async |mut other: EventServiceClient<Channel>| {
        other.health_check(HealthRequest::default()).await.expect("an answer");
    };
    let mut answer = Box::pin(ask(other.clone()));
    let (mut sent, mut answers) = (0, 0);
    while sent < most && answers < ANSWERS {
        tokio::select! {
            biased;
            room = sender.reserve() => {
                room.expect("the stream goes on").send(event(sent));
                (sent, answers) = (sent + 1, 0);
            }
            () = &mut answer => {
                answers += 1;
                answer = Box::pin(ask(other.clone()));
            }
        }
    }
    sent
}
