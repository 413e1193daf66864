//! Entities as they are and as they were: `GetEntity` of both services.

use producer_core::model::{AsOf, Entity};
use producer_core::{EntityKey, Problem, ProblemKind};
use producer_server::App;
use producer_telemetry::request;
use producer_telemetry::stopwatch::Part;
use tonic::{Request, Response, Status};

use crate::args::Args;
use crate::call::{Call, broken, malformed, unreachable, unread};
use crate::proto::v1;
use crate::request_id::RequestId;
use crate::wire::structs::{self, StructError};
use crate::{convert, status};

/// `GetEntity`.
pub(crate) async fn get_entity(
    app: &App<Args>,
    request: Request<v1::GetEntityRequest>,
) -> Result<Response<v1::Entity>, Status> {
    let Call { id, message, .. } = Call::new(request)?;
    let entity = read(app, &message).await;
    let entity = entity.map_err(|problem| status::from_problem(&problem, &id))?;
    in_view(entity, message.view(), &id).map(Response::new)
}

async fn read(app: &App<Args>, request: &v1::GetEntityRequest) -> Result<Entity, Problem> {
    let key = EntityKey::new(&request.entity_type, &request.entity_id).map_err(malformed)?;
    if let Some(as_of) = as_of(request)? {
        let found = request::measure(Part::Database, app.history.entity(&key, as_of)).await;
        return found.map_err(unread);
    }
    let found = request::measure(Part::Database, app.store.entity(&key)).await;
    found
        .map_err(|error| unreachable(&error))?
        .ok_or_else(|| Problem::new(ProblemKind::NotFound, "no such entity"))
}

/// The moment that was asked for; `None` for the present.
fn as_of(request: &v1::GetEntityRequest) -> Result<Option<AsOf>, Problem> {
    match (request.version, request.at) {
        (None, None) => Ok(None),
        (Some(0), None) => Err(broken("version", "must be 1 or more")),
        (Some(version), None) => Ok(Some(AsOf::Version(version))),
        (None, Some(at)) => {
            let time = convert::moment(at).map_err(|detail| broken("at", detail))?;
            Ok(Some(AsOf::Time(time)))
        }
        (Some(_), Some(_)) => Err(broken("at", "must not be given beside version")),
    }
}

/// An entity with its document in the form that was asked for.
fn in_view(entity: Entity, view: v1::EntityView, id: &RequestId) -> Result<v1::Entity, Status> {
    let mut message = convert::entity_head(&entity);
    match view {
        v1::EntityView::Unspecified | v1::EntityView::Json => message.attributes_json = entity.data,
        v1::EntityView::Struct => {
            let attributes = structs::from_json(&entity.data);
            message.attributes = Some(attributes.map_err(|error| no_struct(error, id))?);
        }
    }
    Ok(message)
}

/// An entity as it is after a write of it, if it can be read. A document that no Struct can carry is
/// JSON in either view, since the write stands.
pub(super) async fn after_write(
    app: &App<Args>,
    key: &EntityKey,
    view: v1::EntityView,
) -> Option<v1::Entity> {
    let found = request::measure(Part::Database, app.store.entity(key)).await;
    let entity = found.map_err(|error| unreachable(&error)).ok()??;
    Some(in_view_or_json(entity, view))
}

/// An entity with its document in the form that was asked for, or as JSON if no Struct can carry it.
pub(super) fn in_view_or_json(entity: Entity, view: v1::EntityView) -> v1::Entity {
    let mut message = convert::entity_head(&entity);
    if view == v1::EntityView::Struct {
        message.attributes = structs::from_json(&entity.data).ok();
    }
    if message.attributes.is_none() {
        message.attributes_json = entity.data;
    }
    message
}

fn no_struct(error: StructError, id: &RequestId) -> Status {
    let message = match error {
        StructError::TooDeep => "the document is deeper than 30 levels; ask for ENTITY_VIEW_JSON",
        StructError::Number => {
            "the document has a number beyond a double's range; ask for ENTITY_VIEW_JSON"
        }
    };
    status::failed_precondition(message, id)
}
