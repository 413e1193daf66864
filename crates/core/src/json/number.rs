//! Numbers by their text: their length when written out without exponent (as PostgreSQL's jsonb writes
//! them), and their exact value. Never a float.

use std::cmp::Ordering;

/// Exponents are clamped to this: far more than any text is long, far below overflow.
const EXPONENT_CAP: i64 = 1 << 40;

/// Digits that a number may need when it is written out.
pub(crate) const MAX_DIGITS: usize = 400;

/// A JSON number taken apart. Its value is `int.frac × 10^exponent`.
#[derive(Debug, Clone, Copy)]
struct Parts<'a> {
    negative: bool,
    int: &'a str,
    frac: &'a str,
    exponent: i64,
}

impl<'a> Parts<'a> {
    /// Takes the text of a JSON number; of another text the parts mean nothing.
    fn new(text: &'a str) -> Self {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, ""));
        let (int, frac) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let negative = unsigned.len() < text.len();
        Self { negative, int, frac, exponent: exponent_value(exponent) }
    }

    fn digits(self) -> impl DoubleEndedIterator<Item = u8> {
        self.int.bytes().chain(self.frac.bytes())
    }

    fn leading_zeros(self) -> usize {
        self.digits().take_while(|&b| b == b'0').count()
    }

    fn is_zero(self) -> bool {
        self.digits().all(|b| b == b'0')
    }
}

fn exponent_value(text: &str) -> i64 {
    let digits = text.trim_start_matches(['+', '-']);
    let value = digits.bytes().fold(0, |value: i64, b| {
        (value * 10 + i64::from(b.wrapping_sub(b'0') & 15)).min(EXPONENT_CAP)
    });
    if text.starts_with('-') { -value } else { value }
}

/// How a number looks when it is written out without exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WrittenOut {
    int_digits: usize,
    frac_digits: usize,
    minus: bool,
    /// Zero, though its exponent may be more than a database reads.
    pub(crate) is_zero: bool,
}

impl WrittenOut {
    /// Measures the text of a JSON number.
    pub(crate) fn new(text: &str) -> Self {
        let parts = Parts::new(text);
        let is_zero = parts.is_zero();
        let length = |digits: &str| i64::try_from(digits.len()).unwrap_or(EXPONENT_CAP);
        let leading_zeros = i64::try_from(parts.leading_zeros()).unwrap_or(EXPONENT_CAP);
        let before_point = length(parts.int) + parts.exponent - leading_zeros;
        let int_digits = if is_zero { 1 } else { before_point.max(1) };
        let frac_digits = (length(parts.frac) - parts.exponent).max(0);
        Self {
            int_digits: usize::try_from(int_digits).unwrap_or(usize::MAX),
            frac_digits: usize::try_from(frac_digits).unwrap_or(usize::MAX),
            minus: parts.negative && !is_zero,
            is_zero,
        }
    }

    /// The digits before and behind the point.
    pub(crate) fn digits(self) -> usize {
        self.int_digits.saturating_add(self.frac_digits)
    }

    /// Bytes, with sign and point.
    pub(crate) fn len(self) -> usize {
        self.digits().saturating_add(usize::from(self.minus) + usize::from(self.frac_digits > 0))
    }
}

/// An exact decimal in a form that is the same for every notation of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decimal {
    negative: bool,
    /// Without zeros at either end; empty for zero.
    digits: String,
    /// Power of ten of the last digit.
    exponent: i64,
}

impl Decimal {
    /// Takes the text of a JSON number.
    pub(crate) fn new(text: &str) -> Self {
        let parts = Parts::new(text);
        if parts.is_zero() {
            return Self { negative: false, digits: String::new(), exponent: 0 };
        }
        let mut digits: String =
            parts.digits().skip(parts.leading_zeros()).map(char::from).collect();
        let significant = digits.trim_end_matches('0').len();
        let dropped = digits.len() - significant;
        digits.truncate(significant);
        let shift =
            i64::try_from(dropped).unwrap_or(0) - i64::try_from(parts.frac.len()).unwrap_or(0);
        Self { negative: parts.negative, digits, exponent: parts.exponent + shift }
    }

    /// Whether the value is below zero.
    pub(crate) fn is_negative(&self) -> bool {
        self.negative
    }

    /// The digits without zeros at either end; empty for zero.
    pub(crate) fn digits(&self) -> &str {
        &self.digits
    }

    /// The value without its sign is `0.digits × 10^magnitude`.
    pub(crate) fn magnitude(&self) -> i64 {
        self.exponent.saturating_add(i64::try_from(self.digits.len()).unwrap_or(EXPONENT_CAP))
    }

    fn is_whole(&self) -> bool {
        self.exponent >= 0
    }

    /// The same value, borrowed.
    pub(crate) fn as_number(&self) -> Number<'_> {
        let place = i64::try_from(self.digits.len()).unwrap_or(0) + self.exponent;
        Number { negative: self.negative, place, int: &self.digits, frac: "" }
    }

    fn to_i64(&self) -> Option<i64> {
        if self.digits.is_empty() {
            return Some(0);
        }
        let zeros = u32::try_from(self.exponent).ok()?;
        let magnitude = self.digits.parse::<i64>().ok()?.checked_mul(10_i64.checked_pow(zeros)?)?;
        Some(if self.negative { -magnitude } else { magnitude })
    }
}

/// An exact decimal that borrows its digits: taking it apart reads its text once, comparing it reads the
/// digits that count alone, and neither allocates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number<'a> {
    negative: bool,
    /// Digits that the value has before its point; negative where zeros follow the point. Means nothing for zero.
    place: i64,
    /// All digits from the first that is no zero, in two parts; none for zero.
    int: &'a str,
    frac: &'a str,
}

impl<'a> Number<'a> {
    /// Takes the text of a JSON number.
    pub(crate) fn new(text: &'a str) -> Self {
        let length = |digits: &str| i64::try_from(digits.len()).unwrap_or(EXPONENT_CAP);
        // most numbers are digits alone, which begin with no zero unless they are one
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits != "0" && digits.bytes().all(|b| b.is_ascii_digit()) {
            let negative = digits.len() < text.len();
            return Self { negative, place: length(digits), int: digits, frac: "" };
        }
        let Parts { negative, int, frac, exponent } = Parts::new(text);
        let int = int.trim_start_matches('0');
        if !int.is_empty() {
            return Self { negative, place: length(int) + exponent, int, frac };
        }
        let significant = frac.trim_start_matches('0');
        let zeros = length(frac) - length(significant);
        Self { negative, place: exponent - zeros, int, frac: significant }
    }

    fn sign(self) -> i8 {
        match (self.int.is_empty() && self.frac.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    /// Compares the values, exactly.
    pub(crate) fn compare(self, other: Self) -> Ordering {
        let magnitudes = || self.place.cmp(&other.place).then_with(|| self.compare_digits(other));
        match (self.sign(), other.sign()) {
            (-1, -1) => magnitudes().reverse(),
            (1, 1) => magnitudes(),
            (one, other) => one.cmp(&other),
        }
    }

    /// Compares digits from the first on; what is not there is zero.
    fn compare_digits(self, other: Self) -> Ordering {
        if self.frac.is_empty() && other.frac.is_empty() && self.int.len() == other.int.len() {
            return self.int.cmp(other.int);
        }
        let mut ours = self.int.bytes().chain(self.frac.bytes());
        let mut theirs = other.int.bytes().chain(other.frac.bytes());
        loop {
            let (ours, theirs) = match (ours.next(), theirs.next()) {
                (None, None) => return Ordering::Equal,
                (ours, theirs) => (ours.unwrap_or(b'0'), theirs.unwrap_or(b'0')),
            };
            if ours != theirs {
                return ours.cmp(&theirs);
            }
        }
    }
}

/// Whether a number's value has no fraction.
pub(crate) fn is_whole(text: &str) -> bool {
    Decimal::new(text).is_whole()
}

/// A number's value, where it is whole and an `i64`.
pub(crate) fn whole(text: &str) -> Option<i64> {
    Decimal::new(text).to_i64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_counted_as_written_out() {
        for (text, digits, length) in [
            ("0", 1, 1),
            ("-0", 1, 1),
            ("-0.0", 2, 3),
            ("12.50", 4, 5),
            ("-12.50", 4, 6),
            ("1.0e2", 3, 3),
            ("12.345e1", 5, 6),
            ("0.001e2", 2, 3),
            ("1E+2", 3, 3),
            ("1e-2", 3, 4),
            ("1.0e-1", 3, 4),
            ("1e399", 400, 400),
            ("1e400", 401, 401),
            ("-1e399", 400, 401),
            ("1e-399", 400, 401),
            ("1e-400", 401, 402),
            ("0e5", 1, 1),
            ("0.00e1", 2, 3),
            ("0e-3", 4, 5),
            ("0e99999999999999999999999999", 1, 1),
            ("0.0000e99999999999999999999999999", 1, 1),
        ] {
            let written = WrittenOut::new(text);
            assert_eq!((written.digits(), written.len()), (digits, length), "{text}");
        }
    }

    #[test]
    fn huge_exponents_overflow_nothing() {
        let exponent = "9".repeat(5000);
        assert!(WrittenOut::new(&format!("1e{exponent}")).digits() > MAX_DIGITS);
        assert!(WrittenOut::new(&format!("1e-{exponent}")).digits() > MAX_DIGITS);
        assert!(WrittenOut::new(&format!("0e-{exponent}")).digits() > MAX_DIGITS);
        assert_eq!(WrittenOut::new(&format!("1e{}1", "0".repeat(5000))).digits(), 2);
    }

    #[test]
    fn notations_of_one_value_are_one_decimal() {
        for (one, other) in [
            ("1", "1.0"),
            ("1", "1e0"),
            ("100", "1E+2"),
            ("0.5", "5e-1"),
            ("-0", "0"),
            ("0e7", "0.00"),
            ("24439.750000000000000001", "24439750000000000000001e-18"),
            ("-120", "-1.20e2"),
        ] {
            assert_eq!(Decimal::new(one), Decimal::new(other), "{one} {other}");
        }
        for (one, other) in [("1", "-1"), ("1", "10"), ("9007199254740993", "9007199254740992")] {
            assert_ne!(Decimal::new(one), Decimal::new(other), "{one} {other}");
        }
    }

    #[test]
    fn numbers_compare_by_value() {
        let rising = [
            "-1e400",
            "-12.5",
            "-12.4999999999999999999",
            "-12",
            "-1",
            "-1e-400",
            "0",
            "1e-400",
            "0.1",
            "0.10000000000000000000001",
            "1",
            "9007199254740992",
            "9007199254740993",
            "1e17",
            "1e18",
            "123456789012345678901234567890",
            "1e400",
        ];
        for (place, one) in rising.iter().enumerate() {
            for (other_place, other) in rising.iter().enumerate() {
                let ours = Number::new(one).compare(Number::new(other));
                assert_eq!(ours, place.cmp(&other_place), "{one} {other}");
                let decimal = Decimal::new(other);
                let ours = Number::new(one).compare(decimal.as_number());
                assert_eq!(ours, place.cmp(&other_place), "{one} {other}");
            }
        }
        let (long, exponent) = ("0".repeat(5000), format!("1e{}2", "0".repeat(5000)));
        for (one, other) in [
            ("1", "1.0"),
            ("-0", "0"),
            ("0e9", "0.00"),
            ("100", "1e2"),
            ("-5.0", "-50e-1"),
            ("0.05", "5e-2"),
            ("100", &exponent),
            ("1", &format!("0.{long}1e5001")),
        ] {
            let ours = Number::new(one).compare(Number::new(other));
            assert_eq!(ours, Ordering::Equal, "{one} {other}");
        }
    }

    #[test]
    fn whole_numbers_are_read_by_value() {
        for (text, value) in [
            ("1.7e12", Some(1_700_000_000_000)),
            ("-5.0", Some(-5)),
            ("-0", Some(0)),
            ("0e-5", Some(0)),
            ("1.5", None),
            ("1e400", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
        ] {
            assert_eq!(whole(text), value, "{text}");
        }
    }
}
