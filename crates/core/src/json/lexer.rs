//! The tokens of a JSON text (RFC 8259), byte by byte. Counts how much longer or shorter the text would
//! be as compact UTF-8 with its numbers written out; for the usual compact text the count stays 0.

use std::borrow::Cow;
use std::fmt;

use super::number::{MAX_DIGITS, WrittenOut};
use super::text::{code_unit, decode, end_of_plain, pair, written_len};

/// Exponents that a database may refuse to read, even on a zero, are longer than this.
const LONG_EXPONENT: usize = 4;

/// Where a text stops being JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed {
    what: &'static str,
    line: usize,
    column: usize,
}

impl Malformed {
    /// `column` counts characters; both count from 1.
    pub(crate) fn at(text: &str, offset: usize, what: &'static str) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            what,
            line: before.bytes().filter(|&b| b == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// The same place, where the text begins on line `first` of a body.
    pub(crate) fn below_line(self, first: usize) -> Self {
        Self { line: first + self.line - 1, ..self }
    }

    /// The error of a body, or of a line of one, that is not valid JSON from here on.
    pub(crate) fn in_body(&self) -> String {
        let Self { what, line, column } = self;
        format!("line {line} of the body, column {column}: not valid JSON, {what}")
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at line {} column {}", self.what, self.line, self.column)
    }
}

/// A character that JSON allows in a string and the contract does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// `\u0000`
    Nul,
    /// A surrogate without its partner.
    LoneSurrogate,
}

/// A string: the text between its quotes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<'a> {
    pub(crate) raw: &'a str,
    pub(crate) flaw: Option<Flaw>,
    has_escapes: bool,
}

impl<'a> Text<'a> {
    /// What it says. A surrogate without its partner becomes U+FFFD.
    #[inline]
    pub(crate) fn decoded(&self) -> Cow<'a, str> {
        if self.has_escapes { decode(self.raw) } else { Cow::Borrowed(self.raw) }
    }
}

/// A number: its text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number<'a> {
    pub(crate) raw: &'a str,
    /// Needs more than 400 digits when written out.
    pub(crate) too_long: bool,
}

/// Reads tokens from the front of a text.
#[derive(Debug)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    growth: isize,
    /// A zero with a long exponent was read.
    pub(crate) saw_odd_zero: bool,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, growth: 0, saw_odd_zero: false }
    }

    /// The offset of the next byte.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The text from `start` up to here.
    pub(crate) fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    /// Bytes that the text up to here would be longer if it were compact UTF-8 with its numbers
    /// written out.
    pub(crate) fn growth(&self) -> isize {
        self.growth
    }

    /// The error that `what` was not found here.
    #[cold]
    pub(crate) fn malformed(&self, what: &'static str) -> Malformed {
        self.malformed_at(self.at, what)
    }

    #[cold]
    fn malformed_at(&self, offset: usize, what: &'static str) -> Malformed {
        if offset >= self.text.len() {
            return Malformed::at(self.text, self.text.len(), "the text ends too early");
        }
        Malformed::at(self.text, offset, what)
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    /// The next byte, white space too.
    pub(crate) fn peek_raw(&self) -> Option<u8> {
        self.byte(self.at)
    }

    /// The next byte that isn't white space; 0 at the end of the text.
    #[inline]
    pub(crate) fn peek(&mut self) -> u8 {
        match self.byte(self.at) {
            Some(byte) if byte > b' ' => byte,
            _ => self.skip_space(),
        }
    }

    fn skip_space(&mut self) -> u8 {
        let rest = &self.text.as_bytes()[self.at..];
        let is_space = |b: &&u8| matches!(b, b' ' | b'\n' | b'\r' | b'\t');
        let space = rest.iter().take_while(is_space).count();
        self.at += space;
        self.growth -= space.cast_signed();
        self.byte(self.at).unwrap_or(0)
    }

    /// Steps over the byte that [`Lexer::peek`] has shown.
    #[inline]
    pub(crate) fn bump(&mut self) {
        self.at += 1;
    }

    /// Nothing but white space follows.
    pub(crate) fn end(&mut self) -> Result<(), Malformed> {
        self.peek();
        if self.at < self.text.len() { Err(self.malformed("unexpected text")) } else { Ok(()) }
    }

    /// Whether nothing but white space follows.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.end().is_ok()
    }

    /// `true`, `false` or `null`.
    pub(crate) fn literal(&mut self, word: &'static str) -> Result<(), Malformed> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.malformed("expected a JSON value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// A string whose opening quote is next.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Text<'a>, Malformed> {
        let start = self.at + 1;
        self.at = self.plain_end(start);
        if self.byte(self.at) != Some(b'"') {
            return self.string_with_escapes(start);
        }
        let raw = self.since(start);
        self.bump();
        Ok(Text { raw, flaw: None, has_escapes: false })
    }

    fn string_with_escapes(&mut self, start: usize) -> Result<Text<'a>, Malformed> {
        let mut flaw = None;
        loop {
            match self.byte(self.at) {
                Some(b'"') => break,
                Some(b'\\') => flaw = flaw.or(self.escape()?),
                _ => return Err(self.malformed("a control character in a string")),
            }
            self.at = self.plain_end(self.at);
        }
        let raw = self.since(start);
        self.bump();
        Ok(Text { raw, flaw, has_escapes: true })
    }

    fn escape(&mut self) -> Result<Option<Flaw>, Malformed> {
        match self.byte(self.at + 1) {
            Some(b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'/') => {
                self.at += 2;
                self.growth -= 1;
            }
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.malformed_at(self.at + 1, "an unknown escape in a string")),
        }
        Ok(None)
    }

    fn unicode_escape(&mut self) -> Result<Option<Flaw>, Malformed> {
        let rest = &self.text.as_bytes()[self.at..];
        let Some(first) = code_unit(rest) else {
            return Err(self.malformed_at(self.at + 2, "expected four hexadecimal digits"));
        };
        let second = rest.get(6..).and_then(code_unit);
        let (decoded, length) = match second.and_then(|second| pair(first, second)) {
            Some(paired) => (Some(paired), 12),
            None => (char::from_u32(u32::from(first)), 6),
        };
        self.at += length;
        let written = decoded.map_or(0, written_len);
        self.growth += written.cast_signed() - length.cast_signed();
        Ok(match decoded {
            None => Some(Flaw::LoneSurrogate),
            Some('\0') => Some(Flaw::Nul),
            Some(_) => None,
        })
    }

    #[inline]
    fn plain_end(&self, at: usize) -> usize {
        end_of_plain(self.text.as_bytes(), at)
    }

    /// A number whose minus or first digit is next.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<Number<'a>, Malformed> {
        let start = self.at;
        if self.byte(self.at) == Some(b'-') {
            self.bump();
        }
        let starts_with_zero = self.byte(self.at) == Some(b'0');
        if starts_with_zero {
            self.bump();
        } else {
            self.digits()?;
        }
        if self.byte(self.at) == Some(b'.') {
            self.bump();
            self.digits()?;
        }
        let mantissa_end = self.at;
        if matches!(self.byte(self.at), Some(b'e' | b'E')) {
            self.exponent()?;
        }
        let raw = self.since(start);
        let may_be_minus_zero = starts_with_zero && raw.starts_with('-');
        if self.at == mantissa_end && raw.len() <= MAX_DIGITS && !may_be_minus_zero {
            return Ok(Number { raw, too_long: false });
        }
        Ok(self.unusual_number(raw, self.at - mantissa_end))
    }

    fn unusual_number(&mut self, raw: &'a str, exponent_len: usize) -> Number<'a> {
        let written = WrittenOut::new(raw);
        let too_long = written.digits() > MAX_DIGITS;
        if !too_long {
            self.growth += written.len().cast_signed() - raw.len().cast_signed();
            self.saw_odd_zero |= written.is_zero && exponent_len > LONG_EXPONENT;
        }
        Number { raw, too_long }
    }

    fn exponent(&mut self) -> Result<(), Malformed> {
        self.bump();
        if matches!(self.byte(self.at), Some(b'+' | b'-')) {
            self.bump();
        }
        self.digits()
    }

    #[inline]
    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while self.byte(self.at).is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.malformed("expected a digit")) } else { Ok(()) }
    }
}
