//! Paths into documents, as texts: `data.a.b`, `data["odd key"]`.

use std::fmt;

use super::lexer::Lexer;
use super::scanner::MAX_DEPTH;
use super::text::{decode, write_string};

const ROOT: &str = "data";

/// A path to a member of a document, through objects. Its text begins with `data`, the document itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(pub(crate) Vec<String>);

impl Path {
    /// The document itself.
    pub fn root() -> Self {
        Self(Vec::new())
    }

    /// A path of these keys, whose bytes are taken from `room`; `None` where they are more.
    pub(super) fn within(keys: &[String], room: &mut usize) -> Option<Self> {
        *room = room.checked_sub(bytes(keys))?;
        Some(Self(keys.to_vec()))
    }

    /// The keys from the document on.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Bytes that the path takes in memory, which are more than those of its text.
    pub(crate) fn bytes(&self) -> usize {
        bytes(&self.0)
    }

    /// The path of its first key alone.
    pub(crate) fn first(&self) -> Self {
        Self(self.0.iter().take(1).cloned().collect())
    }

    /// Reads the text of a path. Names of letters, digits and `_` may follow a dot; any key may be a JSON
    /// string in brackets.
    ///
    /// # Errors
    /// The end of a sentence about the path: `must …`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(mut rest) = text.strip_prefix(ROOT) else {
            return Err("must begin with data".into());
        };
        let mut keys = Vec::new();
        while !rest.is_empty() {
            let place = text.len() - rest.len() + 1;
            if keys.len() == MAX_DEPTH {
                return Err(format!("must have at most {MAX_DEPTH} keys"));
            }
            let (key, after) = step(rest).ok_or_else(|| {
                format!("has an error at column {place}: expected .name or [\"a key\"]")
            })?;
            keys.push(key);
            rest = after;
        }
        Ok(Self(keys))
    }
}

fn bytes(keys: &[String]) -> usize {
    keys.iter().map(|key| size_of::<String>() + key.len()).sum()
}

/// The next key, and what follows.
fn step(text: &str) -> Option<(String, &str)> {
    if let Some(rest) = text.strip_prefix('.') {
        let length = rest.find(|c: char| !is_of_name(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(length);
        return is_name(name).then(|| (name.to_owned(), after));
    }
    let rest = text.strip_prefix('[')?;
    if !rest.starts_with('"') {
        return None;
    }
    let mut lexer = Lexer::new(rest);
    let key = lexer.string().ok().filter(|key| key.flaw.is_none())?;
    let after = rest[lexer.at()..].strip_prefix(']')?;
    Some((decode(key.raw).into_owned(), after))
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_name(text: &str) -> bool {
    text.chars().all(is_of_name) && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ROOT)?;
        for key in &self.0 {
            if is_name(key) {
                write!(f, ".{key}")?;
            } else {
                let mut quoted = String::new();
                write_string(&mut quoted, key);
                write!(f, "[{quoted}]")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_it_is_written() {
        for (text, keys) in [
            ("data", &[][..]),
            ("data.a", &["a"]),
            ("data.a_1.B2", &["a_1", "B2"]),
            (r#"data["odd key"].x"#, &["odd key", "x"]),
            (r#"data["a\"]"]["1"]"#, &["a\"]", "1"]),
            (r#"data[""]["ä"]"#, &["", "ä"]),
        ] {
            let path = Path::parse(text).expect(text);
            assert_eq!(path.0, keys, "{text}");
            assert_eq!(path.to_string(), text);
        }
        assert_eq!(Path::parse(r#"data["a"]"#).expect("a path").to_string(), "data.a");
    }

    #[test]
    fn what_is_no_path_names_the_column() {
        for (text, column) in [
            ("data.", 5),
            ("data..a", 5),
            ("data.1", 5),
            ("data.a[0]", 7),
            ("data[\"a\"", 5),
            ("data['a']", 5),
            ("data.a b", 7),
            ("database", 5),
            ("data[\"\\ud800\"]", 5),
        ] {
            let error = Path::parse(text).expect_err(text);
            assert!(error.contains(&format!("column {column}:")), "{text}: {error}");
        }
        assert_eq!(Path::parse("balance"), Err("must begin with data".into()));
        assert_eq!(
            Path::parse(&format!("data{}", ".a".repeat(64))).map(|path| path.0.len()),
            Ok(64)
        );
        let too_deep = Path::parse(&format!("data{}", ".a".repeat(65)));
        assert_eq!(too_deep, Err("must have at most 64 keys".into()));
    }
}
