//! Times that are numbers of seconds or milliseconds, exactly.

use producer_core::Timestamp;

use super::rules::Unit;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_MILLI: i64 = 1_000;

/// The moment that a decimal number of this unit means, without what is below a microsecond; `None` where the
/// text is no such number.
pub(super) fn moment(text: &str, unit: Unit) -> Option<Result<Timestamp, &'static str>> {
    let (micros_per_unit, places) = match unit {
        Unit::Milliseconds => (MICROS_PER_MILLI, 3),
        Unit::Seconds => (MICROS_PER_SECOND, 6),
    };
    let (is_negative, unsigned) =
        text.strip_prefix('-').map_or((false, text), |unsigned| (true, unsigned));
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let kept = &fraction[..fraction.len().min(places)];
    let fraction = format!("{kept:0<places$}").parse().unwrap_or(0);
    // what overflows lies outside of the allowed years
    let whole = whole.parse().unwrap_or(i64::MAX);
    let micros = whole.saturating_mul(micros_per_unit).saturating_add(fraction);
    Some(Timestamp::checked(if is_negative { -micros } else { micros }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_exactly() {
        for (text, unit, micros) in [
            ("1705314605", Unit::Seconds, 1_705_314_605_000_000),
            ("1705314605.1234567", Unit::Seconds, 1_705_314_605_123_456),
            ("1705314605.5", Unit::Seconds, 1_705_314_605_500_000),
            ("-0.000001", Unit::Seconds, -1),
            ("1705314605123", Unit::Milliseconds, 1_705_314_605_123_000),
            ("1705314605123.4569", Unit::Milliseconds, 1_705_314_605_123_456),
            ("0", Unit::Milliseconds, 0),
        ] {
            assert_eq!(moment(text, unit), Some(Ok(Timestamp::from_micros(micros))), "{text}");
        }
        for text in ["", "-", "1.", ".5", "1e3", "+1", " 1", "2024-01-15T10:30:00Z", "1.-5"] {
            assert_eq!(moment(text, Unit::Seconds), None, "{text}");
        }
        for text in ["253402300800", "99999999999999999999999999", "-99999999999999999999"] {
            assert!(moment(text, Unit::Seconds).is_some_and(|moment| moment.is_err()), "{text}");
        }
    }
}
