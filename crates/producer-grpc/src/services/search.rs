//! Full-text search: `Search`.

use std::borrow::Cow;

use producer_core::filter::Scope;
use producer_core::json::Path;
use producer_core::search::{
    Facet, FacetValue, Highlight, MAX_SEARCH_PAGE, SEARCH_PAGE, SearchError, SearchRequest,
};
use producer_core::{Location, Problem, Step, Violations};
use producer_server::App;
use producer_telemetry::request as telemetry;
use producer_telemetry::stopwatch::Part;
use tonic::{Request, Response, Status};

use super::lists::Shape;
use crate::args::Args;
use crate::call::{Call, filter, item, malformed, size, unreachable};
use crate::proto::v1;
use crate::status;

/// `Search`.
pub(crate) async fn search(
    app: &App<Args>,
    request: Request<v1::SearchRequest>,
) -> Result<Response<v1::SearchResponse>, Status> {
    let Call { id, message, .. } = Call::new(request)?;
    let page = find(app, message).await;
    page.map(Response::new).map_err(|problem| status::from_problem(&problem, &id))
}

async fn find(app: &App<Args>, request: v1::SearchRequest) -> Result<v1::SearchResponse, Problem> {
    let shape = Shape::new(&request.fields, request.view())?;
    let request =
        search_request(request, shape.document_bytes(app.settings.common.max_body_bytes))?;
    let page = telemetry::measure(Part::Database, app.search.search(request)).await;
    let page = page.map_err(unsearched)?;
    let hits = page.hits.into_iter().map(|hit| (hit.entity, (hit.score, hit.highlights)));
    let (entities, matches): (Vec<_>, Vec<_>) = hits.unzip();
    let entities = shape.messages(entities).await;
    let hits = entities.into_iter().zip(matches).map(|(entity, (score, highlights))| {
        let highlights = highlights.into_iter().map(highlight).collect();
        v1::SearchHit { entity: Some(entity), score, highlights }
    });
    Ok(v1::SearchResponse {
        hits: hits.collect(),
        total: Some(v1::Count { value: page.total.value, exact: page.total.exact }),
        facets: page.facets.into_iter().map(|(path, values)| facet(&path, values)).collect(),
        engine: page.engine.as_str().into(),
        indexed_up_to: page.indexed_up_to.unwrap_or_default(),
        next_page_token: page.next.unwrap_or_default(),
    })
}

fn search_request(request: v1::SearchRequest, bytes: usize) -> Result<SearchRequest, Problem> {
    let mut types = request.types;
    types.sort_unstable();
    types.dedup();
    Ok(SearchRequest {
        query: request.query,
        types,
        filter: filter(&request.filter, Scope::Entity)?,
        facets: facets(&request.facets)?,
        highlight: request.highlight,
        fuzzy: request.fuzzy,
        size: size(request.page_size, SEARCH_PAGE, MAX_SEARCH_PAGE),
        token: Some(request.page_token).filter(|token| !token.is_empty()),
        bytes,
    })
}

fn facets(texts: &[String]) -> Result<Vec<Facet>, Problem> {
    let (mut facets, mut violations) = (Vec::new(), Violations::default());
    for (index, text) in texts.iter().enumerate() {
        match Facet::parse(text) {
            Ok(facet) => facets.push(facet),
            Err(rule) => violations.add(|| item("facets", index), rule),
        }
    }
    if violations.is_empty() { Ok(facets) } else { Err(malformed(violations)) }
}

/// A search failed.
fn unsearched(error: SearchError) -> Problem {
    let problem = match error {
        SearchError::Read(error) => return unreachable(&error),
        SearchError::Refused(problem) => problem,
    };
    problem.map_violations(|violations| violations.relocated(field))
}

/// The field of a parameter: REST repeats some that are lists here.
fn field(parameter: &Location) -> Location {
    let plural = |name: &str| match name {
        "type" => Some("types"),
        "facet" => Some("facets"),
        _ => None,
    };
    let renamed = |step: &Step| match step {
        Step::Key(name) => plural(name).map(|name| Step::Key(Cow::Borrowed(name))),
        Step::Index(_) => None,
    };
    Location(parameter.0.iter().map(|step| renamed(step).unwrap_or_else(|| step.clone())).collect())
}

fn highlight(highlight: Highlight) -> v1::SearchHighlight {
    v1::SearchHighlight { path: highlight.path.to_string(), fragments: highlight.fragments }
}

fn facet(path: &Path, values: Vec<FacetValue>) -> v1::SearchFacet {
    let value = |FacetValue { value, count }| v1::SearchFacetValue { value_json: value, count };
    v1::SearchFacet { path: path.to_string(), values: values.into_iter().map(value).collect() }
}
