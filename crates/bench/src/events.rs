//! The events of all cells, rendered once: each request only gets new uuids and keys, so that
//! generating events takes little CPU.

use std::ops::Range;

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
}

impl Keys {
    /// The range of the numbers in the keys; all have the same number of digits.
    pub(crate) fn numbers(self) -> Range<u64> {
        match self {
            Self::New => 1_000_000_000_000_000_000..9_000_000_000_000_000_000,
            Self::Set => 100_000..200_000,
            Self::Hot => 0..10,
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
    format!("{KEY_PREFIX}{}", "k".repeat(keys.digits()))
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
    let mut random = Random::new(1);
    let mut field = 0;
    while length - text.len() > 120 {
        text.push_str(&format!(r#","field{field}":"{}""#, random.text(40)));
        field += 1;
    }
    let left = length - text.len() - r#","note":""}"#.len();
    text.push_str(&format!(r#","note":"{}"}}"#, random.text(left)));
    text
}

/// The bytes of a request, whose uuids and keys can be replaced.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    uuids: Vec<usize>,
    key_numbers: Vec<usize>,
    keys: Keys,
    random: Random,
}

impl Template {
    /// Finds the placeholders. Different seeds give different uuids.
    pub(crate) fn new(bytes: Vec<u8>, keys: Keys, seed: u64) -> Self {
        let uuids = positions(&bytes, UUID.as_bytes());
        let prefix = KEY_PREFIX.len();
        let key_numbers = positions(&bytes, key_placeholder(keys).as_bytes());
        let key_numbers = key_numbers.into_iter().map(|position| position + prefix).collect();
        Self { bytes, uuids, key_numbers, keys, random: Random::new(seed) }
    }

    /// The number of events.
    pub(crate) fn events(&self) -> usize {
        self.key_numbers.len()
    }

    /// The bytes with new uuids and keys.
    pub(crate) fn next(&mut self) -> &[u8] {
        for &position in &self.uuids {
            let uuid = [self.random.next(), self.random.next()];
            write_uuid(&mut self.bytes[position..position + UUID.len()], uuid);
        }
        let numbers = self.keys.numbers();
        let (span, digits) = (numbers.end - numbers.start, self.keys.digits());
        for &position in &self.key_numbers {
            let number = numbers.start + self.random.next() % span;
            write_number(&mut self.bytes[position..position + digits], number);
        }
        &self.bytes
    }
}

fn positions(bytes: &[u8], what: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(part) = bytes.get(at..at + what.len()) {
        if part == what {
            found.push(at);
            at += what.len();
        } else {
            at += 1;
        }
    }
    found
}

/// Writes a random uuid (version 4).
fn write_uuid(place: &mut [u8], random: [u64; 2]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bits = (u128::from(random[0]) << 64) | u128::from(random[1]);
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let mut bytes = bits.to_be_bytes().into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
    for (at, letter) in place.iter_mut().enumerate() {
        *letter = match at {
            8 | 13 | 18 | 23 => b'-',
            _ => bytes.next().map_or(b'0', |nibble| HEX[usize::from(nibble)]),
        };
    }
}

fn write_number(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Pseudo-random numbers (SplitMix64): cheap, and the same in every run.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        let mut random = Self(seed);
        random.0 = random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn text(&mut self, length: usize) -> String {
        const LETTERS: &[u8; 64] =
            b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .";
        (0..length).map(|_| char::from(LETTERS[(self.next() >> 58) as usize])).collect()
    }
}

/// An HTTP/1.1 request with this body.
pub(crate) fn request(path: &str, content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {content_type}\r\n\
         content-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body.as_bytes()].concat()
}
