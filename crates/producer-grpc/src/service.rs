//! The rpcs: decode, call, encode.

use std::pin::Pin;

use futures_util::Stream;
use producer_core::model::Entity;
use producer_core::query::ReadError;
use producer_core::{
    Clock, EntityKey, Event, Location, Problem, ProblemKind, Step, Violations, decode,
};
use producer_server::App;
use producer_telemetry::request;
use producer_telemetry::stopwatch::Part;
use tonic::{Extensions, Request, Response, Status, Streaming};

use crate::admission::RequestId;
use crate::body::BufferLease;
use crate::message::{AttributesField, EventMessage, EventsMessage};
use crate::paths::Paths;
use crate::proto::{server, v1};
use crate::structs::{self, StructError};
use crate::{Args, bulk, convert, health, status, stream};

/// Both event services: the legacy one has two of the same rpcs.
#[derive(Clone)]
pub(crate) struct EventService {
    pub(crate) app: App<Args>,
}

type Results = Pin<Box<dyn Stream<Item = Result<v1::EventResult, Status>> + Send>>;

#[tonic::async_trait]
impl server::v1::event_service_server::EventService for EventService {
    async fn process_event(
        &self,
        request: Request<EventMessage>,
    ) -> Result<Response<v1::EventResponse>, Status> {
        let Call { id, lease, message } = Call::new(request)?;
        let mut fields = Vec::new();
        let event = event(&message, &mut fields, &self.app.clock);
        drop((message, lease));
        let outcome = self.app.ingest.submit_item(event).await;
        outcome
            .map(|receipt| Response::new(convert::response(receipt)))
            .map_err(|problem| status::from_event_problem(&problem, &id, &Paths(vec![fields])))
    }

    async fn process_events(
        &self,
        request: Request<EventsMessage>,
    ) -> Result<Response<v1::ProcessEventsResponse>, Status> {
        let Call { id, lease: _held, message } = Call::new(request)?;
        let mut paths = Paths::default();
        bulk::process(message, &self.app.ingest, &self.app.clock, &mut paths)
            .await
            .map(Response::new)
            .map_err(|problem| status::from_event_problem(&problem, &id, &paths))
    }

    type StreamEventsStream = Results;

    async fn stream_events(
        &self,
        request: Request<Streaming<EventMessage>>,
    ) -> Result<Response<Results>, Status> {
        let id = request_id(request.extensions())?;
        let call =
            self.app.ingest.open_call().map_err(|problem| status::from_problem(&problem, &id))?;
        let (clock, shutdown) = (self.app.clock.clone(), self.app.shutdown.clone());
        let answers = stream::answers(request.into_inner(), call, clock, shutdown, id);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn get_entity(
        &self,
        request: Request<v1::GetEntityRequest>,
    ) -> Result<Response<v1::Entity>, Status> {
        let Call { id, message, .. } = Call::new(request)?;
        let entity =
            self.entity(&message).await.map_err(|problem| status::from_problem(&problem, &id))?;
        viewed(entity, message.view(), &id).map(Response::new)
    }

    async fn get_event(
        &self,
        request: Request<v1::GetEventRequest>,
    ) -> Result<Response<v1::Event>, Status> {
        let Call { id, message, .. } = Call::new(request)?;
        let event = self.event(&message.uuid).await;
        event.map(Response::new).map_err(|problem| status::from_problem(&problem, &id))
    }

    async fn health_check(
        &self,
        _request: Request<v1::HealthRequest>,
    ) -> Result<Response<v1::HealthResponse>, Status> {
        let ready = health::ready(&self.app).await;
        let message = match ready {
            Ok(()) => "Producer gRPC API is healthy".into(),
            Err(reason) => format!("Producer gRPC API is unhealthy: {reason}"),
        };
        Ok(Response::new(v1::HealthResponse { healthy: ready.is_ok(), message }))
    }
}

#[tonic::async_trait]
impl server::legacy::event_service_server::EventService for EventService {
    async fn process_event(
        &self,
        request: Request<EventMessage>,
    ) -> Result<Response<v1::EventResponse>, Status> {
        server::v1::event_service_server::EventService::process_event(self, request).await
    }

    async fn health_check(
        &self,
        request: Request<v1::HealthRequest>,
    ) -> Result<Response<v1::HealthResponse>, Status> {
        server::v1::event_service_server::EventService::health_check(self, request).await
    }
}

impl EventService {
    async fn entity(&self, request: &v1::GetEntityRequest) -> Result<Entity, Problem> {
        let key = EntityKey::new(&request.entity_type, &request.entity_id).map_err(bad_key)?;
        let read = request::measure(Part::Database, self.app.store.entity(&key));
        let found = read.await.map_err(|error| out_of_reach(&error))?;
        found.ok_or_else(|| Problem::new(ProblemKind::NotFound, "no such entity"))
    }

    async fn event(&self, uuid: &str) -> Result<v1::Event, Problem> {
        let uuid = decode::uuid(uuid).ok_or_else(bad_uuid)?;
        let read = request::measure(Part::Database, self.app.store.event(uuid));
        let found = read.await.map_err(|error| out_of_reach(&error))?;
        found
            .map(convert::logged)
            .ok_or_else(|| Problem::new(ProblemKind::NotFound, "no such event"))
    }
}

fn event(
    message: &EventMessage,
    fields: &mut Vec<AttributesField>,
    clock: &Clock,
) -> Result<Event, Problem> {
    message.draft(|field| fields.push(field))?.finish(clock)
}

/// A unary call taken apart.
struct Call<T> {
    id: RequestId,
    /// Given back when the message is queued.
    lease: Option<BufferLease>,
    message: T,
}

impl<T> Call<T> {
    fn new(request: Request<T>) -> Result<Self, Status> {
        request::enter(Part::Rest);
        let (_, mut extensions, message) = request.into_parts();
        let lease = extensions.remove::<BufferLease>();
        Ok(Self { id: request_id(&extensions)?, lease, message })
    }
}

fn request_id(extensions: &Extensions) -> Result<RequestId, Status> {
    extensions.get().cloned().ok_or_else(|| Status::internal("the call came past the admission"))
}

/// An entity in the form that was asked for.
fn viewed(entity: Entity, view: v1::EntityView, id: &RequestId) -> Result<v1::Entity, Status> {
    let mut message = convert::entity_head(&entity);
    match view {
        v1::EntityView::Unspecified | v1::EntityView::Json => message.attributes_json = entity.data,
        v1::EntityView::Struct => {
            let attributes = structs::from_json(&entity.data);
            message.attributes = Some(attributes.map_err(|why| no_struct(why, id))?);
        }
    }
    Ok(message)
}

fn no_struct(why: StructError, id: &RequestId) -> Status {
    let message = match why {
        StructError::TooDeep => "the document is deeper than 30 levels; ask for ENTITY_VIEW_JSON",
        StructError::Number => {
            "the document has a number beyond a double's range; ask for ENTITY_VIEW_JSON"
        }
    };
    status::failed_precondition(message, id)
}

fn bad_key(violations: Violations) -> Problem {
    Problem { kind: ProblemKind::Malformed, ..Problem::validation(violations) }
}

fn bad_uuid() -> Problem {
    let place = Location(vec![Step::Key("uuid".into())]);
    bad_key(Violations::one(place, "must be a UUID, hyphenated or as 32 hexadecimal digits"))
}

fn out_of_reach(error: &ReadError) -> Problem {
    tracing::warn!(%error, "a read failed");
    Problem::new(ProblemKind::Unavailable, "the database can't be reached")
}
