//! Random documents and patches, and their texts.

use std::fmt::Write as _;

use producer_core::json::Path;

use crate::random::Random;

#[derive(Debug, Clone)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

pub(crate) const KEYS: [&str; 12] =
    ["a", "b", "c", "in", "size", "odd key", "", "ä\"\\", "x.y", "0", "日本😀", "\n\u{1}"];

pub(crate) const NUMBERS: [&str; 22] = [
    "0",
    "-0",
    "0.0",
    "1",
    "1.0",
    "10e-1",
    "100",
    "1e2",
    "0.01E+4",
    "-1",
    "-1.50",
    "-15e-1",
    "9007199254740992",
    "9007199254740993",
    "9007199254740993.0",
    "0.1",
    "0.1000000000000000055511151231257827",
    "1e-20",
    "1705311000000",
    "1705311000000.000",
    "123456789012345678901234567890",
    "1e300",
];

pub(crate) const TEXTS: [&str; 14] = [
    "",
    "a",
    "ab",
    "b",
    "A",
    "ä",
    "日本😀",
    "\"quoted\" 'both'",
    "back\\slash/",
    "\n\t\u{1}",
    "1",
    "2024-01-15T09:30:00Z",
    "2024-01-15T10:30:00+01:00",
    "1705311000000",
];

pub(crate) fn document(random: &mut Random) -> Json {
    object(random, 0, false)
}

pub(crate) fn patch(random: &mut Random) -> Json {
    object(random, 1, true)
}

fn object(random: &mut Random, level: usize, is_patch: bool) -> Json {
    let mut members: Vec<(String, Json)> = Vec::new();
    for _ in 0..random.below(6) {
        let key = *random.pick(&KEYS);
        if members.iter().all(|(known, _)| known != key) {
            let value = if is_patch && random.percent(20) {
                Json::Null
            } else {
                value(random, level + 1, is_patch)
            };
            members.push((key.to_owned(), value));
        }
    }
    Json::Object(members)
}

fn value(random: &mut Random, level: usize, is_patch: bool) -> Json {
    match random.below(if level > 4 { 5 } else { 9 }) {
        0 => Json::Bool(random.percent(50)),
        1 | 2 => Json::Number((*random.pick(&NUMBERS)).to_owned()),
        3 | 4 => Json::Text((*random.pick(&TEXTS)).to_owned()),
        5 | 6 => object(random, level, is_patch),
        _ => array(random, level),
    }
}

fn array(random: &mut Random, level: usize) -> Json {
    let elements = (0..random.below(4))
        .map(|_| if random.percent(10) { Json::Null } else { value(random, level + 1, false) });
    Json::Array(elements.collect())
}

/// The paths of all members that no array is above of, and one that is not there.
pub(crate) fn paths(document: &Json) -> Vec<Path> {
    fn below(value: &Json, path: &str, found: &mut Vec<Path>) {
        let Json::Object(members) = value else { return };
        for (key, value) in members {
            let path = format!("{path}[{}]", serde_json::to_string(key).expect("a string"));
            found.push(Path::parse(&path).expect("a path"));
            below(value, &path, found);
        }
    }
    let mut found = vec![Path::parse("data.nothing").expect("a path")];
    below(document, "data", &mut found);
    found
}

/// A text of the value, with random white space and escapes.
pub(crate) fn text(random: &mut Random, value: &Json) -> String {
    let mut out = String::new();
    write(random, &mut out, value);
    out
}

fn write(random: &mut Random, out: &mut String, value: &Json) {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Json::Number(text) => out.push_str(text),
        Json::Text(text) => write_text(random, out, text, '"'),
        Json::Array(elements) => {
            out.push('[');
            for (place, element) in elements.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                space(random, out);
                write(random, out, element);
                space(random, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (place, (key, value)) in members.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                space(random, out);
                write_text(random, out, key, '"');
                space(random, out);
                out.push(':');
                space(random, out);
                write(random, out, value);
            }
            space(random, out);
            out.push('}');
        }
    }
}

pub(crate) fn space(random: &mut Random, out: &mut String) {
    if random.percent(20) {
        out.push_str(random.pick::<&str>(&[" ", "  ", "\n", "\t", "\r\n"]));
    }
}

/// A string in quotes, some of its characters escaped.
pub(crate) fn write_text(random: &mut Random, out: &mut String, text: &str, quote: char) {
    out.push(quote);
    for c in text.chars() {
        let must = c == quote || c == '\\' || c < ' ';
        if !must && random.percent(90) {
            out.push(c);
        } else if (c == quote || matches!(c, '\\' | '/')) && random.percent(50) {
            out.push('\\');
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").expect("a string takes all");
            }
        }
    }
    out.push(quote);
}
