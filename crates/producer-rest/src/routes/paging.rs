//! What lists and searches share: the way to the next page, and the problems of their parameters.

use http::{HeaderValue, Uri};
use percent_encoding::utf8_percent_encode;
use producer_core::query::QueryError;
use producer_core::{Problem, ProblemKind, Step};

use super::entities::SEGMENT;
use super::{query_pairs, unreachable};
use crate::problem::ProblemResponse;
use crate::query_parameters::broken;

/// The header that leads to the next page of a list (RFC 8288): to the same address with another `pageToken`.
pub(super) fn next_link(uri: &Uri, token: &str) -> Result<HeaderValue, ProblemResponse> {
    let mut link = format!("<{}?", uri.path());
    for (name, value) in query_pairs(uri)?.iter().filter(|(name, _)| name != "pageToken") {
        // the name is one that the route has, the value anything
        link.extend([name, "="]);
        link.extend(utf8_percent_encode(value, SEGMENT));
        link.push('&');
    }
    link.extend(["pageToken=", token, ">; rel=\"next\""]);
    HeaderValue::try_from(link)
        .map_err(|_| ProblemResponse::new(ProblemKind::Internal, "a header could not be written"))
}

/// A list or a search failed.
pub(super) fn query_problem(error: QueryError) -> ProblemResponse {
    match error {
        QueryError::Read(error) => unreachable(error),
        QueryError::Refused(problem) => of_query(problem),
    }
}

/// The same problem where the parameters that core judges are in the query: the violation's place is the name of
/// one.
pub(super) fn of_query(problem: Problem) -> ProblemResponse {
    let Some(first) = problem.violations.first() else { return problem.into() };
    let [Step::Key(name)] = first.location.0.as_slice() else { return problem.into() };
    let mut response = broken(name, &first.detail);
    response.0.kind = problem.kind;
    response
}
