//! The services: one file a capability, each with the rpcs that do it. The trait implementations
//! here only delegate.

pub(crate) mod bulk;
pub(crate) mod changes;
pub(crate) mod entities;
pub(crate) mod entity_writes;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod lists;
pub(crate) mod search;
pub(crate) mod types;
pub(crate) mod worker;

use producer_core::decode::EntityMethod;
use producer_server::App;
use tonic::{Request, Response, Status, Streaming};

use crate::args::Args;
use crate::proto::{server, v1};
use crate::wire::entity_write::EntityWriteMessage;
use crate::wire::event::{EventMessage, EventsMessage};
use crate::wire::small_request::BatchGetMessage;

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

/// The service of entities.
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

    async fn batch_get_entities(
        &self,
        request: Request<BatchGetMessage>,
    ) -> Result<Response<v1::BatchGetEntitiesResponse>, Status> {
        lists::batch_get_entities(&self.app, request).await
    }

    async fn list_entities(
        &self,
        request: Request<v1::ListEntitiesRequest>,
    ) -> Result<Response<v1::ListEntitiesResponse>, Status> {
        lists::list_entities(&self.app, request).await
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

/// The service of what is declared about types.
#[derive(Clone)]
pub(crate) struct TypeService {
    app: App<Args>,
}

impl TypeService {
    pub(crate) fn new(app: App<Args>) -> Self {
        Self { app }
    }
}

#[tonic::async_trait]
impl server::v1::type_service_server::TypeService for TypeService {
    async fn replace_type(
        &self,
        request: Request<v1::ReplaceTypeRequest>,
    ) -> Result<Response<v1::ReplaceTypeResponse>, Status> {
        types::replace_type(&self.app, request).await
    }

    async fn get_type(
        &self,
        request: Request<v1::GetTypeRequest>,
    ) -> Result<Response<v1::Type>, Status> {
        types::get_type(&self.app, request).await
    }

    async fn list_types(
        &self,
        request: Request<v1::ListTypesRequest>,
    ) -> Result<Response<v1::ListTypesResponse>, Status> {
        types::list_types(&self.app, request).await
    }

    async fn delete_type(
        &self,
        request: Request<v1::DeleteTypeRequest>,
    ) -> Result<Response<v1::DeleteTypeResponse>, Status> {
        types::delete_type(&self.app, request).await
    }
}

/// The service of full-text search.
#[derive(Clone)]
pub(crate) struct SearchService {
    app: App<Args>,
}

impl SearchService {
    pub(crate) fn new(app: App<Args>) -> Self {
        Self { app }
    }
}

#[tonic::async_trait]
impl server::v1::search_service_server::SearchService for SearchService {
    async fn search(
        &self,
        request: Request<v1::SearchRequest>,
    ) -> Result<Response<v1::SearchResponse>, Status> {
        search::search(&self.app, request).await
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
