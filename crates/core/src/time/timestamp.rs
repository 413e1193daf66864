//! Moments in time, and the notations that clients may use for them.

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Timelike, Utc};

use crate::json::{is_whole, whole};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z.
const ALLOWED_MICROS: std::ops::RangeInclusive<i64> =
    -62_135_596_800_000_000..=253_402_300_799_999_999;

const NO_DATE: &str = "must be an RFC 3339 date and time or Unix milliseconds";
const NOT_WHOLE: &str = "must be a whole number of Unix milliseconds";
const OUT_OF_RANGE: &str = "must lie in the years 0001 to 9999";

/// A moment in UTC with microseconds, between the years 0001 and 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since 1970-01-01T00:00:00Z.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Reads RFC 3339 with any offset (missing: UTC; without the colon too), or Unix milliseconds
    /// as digits with an optional minus. Digits past the microsecond are cut.
    ///
    /// # Errors
    /// The end of a sentence about the value: `must be …`.
    pub fn from_text(text: &str) -> Result<Self, &'static str> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            return Self::from_millis(whole(text).ok_or(OUT_OF_RANGE)?);
        }
        Self::checked(rfc3339_micros(text.as_bytes()).ok_or(NO_DATE)?)
    }

    /// Reads Unix milliseconds from the text of a JSON number, whose value must be whole.
    ///
    /// # Errors
    /// The end of a sentence about the value: `must be …`.
    pub fn from_number(json_number: &str) -> Result<Self, &'static str> {
        match whole(json_number) {
            Some(millis) => Self::from_millis(millis),
            None if is_whole(json_number) => Err(OUT_OF_RANGE),
            None => Err(NOT_WHOLE),
        }
    }

    fn from_millis(millis: i64) -> Result<Self, &'static str> {
        Self::checked(millis.checked_mul(1000).ok_or(OUT_OF_RANGE)?)
    }

    /// From microseconds since 1970-01-01T00:00:00Z that may lie outside of the allowed years.
    ///
    /// # Errors
    /// As [`Timestamp::from_text`].
    pub fn checked(micros: i64) -> Result<Self, &'static str> {
        if ALLOWED_MICROS.contains(&micros) { Ok(Self(micros)) } else { Err(OUT_OF_RANGE) }
    }
}

impl fmt::Display for Timestamp {
    /// `YYYY-MM-DDTHH:MM:SS[.ffffff]Z`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let utc = DateTime::<Utc>::from(*self);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        // digit by digit: a list has two times for each entity, and formatting numbers took a tenth of its time
        write_digits(&mut text[..4], utc.year().unsigned_abs());
        let parts = [utc.month(), utc.day(), utc.hour(), utc.minute(), utc.second()];
        for (part, at) in parts.into_iter().zip((5..).step_by(3)) {
            write_digits(&mut text[at..at + 2], part);
        }
        let micros = utc.timestamp_subsec_micros();
        write_digits(&mut text[20..26], micros);
        let text = if micros == 0 {
            text[19] = b'Z';
            &text[..20]
        } else {
            &text[..]
        };
        f.write_str(str::from_utf8(text).map_err(|_| fmt::Error)?)
    }
}

/// Writes a number with as many digits as there is room for.
fn write_digits(place: &mut [u8], mut number: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(moment: DateTime<Utc>) -> Self {
        Self(moment.timestamp_micros())
    }
}

impl From<Timestamp> for DateTime<Utc> {
    fn from(moment: Timestamp) -> Self {
        let beyond = if moment.0 < 0 { Self::MIN_UTC } else { Self::MAX_UTC };
        Self::from_timestamp_micros(moment.0).unwrap_or(beyond)
    }
}

/// `None` where the text is no RFC 3339 date and time (with the liberties of the contract).
fn rfc3339_micros(text: &[u8]) -> Option<i64> {
    let (moment, rest) = text.split_at_checked(19)?;
    let separators =
        [(4, b"-"), (7, b"-"), (10, b"Tt "), (13, b":"), (16, b":")] as [(_, &[u8]); 5];
    if !separators.iter().all(|(at, allowed)| allowed.contains(&moment[*at])) {
        return None;
    }
    let days = days_of_date(&moment[..10])?;
    let seconds = seconds_of_time(&moment[11..])?;
    let (micros, offset) = split_fraction(rest)?;
    let utc = days * SECONDS_PER_DAY + seconds - offset_seconds(offset)?;
    Some(utc * MICROS_PER_SECOND + micros)
}

fn days_of_date(date: &[u8]) -> Option<i64> {
    let (year, month, day) = (digits(&date[..4])?, digits(&date[5..7])?, digits(&date[8..])?);
    let date = NaiveDate::from_ymd_opt(year.cast_signed(), month, day)?;
    Some(date.to_epoch_days().into())
}

fn seconds_of_time(time: &[u8]) -> Option<i64> {
    let (hour, minute, second) = (digits(&time[..2])?, digits(&time[3..5])?, digits(&time[6..])?);
    let time = NaiveTime::from_hms_opt(hour, minute, second)?;
    Some(time.num_seconds_from_midnight().into())
}

/// The microseconds of `.123`, and what follows.
fn split_fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(fraction) = rest.strip_prefix(b".") else {
        return Some((0, rest));
    };
    let length = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
    let kept = &fraction[..length.min(6)];
    let missing = u32::try_from(6 - kept.len()).ok()?;
    let micros = digits(kept)? * 10_u32.pow(missing);
    Some((micros.into(), &fraction[length..]))
}

fn offset_seconds(offset: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match offset {
        [] | [b'Z' | b'z'] => return Some(0),
        [sign, h1, h2, b':', m1, m2] | [sign, h1, h2, m1, m2] => (sign, [*h1, *h2], [*m1, *m2]),
        _ => return None,
    };
    let (hours, minutes) = (digits(&hours)?, digits(&minutes)?);
    let seconds = i64::from((hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)?);
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

/// The value of a few ASCII digits.
fn digits(text: &[u8]) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0, |value, b| b.is_ascii_digit().then(|| value * 10 + u32::from(b - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Timestamp::from_text(text).map_or_else(str::to_owned, |t| t.to_string())
    }

    #[test]
    fn every_allowed_notation_is_read() {
        for (text, expected) in [
            ("2024-01-15T10:30:00Z", "2024-01-15T10:30:00Z"),
            ("2024-01-15t10:30:00z", "2024-01-15T10:30:00Z"),
            ("2024-01-15 10:30:00", "2024-01-15T10:30:00Z"),
            ("2024-01-15T10:30:00.5+02:00", "2024-01-15T08:30:00.500000Z"),
            ("2024-01-15T10:30:00-0230", "2024-01-15T13:00:00Z"),
            ("2024-01-15T10:30:00.1234567899Z", "2024-01-15T10:30:00.123456Z"),
            ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
            ("0000-12-31T23:30:00-01:00", "0001-01-01T00:30:00Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
            ("1705314605000", "2024-01-15T10:30:05Z"),
            ("-1", "1969-12-31T23:59:59.999000Z"),
            ("0001705314605000", "2024-01-15T10:30:05Z"),
            ("-62135596800000", "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "-",
            "+1",
            "1.5",
            "now",
            "2024-01-15",
            "2024-01-15T10:30Z",
            "2024-01-15T10:30:60Z",
            "2024-01-15T24:00:00Z",
            "2024-02-30T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-01-00T00:00:00Z",
            "2024-01-15T10:30:00.Z",
            "2024-01-15T10:30:00+2",
            "2024-01-15T10:30:00+02",
            "2024-01-15T10:30:00+24:00",
            "2024-01-15T10:30:00+02:60",
            "2024-01-15T10:30:00 Z",
            "2024-01-15T10:30:00Z ",
            "２024-01-15T10:30:00Z",
            "2024-01-15T10:30:0é",
        ] {
            assert_eq!(shown(text), NO_DATE, "{text}");
        }
        for text in [
            "0000-12-31T23:59:59Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "253402300800000",
            "-62135596800001",
            "99999999999999999999999",
        ] {
            assert_eq!(shown(text), OUT_OF_RANGE, "{text}");
        }
    }

    #[test]
    fn numbers_are_taken_by_their_value() {
        let expected = Timestamp::from_text("2024-01-15T10:30:05Z");
        for text in ["1705314605000", "1705314605000.0", "1.705314605e12", "170531460500000e-2"] {
            assert_eq!(Timestamp::from_number(text), expected, "{text}");
        }
        assert_eq!(Timestamp::from_number("-0.0"), Ok(Timestamp(0)));
        assert_eq!(Timestamp::from_number("1.5"), Err(NOT_WHOLE));
        assert_eq!(Timestamp::from_number("1e-2"), Err(NOT_WHOLE));
        assert_eq!(Timestamp::from_number("1e300"), Err(OUT_OF_RANGE));
    }

    #[test]
    fn the_stores_get_the_same_moment_back() {
        for micros in [*ALLOWED_MICROS.start(), -1, 0, 1_705_314_605_123_456, *ALLOWED_MICROS.end()]
        {
            let moment = Timestamp::from_micros(micros);
            assert_eq!(Timestamp::from(DateTime::<Utc>::from(moment)), moment);
        }
    }
}
