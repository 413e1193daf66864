//! Query parameters that a route doesn't have. The older routes ignore them, as their clients expect; a
//! misspelled one is then a silent wrong choice, so the log has a warning. All others refuse them.

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use http::{Method, Uri};
use percent_encoding::percent_decode_str;
use producer_core::ProblemKind;
use producer_core::filter::{Filter, Scope};
use producer_telemetry::log_rate::LogRate;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{OpenApi, RefOr};

use crate::problem::ProblemResponse;
use crate::routes::{has_bare_percent, query_pairs};

/// The operations that ignore what they don't know.
const TOLERANT: [(Method, &str); 8] = [
    (Method::POST, "/api/v1/events"),
    (Method::POST, "/api/v1/events/bulk"),
    (Method::GET, "/api/v1/events/{uuid}"),
    (Method::GET, "/api/v1/events/health"),
    (Method::GET, "/api/v1/entities/{type}/{id}"),
    (Method::GET, "/livez"),
    (Method::GET, "/readyz"),
    (Method::GET, "/metrics"),
];

/// The values of parameters that are given at most once.
type Values<const N: usize> = [Option<String>; N];
/// The values of parameters that may be repeated, in their order.
type Lists<const M: usize> = [Vec<String>; M];

static RATE: LogRate = LogRate::new();

/// The query parameters of the operations that ignore others.
#[derive(Debug)]
pub(crate) struct QueryParameters(Vec<Tolerant>);

#[derive(Debug)]
struct Tolerant {
    method: Method,
    route: &'static str,
    known: Vec<String>,
}

impl QueryParameters {
    /// Those that the OpenAPI document lists.
    pub(crate) fn from_document(document: &OpenApi) -> Self {
        let tolerant = TOLERANT.into_iter().filter_map(|(method, route)| {
            let item = document.paths.paths.get(route)?;
            let operation = if method == Method::POST { &item.post } else { &item.get };
            let known = operation.iter().flat_map(query_parameters).collect();
            Some(Tolerant { method, route, known })
        });
        Self(tolerant.collect())
    }

    /// Logs the parameters of a request that its route ignores.
    pub(crate) fn warn_ignored(&self, method: &Method, route: &str, uri: &Uri) {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let mut tolerant = self.0.iter();
        let operation = tolerant.find(|one| one.method == *method && one.route == route);
        let Some(Tolerant { known, .. }) = operation else { return };
        let pairs = query_pairs(uri).unwrap_or_default();
        for (name, _) in pairs.iter().filter(|(name, _)| !known.contains(name)) {
            let Some(omitted) = RATE.try_log() else { return };
            let (parameter, known) = (clipped(name), known.join(", "));
            tracing::warn!(route, parameter, known, omitted, "unknown query parameter, ignored");
        }
    }
}

fn query_parameters(operation: &Operation) -> impl Iterator<Item = String> {
    operation.parameters.iter().flatten().filter_map(|parameter| match parameter {
        RefOr::T(parameter) if matches!(parameter.parameter_in, ParameterIn::Query) => {
            Some(parameter.name.clone())
        }
        _ => None,
    })
}

/// The values of the parameters `known`, for a route that refuses all others.
///
/// # Errors
/// `Malformed` for an unknown parameter, with the nearest known one; for one that is given twice; for a
/// query that is not percent-encoded UTF-8.
pub(crate) fn known_values<const N: usize>(
    uri: &Uri,
    known: [&str; N],
) -> Result<Values<N>, ProblemResponse> {
    let (values, unknown) = values(decoded_pairs(uri)?, known)?;
    match unknown.first() {
        Some(name) => Err(malformed(unknown_name(name, &known))),
        None => Ok(values),
    }
}

/// As [`known_values`], and the values of one parameter more, which may be repeated.
///
/// # Errors
/// Those of [`known_values`].
pub(crate) fn known_values_and_list<const N: usize>(
    uri: &Uri,
    known: [&str; N],
    repeated: &str,
) -> Result<(Values<N>, Vec<String>), ProblemResponse> {
    let (values, [listed]) = known_values_and_lists(uri, known, [repeated])?;
    Ok((values, listed))
}

/// As [`known_values`], and the values of some parameters more, which may be repeated.
///
/// # Errors
/// Those of [`known_values`].
pub(crate) fn known_values_and_lists<const N: usize, const M: usize>(
    uri: &Uri,
    known: [&str; N],
    repeated: [&str; M],
) -> Result<(Values<N>, Lists<M>), ProblemResponse> {
    let (mut lists, mut others) = ([const { Vec::new() }; M], Vec::new());
    for (name, value) in decoded_pairs(uri)? {
        match repeated.iter().position(|repeated| **repeated == *name) {
            Some(index) => lists[index].push(value),
            None => others.push((name, value)),
        }
    }
    let (values, unknown) = values(others, known)?;
    if let Some(name) = unknown.first() {
        let known: Vec<_> = known.into_iter().chain(repeated).collect();
        return Err(malformed(unknown_name(name, &known)));
    }
    Ok((values, lists))
}

/// The parameters in order, for a route that refuses what it does not know.
fn decoded_pairs(uri: &Uri) -> Result<Vec<(String, String)>, ProblemResponse> {
    let query = uri.query().unwrap_or_default();
    if has_bare_percent(query) || percent_decode_str(query).decode_utf8().is_err() {
        return Err(malformed("the query is not percent-encoded UTF-8"));
    }
    query_pairs(uri)
}

/// The values of the parameters `known`, for a route that ignores all others.
///
/// # Errors
/// `Malformed` for one that is given twice.
pub(crate) fn tolerant_values<const N: usize>(
    uri: &Uri,
    known: [&str; N],
) -> Result<Values<N>, ProblemResponse> {
    values(query_pairs(uri)?, known).map(|(values, _)| values)
}

/// The values of the parameters `known`, and the names of all others.
fn values<const N: usize>(
    pairs: Vec<(String, String)>,
    known: [&str; N],
) -> Result<(Values<N>, Vec<String>), ProblemResponse> {
    let (mut values, mut others) = ([const { None }; N], Vec::new());
    for (name, value) in pairs {
        match known.iter().position(|known| **known == *name) {
            Some(index) if values[index].is_none() => values[index] = Some(value),
            Some(_) => return Err(broken(&name, "must be given once")),
            None => others.push(name),
        }
    }
    Ok((values, others))
}

/// A version: a whole number from 1. Above `u64::MAX` it means that, which no entity reaches.
///
/// # Errors
/// `Malformed`, with the parameter's name.
pub(crate) fn version(name: &str, text: &str) -> Result<u64, ProblemResponse> {
    natural(text).ok_or_else(|| broken(name, "must be a version, which is a number from 1"))
}

/// A number of items, from 1; above `most` it means `most`.
///
/// # Errors
/// `Malformed`, with the parameter's name.
pub(crate) fn size(name: &str, text: &str, most: u32) -> Result<u32, ProblemResponse> {
    let size = natural(text).ok_or_else(|| broken(name, "must be a number from 1"))?;
    Ok(u32::try_from(size).map_or(most, |size| size.min(most)))
}

/// A duration such as `30s`, `500ms`, or `30`, which is in seconds; above `most` it means `most`.
///
/// # Errors
/// `Malformed`, with the parameter's name.
pub(crate) fn duration(
    name: &str,
    text: &str,
    most: Duration,
) -> Result<Duration, ProblemResponse> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit);
    let millis = match unit {
        "ms" => 1,
        "s" | "" => 1000,
        "m" => 60_000,
        _ => 0,
    };
    if digits.is_empty() || millis == 0 {
        return Err(broken(
            name,
            "must be a duration such as 30s or 500ms, or a number of seconds",
        ));
    }
    let count = digits.parse().unwrap_or(u64::MAX);
    Ok(Duration::from_millis(count.saturating_mul(millis)).min(most))
}

/// A filter.
///
/// # Errors
/// `Malformed`, with the parameter's name and the column.
pub(crate) fn filter(name: &str, text: &str, scope: Scope) -> Result<Filter, ProblemResponse> {
    let filter = Filter::parse(text, scope);
    filter.map_err(|error| broken(name, format_args!("is no filter: {error}")))
}

/// A whole number from 1; `u64::MAX` where it is larger.
fn natural(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX)).filter(|number| *number > 0)
}

/// The problem of a value; `rule` is the end of a sentence about it: `must …`.
pub(crate) fn broken(name: &str, rule: impl Display) -> ProblemResponse {
    malformed(format!("the query parameter {name} {rule}"))
}

fn unknown_name(name: &str, known: &[&str]) -> String {
    let name = clipped(name);
    let nearest = known.iter().min_by_key(|known| strsim::osa_distance(name, known));
    let nearest = nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default();
    format!("the query parameter {name:?} is not known{nearest}")
}

fn malformed(detail: impl Into<Cow<'static, str>>) -> ProblemResponse {
    ProblemResponse::new(ProblemKind::Malformed, detail)
}

/// Names are at most as long as ours may ever be; the log and answers are no place for more.
fn clipped(name: &str) -> &str {
    &name[..name.floor_char_boundary(64)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_knows_its_parameters_refuses_others() {
        let values = |query: &str| {
            let uri = format!("/?{query}").parse().expect("a URI");
            known_values(&uri, ["source", "actor"]).map_err(|problem| problem.0.detail.into_owned())
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(values(""), Ok([None, None]));
        assert_eq!(values("actor=a+b%C3%A4&source="), Ok([text(""), text("a b\u{e4}")]));
        for (query, detail) in [
            ("sorce=a", "the query parameter \"sorce\" is not known; did you mean source?"),
            ("Actor=a", "the query parameter \"Actor\" is not known; did you mean actor?"),
            ("actor=a&actor=a", "the query parameter actor must be given once"),
            ("actor=%FF", "the query is not percent-encoded UTF-8"),
            ("actor=%zz", "the query is not percent-encoded UTF-8"),
        ] {
            assert_eq!(values(query), Err(detail.to_owned()));
        }
        let long = values(&"x".repeat(10_000));
        assert!(long.is_err_and(|detail| detail.len() < 200));
    }

    #[test]
    fn one_parameter_may_be_repeated() {
        let values = |query: &str| {
            let uri = format!("/?{query}").parse().expect("a URI");
            known_values_and_list(&uri, ["from"], "type")
                .map_err(|problem| problem.0.detail.into_owned())
        };
        let text = |text: &str| text.to_owned();
        assert_eq!(values(""), Ok(([None], vec![])));
        let both = Ok(([Some(text("now"))], vec![text("a"), text(""), text("a")]));
        assert_eq!(values("type=a&from=now&type=&type=a"), both);
        for (query, detail) in [
            ("from=a&from=a", "the query parameter from must be given once"),
            ("typo=a", "the query parameter \"typo\" is not known; did you mean type?"),
            ("type=%FF", "the query is not percent-encoded UTF-8"),
        ] {
            assert_eq!(values(query), Err(detail.to_owned()));
        }
    }

    #[test]
    fn durations_have_a_unit_or_are_in_seconds() {
        let minute = Duration::from_secs(60);
        let millis = |text| duration("wait", text, minute).ok().map(|time| time.as_millis());
        for (text, expected) in [
            ("0", 0),
            ("0ms", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("30", 30_000),
            ("1m", 60_000),
            ("61", 60_000),
            ("99999999999999999999999s", 60_000),
            ("18446744073709551615m", 60_000),
        ] {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
        for text in ["", "s", "-1", "+1", "1.5s", " 1s", "1 s", "1h", "1S", "\u{661}"] {
            assert_eq!(millis(text), None, "{text}");
        }
    }
}
