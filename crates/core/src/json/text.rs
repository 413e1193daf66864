//! The contents of JSON strings: decoding, and writing with as few escapes as JSON allows.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Decodes the text between the quotes of a string that the lexer has accepted. A surrogate without
/// its partner becomes U+FFFD.
pub(crate) fn decode(raw: &str) -> Cow<'_, str> {
    let Some(first) = raw.find('\\') else {
        return Cow::Borrowed(raw);
    };
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    let mut next = Some(first);
    while let Some(at) = next {
        out.push_str(&rest[..at]);
        let (decoded, length) = decode_escape(&rest[at..]);
        out.push(decoded);
        rest = rest.get(at + length..).unwrap_or("");
        next = rest.find('\\');
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The character of the escape at the start of `text`, and the escape's length in bytes.
fn decode_escape(text: &str) -> (char, usize) {
    let simple = match text.as_bytes().get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return decode_unicode(text),
        Some(&itself) => char::from(itself),
        None => char::REPLACEMENT_CHARACTER,
    };
    (simple, 2)
}

fn decode_unicode(text: &str) -> (char, usize) {
    let first = code_unit(text.as_bytes()).unwrap_or(0xFFFD);
    let second = text.as_bytes().get(6..).and_then(code_unit);
    if let Some(paired) = second.and_then(|second| pair(first, second)) {
        return (paired, 12);
    }
    (char::from_u32(u32::from(first)).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
}

/// The UTF-16 code unit of `\uXXXX` at the start of `bytes`.
pub(crate) fn code_unit(bytes: &[u8]) -> Option<u16> {
    let [b'\\', b'u', hex @ ..] = bytes.first_chunk::<6>()? else {
        return None;
    };
    hex.iter().try_fold(0, |unit: u16, &b| {
        let digit = char::from(b).to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
}

/// The character that two surrogates encode.
pub(crate) fn pair(high: u16, low: u16) -> Option<char> {
    let is_pair = (0xD800..0xDC00).contains(&high) && (0xDC00..0xE000).contains(&low);
    let (high, low) = (u32::from(high), u32::from(low));
    is_pair.then(|| char::from_u32(0x1_0000 + ((high & 0x3FF) << 10) + (low & 0x3FF))).flatten()
}

/// The offset of the first quote, backslash or control character from `at` on. Looks at eight
/// bytes at a time: the tricks find the lowest such byte of a word exactly.
#[inline]
pub(crate) fn end_of_plain(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * u64::from(b'"'));
        let backslash = word ^ (ONES * u64::from(b'\\'));
        let hits = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * u64::from(b' ')) & !word);
        if hits & TOPS != 0 {
            return at + ((hits & TOPS).trailing_zeros() >> 3) as usize;
        }
        at += 8;
    }
    let tail = bytes.get(at..).unwrap_or_default();
    let ends = |&b: &u8| b == b'"' || b == b'\\' || b < b' ';
    at + tail.iter().position(ends).unwrap_or(tail.len())
}

/// Bytes of a character inside a JSON string with as few escapes as possible.
pub(crate) fn written_len(c: char) -> usize {
    match c {
        '"' | '\\' | '\u{8}' | '\u{c}' | '\n' | '\r' | '\t' => 2,
        '\0'..='\u{1f}' => 6,
        _ => c.len_utf8(),
    }
}

/// Bytes of `text` as a JSON string, quotes included.
pub(crate) fn string_len(text: &str) -> usize {
    let escapes: usize =
        text.bytes().filter(|&b| needs_escape(b)).map(|b| written_len(char::from(b)) - 1).sum();
    text.len() + escapes + 2
}

/// Appends `text` as a JSON string with as few escapes as possible.
pub fn write_string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    loop {
        let plain = end_of_plain(rest.as_bytes(), 0);
        out.push_str(&rest[..plain]);
        let Some(&byte) = rest.as_bytes().get(plain) else { break };
        write_escape(out, byte);
        rest = &rest[plain + 1..];
    }
    out.push('"');
}

/// A JSON object whose members are all strings.
pub fn object_of_strings<'s>(members: impl IntoIterator<Item = (&'s str, &'s str)>) -> String {
    let mut out = String::from("{");
    for (key, value) in members {
        if out.len() > 1 {
            out.push(',');
        }
        write_string(&mut out, key);
        out.push(':');
        write_string(&mut out, value);
    }
    out.push('}');
    out
}

fn needs_escape(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

fn write_escape(out: &mut String, byte: u8) {
    let short = match byte {
        0x8 => 'b',
        0xC => 'f',
        b'\n' => 'n',
        b'\r' => 'r',
        b'\t' => 't',
        b'"' | b'\\' => char::from(byte),
        _ => {
            // writing into a String cannot fail
            let _ = write!(out, "\\u{byte:04x}");
            return;
        }
    };
    out.push('\\');
    out.push(short);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded() {
        for (raw, decoded) in [
            ("plain é", "plain é"),
            (r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r"a\u00e9z", "aéz"),
            (r"\ud83d\ude00!", "😀!"),
            (r"\uD83Dx", "\u{fffd}x"),
            (r"\uD83D\n", "\u{fffd}\n"),
            (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(decode(raw), decoded, "{raw}");
        }
    }

    #[test]
    fn what_is_written_has_the_announced_length_and_reads_back() {
        for text in ["", "plain", "é😀", "\"\\\u{8}\u{c}\n\r\t", "\u{1}\u{1f}\u{7f}"] {
            let mut written = String::new();
            write_string(&mut written, text);
            assert_eq!(written.len(), string_len(text), "{text:?}");
            assert_eq!(serde_json::from_str::<String>(&written).expect("JSON"), text);
            assert_eq!(decode(&written[1..written.len() - 1]), text);
        }
    }
}
