//! Which types of entities a reader wants.

use std::sync::Arc;

use crate::model::check_name;

/// Bytes of the names that one request may ask for: the tokens of a snapshot hold them.
pub const MAX_TYPES_BYTES: usize = 8 << 10;

/// Which types of entities are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Types(Option<Arc<[Box<str>]>>);

impl Types {
    /// All types.
    pub const fn all() -> Self {
        Self(None)
    }

    /// These types; all where there are none.
    ///
    /// # Errors
    /// The end of a sentence about the first name that breaks a rule, or about all of them: `must …`.
    pub fn new(names: Vec<String>) -> Result<Self, String> {
        if names.is_empty() {
            return Ok(Self::all());
        }
        for name in &names {
            check_name(name)?;
        }
        if names.iter().map(String::len).sum::<usize>() > MAX_TYPES_BYTES {
            return Err(format!("must have at most {MAX_TYPES_BYTES} bytes together"));
        }
        let mut names: Vec<Box<str>> = names.into_iter().map(String::into_boxed_str).collect();
        names.sort_unstable();
        names.dedup();
        Ok(Self(Some(names.into())))
    }

    /// The names in bytewise order; `None` for all types.
    pub fn names(&self) -> Option<&[Box<str>]> {
        self.0.as_deref()
    }

    /// Whether this type is wanted.
    pub fn include(&self, entity_type: &str) -> bool {
        self.0
            .as_ref()
            .is_none_or(|names| names.binary_search_by(|name| (**name).cmp(entity_type)).is_ok())
    }
}
