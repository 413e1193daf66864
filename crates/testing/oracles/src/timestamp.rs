//! Dates, compared with `chrono` and plain arithmetic.

use chrono::{DateTime, Utc};
use producer_core::Timestamp;

use crate::exact::{Number, is_json};

const YEARS_1_TO_9999: std::ops::RangeInclusive<i128> =
    -62_135_596_800_000_000..=253_402_300_799_999_999;

/// The same texts and numbers are valid, and mean the same time.
pub(crate) fn oracle(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let moment = Timestamp::from_text(text).ok();
    assert_eq!(moment.map(micros), expected(text), "{text}");
    if let Some(moment) = moment {
        assert_eq!(Timestamp::from_text(&moment.to_string()), Ok(moment));
        assert_eq!(Timestamp::from(DateTime::<Utc>::from(moment)), moment);
    }
    if is_json(bytes) && text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        // a number that the reference can't write out is refused before it is read as a date
        if let Some(number) = Number::read(text.trim_end()) {
            let moment = Timestamp::from_number(text.trim_end()).ok();
            assert_eq!(moment.map(micros), number.whole().and_then(from_millis), "{text}");
        }
    }
}

fn micros(moment: Timestamp) -> i128 {
    moment.micros().into()
}

fn expected(text: &str) -> Option<i128> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return from_millis(text);
    }
    let moment = DateTime::parse_from_rfc3339(&strict(text)?).ok()?;
    let is_leap_second = text.get(17..19) == Some("60");
    // chrono's year may be that of another offset
    let micros = i128::from(moment.timestamp_micros());
    (!is_leap_second && YEARS_1_TO_9999.contains(&micros)).then_some(micros)
}

fn from_millis(digits: &str) -> Option<i128> {
    let negative = digits.starts_with('-');
    let significant = digits.trim_start_matches('-').trim_start_matches('0');
    let millis = if significant.is_empty() { 0 } else { significant.parse::<i128>().ok()? };
    let micros = millis.checked_mul(if negative { -1000 } else { 1000 })?;
    YEARS_1_TO_9999.contains(&micros).then_some(micros)
}

/// The text in strict RFC 3339, which wants an offset with a colon where the contract doesn't.
/// `None`: a sign that only chrono accepts.
fn strict(text: &str) -> Option<String> {
    if !text.is_ascii() {
        return None;
    }
    let (moment, rest) = text.split_at_checked(19)?;
    let after_fraction = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let fraction = &rest[..rest.len() - after_fraction.len()];
    let offset = match after_fraction.as_bytes() {
        [] => "Z".to_owned(),
        [b'+' | b'-', digits @ ..] if digits.len() == 4 => {
            let (hours, minutes) = after_fraction.split_at(3);
            format!("{hours}:{minutes}")
        }
        _ => after_fraction.to_owned(),
    };
    Some(format!("{moment}{fraction}{offset}"))
}
