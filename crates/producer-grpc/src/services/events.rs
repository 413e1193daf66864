//! One event: in by `ProcessEvent`, out by `GetEvent`.

use producer_core::{Clock, Event, Problem, ProblemKind, decode};
use producer_server::App;
use producer_telemetry::request;
use producer_telemetry::stopwatch::Part;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::args::Args;
use crate::call::{Call, broken, unreachable};
use crate::field_paths::FieldPaths;
use crate::idempotency::idempotency_key;
use crate::proto::v1;
use crate::wire::event::EventMessage;
use crate::wire::update::AttributesField;
use crate::{convert, status};

/// `ProcessEvent`.
pub(crate) async fn process_event(
    app: &App<Args>,
    request: Request<EventMessage>,
) -> Result<Response<v1::EventResponse>, Status> {
    let Call { id, lease, metadata, message } = Call::new(request)?;
    let mut fields = Vec::new();
    let event = parse(&message, &metadata, &mut fields, &app.clock);
    drop((message, metadata, lease));
    let outcome = app.ingest.submit_item(event).await;
    outcome
        .map(|receipt| Response::new(convert::response(receipt)))
        .map_err(|problem| status::from_event_problem(&problem, &id, &FieldPaths(vec![fields])))
}

/// The event, and in `fields` which field carries each entity's attributes.
fn parse(
    message: &EventMessage,
    metadata: &MetadataMap,
    fields: &mut Vec<AttributesField>,
    clock: &Clock,
) -> Result<Event, Problem> {
    let draft = message.draft(|field| fields.push(field))?;
    let uuid = idempotency_key(metadata)?.map(|key| key.event_uuid("event", "", None));
    draft.with_uuid(uuid)?.finish(clock)
}

/// `GetEvent`.
pub(crate) async fn get_event(
    app: &App<Args>,
    request: Request<v1::GetEventRequest>,
) -> Result<Response<v1::Event>, Status> {
    let Call { id, message, .. } = Call::new(request)?;
    let event = read(app, &message.uuid).await;
    event.map(Response::new).map_err(|problem| status::from_problem(&problem, &id))
}

async fn read(app: &App<Args>, uuid: &str) -> Result<v1::Event, Problem> {
    let uuid = decode::uuid(uuid).ok_or_else(bad_uuid)?;
    let found = request::measure(Part::Database, app.store.event(uuid)).await;
    found
        .map_err(|error| unreachable(&error))?
        .map(convert::logged)
        .ok_or_else(|| Problem::new(ProblemKind::NotFound, "no such event"))
}

fn bad_uuid() -> Problem {
    broken("uuid", "must be a UUID, hyphenated or as 32 hexadecimal digits")
}
