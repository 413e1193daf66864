//! The services: one file a capability, each with the rpcs that do it. The trait implementations
//! here only delegate.

pub(crate) mod bulk;
pub(crate) mod changes;
pub(crate) mod entities;
pub(crate) mod entity_writes;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod history;

use producer_core::decode::EntityMethod;
use producer_server::App;
use tonic::{Request, Response, Status, Streaming};

use crate::args::Args;
use crate::proto::{server, v1};
use crate::wire::entity_write::EntityWriteMessage;
use crate::wire::event::{EventMessage, EventsMessage};

/// Both event services: the legacy one has two of the same rpcs.
#[derive(Clone)]
pub(crate) struct EventService {
    app: App<Args>,
}

impl EventService {
    pub(crate) fn new(app: App<Args>) -> Self {
        Self { app }
    }
}

#[tonic::async_trait]
impl server::v1::event_service_server::EventService for EventService {
    async fn process_event(
        &self,
        request: Request<EventMessage>,
    ) -> Result<Response<v1::EventResponse>, Status> {
        events::process_event(&self.app, request).await
    }

    async fn process_events(
        &self,
        request: Request<EventsMessage>,
    ) -> Result<Response<v1::ProcessEventsResponse>, Status> {
        bulk::process_events(&self.app, request).await
    }

    type StreamEventsStream = bulk::ResultStream;

    async fn stream_events(
        &self,
        request: Request<Streaming<EventMessage>>,
    ) -> Result<Response<bulk::ResultStream>, Status> {
        bulk::stream_events(&self.app, request)
    }

    async fn get_entity(
        &self,
        request: Request<v1::GetEntityRequest>,
    ) -> Result<Response<v1::Entity>, Status> {
        entities::get_entity(&self.app, request).await
    }

    async fn get_event(
        &self,
        request: Request<v1::GetEventRequest>,
    ) -> Result<Response<v1::Event>, Status> {
        events::get_event(&self.app, request).await
    }

    async fn health_check(
        &self,
        _request: Request<v1::HealthRequest>,
    ) -> Result<Response<v1::HealthResponse>, Status> {
        Ok(health::health_check(&self.app).await)
    }
}

/// The service of single entities.
#[derive(Clone)]
pub(crate) struct EntityService {
    app: App<Args>,
}

impl EntityService {
    pub(crate) fn new(app: App<Args>) -> Self {
        Self { app }
    }
}

#[tonic::async_trait]
impl server::v1::entity_service_server::EntityService for EntityService {
    async fn create_entity(
        &self,
        request: Request<EntityWriteMessage>,
    ) -> Result<Response<v1::WriteEntityResponse>, Status> {
        entity_writes::write_entity(&self.app, EntityMethod::Create, request).await
    }

    async fn replace_entity(
        &self,
        request: Request<EntityWriteMessage>,
    ) -> Result<Response<v1::WriteEntityResponse>, Status> {
        entity_writes::write_entity(&self.app, EntityMethod::Replace, request).await
    }

    async fn merge_entity(
        &self,
        request: Request<EntityWriteMessage>,
    ) -> Result<Response<v1::WriteEntityResponse>, Status> {
        entity_writes::write_entity(&self.app, EntityMethod::Merge, request).await
    }

    async fn delete_entity(
        &self,
        request: Request<EntityWriteMessage>,
    ) -> Result<Response<v1::WriteEntityResponse>, Status> {
        entity_writes::write_entity(&self.app, EntityMethod::Delete, request).await
    }

    async fn get_entity(
        &self,
        request: Request<v1::GetEntityRequest>,
    ) -> Result<Response<v1::Entity>, Status> {
        entities::get_entity(&self.app, request).await
    }

    async fn list_entity_history(
        &self,
        request: Request<v1::ListEntityHistoryRequest>,
    ) -> Result<Response<v1::ListEntityHistoryResponse>, Status> {
        history::list_entity_history(&self.app, request).await
    }

    async fn diff_entity(
        &self,
        request: Request<v1::DiffEntityRequest>,
    ) -> Result<Response<v1::DiffEntityResponse>, Status> {
        history::diff_entity(&self.app, request).await
    }

    async fn get_entity_provenance(
        &self,
        request: Request<v1::GetEntityProvenanceRequest>,
    ) -> Result<Response<v1::GetEntityProvenanceResponse>, Status> {
        history::get_entity_provenance(&self.app, request).await
    }
}

/// The service of what changes.
#[derive(Clone)]
pub(crate) struct ChangeService {
    app: App<Args>,
}

impl ChangeService {
    pub(crate) fn new(app: App<Args>) -> Self {
        Self { app }
    }
}

#[tonic::async_trait]
impl server::v1::change_service_server::ChangeService for ChangeService {
    async fn list_changes(
        &self,
        request: Request<v1::ListChangesRequest>,
    ) -> Result<Response<v1::ListChangesResponse>, Status> {
        changes::list_changes(&self.app, request).await
    }

    type WatchChangesStream = changes::ItemStream;

    async fn watch_changes(
        &self,
        request: Request<v1::WatchChangesRequest>,
    ) -> Result<Response<changes::ItemStream>, Status> {
        changes::watch_changes(&self.app, request).await
    }
}

#[tonic::async_trait]
impl server::legacy::event_service_server::EventService for EventService {
    async fn process_event(
        &self,
        request: Request<EventMessage>,
    ) -> Result<Response<v1::EventResponse>, Status> {
        events::process_event(&self.app, request).await
    }

    async fn health_check(
        &self,
        _request: Request<v1::HealthRequest>,
    ) -> Result<Response<v1::HealthResponse>, Status> {
        Ok(health::health_check(&self.app).await)
    }
}
