//! Query parameters that a route doesn't have are ignored, as HTTP clients expect. A misspelled one is
//! then a silent wrong choice, so the log has a warning.

use std::collections::HashMap;

use http::Uri;
use producer_telemetry::log_rate::LogRate;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::{OpenApi, RefOr};

use crate::routes::query_pairs;

static RATE: LogRate = LogRate::new();

/// The query parameters of each route.
#[derive(Debug)]
pub(crate) struct QueryParameters(HashMap<String, Vec<String>>);

impl QueryParameters {
    /// Those that the OpenAPI document lists.
    pub(crate) fn from_document(document: &OpenApi) -> Self {
        let routes = document.paths.paths.iter();
        Self(routes.map(|(route, item)| (route.clone(), query_parameters(item))).collect())
    }

    /// Logs the parameters of a request that its route doesn't have.
    pub(crate) fn warn_unknown(&self, route: &str, uri: &Uri) {
        let Some(known) = self.0.get(route) else { return };
        let pairs = query_pairs(uri).unwrap_or_default();
        for (name, _) in pairs.iter().filter(|(name, _)| !known.contains(name)) {
            let Some(omitted) = RATE.try_log() else { return };
            let (parameter, known) = (clipped(name), known.join(", "));
            tracing::warn!(route, parameter, known, omitted, "unknown query parameter, ignored");
        }
    }
}

fn query_parameters(item: &PathItem) -> Vec<String> {
    let operations = [&item.get, &item.post, &item.put, &item.patch, &item.delete];
    let parameters = operations.into_iter().flatten().flat_map(of_operation);
    parameters.collect()
}

fn of_operation(operation: &Operation) -> impl Iterator<Item = String> {
    operation.parameters.iter().flatten().filter_map(|parameter| match parameter {
        RefOr::T(parameter) if matches!(parameter.parameter_in, ParameterIn::Query) => {
            Some(parameter.name.clone())
        }
        _ => None,
    })
}

/// Names are at most as long as ours may ever be; the log is no place for more.
fn clipped(name: &str) -> &str {
    &name[..name.floor_char_boundary(64)]
}
