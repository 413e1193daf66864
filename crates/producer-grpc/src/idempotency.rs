//! The idempotency key of a call, from its metadata.

use producer_core::decode::IdempotencyKey;
use producer_core::{Problem, ProblemKind};
use tonic::metadata::MetadataMap;

/// The metadata that a key may come in, as REST's header is called.
const NAMES: [&str; 2] = ["idempotency-key", "x-idempotency-key"];

/// The key of a call, if it has one.
///
/// # Errors
/// `Malformed` where it breaks a rule, or where there are several that differ.
pub(crate) fn idempotency_key(
    metadata: &MetadataMap,
) -> Result<Option<IdempotencyKey<'_>>, Problem> {
    let mut key = None;
    for name in NAMES {
        for value in metadata.get_all(name) {
            let text = value.to_str().map_err(|_| "must have visible ASCII characters only");
            let found = text.and_then(IdempotencyKey::parse).map_err(|detail| {
                Problem::new(ProblemKind::Malformed, format!("the metadata {name} {detail}"))
            })?;
            if key.as_ref().is_some_and(|known| *known != found) {
                let detail = "idempotency-key and x-idempotency-key must not have several values";
                return Err(Problem::new(ProblemKind::Malformed, detail));
            }
            key = Some(found);
        }
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn metadata(entries: &[(&'static str, &[u8])]) -> MetadataMap {
        let entry = |(name, value): &(&'static str, &[u8])| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value).expect("a value"))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in entries.iter().map(entry) {
            headers.append(name, value);
        }
        MetadataMap::from_headers(headers)
    }

    #[test]
    fn the_key_is_the_only_value_of_both_names() {
        let found = |entries: &[(&'static str, &[u8])]| {
            idempotency_key(&metadata(entries)).map(|key| key.is_some())
        };
        assert_eq!(found(&[("x-request-id", b"a")]), Ok(false));
        assert_eq!(found(&[("idempotency-key", b"a")]), Ok(true));
        assert_eq!(found(&[("x-idempotency-key", b"a")]), Ok(true));
        // a client and a proxy in front of it, one with the quotes of the header's draft
        assert_eq!(found(&[("idempotency-key", b"a"), ("x-idempotency-key", b"\"a\"")]), Ok(true));
        assert_eq!(found(&[("idempotency-key", b"a"), ("idempotency-key", b"a")]), Ok(true));
    }

    #[test]
    fn keys_that_differ_or_break_a_rule_are_refused_by_name() {
        for entries in [
            &[("idempotency-key", &b"a"[..]), ("idempotency-key", b"b")][..],
            &[("idempotency-key", b"a"), ("x-idempotency-key", b"b")],
            &[("x-idempotency-key", b"")],
            &[("x-idempotency-key", b"a b")],
            &[("x-idempotency-key", &[0xe4])],
            &[("x-idempotency-key", &[b'x'; 256])],
        ] {
            let metadata = metadata(entries);
            let problem = idempotency_key(&metadata).expect_err("no key");
            assert_eq!(problem.kind, ProblemKind::Malformed);
            assert!(problem.detail.contains("x-idempotency-key"), "{}", problem.detail);
        }
    }
}
