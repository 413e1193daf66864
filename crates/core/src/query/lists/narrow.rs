//! Which keys a list has to look at: what its type and its filter demand of types and ids.

use std::collections::BTreeSet;

use crate::filter::{Constraint, Field, Filter, Scalar};
use crate::model::{EntityKey, Timestamp};
use crate::query::key_range::{KeyRange, TextRange, behind_prefix, next_text};

/// Keys that are looked up one by one, at most. More are looked for between the first and the last of them.
const MAX_POINTS: usize = 1000;

/// The keys that a list looks at, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Keys {
    /// Just these.
    Points(Vec<EntityKey>),
    /// The keys of ranges that do not overlap.
    Ranges(Vec<KeyRange>),
}

/// The keys that may be in the list of a type, or of all types.
pub(super) fn keys(entity_type: Option<&str>, filter: Option<&Filter>, now: Timestamp) -> Keys {
    let constraints = |field| filter.map_or(Vec::new(), |filter| filter.constraints(field, now));
    let mut types = Texts::new(constraints(Field::Type));
    if let Some(entity_type) = entity_type {
        types.only([entity_type.to_owned()].into());
    }
    let Some(types) = types.points() else {
        return Keys::Ranges(vec![KeyRange::of_types(&types.range)]);
    };
    let mut ids = Texts::new(constraints(Field::Id));
    match ids.points() {
        Some(ids) if types.len().saturating_mul(ids.len()) <= MAX_POINTS => {
            let of_type = |entity_type: &String| {
                let key = |id| EntityKey::new_unchecked(entity_type, id);
                ids.iter().map(key).collect::<Vec<_>>()
            };
            return Keys::Points(types.iter().flat_map(of_type).collect());
        }
        Some(all) => {
            let (first, last) = (all.first().cloned(), all.last().cloned());
            ids.range.from(first.unwrap_or_default());
            ids.range.before(next_text(&last.unwrap_or_default()));
        }
        None => {}
    }
    let ranges = types.iter().map(|entity_type| KeyRange::of_ids(entity_type, &ids.range));
    Keys::Ranges(ranges.filter(|range| !range.is_empty()).collect())
}

/// What is demanded of a text.
#[derive(Debug, Default)]
struct Texts {
    /// It is one of these, if there are any.
    points: Option<BTreeSet<String>>,
    /// It is in this range.
    range: TextRange,
}

impl Texts {
    fn new(constraints: Vec<Constraint<'_>>) -> Self {
        let mut texts = Self::default();
        for constraint in constraints {
            texts.add(constraint);
        }
        texts
    }

    fn add(&mut self, constraint: Constraint<'_>) {
        match constraint {
            Constraint::OneOf(scalars) => self.only(scalars.into_iter().filter_map(text).collect()),
            Constraint::StartsWith(prefix) => {
                self.range.from(prefix.to_owned());
                if let Some(behind) = behind_prefix(prefix) {
                    self.range.before(behind);
                }
            }
            Constraint::Less(scalar) => self.bound(scalar, |range, text| range.before(text)),
            Constraint::LessOrEqual(scalar) => {
                self.bound(scalar, |range, text| range.before(next_text(&text)));
            }
            Constraint::Greater(scalar) => {
                self.bound(scalar, |range, text| range.from(next_text(&text)));
            }
            Constraint::GreaterOrEqual(scalar) => self.bound(scalar, TextRange::from),
        }
    }

    /// The texts that it may be, where these are known.
    fn points(&self) -> Option<BTreeSet<String>> {
        let fits = |text: &&String| self.range.contains(text);
        self.points.as_ref().map(|points| points.iter().filter(fits).cloned().collect())
    }

    /// Leaves these.
    fn only(&mut self, texts: BTreeSet<String>) {
        self.points = Some(match self.points.take() {
            Some(points) => &points & &texts,
            None => texts,
        });
    }

    /// No text is less or greater than a value of another kind.
    fn bound(&mut self, scalar: Scalar<'_>, bound: impl Fn(&mut TextRange, String)) {
        match text(scalar) {
            Some(text) => bound(&mut self.range, text),
            None => self.only(BTreeSet::new()),
        }
    }
}

fn text(scalar: Scalar<'_>) -> Option<String> {
    match scalar {
        Scalar::Text(text) => Some(text.into_owned()),
        Scalar::Bool(_) | Scalar::Number(_) | Scalar::Time(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Scope;

    fn narrowed(entity_type: Option<&str>, filter: &str) -> Keys {
        let filter = Filter::parse(filter, Scope::Entity).expect("a filter");
        keys(entity_type, Some(&filter), Timestamp::from_micros(0))
    }

    fn points(keys: &[(&str, &str)]) -> Keys {
        let key = |&(entity_type, id): &(&str, &str)| EntityKey::new_unchecked(entity_type, id);
        Keys::Points(keys.iter().map(key).collect())
    }

    fn range(from: (&str, &str), to: Option<(&str, &str)>) -> KeyRange {
        let owned = |(entity_type, id): (&str, &str)| (entity_type.to_owned(), id.to_owned());
        KeyRange { from: owned(from), to: to.map(owned) }
    }

    #[test]
    fn without_conditions_all_keys_are_looked_at() {
        let time = Timestamp::from_micros(0);
        assert_eq!(keys(None, None, time), Keys::Ranges(vec![KeyRange::all()]));
        assert_eq!(keys(Some("Car"), None, time), Keys::Ranges(vec![KeyRange::of_type("Car")]));
        assert_eq!(narrowed(None, "data.a == 1 || id == 'a'"), Keys::Ranges(vec![KeyRange::all()]));
    }

    #[test]
    fn ids_are_looked_up() {
        assert_eq!(narrowed(Some("Car"), "id == 'a' && data.x > 1"), points(&[("Car", "a")]));
        assert_eq!(
            narrowed(None, "type in ['B', 'A'] && id in ['y', 'x', 'y'] && id > 'x'"),
            points(&[("A", "y"), ("B", "y")])
        );
        assert_eq!(narrowed(Some("Car"), "id == 'a' && id == 'b'"), points(&[]));
        assert_eq!(narrowed(Some("Car"), "type == 'Truck'"), Keys::Ranges(vec![]));
        assert_eq!(
            narrowed(Some("Car"), "type != 'Truck'"),
            Keys::Ranges(vec![KeyRange::of_type("Car")])
        );
        let many: Vec<_> = (0..400).map(|n| format!("'{n:03}'")).collect();
        let filter = format!("id in [{}] && type in ['A','B','C']", many.join(","));
        let between = |t| range((t, "000"), Some((t, "399\u{1}")));
        assert_eq!(narrowed(None, &filter), Keys::Ranges(["A", "B", "C"].map(between).to_vec()));
    }

    #[test]
    fn ids_and_types_are_looked_for_in_ranges() {
        for (filter, from, to) in [
            ("id >= 'b' && 'd' > id", "b", "d"),
            ("id > 'b' && id <= 'd' && id > 'a' && id < 'z'", "b\u{1}", "d\u{1}"),
            ("id.startsWith('ab')", "ab", "ac"),
        ] {
            let expected = range(("Car", from), Some(("Car", to)));
            assert_eq!(narrowed(Some("Car"), filter), Keys::Ranges(vec![expected]), "{filter}");
        }
        assert_eq!(narrowed(Some("Car"), "id < 'a' && id > 'b'"), Keys::Ranges(vec![]));
        let types = range(("C", ""), Some(("D", "")));
        assert_eq!(narrowed(None, "type.startsWith('C') && id < 'a'"), Keys::Ranges(vec![types]));
    }
}
