//! What is declared about types, and which there are: `ReplaceType`, `GetType`, `ListTypes`, `DeleteType`.

use producer_core::query::{TypeEntry, TypesRequest};
use producer_core::{Precondition, Problem, ProblemKind, Violations};
use producer_server::App;
use producer_telemetry::request as telemetry;
use producer_telemetry::stopwatch::Part;
use tonic::{Request, Response, Status};

use crate::args::Args;
use crate::call::{Call, check_type, page_size, place, type_violation, unread};
use crate::proto::v1;
use crate::{definition, status};

/// The field that names the type.
const TYPE: &str = "type";

/// `ReplaceType`.
pub(crate) async fn replace_type(
    app: &App<Args>,
    request: Request<v1::ReplaceTypeRequest>,
) -> Result<Response<v1::ReplaceTypeResponse>, Status> {
    let Call { id, message, .. } = Call::new(request)?;
    let replaced = replace(app, message).await;
    replaced.map(Response::new).map_err(|problem| status::from_problem(&problem, &id))
}

/// `GetType`.
pub(crate) async fn get_type(
    app: &App<Args>,
    request: Request<v1::GetTypeRequest>,
) -> Result<Response<v1::Type>, Status> {
    let Call { id, message, .. } = Call::new(request)?;
    let found = get(app, &message.r#type).await;
    found.map(Response::new).map_err(|problem| status::from_problem(&problem, &id))
}

/// `ListTypes`.
pub(crate) async fn list_types(
    app: &App<Args>,
    request: Request<v1::ListTypesRequest>,
) -> Result<Response<v1::ListTypesResponse>, Status> {
    let Call { id, message, .. } = Call::new(request)?;
    let page = list(app, message).await;
    page.map(Response::new).map_err(|problem| status::from_problem(&problem, &id))
}

/// `DeleteType`.
pub(crate) async fn delete_type(
    app: &App<Args>,
    request: Request<v1::DeleteTypeRequest>,
) -> Result<Response<v1::DeleteTypeResponse>, Status> {
    let Call { id, message, .. } = Call::new(request)?;
    let deleted = delete(app, &message).await;
    deleted.map(Response::new).map_err(|problem| status::from_problem(&problem, &id))
}

async fn replace(
    app: &App<Args>,
    request: v1::ReplaceTypeRequest,
) -> Result<v1::ReplaceTypeResponse, Problem> {
    let mut broken = broken_conditions(request.expected_version, request.exists);
    if let Err(violations) = type_violation(TYPE, &request.r#type) {
        broken.append(violations);
    }
    let Some(message) = request.definition else {
        broken.add(|| place("definition"), "must be given");
        return Err(Problem::validation(broken));
    };
    let definition = match definition::read(&message) {
        Ok(definition) if broken.is_empty() => definition,
        Ok(_) => return Err(Problem::validation(broken)),
        Err(violations) => {
            broken.append(violations);
            return Err(Problem::validation(broken));
        }
    };
    let precondition = precondition(request.expected_version, request.exists);
    let replaced = app.types.replace(&request.r#type, &definition, &precondition);
    let replaced = telemetry::measure(Part::Database, replaced).await;
    // whether the database knows the language is found out by then
    let (stored, created) = replaced.map_err(|problem| {
        problem.map_violations(|violations| definition::located(violations, &message))
    })?;
    Ok(v1::ReplaceTypeResponse { r#type: Some(definition::stored(stored)), created })
}

async fn get(app: &App<Args>, entity_type: &str) -> Result<v1::Type, Problem> {
    check_type(TYPE, entity_type)?;
    let found = telemetry::measure(Part::Database, app.types.get(entity_type)).await?;
    found.map(definition::stored).ok_or_else(no_definition)
}

async fn list(
    app: &App<Args>,
    request: v1::ListTypesRequest,
) -> Result<v1::ListTypesResponse, Problem> {
    let request = TypesRequest {
        size: page_size(request.page_size),
        token: Some(request.page_token).filter(|token| !token.is_empty()),
    };
    let page = telemetry::measure(Part::Database, app.lists.types(request)).await;
    let page = page.map_err(unread)?;
    Ok(v1::ListTypesResponse {
        types: page.types.into_iter().map(summary).collect(),
        next_page_token: page.next.unwrap_or_default(),
    })
}

async fn delete(
    app: &App<Args>,
    request: &v1::DeleteTypeRequest,
) -> Result<v1::DeleteTypeResponse, Problem> {
    let mut broken = broken_conditions(request.expected_version, request.exists);
    if let Err(violations) = type_violation(TYPE, &request.r#type) {
        broken.append(violations);
    }
    if !broken.is_empty() {
        return Err(Problem::validation(broken));
    }
    let precondition = precondition(request.expected_version, request.exists);
    let deleted = app.types.delete(&request.r#type, &precondition);
    let is_deleted = telemetry::measure(Part::Database, deleted).await?;
    is_deleted.then_some(v1::DeleteTypeResponse {}).ok_or_else(no_definition)
}

fn summary(entry: TypeEntry) -> v1::TypeSummary {
    let entities = Some(v1::Count { value: entry.entities, exact: false });
    v1::TypeSummary { r#type: entry.entity_type, entities, defined: entry.defined }
}

/// What the definition must fulfil.
fn precondition(expected_version: Option<u64>, exists: Option<bool>) -> Precondition {
    match (expected_version, exists) {
        (Some(version), _) => Precondition::Versions([version].into()),
        (None, Some(true)) => Precondition::Exists,
        (None, Some(false)) => Precondition::Absent,
        (None, None) => Precondition::None,
    }
}

/// The rules that the conditions break.
fn broken_conditions(expected_version: Option<u64>, exists: Option<bool>) -> Violations {
    match (expected_version, exists) {
        (Some(0), _) => Violations::one(place("expectedVersion"), "must be 1 or more"),
        (Some(_), Some(_)) => {
            Violations::one(place("exists"), "must not be given beside expected_version")
        }
        _ => Violations::default(),
    }
}

fn no_definition() -> Problem {
    Problem::new(ProblemKind::NotFound, "the type has no definition")
}
