//! The headers of writes: conditions, an idempotency key, and the answer that is preferred. They are read
//! as bytes, since a header may have any above 127.

use http::header::{IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use http::{HeaderMap, HeaderName, HeaderValue};
use producer_core::decode::IdempotencyKey;
use producer_core::{Precondition, Problem, ProblemKind};

/// `Idempotency-Key`
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// `Prefer` (RFC 7240)
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// `Preference-Applied` (RFC 7240)
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What `If-Match` and `If-None-Match` demand of the entity (RFC 9110, 13.1).
///
/// # Errors
/// `Malformed` for anything but ETags and `*` in `If-Match`, or but `*` in `If-None-Match`, and for
/// `If-Unmodified-Since`, which must not be ignored.
pub(crate) fn precondition(headers: &HeaderMap) -> Result<Precondition, Problem> {
    // several updates may have the same second: it can't say what was read
    if headers.contains_key(IF_UNMODIFIED_SINCE) {
        return Err(malformed("If-Unmodified-Since", "is not supported; use If-Match"));
    }
    let is_absent = match any(headers, IF_NONE_MATCH) {
        Some(false) => return Err(malformed("If-None-Match", "must be * on a write")),
        is_any => is_any.is_some(),
    };
    Ok(match (if_match(headers)?, is_absent) {
        (demanded, false) => demanded,
        (Precondition::None, true) => Precondition::Absent,
        // an entity that must and must not exist
        (_, true) => Precondition::Versions(Box::default()),
    })
}

fn if_match(headers: &HeaderMap) -> Result<Precondition, Problem> {
    match any(headers, IF_MATCH) {
        None => Ok(Precondition::None),
        Some(true) => Ok(Precondition::Exists),
        Some(false) => {
            let mut tags = Tags::default();
            let is_list = headers.get_all(IF_MATCH).iter().all(|value| tags.read(value.as_bytes()));
            if is_list && tags.count > 0 {
                return Ok(Precondition::Versions(tags.versions.into()));
            }
            Err(malformed("If-Match", r#"must be * or ETags such as "3", separated by commas"#))
        }
    }
}

/// Whether a header is `*`; `None` where it is absent.
fn any(headers: &HeaderMap, name: HeaderName) -> Option<bool> {
    let mut values = headers.get_all(name).iter();
    let is_any = |value: &HeaderValue| value.as_bytes().trim_ascii() == b"*";
    values.next().map(|first| is_any(first) && values.all(is_any))
}

/// The ETags of a header.
#[derive(Debug, Default)]
struct Tags {
    count: usize,
    /// Of those that are versions. Any other is an ETag too, and never matches.
    versions: Vec<u64>,
}

impl Tags {
    /// Reads a list of ETags, which may have empty members (RFC 9110, 5.6.1). False if it is none.
    fn read(&mut self, mut list: &[u8]) -> bool {
        loop {
            list = list.trim_ascii_start();
            if let Some(rest) = list.strip_prefix(b",") {
                list = rest;
                continue;
            }
            if list.is_empty() {
                return true;
            }
            let Some((tag, rest)) = split_tag(list) else { return false };
            self.count += 1;
            self.versions.extend(version(tag));
            list = rest.trim_ascii_start();
            if !list.is_empty() && !list.starts_with(b",") {
                return false;
            }
        }
    }
}

/// The text of the first ETag, weak or strong, and what follows it.
fn split_tag(list: &[u8]) -> Option<(&[u8], &[u8])> {
    let tag = list.strip_prefix(b"W/").unwrap_or(list).strip_prefix(b"\"")?;
    let end = tag.iter().position(|&byte| byte == b'"')?;
    let (text, rest) = tag.split_at(end);
    let is_valid = text.iter().all(|&byte| byte.is_ascii_graphic() || byte >= 0x80);
    is_valid.then(|| (text, &rest[1..]))
}

/// The version that an ETag names, written as answers have it; none is 0.
fn version(tag: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(tag).ok()?;
    text.parse().ok().filter(|version: &u64| *version > 0 && version.to_string() == text)
}

/// The key of a request that may be sent again.
///
/// # Errors
/// `Malformed` where it is none, or where two differ.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey<'_>>, Problem> {
    const NAME: &str = "Idempotency-Key";
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.any(|other| other != first) {
        return Err(malformed(NAME, "must have one value"));
    }
    // what is no text has characters that the key refuses
    let text = first.to_str().unwrap_or("\u{80}");
    IdempotencyKey::parse(text).map(Some).map_err(|rule| malformed(NAME, rule))
}

/// Whether `Prefer` asks for the entity in the answer. Preferences that are not known are ignored, as
/// RFC 7240 wants it; of several `return`, the first counts.
pub(crate) fn prefers_representation(headers: &HeaderMap) -> bool {
    let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split(','));
    let first = preferences.find_map(|preference| {
        let (preference, _) = preference.split_once(';').unwrap_or((preference, ""));
        let (name, value) = preference.split_once('=')?;
        name.trim().eq_ignore_ascii_case("return").then(|| value.trim().trim_matches('"'))
    });
    first.is_some_and(|value| value.eq_ignore_ascii_case("representation"))
}

fn malformed(header: &str, rule: &str) -> Problem {
    Problem::new(ProblemKind::Malformed, format!("the header {header} {rule}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, values: &[&[u8]]) -> HeaderMap {
        let value = |bytes: &&[u8]| HeaderValue::from_bytes(bytes).expect("a header's value");
        values.iter().map(|bytes| (name.clone(), value(bytes))).collect()
    }

    #[test]
    fn if_match_is_a_list_of_versions_or_any() {
        let versions = |versions: &[u64]| Some(Precondition::Versions(versions.into()));
        let cases: [(&[&[u8]], Option<Precondition>); 24] = [
            (&[], Some(Precondition::None)),
            (&[b"*"], Some(Precondition::Exists)),
            (&[b"*", b" * "], Some(Precondition::Exists)),
            (&[b"\"3\""], versions(&[3])),
            (&[b"W/\"3\""], versions(&[3])),
            (&[b"\"1\",\"2\" , W/\"3\""], versions(&[1, 2, 3])),
            (&[b"\"1\"", b", ,\"2\","], versions(&[1, 2])),
            // ETags, but none of ours
            (&[b"\"\""], versions(&[])),
            (&[b"\"abc\", \"3-gzip\", \"03\", \"+3\", \"-1\", \"1.0\""], versions(&[])),
            (&[b"\"99999999999999999999\""], versions(&[])),
            (&[b"\"0\""], versions(&[])),
            (&[b"\"1,2\", \"\xe4\xff\", \"4\""], versions(&[4])),
            // no ETags
            (&[b""], None),
            (&[b" , "], None),
            (&[b"3"], None),
            (&[b"\"3"], None),
            (&[b"3\""], None),
            (&[b"\"3\" \"4\""], None),
            (&[b"w/\"3\""], None),
            (&[b"W/3"], None),
            (&[b"\"a b\""], None),
            (&[b"*, \"3\""], None),
            (&[b"\"3\"", b"*"], None),
            (&[b"\xff"], None),
        ];
        for (values, expected) in cases {
            let parsed = precondition(&headers(IF_MATCH, values));
            if let Err(problem) = &parsed {
                assert_eq!(problem.kind, ProblemKind::Malformed);
                assert!(problem.detail.starts_with("the header If-Match must be"), "{problem}");
            }
            assert_eq!(parsed.ok(), expected, "{values:?}");
        }
    }

    #[test]
    fn if_unmodified_since_is_not_ignored() {
        let date = headers(IF_UNMODIFIED_SINCE, &[b"Mon, 01 Jan 2001 00:00:00 GMT"]);
        let problem = precondition(&date).expect_err("a condition that is not supported");
        assert!(problem.detail.starts_with("the header If-Unmodified-Since "), "{problem}");
    }

    #[test]
    fn if_none_match_is_any_and_excludes_if_match() {
        let any = headers(IF_NONE_MATCH, &[b"*"]);
        assert_eq!(precondition(&any), Ok(Precondition::Absent));
        for values in [&[b"\"3\"".as_slice()], [b"".as_slice()].as_slice(), &[b"*", b"\"3\""]] {
            let refused = precondition(&headers(IF_NONE_MATCH, values));
            let problem = refused.expect_err("no *");
            assert_eq!(problem.detail, "the header If-None-Match must be * on a write");
        }
        for tag in ["*", "\"3\""] {
            let mut both = any.clone();
            both.insert(IF_MATCH, HeaderValue::from_static(tag));
            assert_eq!(precondition(&both), Ok(Precondition::Versions([].into())), "{tag}");
        }
    }

    #[test]
    fn an_idempotency_key_has_one_value() {
        let key = |values: &[&[u8]]| {
            let headers = headers(IDEMPOTENCY_KEY, values);
            let key = idempotency_key(&headers).map_err(|problem| problem.detail.into_owned());
            key.map(|key| key.map(|key| key.event_uuid("event", "", None)))
        };
        assert_eq!(key(&[]), Ok(None));
        assert!(key(&[b"order-1"]).is_ok_and(|key| key.is_some()));
        assert_eq!(key(&[b"order-1", b"order-1"]), key(&[b"\"order-1\""]));
        for (values, rule) in [
            (&[b"a".as_slice(), b"b"][..], "must have one value"),
            (&[b""], "must not be empty"),
            (&[b"\xe4"], "must have visible ASCII characters only"),
            (&[b"a b"], "must have visible ASCII characters only"),
        ] {
            assert_eq!(key(values), Err(format!("the header Idempotency-Key {rule}")));
        }
    }

    #[test]
    fn the_first_return_preference_counts() {
        for (values, expected) in [
            (&[b"return=representation".as_slice()][..], true),
            (&[b"respond-async, Return = \"representation\"; x=y"], true),
            (&[b"wait=10", b"return=representation"], true),
            (&[b"return=minimal, return=representation"], false),
            (&[b"\xff"], false),
            (&[b"return, representation, ="], false),
            (&[], false),
        ] {
            assert_eq!(prefers_representation(&headers(PREFER, values)), expected, "{values:?}");
        }
    }
}
