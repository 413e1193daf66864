//! The parts of definitions, which are built and kept up one by one.

use super::definition::{Definition, IndexDefinition, SearchDefinition};

/// What a part does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartKind {
    /// It finds entities by the values at some paths.
    Index(IndexDefinition),
    /// It finds entities by the words at some paths.
    Search(SearchDefinition),
}

/// How far a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartState {
    /// Writers keep it up, and it lacks entities that were written before it was declared.
    Building,
    /// It has every entity.
    Ready,
    /// It is declared no more; its rows are being deleted.
    Dropping,
}

/// A part of a type's definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Never used again.
    pub id: i32,
    /// The type.
    pub entity_type: String,
    /// What it does.
    pub kind: PartKind,
}

/// A part, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartStatus {
    /// The part.
    pub part: Part,
    /// How far it is.
    pub state: PartState,
    /// While it is being built: how many entities it has.
    pub done: u64,
    /// Of how many, about; `None` before building has begun.
    pub total: Option<u64>,
}

impl PartKind {
    /// The value of the column `kind`.
    pub const fn code(&self) -> i16 {
        match self {
            Self::Index(_) => 0,
            Self::Search(_) => 1,
        }
    }

    /// The value of the column `spec`: the same text for the same part.
    pub fn spec(&self) -> String {
        match self {
            Self::Index(index) => index.to_json(),
            Self::Search(search) => search.to_json(),
        }
    }

    /// From the columns `kind` and `spec`.
    ///
    /// # Errors
    /// What this release doesn't know, as a sentence for the log.
    pub fn from_columns(code: i16, spec: &str) -> Result<Self, String> {
        let definition = match code {
            0 => Definition::parse(&format!("{{\"indexes\":[{spec}]}}")),
            1 => Definition::parse(&format!("{{\"search\":{spec}}}")),
            _ => return Err(unknown(&format!("a part of kind {code}"))),
        };
        let definition = definition.map_err(|_| unknown(spec))?;
        let index = definition.indexes.into_iter().next().map(Self::Index);
        index.or(definition.search.map(Self::Search)).ok_or_else(|| unknown(spec))
    }
}

fn unknown(what: &str) -> String {
    format!("the definitions of types have {what}, which this release does not know")
}

impl PartState {
    /// The value of the column `state`.
    pub const fn code(self) -> i16 {
        match self {
            Self::Building => 0,
            Self::Ready => 1,
            Self::Dropping => 2,
        }
    }

    /// From the column `state`; one that this release doesn't know is not ready.
    pub const fn from_code(code: i16) -> Self {
        match code {
            1 => Self::Ready,
            2 => Self::Dropping,
            _ => Self::Building,
        }
    }
}

impl Definition {
    /// Its parts, the indexes first.
    pub fn parts(&self) -> impl Iterator<Item = PartKind> {
        let indexes = self.indexes.iter().cloned().map(PartKind::Index);
        indexes.chain(self.search.clone().map(PartKind::Search))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_tell_a_part_again() {
        let text = r#"{"indexes":["data.a",["data.\"b","createdAt"]],
            "search":{"paths":{"data.title":4},"language":"english"}}"#;
        let text = text.replace(r#"data.\"b"#, r#"data[\"b\"]"#);
        let definition = Definition::parse(&text).expect("a definition");
        assert_eq!(definition.parts().count(), 3);
        for part in definition.parts() {
            assert_eq!(PartKind::from_columns(part.code(), &part.spec()), Ok(part));
        }
        assert!(PartKind::from_columns(2, "{}").is_err());
        assert!(PartKind::from_columns(0, "7").is_err());
        for state in [PartState::Building, PartState::Ready, PartState::Dropping] {
            assert_eq!(PartState::from_code(state.code()), state);
        }
    }
}
