//! How the values of settings are written. Each error is what is allowed; the command line puts the
//! setting's name and the value before it.

use std::net::IpAddr;
use std::time::Duration;

use bytesize::ByteSize;
use producer_core::store::Pooler;
use producer_core::worker::check_connector_name;
use tracing::level_filters::LevelFilter;

const SHORTEST: Duration = Duration::from_millis(1);

/// PostgreSQL counts timeouts in milliseconds of 32 bits.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

const LONGEST_AGE: Duration = Duration::from_secs(36_500 * 86_400);

/// The largest text that PostgreSQL accepts as jsonb whatever it holds: an array there has room for
/// 2^24 items while it is parsed, and the shortest item takes two bytes.
const LARGEST_DOCUMENT: usize = 32 << 20;

/// Parses a duration with its unit, such as `500ms` or `2s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    within(LONGEST, text)
        .ok_or_else(|| "allowed is a duration from 1ms to 24h such as 500ms, 2s, 5m or 1h".into())
}

pub(crate) fn duration_or_off(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        _ => duration(text).map_err(|allowed| format!("{allowed}, or 0 for off")),
    }
}

/// Parses a duration that may be much longer than a timeout, such as `90d`.
pub(crate) fn age(text: &str) -> Result<Duration, String> {
    within(LONGEST_AGE, text)
        .ok_or_else(|| "allowed is a duration from 1ms to 36500d such as 90d, 12h or 30m".into())
}

fn within(longest: Duration, text: &str) -> Option<Duration> {
    let duration = humantime::parse_duration(text).ok()?;
    (SHORTEST..=longest).contains(&duration).then_some(duration)
}

/// Parses a number of bytes, with or without a unit, such as `1048576` or `16MiB`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    bytes(text)
        .ok_or_else(|| "allowed is a size above zero such as 1048576, 512KiB or 16MiB".into())
}

pub(crate) fn document_size(text: &str) -> Result<usize, String> {
    bytes(text).filter(|&bytes| bytes <= LARGEST_DOCUMENT).ok_or_else(|| {
        "allowed is a size above zero up to 32MiB such as 1048576, 512KiB or 16MiB".into()
    })
}

fn bytes(text: &str) -> Option<usize> {
    let ByteSize(bytes) = text.parse().ok()?;
    // ByteSize saturates where a size doesn't fit
    usize::try_from(bytes).ok().filter(|&bytes| bytes > 0 && bytes < usize::MAX)
}

/// Parses a port to listen on; 0 lets the system choose one.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "allowed is a port from 0 to 65535".into())
}

/// Parses a count of at least one.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    let positive = text.parse().ok().filter(|&n| n > 0);
    positive.ok_or_else(|| "allowed is a whole number from 1".into())
}

/// Parses `true`, `false`, `1`, `0`, `yes` or `no`, in any case.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err("allowed is true, false, 1, 0, yes or no".into()),
    }
}

pub(crate) fn whole_number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "allowed is a whole number from 0".into())
}

pub(crate) fn connections(text: &str) -> Result<u32, String> {
    // one that writes and one that reads
    let enough = text.parse().ok().filter(|&n| n >= 2);
    enough.ok_or_else(|| "allowed is a whole number from 2 to 4294967295".into())
}

pub(crate) fn pooler(text: &str) -> Result<Pooler, String> {
    match text.to_ascii_lowercase().as_str() {
        "none" => Ok(Pooler::None),
        "transaction" => Ok(Pooler::Transaction),
        _ => Err("allowed is none or transaction".into()),
    }
}

pub(crate) fn connector_name(text: &str) -> Result<String, String> {
    check_connector_name(text).map_err(|rule| format!("a sink's name {rule}"))?;
    Ok(text.to_owned())
}

pub(crate) fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "allowed is an IP address such as 127.0.0.1, 0.0.0.0 or ::".into())
}

pub(crate) fn level(text: &str) -> Result<LevelFilter, String> {
    // LevelFilter's own parser accepts numbers and the empty text too
    const NAMES: [&str; 6] = ["trace", "debug", "info", "warn", "error", "off"];
    let known = NAMES.contains(&text.to_ascii_lowercase().as_str());
    let level = text.parse().ok().filter(|_| known);
    level.ok_or_else(|| "allowed is trace, debug, info, warn, error or off".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_limits() {
        for (text, millis) in [
            ("1ms", 1),
            ("500ms", 500),
            ("2s", 2000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("24h", 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for invalid in
            ["400h", "86400001ms", "999us", "", "2", "0s", "-1s", "99999999999999999999s", "2S"]
        {
            assert!(duration(invalid).is_err_and(|e| e.contains("500ms")), "{invalid}");
        }
    }

    #[test]
    fn what_may_be_off_accepts_a_zero() {
        assert_eq!(duration_or_off("0"), Ok(Duration::ZERO));
        assert_eq!(duration_or_off("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration_or_off("0s").is_err_and(|e| e.contains("or 0 for off")));
    }

    #[test]
    fn ages_may_be_days() {
        assert_eq!(age("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(age("36500d"), Ok(LONGEST_AGE));
        assert_eq!(age("500ms"), Ok(Duration::from_millis(500)));
        for invalid in ["", "d", "0d", "-1d", "36501d", "90", "+1d", "9x"] {
            assert!(age(invalid).is_err_and(|e| e.contains("90d")), "{invalid}");
        }
    }

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        for (text, bytes) in [
            ("1", 1),
            ("1048576", 1 << 20),
            ("512KiB", 512 << 10),
            ("16MiB", 16 << 20),
            ("1GiB", 1 << 30),
            ("16MB", 16_000_000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        let too_large = format!("{}", u128::from(u64::MAX) + 1);
        for invalid in ["", "0", "16XB", "-1", "MiB", "99999999999GiB", &too_large] {
            assert!(size(invalid).is_err_and(|e| e.contains("16MiB")), "{invalid}");
        }
    }

    #[test]
    fn a_document_is_no_larger_than_any_jsonb_can_be() {
        assert_eq!(document_size("32MiB"), Ok(LARGEST_DOCUMENT));
        for invalid in ["33554433", "1GiB", "0", "1XB"] {
            assert!(document_size(invalid).is_err_and(|e| e.contains("up to 32MiB")), "{invalid}");
        }
    }

    #[test]
    fn a_boolean_is_one_of_six_words() {
        for (word, meaning) in [
            ("true", true),
            ("1", true),
            ("YES", true),
            ("false", false),
            ("0", false),
            ("no", false),
        ] {
            assert_eq!(boolean(word), Ok(meaning));
        }
        assert!(boolean("on").is_err());
    }

    #[test]
    fn a_pooler_is_none_or_transaction() {
        assert_eq!(pooler("none"), Ok(Pooler::None));
        assert_eq!(pooler("Transaction"), Ok(Pooler::Transaction));
        assert!(pooler("session").is_err_and(|e| e == "allowed is none or transaction"));
    }

    #[test]
    fn levels_are_names() {
        assert_eq!(level("Debug"), Ok(LevelFilter::DEBUG));
        assert!(level("3").is_err() && level("").is_err() && level("verbose").is_err());
    }
}
