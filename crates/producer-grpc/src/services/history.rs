//! What the log says about one entity: `ListEntityHistory`, `DiffEntity`, `GetEntityProvenance`.

use producer_core::filter::Scope;
use producer_core::json::Path;
use producer_core::query::{HistoryPage, HistoryQuery, PageTokens};
use producer_core::{EntityKey, Problem};
use producer_server::App;
use producer_telemetry::request as telemetry;
use producer_telemetry::stopwatch::Part;
use prost::Message;
use tonic::{Request, Response, Status};

use crate::args::Args;
use crate::call::{Call, broken, filter, malformed, page_size, unread};
use crate::proto::v1;
use crate::{convert, status};

/// Bytes of an answer beside its updates, at most: the token of the next page.
const TOKEN_BYTES: usize = 32;
/// Bytes before each update of an answer, at most: its key and its length.
const KEY_BYTES: usize = 6;

/// `ListEntityHistory`.
pub(crate) async fn list_entity_history(
    app: &App<Args>,
    request: Request<v1::ListEntityHistoryRequest>,
) -> Result<Response<v1::ListEntityHistoryResponse>, Status> {
    let Call { id, message, .. } = Call::new(request)?;
    let page = list(app, &message).await;
    page.map(Response::new).map_err(|problem| status::from_problem(&problem, &id))
}

/// `DiffEntity`.
pub(crate) async fn diff_entity(
    app: &App<Args>,
    request: Request<v1::DiffEntityRequest>,
) -> Result<Response<v1::DiffEntityResponse>, Status> {
    let Call { id, message, .. } = Call::new(request)?;
    let difference = diff(app, &message).await;
    difference.map(Response::new).map_err(|problem| status::from_problem(&problem, &id))
}

/// `GetEntityProvenance`.
pub(crate) async fn get_entity_provenance(
    app: &App<Args>,
    request: Request<v1::GetEntityProvenanceRequest>,
) -> Result<Response<v1::GetEntityProvenanceResponse>, Status> {
    let Call { id, message, .. } = Call::new(request)?;
    let origins = provenance(app, &message).await;
    origins.map(Response::new).map_err(|problem| status::from_problem(&problem, &id))
}

async fn list(
    app: &App<Args>,
    request: &v1::ListEntityHistoryRequest,
) -> Result<v1::ListEntityHistoryResponse, Problem> {
    let key = key(&request.entity_type, &request.entity_id)?;
    let descending = match request.order_by.as_str() {
        "" | "version" => false,
        "version desc" => true,
        _ => return Err(broken("orderBy", "must be version or version desc")),
    };
    let filter = filter(&request.filter, Scope::History)?;
    let tokens = PageTokens::of_updates(&key, descending, filter.as_ref());
    let after = match request.page_token.as_str() {
        "" => None,
        token => Some(tokens.read(token).map_err(|detail| broken("pageToken", detail))?),
    };
    let size = page_size(request.page_size);
    let query = HistoryQuery { filter: filter.as_ref(), descending, after, size };
    let page = telemetry::measure(Part::Database, app.history.updates(&key, query)).await;
    Ok(answer(&key, page.map_err(unread)?, tokens, app.settings.common.max_body_bytes))
}

/// As much of a page as fits into an answer of `max` bytes, at least one update if there is any.
fn answer(
    key: &EntityKey,
    page: HistoryPage,
    tokens: PageTokens,
    max: usize,
) -> v1::ListEntityHistoryResponse {
    let (mut updates, mut next) = (Vec::<v1::Change>::new(), page.next);
    let mut bytes = TOKEN_BYTES;
    for entry in page.updates {
        let change = convert::change(key, entry);
        bytes += KEY_BYTES + change.encoded_len();
        if bytes > max
            && let Some(last) = updates.last()
        {
            next = Some(last.version);
            break;
        }
        updates.push(change);
    }
    let next_page_token = next.map(|version| tokens.write(version)).unwrap_or_default();
    v1::ListEntityHistoryResponse { updates, next_page_token }
}

async fn diff(
    app: &App<Args>,
    request: &v1::DiffEntityRequest,
) -> Result<v1::DiffEntityResponse, Problem> {
    let key = key(&request.entity_type, &request.entity_id)?;
    for (name, version) in [("from", Some(request.from)), ("to", request.to)] {
        if version == Some(0) {
            return Err(broken(name, "must be 1 or more"));
        }
    }
    let comparison = app.history.compare(&key, request.from, request.to);
    let comparison = telemetry::measure(Part::Database, comparison).await;
    comparison.map(convert::comparison).map_err(unread)
}

async fn provenance(
    app: &App<Args>,
    request: &v1::GetEntityProvenanceRequest,
) -> Result<v1::GetEntityProvenanceResponse, Problem> {
    let key = key(&request.entity_type, &request.entity_id)?;
    let path = match request.path.as_str() {
        "" => Path::root(),
        text => Path::parse(text).map_err(|detail| broken("path", detail))?,
    };
    let origins = telemetry::measure(Part::Database, app.history.provenance(&key, &path)).await;
    let paths = origins.map_err(unread)?.iter().map(convert::origin).collect();
    Ok(v1::GetEntityProvenanceResponse { paths })
}

fn key(entity_type: &str, entity_id: &str) -> Result<EntityKey, Problem> {
    EntityKey::new(entity_type, entity_id).map_err(malformed)
}
