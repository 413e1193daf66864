//! One value as bytes. See the table in the parent.

use crate::json::Decimal;
use crate::model::Timestamp;

pub(super) const FALSE: u8 = 0x10;
pub(super) const TRUE: u8 = 0x11;
pub(super) const NEGATIVE: u8 = 0x20;
const ZERO: u8 = 0x21;
pub(super) const POSITIVE: u8 = 0x22;
pub(super) const STRING: u8 = 0x30;

/// Microseconds from the start of year 1, the earliest time, to 1970.
const FIRST_TO_UNIX: i64 = 62_135_596_800_000_000;

pub(super) const fn of_bool(value: bool) -> u8 {
    if value { TRUE } else { FALSE }
}

/// Appends the text of a JSON number: every notation of a value gives the same bytes.
pub(super) fn number(key: &mut Vec<u8>, text: &str) {
    let number = Decimal::new(text);
    if number.digits().is_empty() {
        return key.push(ZERO);
    }
    key.push(if number.is_negative() { NEGATIVE } else { POSITIVE });
    let start = key.len();
    key.extend(magnitude(number.magnitude()).to_be_bytes());
    let value = |digit: u8| digit - b'0';
    // a pair is 1 to 100, so that the end is below every pair; the last digit is no zero, so a
    // missing one can't be taken for a zero
    let pairs = number.digits().as_bytes().chunks(2);
    key.extend(pairs.map(|pair| value(pair[0]) * 10 + pair.get(1).map_or(0, |&d| value(d)) + 1));
    key.push(0);
    if number.is_negative() {
        key[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

/// Documents hold magnitudes of -399 to 400. Those of literals may be larger: beyond what a document can hold,
/// their order does not matter.
fn magnitude(magnitude: i64) -> u16 {
    let clamped = magnitude.clamp(i16::MIN.into(), i16::MAX.into());
    u16::try_from(clamped - i64::from(i16::MIN)).unwrap_or(u16::MAX)
}

/// Appends a string, of which so many characters count.
pub(super) fn string(key: &mut Vec<u8>, text: &str, characters: usize) {
    key.push(STRING);
    key.extend(cut(text, characters).as_bytes());
    key.push(0);
}

/// The first characters of a text.
pub(super) fn cut(text: &str, characters: usize) -> &str {
    // so many bytes have no more characters than that: nothing to count
    if text.len() <= characters {
        return text;
    }
    text.char_indices().nth(characters).map_or(text, |(end, _)| &text[..end])
}

/// A time as a big-endian integer, which PostgreSQL writes too (`timestamptz_send`). Counted from year 1 it is
/// never negative, so its bytes are ordered as times are.
pub(super) fn time(time: Timestamp) -> [u8; 8] {
    time.micros().saturating_add(FIRST_TO_UNIX).max(0).to_be_bytes()
}
