//! `x-request-id`: the client's where it is valid, else one of ours.

use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header's name.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that a client may choose, in characters.
const MAX_CHARS: usize = 128;

/// Differs between processes; the counter differs between the requests of one. A UUID for each request
/// would ask the kernel for randomness every time.
static PROCESS: LazyLock<String> =
    LazyLock::new(|| format!("{:016x}-", RandomState::new().hash_one(0)));
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The id of a request with these headers: the client's, if it is 1 to 128 visible ASCII characters.
pub fn from_headers(headers: &HeaderMap) -> HeaderValue {
    match headers.get(HEADER) {
        Some(given) if is_valid(given) => given.clone(),
        _ => generate(),
    }
}

fn is_valid(given: &HeaderValue) -> bool {
    (1..=MAX_CHARS).contains(&given.len()) && given.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn generate() -> HeaderValue {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut id = [0; 40];
    let mut rest = id.as_mut_slice();
    // 17 and at most 16 bytes: they fit
    let _ = rest.write_all(PROCESS.as_bytes()).and_then(|()| write!(rest, "{number:x}"));
    let unused = rest.len();
    HeaderValue::from_bytes(&id[..id.len() - unused]).unwrap_or(HeaderValue::from_static("none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(given: &[u8]) -> HeaderValue {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_bytes(given).unwrap());
        from_headers(&headers)
    }

    #[test]
    fn accepts_visible_ascii_of_up_to_128_characters() {
        assert_eq!(id_for(b"abc-1"), "abc-1");
        assert_eq!(id_for(&[b'x'; 128]).len(), 128);
    }

    #[test]
    fn generates_one_where_the_clients_is_invalid() {
        for given in [b"".as_slice(), b"with space", "\u{e9}".as_bytes(), &[b'x'; 129]] {
            let made = id_for(given);
            assert!(is_valid(&made) && made != given);
        }
        assert_ne!(generate(), generate());
    }
}
