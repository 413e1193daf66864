//! Which types of entities a reader wants.

use std::sync::Arc;

use crate::filter::{Constraint, Field, Filter, Scalar};
use crate::model::{Timestamp, check_name};

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

    /// Those of these types that a filter asks for by itself, as far as that is seen at once: then the rest
    /// need not be read.
    pub(super) fn narrowed(&self, filter: Option<&Filter>) -> Self {
        let Some(demanded) = filter.and_then(demanded) else { return self.clone() };
        let wanted = demanded.into_iter().filter(|name| self.include(name)).collect();
        // without names it would mean all types
        match Self::new(wanted) {
            Ok(types) if types.0.is_some() => types,
            Ok(_) | Err(_) => self.clone(),
        }
    }

    /// Whether this type is wanted.
    pub fn include(&self, entity_type: &str) -> bool {
        self.0
            .as_ref()
            .is_none_or(|names| names.binary_search_by(|name| (**name).cmp(entity_type)).is_ok())
    }
}

/// The types one of which an entity must have that the filter matches.
fn demanded(filter: &Filter) -> Option<Vec<String>> {
    // filters of changes have no `now`
    let constraints = filter.constraints(Field::Type, Timestamp::from_micros(0));
    constraints.into_iter().find_map(|constraint| match constraint {
        Constraint::OneOf(values) => values.into_iter().map(name).collect(),
        _ => None,
    })
}

fn name(value: Scalar<'_>) -> Option<String> {
    match value {
        Scalar::Text(text) => Some(text.into_owned()),
        Scalar::Bool(_) | Scalar::Number(_) | Scalar::Time(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Scope;

    #[test]
    fn a_filter_that_asks_for_types_narrows_them() {
        let types = |names: &[&str]| {
            Types::new(names.iter().map(|&name| name.into()).collect()).expect("types")
        };
        let long = format!("type == '{}'", "x".repeat(256));
        for (asked, filter, expected) in [
            (&[][..], "type == 'Car'", &["Car"][..]),
            (&[], "data.n == 1 && entityType in ['Loan', 'Car']", &["Car", "Loan"]),
            (&["Car", "Bus"], "type in ['Loan', 'Car']", &["Car"]),
            (&["Car"], "data.n == 1", &["Car"]),
            (&[], "type != 'Car'", &[]),
            (&[], "type == 'Car' || data.n == 1", &[]),
            (&[], "!(type == 'Car')", &[]),
            // no entity matches, which the filter says itself
            (&["Bus"], "type == 'Car'", &["Bus"]),
            (&[], &long, &[]),
        ] {
            let parsed = Filter::parse(filter, Scope::Change).expect(filter);
            let narrowed = types(asked).narrowed(Some(&parsed));
            assert_eq!(narrowed, types(expected), "{filter}");
        }
        assert_eq!(types(&["Car"]).narrowed(None), types(&["Car"]));
    }
}
