//! Entities page by page, and many at once: `ListEntities`, `BatchGetEntities`.

use producer_core::filter::Scope;
use producer_core::model::Entity;
use producer_core::query::{CountKind, Fields, ListOrder, ListRequest, MAX_KEYS};
use producer_core::{EntityKey, Problem, Violations};
use producer_server::App;
use producer_telemetry::request as telemetry;
use producer_telemetry::stopwatch::Part;
use tokio::task::yield_now;
use tonic::{Request, Response, Status};

use super::entities;
use crate::args::Args;
use crate::call::{Call, broken, check_type, filter, item, malformed, page_size, unread};
use crate::proto::v1;
use crate::wire::small_request::BatchGetMessage;
use crate::{convert, status};

/// Other tasks go on after documents of so many bytes were converted.
const CONVERTED_BYTES: usize = 256 << 10;
/// Bytes of a Struct for each byte of its JSON text, at most: an array of digits has five and a half.
const STRUCT_BYTES: usize = 6;

/// `ListEntities`.
pub(crate) async fn list_entities(
    app: &App<Args>,
    request: Request<v1::ListEntitiesRequest>,
) -> Result<Response<v1::ListEntitiesResponse>, Status> {
    let Call { id, message, .. } = Call::new(request)?;
    let page = list(app, message).await;
    page.map(Response::new).map_err(|problem| status::from_problem(&problem, &id))
}

/// `BatchGetEntities`.
pub(crate) async fn batch_get_entities(
    app: &App<Args>,
    request: Request<BatchGetMessage>,
) -> Result<Response<v1::BatchGetEntitiesResponse>, Status> {
    let Call { id, message, .. } = Call::new(request)?;
    let found = batch_get(app, message).await;
    found.map(Response::new).map_err(|problem| status::from_problem(&problem, &id))
}

async fn list(
    app: &App<Args>,
    request: v1::ListEntitiesRequest,
) -> Result<v1::ListEntitiesResponse, Problem> {
    let shape = Shape::new(&request.fields, request.view())?;
    let request = list_request(request, shape.document_bytes(app.settings.common.max_body_bytes))?;
    let page = telemetry::measure(Part::Database, app.lists.page(request)).await;
    let page = page.map_err(unread)?;
    Ok(v1::ListEntitiesResponse {
        entities: shape.messages(page.entities).await,
        next_page_token: page.next.unwrap_or_default(),
        count: page.count.map(convert::count),
    })
}

fn list_request(request: v1::ListEntitiesRequest, bytes: usize) -> Result<ListRequest, Problem> {
    let count = count_kind(request.count)?;
    let entity_type = Some(request.entity_type).filter(|name| !name.is_empty());
    if let Some(name) = &entity_type {
        check_type("entityType", name)?;
    }
    let order = match request.order_by.as_str() {
        "" => None,
        text => Some(ListOrder::parse(text).map_err(|rule| broken("orderBy", rule))?),
    };
    Ok(ListRequest {
        entity_type,
        filter: filter(&request.filter, Scope::Entity)?,
        order,
        size: page_size(request.page_size),
        bytes,
        token: Some(request.page_token).filter(|token| !token.is_empty()),
        count,
    })
}

fn count_kind(number: i32) -> Result<Option<CountKind>, Problem> {
    match v1::CountKind::try_from(number) {
        Ok(v1::CountKind::Unspecified) => Ok(None),
        Ok(v1::CountKind::Exact) => Ok(Some(CountKind::Exact)),
        Ok(v1::CountKind::Estimated) => Ok(Some(CountKind::Estimated)),
        Err(_) => Err(broken("count", "must be COUNT_KIND_EXACT or COUNT_KIND_ESTIMATED")),
    }
}

async fn batch_get(
    app: &App<Args>,
    message: BatchGetMessage,
) -> Result<v1::BatchGetEntitiesResponse, Problem> {
    let request = message.read()?;
    let shape = Shape::new(&request.fields, request.view())?;
    let keys = keys(&request)?;
    let bytes = shape.document_bytes(app.settings.common.max_body_bytes);
    let found = telemetry::measure(Part::Database, app.lists.entities(&keys, bytes)).await;
    let entities = found.map_err(unread)?.into_iter().flatten().collect();
    Ok(v1::BatchGetEntitiesResponse { entities: shape.messages(entities).await })
}

fn keys(request: &v1::BatchGetEntitiesRequest) -> Result<Vec<EntityKey>, Problem> {
    check_type("entityType", &request.entity_type)?;
    if request.entity_ids.len() > MAX_KEYS {
        return Err(broken("entityIds", format!("must have at most {MAX_KEYS} items")));
    }
    let (mut keys, mut violations) = (Vec::new(), Violations::default());
    for (index, id) in request.entity_ids.iter().enumerate() {
        match EntityKey::new(&request.entity_type, id) {
            Ok(key) => keys.push(key),
            Err(found) => {
                let rule = found.first().map(|one| one.detail.clone()).unwrap_or_default();
                violations.add(|| item("entityIds", index), rule);
            }
        }
    }
    if violations.is_empty() { Ok(keys) } else { Err(malformed(violations)) }
}

/// How entities are returned.
pub(super) struct Shape {
    /// The members that are shown; `None` for all.
    fields: Option<Fields>,
    view: v1::EntityView,
}

impl Shape {
    /// From the fields `fields` and `view` of a request.
    ///
    /// # Errors
    /// `Malformed`, located at `fields`.
    pub(super) fn new(fields: &str, view: v1::EntityView) -> Result<Self, Problem> {
        let fields = match fields {
            "" => None,
            text => Some(Fields::parse(text).map_err(|rule| broken("fields", rule))?),
        };
        Ok(Self { fields, view })
    }

    /// Bytes that documents may have in the database, so that an answer with several has at most `max`.
    pub(super) fn document_bytes(&self, max: usize) -> usize {
        match self.view {
            v1::EntityView::Unspecified | v1::EntityView::Json => max,
            v1::EntityView::Struct => max / STRUCT_BYTES,
        }
    }

    /// The entities in this shape.
    pub(super) async fn messages(&self, entities: Vec<Entity>) -> Vec<v1::Entity> {
        let (mut messages, mut converted) = (Vec::with_capacity(entities.len()), 0);
        for entity in entities {
            converted += entity.data.len();
            messages.push(self.message(entity));
            if converted >= CONVERTED_BYTES {
                converted = 0;
                yield_now().await;
            }
        }
        messages
    }

    /// An entity in this shape.
    fn message(&self, entity: Entity) -> v1::Entity {
        let Some(fields) = &self.fields else {
            return entities::in_view_or_json(entity, self.view);
        };
        let mut message = match fields.data(&entity.data) {
            Some(data) => entities::in_view_or_json(Entity { data, ..entity }, self.view),
            None => convert::entity_head(&entity),
        };
        if !fields.version {
            message.version = 0;
        }
        message.created_at = message.created_at.filter(|_| fields.created_at);
        message.updated_at = message.updated_at.filter(|_| fields.updated_at);
        message
    }
}
