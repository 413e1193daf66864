//! Names made of templates: keys, streams, topics, indexes, and the ids of documents.

use std::borrow::Cow;
use std::fmt::Write as _;

use producer_core::EntityKey;
use sha2::{Digest, Sha256};

use crate::config::{Part, Template};
use crate::update::{Cause, Update};

/// Bytes of a Kafka topic's name.
const MAX_TOPIC: usize = 249;
/// Bytes of an index's name.
const MAX_INDEX: usize = 255;
/// Bytes of a document's id.
const MAX_DOCUMENT_ID: usize = 512;
/// Bytes of a hash that end a name which was changed.
const SUFFIX_BYTES: usize = 4;

/// What a template's names stand for.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    entity_type: &'a str,
    entity_id: &'a str,
    event_name: &'a str,
}

impl<'a> From<&'a Update> for Values<'a> {
    fn from(update: &'a Update) -> Self {
        let event_name = match &update.cause {
            Cause::Change(change) | Cause::Left(change) => change.entry.event_name.as_str(),
            Cause::Snapshot(_) => "",
        };
        Self { event_name, ..Self::from(update.key()) }
    }
}

impl<'a> From<&'a EntityKey> for Values<'a> {
    /// Without an event's name.
    fn from(key: &'a EntityKey) -> Self {
        Self { entity_type: key.entity_type(), entity_id: key.entity_id(), event_name: "" }
    }
}

impl<'a> Values<'a> {
    /// Of a type alone, as indexes are named.
    pub fn of_type(entity_type: &'a str) -> Self {
        Self { entity_type, entity_id: "", event_name: "" }
    }
}

impl Template {
    /// Reads a text with `{type}`, `{id}` and `{eventName}`, of which only the `allowed` ones may occur. `{{`
    /// and `}}` stand for `{` and `}`.
    ///
    /// # Errors
    /// The end of a sentence about the text: `must …`.
    pub fn parse(text: &str, allowed: &[Part]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            rest = &rest[at..];
            let doubled = ["{{", "}}"].into_iter().find(|braces| rest.starts_with(braces));
            if let Some(braces) = doubled {
                literal.push_str(&braces[1..]);
                rest = &rest[2..];
                continue;
            }
            let name = rest.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let (name, after) = name.ok_or("must have a } for each {, and {{ for a { itself")?;
            let known = allowed.iter().find(|part| part.name() == Some(name));
            let part = known.ok_or_else(|| unknown_name(name, allowed))?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(part.clone());
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        if parts.is_empty() {
            return Err("must not be empty".into());
        }
        Ok(Self(parts))
    }

    /// Whether this name occurs in it.
    pub fn has(&self, name: &Part) -> bool {
        self.0.contains(name)
    }

    /// Whether there is a colon between any two names, so that different values always make different
    /// Redis keys.
    pub fn is_separated_by_colons(&self) -> bool {
        let mut parts = self.0.split(|part| matches!(part, Part::Text(text) if text.contains(':')));
        parts.all(|between| between.iter().filter(|part| part.name().is_some()).count() < 2)
    }

    /// A Redis key or stream: in values `%`, `:` and control characters are percent-encoded.
    pub fn redis_key(&self, values: Values<'_>) -> String {
        self.render(values, write_percent_encoded)
    }

    /// The values as they are, such as for the key of a Kafka record or the type of an event.
    pub fn raw(&self, values: Values<'_>) -> String {
        self.render(values, String::push_str)
    }

    /// A Kafka topic.
    pub fn topic(&self, values: Values<'_>) -> String {
        topic(self.raw(values))
    }

    /// An index of OpenSearch or Elasticsearch.
    pub fn index(&self, values: Values<'_>) -> String {
        index(self.raw(values))
    }

    fn render(&self, values: Values<'_>, write: impl Fn(&mut String, &str)) -> String {
        let mut out = String::with_capacity(64);
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Type => write(&mut out, values.entity_type),
                Part::Id => write(&mut out, values.entity_id),
                Part::EventName => write(&mut out, values.event_name),
            }
        }
        out
    }
}

impl Part {
    /// What stands between the braces; a text has no name.
    const fn name(&self) -> Option<&'static str> {
        match self {
            Self::Text(_) => None,
            Self::Type => Some("type"),
            Self::Id => Some("id"),
            Self::EventName => Some("eventName"),
        }
    }
}

fn unknown_name(name: &str, allowed: &[Part]) -> String {
    let allowed: Vec<_> =
        allowed.iter().filter_map(Part::name).map(|name| format!("{{{name}}}")).collect();
    match allowed.split_last() {
        None => format!("must not have {{{name}}}, but be the same for all"),
        Some((only, [])) => format!("must not have {{{name}}}, only {only}"),
        Some((last, others)) => {
            format!("must not have {{{name}}}, only {} and {last}", others.join(", "))
        }
    }
}

/// The `_id` of an entity's document: its id, or the SHA-256 of one that is too long.
pub fn document_id(entity_id: &str) -> Cow<'_, str> {
    if entity_id.len() <= MAX_DOCUMENT_ID {
        return Cow::Borrowed(entity_id);
    }
    Cow::Owned(hash(entity_id, usize::MAX))
}

fn topic(name: String) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let mut body: String = name.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    if matches!(body.as_str(), "." | "..") {
        body = body.replace('.', "_");
    }
    marked_where_changed(name, body, MAX_TOPIC)
}

/// Names may not begin with `-`, `_` or `+`. Those that begin with `.` are reserved for hidden and system
/// indexes.
fn index(name: String) -> String {
    let small: String = name.chars().flat_map(char::to_lowercase).map(of_index).collect();
    let body = small.trim_start_matches(['-', '_', '+', '.']).to_owned();
    marked_where_changed(name, body, MAX_INDEX)
}

fn of_index(c: char) -> char {
    const FORBIDDEN: &str = "\\/*?\"<>|,#:";
    if c.is_control() || c.is_whitespace() || FORBIDDEN.contains(c) { '_' } else { c }
}

/// What became of a name, with a hash of the name behind it where it is not the name itself. So two names
/// stay two, unless one was made to look like what the other becomes.
fn marked_where_changed(name: String, mut body: String, limit: usize) -> String {
    if body == name && body.len() <= limit && !body.is_empty() {
        return name;
    }
    let suffix = hash(&name, SUFFIX_BYTES);
    body.truncate(body.floor_char_boundary(limit - suffix.len() - 1));
    if !body.is_empty() {
        body.push('-');
    }
    body.push_str(&suffix);
    body
}

/// The first bytes of a text's SHA-256, in hexadecimal digits.
pub(crate) fn hash(text: &str, bytes: usize) -> String {
    let mut out = String::new();
    for byte in Sha256::digest(text).iter().take(bytes) {
        // a String takes all that is written
        let _ = write!(out, "{byte:02x}");
    }
    out
}

fn write_percent_encoded(out: &mut String, value: &str) {
    let is_encoded = |c: char| matches!(c, '%' | ':') || c.is_control();
    let mut rest = value;
    while let Some(at) = rest.find(is_encoded) {
        let length = rest[at..].chars().next().map_or(1, char::len_utf8);
        out.push_str(&rest[..at]);
        for byte in rest[at..at + length].bytes() {
            // a String takes all that is written
            let _ = write!(out, "%{byte:02X}");
        }
        rest = &rest[at + length..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests;
