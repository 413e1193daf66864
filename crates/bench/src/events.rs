//! The events of all cells, rendered once: each request only gets new uuids and keys, so that
//! generating events takes little CPU.

use std::ops::Range;

use fastrand::Rng;
use uuid::{Builder, Uuid};

#[cfg(test)]
mod tests;

/// Which entities are updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Keys {
    /// A new one each time.
    New,
    /// One of 100,000 existing ones.
    Set,
    /// One of 10 existing ones.
    Hot,
    /// Each of 500,000 existing ones, and none twice.
    #[value(skip)]
    Once,
}

impl Keys {
    /// The range of the numbers in the keys; all have the same number of digits.
    pub(crate) fn numbers(self) -> Range<u64> {
        match self {
            Self::New => 1_000_000_000_000_000_000..9_000_000_000_000_000_000,
            Self::Set => 100_000..200_000,
            Self::Hot => 0..10,
            Self::Once => 1_000_000..1_500_000,
        }
    }

    fn digits(self) -> usize {
        self.numbers().start.checked_ilog10().unwrap_or(0) as usize + 1
    }
}

/// The size of an event as JSON with a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// 400 B.
    Base,
    /// 4 KiB.
    Medium,
    /// 64 KiB.
    Large,
    /// 400 B, with nested objects and a null.
    Deep,
}

impl Size {
    fn bytes(self) -> usize {
        match self {
            Self::Base | Self::Deep => 400,
            Self::Medium => 4 << 10,
            Self::Large => 64 << 10,
        }
    }
}

/// `eventName` and `eventType`.
pub(crate) const NAME: &str = "LoanPaymentSubmitted";
/// `createdDate`.
pub(crate) const CREATED: &str = "2024-01-15T10:30:00Z";
/// `entityType`.
pub(crate) const ENTITY_TYPE: &str = "Loan";
/// The part of `entityId` before the number.
pub(crate) const KEY_PREFIX: &str = "loan-";

/// The placeholder of a uuid.
pub(crate) const UUID: &str = "uuuuuuuu-uuuu-uuuu-uuuu-uuuuuuuuuuuu";

/// The placeholder of a key.
pub(crate) fn key_placeholder(keys: Keys) -> String {
    placeholder(KEY_PREFIX, keys)
}

/// The placeholder of a key with another prefix.
pub(crate) fn placeholder(prefix: &str, keys: Keys) -> String {
    format!("{prefix}{}", "k".repeat(keys.digits()))
}

/// One event as JSON, with placeholders for its uuid and key.
pub(crate) fn json(keys: Keys, size: Size) -> String {
    event_json(&key_placeholder(keys), &attributes(size))
}

fn event_json(key: &str, attributes: &str) -> String {
    format!(
        r#"{{"eventHeader":{{"uuid":"{UUID}","eventName":"{NAME}","eventType":"{NAME}","createdDate":"{CREATED}"}},"eventBody":{{"entities":[{{"entityType":"{ENTITY_TYPE}","entityId":"{key}","updatedAttributes":{attributes}}}]}}}}"#
    )
}

/// `updatedAttributes` of the length that gives the event its size. The text hardly compresses, so
/// that PostgreSQL stores as much as it is sent.
pub(crate) fn attributes(size: Size) -> String {
    let length = size.bytes() - event_json(&key_placeholder(Keys::New), "").len();
    let mut text = match size {
        Size::Deep => r#"{"loan":{"balance":24439.75,"paid":{"on":"2024-01-15","late":null}}"#,
        Size::Base | Size::Medium | Size::Large => {
            r#"{"balance":24439.75,"lastPaidDate":"2024-01-15T10:30:00Z""#
        }
    }
    .to_owned();
    let mut random = Rng::with_seed(1);
    let mut field = 0;
    while length - text.len() > 120 {
        text.push_str(&format!(r#","field{field}":"{}""#, random_text(&mut random, 40)));
        field += 1;
    }
    let left = length - text.len() - r#","note":""}"#.len();
    text.push_str(&format!(r#","note":"{}"}}"#, random_text(&mut random, left)));
    text
}

/// The bytes of a request, whose uuids and keys can be replaced.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    uuids: Vec<usize>,
    key_numbers: Vec<usize>,
    keys: Keys,
    random: Rng,
}

impl Template {
    /// Finds the placeholders. Different seeds give different uuids.
    pub(crate) fn new(bytes: Vec<u8>, keys: Keys, seed: u64) -> Self {
        Self::with_prefix(bytes, KEY_PREFIX, keys, seed)
    }

    /// The same with another prefix of keys.
    pub(crate) fn with_prefix(bytes: Vec<u8>, prefix: &str, keys: Keys, seed: u64) -> Self {
        let uuids = positions(&bytes, UUID.as_bytes());
        let key_numbers = positions(&bytes, placeholder(prefix, keys).as_bytes());
        let key_numbers = key_numbers.into_iter().map(|position| position + prefix.len()).collect();
        Self { bytes, uuids, key_numbers, keys, random: Rng::with_seed(seed) }
    }

    /// The number of events.
    pub(crate) fn events(&self) -> usize {
        self.uuids.len()
    }

    /// The bytes with new uuids, and another key at each place.
    pub(crate) fn next(&mut self) -> &[u8] {
        self.write_uuids();
        let numbers = self.keys.numbers();
        let digits = self.keys.digits();
        for &position in &self.key_numbers {
            let number = self.random.u64(numbers.clone());
            write_number(&mut self.bytes[position..position + digits], number);
        }
        &self.bytes
    }

    /// The bytes with new uuids, and everywhere the key with this number, one of [`Keys::numbers`].
    pub(crate) fn with_key(&mut self, number: u64) -> &[u8] {
        self.write_uuids();
        let digits = self.keys.digits();
        for &position in &self.key_numbers {
            write_number(&mut self.bytes[position..position + digits], number);
        }
        &self.bytes
    }

    fn write_uuids(&mut self) {
        for &position in &self.uuids {
            let uuid = random_uuid(&mut self.random);
            uuid.hyphenated().encode_lower(&mut self.bytes[position..position + UUID.len()]);
        }
    }
}

/// A UUIDv4. Cheaper than one of the operating system's random bytes.
pub(crate) fn random_uuid(random: &mut Rng) -> Uuid {
    Builder::from_random_bytes(random.u128(..).to_be_bytes()).into_uuid()
}

fn positions(bytes: &[u8], placeholder: &[u8]) -> Vec<usize> {
    let windows = bytes.windows(placeholder.len()).enumerate();
    windows.filter(|(_, window)| *window == placeholder).map(|(at, _)| at).collect()
}

fn write_number(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Text that hardly compresses.
fn random_text(random: &mut Rng, length: usize) -> String {
    let mut text = String::with_capacity(length);
    write_random_text(&mut text, length, random);
    text
}

/// Writes text that hardly compresses, without characters that JSON or COPY would escape.
pub(crate) fn write_random_text(text: &mut String, length: usize, random: &mut Rng) {
    const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .";
    text.extend((0..length).map(|_| char::from(LETTERS[random.usize(..LETTERS.len())])));
}

/// An HTTP/1.1 POST with this body.
pub(crate) fn request(path: &str, content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {content_type}\r\n\
         content-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body.as_bytes()].concat()
}
