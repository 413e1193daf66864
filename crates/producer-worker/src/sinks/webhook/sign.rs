//! Signatures of Standard Webhooks, version 1: <https://www.standardwebhooks.com>.

use std::fmt::{self, Write as _};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use producer_core::Timestamp;
use sha2::Sha256;

use crate::config::Secret;

/// The scheme with a shared secret. The one with a key pair (`whsk_`) is another.
const PREFIX: &str = "whsec_";

/// Bytes of a secret, by the specification.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

const INVALID: &str = "must be whsec_ and the base64 of 24 to 64 bytes, such as \
    whsec_ and what `openssl rand -base64 32` prints";

/// What signs: a key for each secret.
#[derive(Clone)]
pub(super) struct Signer(Vec<Hmac<Sha256>>);

impl Signer {
    /// # Errors
    /// The end of a sentence about a secret, which does not show it: `must be …`.
    pub(super) fn new(secrets: &[Secret]) -> Result<Self, &'static str> {
        secrets.iter().map(|secret| key(secret.expose())).collect::<Result<_, _>>().map(Self)
    }

    /// The value of `webhook-signature`, with one signature for each secret; `None` without secrets.
    ///
    /// `id` has no full stop: it ends there in what is signed.
    pub(super) fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> Option<String> {
        let mut signatures = String::new();
        for key in &self.0 {
            let mut mac = key.clone();
            for part in [id.as_bytes(), b".", seconds.to_string().as_bytes(), b".", body] {
                mac.update(part);
            }
            let separator = if signatures.is_empty() { "" } else { " " };
            let signature = STANDARD.encode(mac.finalize().into_bytes());
            // a String takes all that is written
            let _ = write!(signatures, "{separator}v1,{signature}");
        }
        (!signatures.is_empty()).then_some(signatures)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} keys)", self.0.len())
    }
}

fn key(text: &str) -> Result<Hmac<Sha256>, &'static str> {
    let encoded = text.strip_prefix(PREFIX).ok_or(INVALID)?;
    let bytes = STANDARD.decode(encoded).map_err(|_| INVALID)?;
    if !KEY_BYTES.contains(&bytes.len()) {
        return Err(INVALID);
    }
    Hmac::new_from_slice(&bytes).map_err(|_| INVALID)
}

/// Seconds since 1970, for `webhook-timestamp`.
pub(super) fn seconds(now: Timestamp) -> i64 {
    now.micros().div_euclid(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the specification's own libraries.
    #[test]
    fn the_signature_of_the_specification() {
        let secret = Secret::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let signer = Signer::new(std::slice::from_ref(&secret)).unwrap();
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#);
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signer.sign(id, 1_614_265_330, body).as_deref(), Some(signature));
        let signer = Signer::new(&[secret.clone(), secret]).unwrap();
        let twice = format!("{signature} {signature}");
        assert_eq!(signer.sign(id, 1_614_265_330, body), Some(twice));
        assert_eq!(format!("{signer:?}"), "Signer(2 keys)");
        assert_eq!(Signer::new(&[]).unwrap().sign(id, 0, body), None);
    }

    #[test]
    fn secrets_are_checked() {
        let of = |bytes: usize| format!("{PREFIX}{}", STANDARD.encode(vec![7; bytes]));
        for good in [of(24), of(32), of(64)] {
            assert!(key(&good).is_ok(), "{good}");
        }
        let plain = STANDARD.encode([7; 32]);
        for bad in [of(0), of(23), of(65), plain, "whsec_%%%".into(), format!("whsk_{}", of(32))] {
            assert_eq!(key(&bad).err(), Some(INVALID), "{bad}");
        }
    }
}
