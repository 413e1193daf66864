//! What an index may be over.

use std::fmt;

use crate::json::Path;

const CREATED_AT: &str = "createdAt";
const UPDATED_AT: &str = "updatedAt";

/// One of the values that an index is ordered by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum IndexPath {
    /// When the entity was made.
    CreatedAt,
    /// When it was updated last.
    UpdatedAt,
    /// A member of its document, never the document itself.
    Data(Path),
}

impl IndexPath {
    /// Reads `createdAt`, `updatedAt`, or a path below `data`.
    ///
    /// # Errors
    /// The end of a sentence about the path: `must …`.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            CREATED_AT => return Ok(Self::CreatedAt),
            UPDATED_AT => return Ok(Self::UpdatedAt),
            _ => {}
        }
        if !text.starts_with("data") {
            return Err(format!(
                "must be {CREATED_AT}, {UPDATED_AT} or a path below data{}",
                hint(text)
            ));
        }
        below_data(text).map(Self::Data)
    }

    /// The path into the document, where it is one.
    pub fn data(&self) -> Option<&Path> {
        match self {
            Self::Data(path) => Some(path),
            Self::CreatedAt | Self::UpdatedAt => None,
        }
    }
}

fn hint(text: &str) -> String {
    let distance = |name: &&&str| strsim::osa_distance(text, name);
    let known = [CREATED_AT, UPDATED_AT];
    match known.iter().min_by_key(distance).filter(|name| distance(name) <= 2) {
        Some(name) => format!("; did you mean {name}?"),
        None => String::new(),
    }
}

/// Reads a path to a member of a document.
///
/// # Errors
/// As [`IndexPath::parse`].
pub(super) fn below_data(text: &str) -> Result<Path, String> {
    let path = Path::parse(text).map_err(|error| {
        if leads_through_an_array(text) {
            format!("{error}; a path can't lead through an array")
        } else {
            error
        }
    })?;
    if path == Path::root() { Err("must name a member of data".into()) } else { Ok(path) }
}

/// Whether there is an array's index, such as `[0]` or `[*]`.
fn leads_through_an_array(text: &str) -> bool {
    let mut brackets = text.match_indices('[');
    brackets.any(|(at, _)| {
        let inside = text[at + 1..].split(']').next().unwrap_or_default();
        inside == "*" || (!inside.is_empty() && inside.bytes().all(|b| b.is_ascii_digit()))
    })
}

impl fmt::Display for IndexPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreatedAt => f.write_str(CREATED_AT),
            Self::UpdatedAt => f.write_str(UPDATED_AT),
            Self::Data(path) => path.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_it_is_written() {
        for text in ["createdAt", "updatedAt", "data.a", r#"data.a["odd key"]"#] {
            assert_eq!(IndexPath::parse(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_path_says_what_is_one() {
        for (text, expected) in [
            ("version", "must be createdAt, updatedAt or a path below data"),
            (
                "createdat",
                "must be createdAt, updatedAt or a path below data; did you mean createdAt?",
            ),
            ("data", "must name a member of data"),
            (
                "data.a[0].b",
                "has an error at column 7: expected .name or [\"a key\"]; a path can't lead through an array",
            ),
            ("data.a b", "has an error at column 7: expected .name or [\"a key\"]"),
        ] {
            assert_eq!(IndexPath::parse(text), Err(expected.to_owned()), "{text}");
        }
        let too_deep = format!("data{}", ".a".repeat(1000));
        assert_eq!(IndexPath::parse(&too_deep), Err("must have at most 64 keys".into()));
    }
}
