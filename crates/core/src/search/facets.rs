//! How often values occur among the hits.

use std::collections::{BTreeSet, HashMap};

use crate::filter::{Facts, Filter};
use crate::json::{Path, Selection, elements};
use crate::types::index_key::{IndexValue, Scalar, prefix};
use crate::types::{IndexDefinition, IndexPath};

/// Values that a facet returns, unless another number is asked for.
const VALUES: usize = 10;
/// Values that it returns at most.
const MAX_VALUES: usize = 1000;
/// Characters of a string that is counted; longer ones name no category.
const MAX_CHARACTERS: usize = 256;
/// Different values that are counted at most, so that memory is limited.
const MAX_DIFFERENT: usize = 100_000;

/// A path whose values are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facet {
    /// Scalars at this path count, and those in an array there.
    pub path: Path,
    /// How many values to return: the most frequent ones.
    pub values: usize,
}

/// A value and the number of hits that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FacetValue {
    /// A scalar as JSON text. Numbers that are equal are one value, in the notation that was met first.
    pub value: String,
    /// How many hits have it.
    pub count: u64,
}

impl Facet {
    /// Reads `data.category`, or `data.category:20` for how many values.
    ///
    /// # Errors
    /// The end of a sentence about the facet: `must …`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let (path, values) = match text.rsplit_once(':') {
            Some((path, number)) if is_number(number) => {
                (path, number.parse().unwrap_or(MAX_VALUES))
            }
            _ => (text, VALUES),
        };
        if values == 0 {
            return Err("must return at least one value".to_owned());
        }
        let path = Path::parse(path)?;
        if path == Path::root() {
            return Err("must name a member of data".to_owned());
        }
        Ok(Self { path, values: values.min(MAX_VALUES) })
    }
}

/// Counts the values of several facets.
pub(super) struct Counter {
    paths: Selection,
    facets: Vec<Counted>,
}

struct Counted {
    facet: Facet,
    slot: usize,
    /// A facet ignores the conditions on its own path; `None` where there are no others.
    filter: Option<Filter>,
    index: IndexDefinition,
    /// By their keys, which are the same for every notation of a value.
    values: HashMap<Vec<u8>, FacetValue>,
}

impl Counter {
    /// For these facets of a search with this filter.
    pub(super) fn new(facets: &[Facet], filter: Option<&Filter>) -> Self {
        let mut paths = Selection::default();
        let counted = facets.iter().map(|facet| Counted {
            facet: facet.clone(),
            slot: paths.add_path(&facet.path),
            filter: filter.and_then(|filter| filter.without(&facet.path)),
            index: IndexDefinition { paths: vec![IndexPath::Data(facet.path.clone())] },
            values: HashMap::new(),
        });
        let facets = counted.collect();
        Self { paths, facets }
    }

    /// Counts an entity whose text matches. Whether it is a hit: the whole filter lets it through.
    pub(super) fn add(&mut self, facts: &Facts<'_>, data: &str, is_hit: bool) {
        if self.facets.is_empty() {
            return;
        }
        let found = self.paths.find(data);
        for facet in &mut self.facets {
            // what all conditions hold of, fewer do
            if is_hit || facet.filter.as_ref().is_none_or(|filter| filter.matches(facts)) {
                facet.add(&found);
            }
        }
    }

    /// The most frequent values of each facet.
    pub(super) fn finish(self) -> Vec<(Path, Vec<FacetValue>)> {
        self.facets.into_iter().map(Counted::finish).collect()
    }
}

impl Counted {
    fn add(&mut self, found: &[Option<&str>]) {
        let Some(raw) = found[self.slot] else { return };
        let mut seen = BTreeSet::new();
        let mut count = |raw: &str| {
            let Some((key, value)) = keyed(&self.index, raw) else { return };
            if !seen.insert(key.clone()) {
                return;
            }
            if let Some(known) = self.values.get_mut(&key) {
                known.count += 1;
            } else if self.values.len() < MAX_DIFFERENT {
                self.values.insert(key, FacetValue { value: value.to_owned(), count: 1 });
            }
        };
        if raw.starts_with('[') { elements(raw).for_each(count) } else { count(raw) }
    }

    fn finish(self) -> (Path, Vec<FacetValue>) {
        let mut values: Vec<_> = self.values.into_iter().collect();
        values.sort_by(|(left_key, left), (right_key, right)| {
            right.count.cmp(&left.count).then_with(|| left_key.cmp(right_key))
        });
        values.truncate(self.facet.values);
        (self.facet.path, values.into_iter().map(|(_, value)| value).collect())
    }
}

/// A scalar's key and its text.
fn keyed<'r>(index: &IndexDefinition, raw: &'r str) -> Option<(Vec<u8>, &'r str)> {
    let scalar = Scalar::from_json(raw)?;
    if let Scalar::String(text) = &scalar
        && text.chars().nth(MAX_CHARACTERS).is_some()
    {
        return None;
    }
    Some((prefix(index, &[IndexValue::Scalar(scalar)])?, raw))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Scope, State};
    use crate::time::Timestamp;

    #[test]
    fn a_facet_reads_as_it_is_written() {
        for (text, path, values) in [
            ("data.category", "data.category", 10),
            ("data.category:20", "data.category", 20),
            ("data.a.b:99999999999999999999", "data.a.b", 1000),
            (r#"data["a:20"]"#, r#"data["a:20"]"#, 10),
            (r#"data["a:20"]:3"#, r#"data["a:20"]"#, 3),
        ] {
            let facet = Facet::parse(text).expect(text);
            assert_eq!((facet.path.to_string().as_str(), facet.values), (path, values), "{text}");
        }
        for text in
            ["", "data", "category", "data.a:0", "data.a:", "data.a:x", "data.a:-1", "data:5"]
        {
            assert!(Facet::parse(text).is_err(), "{text}");
        }
    }

    fn count(facet: &str, filter: Option<&str>, documents: &[&str]) -> Vec<(String, u64)> {
        let filter = filter.map(|text| Filter::parse(text, Scope::Entity).expect(text));
        let mut counter = Counter::new(&[Facet::parse(facet).expect(facet)], filter.as_ref());
        for data in documents {
            let now = Timestamp::from_micros(0);
            let facts = Facts {
                entity_type: "T",
                entity_id: "1",
                version: 1,
                state: Some(State { created_at: now, updated_at: now, data }),
                change: None,
                now,
            };
            let is_hit = filter.as_ref().is_none_or(|filter| filter.matches(&facts));
            counter.add(&facts, data, is_hit);
        }
        let (_, values) = counter.finish().remove(0);
        values.into_iter().map(|value| (value.value, value.count)).collect()
    }

    #[test]
    fn equal_values_are_one_and_the_most_frequent_come_first() {
        let documents = [
            r#"{"a":1.0}"#,
            r#"{"a":"x"}"#,
            r#"{"a":1}"#,
            r#"{"a":"\u0078"}"#,
            r#"{"a":["x","x",true,null,{}]}"#,
            r#"{"a":1e0}"#,
            r#"{"a":false}"#,
            r#"{"a":{"x":1}}"#,
            "{}",
        ];
        let pair = |value: &str, count| (value.to_owned(), count);
        let all = [pair("1.0", 3), pair(r#""x""#, 3), pair("false", 1), pair("true", 1)];
        assert_eq!(count("data.a", None, &documents), all);
        assert_eq!(count("data.a:1", None, &documents), all[..1]);
    }

    #[test]
    fn conditions_on_its_own_path_are_ignored() {
        let documents = [r#"{"a":"x","b":1}"#, r#"{"a":"y","b":1}"#, r#"{"a":"y","b":2}"#];
        let values = |filter| count("data.a", Some(filter), &documents).len();
        assert_eq!(values("data.a == 'x'"), 2);
        assert_eq!(count("data.a", Some("data.a == 'x' && data.b == 1"), &documents)[1].1, 1);
        assert_eq!(values("data.a == 'x' || data.b == 7"), 1, "not joined by && at the top");
    }

    #[test]
    fn long_strings_are_no_categories() {
        let long = format!(r#"{{"a":["{}","{}"]}}"#, "é".repeat(257), "é".repeat(256));
        assert_eq!(count("data.a", None, &[&long]).len(), 1);
    }
}
