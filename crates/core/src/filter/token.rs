//! The tokens of a filter.

use std::borrow::Cow;

use super::error::FilterError;
use super::hints;
use crate::json::{Lexer, decode};

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'t> {
    Name(&'t str),
    /// A JSON number.
    Number(&'t str),
    Text(Cow<'t, str>),
    Symbol(&'static str),
    End,
}

/// Longer ones first.
const SYMBOLS: [&str; 17] =
    ["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", "[", "]", ".", ",", "-", "+"];

/// A token, and the byte where it begins.
pub(super) type Placed<'t> = (usize, Token<'t>);

/// All tokens of a text; the last one is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Placed<'_>>, FilterError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        at = text.len() - text[at..].trim_start_matches([' ', '\t', '\n', '\r']).len();
        let (token, end) = next(text, at)?;
        let is_end = token == Token::End;
        tokens.push((at, token));
        if is_end {
            return Ok(tokens);
        }
        at = end;
    }
}

/// The token that begins at a byte, and where it ends.
fn next(text: &str, at: usize) -> Result<(Token<'_>, usize), FilterError> {
    let rest = &text[at..];
    let Some(first) = rest.chars().next() else {
        return Ok((Token::End, at));
    };
    if first == '"' || first == '\'' {
        return string(text, at, first);
    }
    if first.is_ascii_digit() || is_negative_number(rest) {
        return number(text, at);
    }
    if is_of_name(first) {
        let length = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
        return Ok((Token::Name(&rest[..length]), at + length));
    }
    let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)).copied();
    match (hints::mistake(rest, symbol.unwrap_or("")), symbol) {
        (None, Some(symbol)) => Ok((Token::Symbol(symbol), at + symbol.len())),
        (mistake, _) => Err(FilterError::at(text, at, unknown(first, mistake))),
    }
}

/// What is expected instead of a character that begins no token.
fn unknown(first: char, mistake: Option<&'static str>) -> Cow<'static, str> {
    match mistake {
        Some(hint) => hint.into(),
        None if first.is_alphabetic() => {
            "expected a name of ASCII letters, digits and _; other keys: data[\"größe\"]".into()
        }
        None => format!("expected no {first:?}: it has no meaning here").into(),
    }
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_negative_number(rest: &str) -> bool {
    rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn number(text: &str, at: usize) -> Result<(Token<'_>, usize), FilterError> {
    let mut lexer = Lexer::new(&text[at..]);
    let number = lexer.number().map_err(|_| {
        let is_index = text[..at].ends_with('.');
        let index = "expected an index in brackets, such as [0]";
        let number = "expected a number as JSON has it, such as -1.5 or 2e3";
        FilterError::at(text, at, if is_index { index } else { number })
    })?;
    let end = at + lexer.at();
    if number.too_long {
        let detail = "expected a number of at most 400 digits when written out";
        return Err(FilterError::at(text, at, detail));
    }
    if text[end..].starts_with(is_of_name) {
        return Err(FilterError::at(
            text,
            end,
            "expected the number to end here; text belongs in quotes",
        ));
    }
    Ok((Token::Number(number.raw), end))
}

/// A string in either quotes, with the escapes of JSON.
fn string(text: &str, at: usize, quote: char) -> Result<(Token<'_>, usize), FilterError> {
    let content = &text[at + 1..];
    let mut characters = content.char_indices();
    while let Some((offset, c)) = characters.next() {
        let place = at + 1 + offset;
        match c {
            '\\' => {
                let escape = escape(&content[offset..], quote);
                let length = escape.map_err(|detail| FilterError::at(text, place, detail))?;
                // what an escape has behind its backslash is ASCII
                for _ in 1..length {
                    characters.next();
                }
            }
            '\0'..='\u{1f}' => {
                let detail = "expected no control character in a string; write \\n or \\u000a";
                return Err(FilterError::at(text, place, detail));
            }
            _ if c == quote => {
                return Ok((Token::Text(decode(&content[..offset])), place + 1));
            }
            _ => {}
        }
    }
    let column = text[..at].chars().count() + 1;
    let detail =
        format!("expected {quote} at the end of the string that begins at column {column}");
    Err(FilterError::at(text, text.len(), detail))
}

/// The length of the escape that a text begins with.
fn escape(text: &str, quote: char) -> Result<usize, &'static str> {
    const SURROGATE: &str = "expected no half of a surrogate pair";
    match text[1..].chars().next() {
        Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => Ok(2),
        Some('\'') if quote == '\'' => Ok(2),
        Some('u') => match (code_unit(text), text.get(6..).and_then(code_unit)) {
            (None, _) => Err("expected four hexadecimal digits behind \\u"),
            (Some(0), _) => Err("expected no U+0000: no document holds it"),
            (Some(0xD800..0xDC00), Some(0xDC00..0xE000)) => Ok(12),
            (Some(0xD800..0xE000), _) => Err(SURROGATE),
            (Some(_), _) => Ok(6),
        },
        _ => Err("expected an escape that JSON has, such as \\n or \\u00e4"),
    }
}

fn code_unit(text: &str) -> Option<u16> {
    crate::json::code_unit(text.as_bytes())
}
