//! Writes of single entities: `CreateEntity`, `ReplaceEntity`, `MergeEntity`, `DeleteEntity`.

use producer_core::decode::{EntityMethod, EntityRequest, EntityWrite};
use producer_core::model::FailedPrecondition;
use producer_core::{Clock, EntityKey, Field, Precondition, Problem, Violations};
use producer_server::App;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::entities;
use crate::args::Args;
use crate::call::{Call, place};
use crate::field_paths::FieldPaths;
use crate::idempotency::idempotency_key;
use crate::proto::v1;
use crate::wire::entity_write::{EntityWriteFields, EntityWriteMessage};
use crate::wire::update::AttributesField;
use crate::{convert, status};

/// A request, read.
pub(crate) struct ParsedWrite {
    pub(crate) write: Result<EntityWrite, Problem>,
    attributes_field: AttributesField,
    conditions: Conditions,
    /// The form of the entity, where it is to be returned.
    view: Option<v1::EntityView>,
}

/// What the client demands of the entity, by which a failed condition is located.
#[derive(Debug, Default)]
struct Conditions {
    precondition: Precondition,
    has_filter: bool,
}

/// Any of the four rpcs.
pub(crate) async fn write_entity(
    app: &App<Args>,
    method: EntityMethod,
    request: Request<EntityWriteMessage>,
) -> Result<Response<v1::WriteEntityResponse>, Status> {
    let Call { id, lease, metadata, message } = Call::new(request)?;
    let ParsedWrite { write, attributes_field, conditions, view } =
        parse(method, &message, &metadata, &app.clock);
    drop((message, metadata, lease));
    let receipt = app.ingest.submit_write(write).await.map_err(|problem| {
        let paths = FieldPaths(vec![vec![attributes_field]]);
        status::from_event_problem(&conditions.locate(problem), &id, &paths)
    })?;
    let mut answer = convert::written(receipt);
    if let Some(view) = view {
        let key = EntityKey::new_unchecked(&*answer.entity_type, &*answer.entity_id);
        answer.entity = entities::after_write(app, &key, view).await;
    }
    Ok(Response::new(answer))
}

/// Reads a request. All that can be wrong with it is in `write`.
pub(crate) fn parse(
    method: EntityMethod,
    message: &EntityWriteMessage,
    metadata: &MetadataMap,
    clock: &Clock,
) -> ParsedWrite {
    match message.read(method) {
        Ok(fields) => ParsedWrite {
            attributes_field: fields.attributes_field,
            conditions: Conditions {
                precondition: precondition(&fields),
                has_filter: !fields.condition.is_empty(),
            },
            view: fields.return_entity.then_some(fields.view),
            write: write(method, fields, metadata, clock),
        },
        Err(error) => ParsedWrite {
            attributes_field: AttributesField::default(),
            conditions: Conditions::default(),
            view: None,
            write: Err(error.into()),
        },
    }
}

fn write(
    method: EntityMethod,
    fields: EntityWriteFields<'_>,
    metadata: &MetadataMap,
    clock: &Clock,
) -> Result<EntityWrite, Problem> {
    let key = idempotency_key(metadata)?;
    let (precondition, broken) = (precondition(&fields), broken_conditions(&fields));
    let has_uuid = key.is_some() || fields.header.uuid != Field::Absent;
    let request = EntityRequest {
        method,
        entity_type: fields.entity_type,
        entity_id: fields.entity_id,
        header: fields.header,
        key,
        precondition,
        condition: Field::non_empty(fields.condition),
        attributes: fields.attributes,
    };
    match request.into_write(clock) {
        Ok(write) if broken.is_empty() => Ok(write),
        Ok(write) => {
            let event_id = has_uuid.then(|| write.event().uuid());
            Err(Problem { event_id, ..Problem::validation(broken) })
        }
        Err(problem) => Err(problem.map_violations(|mut found| {
            found.append(broken);
            found
        })),
    }
}

/// The version that the entity must have, or whether it must exist.
fn precondition(fields: &EntityWriteFields<'_>) -> Precondition {
    match (fields.expected_version, fields.exists) {
        (Some(version), _) => Precondition::Versions([version].into()),
        (None, Some(true)) => Precondition::Exists,
        (None, Some(false)) => Precondition::Absent,
        (None, None) => Precondition::None,
    }
}

/// The rules that the precondition breaks.
fn broken_conditions(fields: &EntityWriteFields<'_>) -> Violations {
    let mut broken = Violations::default();
    let mut refuse = |name, detail: &'static str| broken.add(|| place(name), detail);
    match (fields.expected_version, fields.exists) {
        (Some(0), _) => refuse("expectedVersion", "must be 1 or more"),
        (Some(_), Some(_)) => refuse("exists", "must not be given beside expected_version"),
        _ => {}
    }
    broken
}

impl Conditions {
    /// The same problem; a condition that does not hold is located at the field that has it.
    fn locate(&self, problem: Problem) -> Problem {
        let field = problem.precondition.and_then(|state| self.failed(state));
        match field {
            Some(name) => Problem { violations: problem.violations.below(&place(name)), ..problem },
            None => problem,
        }
    }

    /// The field that does not hold in this state, by its name in JSON.
    fn failed(&self, state: FailedPrecondition) -> Option<&'static str> {
        match &self.precondition {
            held if held.holds(state.current_version) => self.has_filter.then_some("condition"),
            Precondition::Versions(_) => Some("expectedVersion"),
            Precondition::Exists | Precondition::Absent => Some("exists"),
            Precondition::None => None,
        }
    }
}
