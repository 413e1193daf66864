//! What writers keep up beside the entities: the keys of indexes, and the words that are searched.
//!
//! Such a row changes only while the row of its entity is locked.

use std::collections::HashMap;

use super::definition::IndexDefinition;
use super::index_key::{EntityFacts, KeyMaker, TimelessKey};
use super::index_path::IndexPath;
use super::kept_search::TypeSearch;
use super::part::{Part, PartKind};
use crate::json::Selection;

/// An entity's key in one index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexRow {
    /// The index.
    pub index_id: i32,
    /// `None`: a path is absent.
    pub key: Option<Vec<u8>>,
}

/// An entity's key in one index, where its times are not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelessRow {
    /// The index.
    pub index_id: i32,
    /// `None`: a path is absent.
    pub key: Option<TimelessKey>,
    /// Whether the key never changes while the entity exists: the index is of `createdAt` alone.
    pub is_of_creation: bool,
}

/// The parts of all types that writers keep up, as of one generation of the definitions.
#[derive(Debug, Default)]
pub struct KeptParts {
    generation: i64,
    types: HashMap<String, TypeIndexes>,
    searches: HashMap<String, TypeSearch>,
}

impl KeptParts {
    /// The parts that are being built or are ready.
    pub fn new(generation: i64, parts: impl IntoIterator<Item = Part>) -> Self {
        let mut indexes: HashMap<String, Vec<(i32, IndexDefinition)>> = HashMap::new();
        let mut searches = HashMap::new();
        for part in parts {
            match part.kind {
                PartKind::Index(index) => {
                    indexes.entry(part.entity_type).or_default().push((part.id, index));
                }
                PartKind::Search(search) => {
                    searches.insert(part.entity_type, TypeSearch::new(part.id, &search));
                }
            }
        }
        let types = indexes.into_iter().map(|(name, indexes)| (name, TypeIndexes::new(indexes)));
        Self { generation, types: types.collect(), searches }
    }

    /// The generation of the definitions.
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// The indexes of a type; `None` where it has none.
    pub fn of(&self, entity_type: &str) -> Option<&TypeIndexes> {
        // most databases have no definition, and every update asks
        if self.types.is_empty() { None } else { self.types.get(entity_type) }
    }

    /// The search of a type; `None` where it has none.
    pub fn search_of(&self, entity_type: &str) -> Option<&TypeSearch> {
        if self.searches.is_empty() { None } else { self.searches.get(entity_type) }
    }
}

/// The indexes of one type.
#[derive(Debug)]
pub struct TypeIndexes {
    indexes: Vec<IndexInputs>,
    keys: KeyMaker,
    /// Whether a patch has the members that the indexes' paths begin with.
    members: Selection,
}

/// What an index's key depends on.
#[derive(Debug)]
struct IndexInputs {
    id: i32,
    /// Slots in [`TypeIndexes::members`].
    members: Vec<usize>,
    is_of_update: bool,
}

/// What a write does to the indexes of its type, where the document before it is not known.
#[derive(Debug, PartialEq, Eq)]
pub enum IndexEffect {
    /// These rows; other indexes keep theirs.
    Rows(Vec<TimelessRow>),
    /// That depends on the document.
    Unknown,
}

impl TypeIndexes {
    /// These indexes, with their ids.
    pub fn new(indexes: Vec<(i32, IndexDefinition)>) -> Self {
        let mut members = Selection::default();
        let inputs = |(id, index): &(i32, IndexDefinition)| {
            let data = index.paths.iter().filter_map(IndexPath::data);
            IndexInputs {
                id: *id,
                members: data.map(|path| members.add_path(&path.first())).collect(),
                is_of_update: index.paths.contains(&IndexPath::UpdatedAt),
            }
        };
        let inputs = indexes.iter().map(inputs).collect();
        Self {
            indexes: inputs,
            keys: KeyMaker::new(indexes.iter().map(|(_, index)| index)),
            members,
        }
    }

    /// An entity's key in each index; none in any where it does not exist.
    pub fn rows(&self, facts: Option<EntityFacts<'_>>) -> Vec<IndexRow> {
        let keys = self.keys_of(facts);
        self.with_ids(keys).collect()
    }

    /// What changes from one state of an entity to the next; `None` where it does not exist.
    pub fn changes(
        &self,
        before: Option<EntityFacts<'_>>,
        after: Option<EntityFacts<'_>>,
    ) -> Vec<IndexRow> {
        let changed = self.with_ids(self.keys_of(after)).zip(self.keys_of(before));
        changed.filter(|(row, before)| row.key != *before).map(|(row, _)| row).collect()
    }

    /// What deleting an entity does.
    pub fn of_delete(&self) -> IndexEffect {
        IndexEffect::Rows(self.timeless(vec![None; self.indexes.len()]).collect())
    }

    /// What a replace with this document does.
    pub fn of_replace(&self, document: &str) -> IndexEffect {
        IndexEffect::Rows(self.timeless(self.keys.keys_without_times(document)).collect())
    }

    /// What merging this flat patch does, into an entity that is there or not.
    pub fn of_flat_merge(&self, patch: &str) -> IndexEffect {
        let found = self.members.find(patch);
        let touches = |index: &IndexInputs| index.touches(&found);
        let touched: Option<Vec<bool>> = self.indexes.iter().map(touches).collect();
        let Some(touched) = touched else { return IndexEffect::Unknown };
        if !touched.contains(&true) {
            return IndexEffect::Rows(Vec::new());
        }
        // no member of a flat patch is an object, so what it has decides all that is below
        let rows = self.timeless(self.keys.keys_without_times(patch)).zip(touched);
        IndexEffect::Rows(rows.filter(|(_, touched)| *touched).map(|(row, _)| row).collect())
    }

    fn keys_of(&self, facts: Option<EntityFacts<'_>>) -> Vec<Option<Vec<u8>>> {
        match facts {
            Some(facts) => self.keys.keys(facts),
            None => vec![None; self.indexes.len()],
        }
    }

    fn with_ids(&self, keys: Vec<Option<Vec<u8>>>) -> impl Iterator<Item = IndexRow> {
        let rows = self.indexes.iter().zip(keys);
        rows.map(|(index, key)| IndexRow { index_id: index.id, key })
    }

    fn timeless(&self, keys: Vec<Option<TimelessKey>>) -> impl Iterator<Item = TimelessRow> {
        let rows = self.indexes.iter().zip(keys);
        rows.map(|(index, key)| {
            let is_of_times = index.members.is_empty();
            let is_of_creation = key.is_some() && is_of_times && !index.is_of_update;
            TimelessRow { index_id: index.id, key, is_of_creation }
        })
    }
}

impl IndexInputs {
    /// Whether a flat patch with these members decides the key; `None` where it does only in part.
    fn touches(&self, found: &[Option<&str>]) -> Option<bool> {
        let there = self.members.iter().filter(|&&slot| found[slot].is_some()).count();
        match there {
            0 if !self.members.is_empty() && !self.is_of_update => Some(false),
            _ if there < self.members.len() => None,
            // also an index of times alone, in which a new entity has a key
            _ => Some(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::{Document, Patch};
    use crate::model::Timestamp;

    fn indexes(indexes: &[&[&str]]) -> TypeIndexes {
        let index = |paths: &&[&str]| IndexDefinition {
            paths: paths.iter().map(|path| IndexPath::parse(path).expect("a path")).collect(),
        };
        TypeIndexes::new((1..).zip(indexes.iter().map(index)).collect())
    }

    fn facts(data: &str) -> EntityFacts<'_> {
        updated(data, 0)
    }

    fn updated(data: &str, micros: i64) -> EntityFacts<'_> {
        let (created, updated) = (Timestamp::from_micros(-7), Timestamp::from_micros(micros));
        EntityFacts { created, updated, data }
    }

    fn ids(effect: &IndexEffect) -> Option<Vec<(i32, bool)>> {
        match effect {
            IndexEffect::Rows(rows) => {
                Some(rows.iter().map(|row| (row.index_id, row.key.is_some())).collect())
            }
            IndexEffect::Unknown => None,
        }
    }

    #[test]
    fn a_flat_patch_decides_what_it_has_all_of() {
        let of = |paths: &[&[&str]], patch| ids(&indexes(paths).of_flat_merge(patch));
        assert_eq!(of(&[&["data.a"], &["data.b"]], r#"{"a":1}"#), Some(vec![(1, true)]));
        assert_eq!(of(&[&["data.a"], &["data.b"]], r#"{"c":1}"#), Some(vec![]));
        assert_eq!(of(&[&["data.a.x"]], r#"{"a":1}"#), Some(vec![(1, false)]));
        assert_eq!(of(&[&["data.a"]], r#"{"a":[1]}"#), Some(vec![(1, false)]));
        assert_eq!(of(&[&["data.a", "data.b"]], r#"{"a":1,"b":2}"#), Some(vec![(1, true)]));
        assert_eq!(of(&[&["data.a", "data.b"]], r#"{"a":1}"#), None);
        assert_eq!(of(&[&["data.a", "createdAt"]], r#"{"a":1}"#), Some(vec![(1, true)]));
        assert_eq!(of(&[&["data.a", "createdAt"]], r#"{"b":1}"#), Some(vec![]));
        assert_eq!(of(&[&["data.a", "updatedAt"]], r#"{"a":1}"#), Some(vec![(1, true)]));
        assert_eq!(of(&[&["data.a", "updatedAt"]], r#"{"b":1}"#), None);
        assert_eq!(of(&[&["createdAt"]], r#"{"b":1}"#), Some(vec![(1, true)]));
        assert_eq!(of(&[&["updatedAt"]], "{}"), Some(vec![(1, true)]));
        assert_eq!(of(&[&["data.a"], &["updatedAt"]], "{}"), Some(vec![(2, true)]));
    }

    #[test]
    fn replaces_and_deletes_decide_all_indexes_of_data() {
        let two = indexes(&[&["data.a"], &["data.b.c"]]);
        assert_eq!(ids(&two.of_replace(r#"{"b":{"c":1}}"#)), Some(vec![(1, false), (2, true)]));
        assert_eq!(ids(&two.of_delete()), Some(vec![(1, false), (2, false)]));
        let timed = indexes(&[&["data.a", "createdAt"], &["createdAt"]]);
        assert_eq!(ids(&timed.of_replace(r#"{"a":1}"#)), Some(vec![(1, true), (2, true)]));
        assert_eq!(ids(&timed.of_replace("{}")), Some(vec![(1, false), (2, true)]));
        assert_eq!(ids(&timed.of_delete()), Some(vec![(1, false), (2, false)]));
    }

    #[test]
    fn a_key_is_of_creation_while_the_entity_exists() {
        let all = indexes(&[&["createdAt"], &["updatedAt", "createdAt"], &["data.a", "createdAt"]]);
        let of_creation = |effect| match effect {
            IndexEffect::Rows(rows) => rows.iter().map(|row| row.is_of_creation).collect(),
            IndexEffect::Unknown => Vec::new(),
        };
        assert_eq!(of_creation(all.of_replace(r#"{"a":1}"#)), [true, false, false]);
        assert_eq!(of_creation(all.of_flat_merge(r#"{"a":1}"#)), [true, false, false]);
        assert_eq!(of_creation(all.of_delete()), [false; 3]);
    }

    #[test]
    fn only_what_differs_changes() {
        let two = indexes(&[&["data.a"], &["data.b"]]);
        let changes = |before, after| two.changes(before, after);
        let (one, other) = (facts(r#"{"a":1,"b":1}"#), facts(r#"{"a":1.0,"b":2}"#));
        let changed: Vec<_> =
            changes(Some(one), Some(other)).iter().map(|row| row.index_id).collect();
        assert_eq!(changed, [2]);
        assert_eq!(changes(None, Some(facts("{}"))), []);
        assert_eq!(changes(Some(one), None), two.rows(None));
        assert_eq!(changes(None, Some(one)), two.rows(Some(one)));
    }

    proptest! {
        /// Where a flat patch is said to decide, it does so as the merged document would, but for the times.
        #[test]
        fn a_decided_effect_is_that_of_the_document(
            document in prop_oneof![
                Just("{}"), Just(r#"{"a":1}"#), Just(r#"{"a":{"x":1},"b":2}"#), Just(r#"{"b":{"x":"y"}}"#),
            ],
            patch in prop_oneof![
                Just("{}"), Just(r#"{"a":7}"#), Just(r#"{"b":"z"}"#), Just(r#"{"a":[1],"b":true}"#),
                Just(r#"{"a":1,"b":2,"c":3}"#),
            ],
            declared in prop::sample::subsequence(
                vec![
                    &["data.a"][..], &["data.a.x"], &["data.b.x", "data.b"], &["data.b", "data.a"], &["data.c"],
                    &["createdAt"], &["updatedAt", "createdAt"], &["createdAt", "data.a"], &["data.b", "updatedAt"],
                ],
                1..6,
            ),
        ) {
            let indexes = indexes(&declared);
            let parsed = Patch::parse(patch).expect("a patch");
            let mut merged = Document::parse(document).expect("a document");
            merged.apply(&parsed);
            let merged = merged.to_json();
            if let IndexEffect::Rows(rows) = indexes.of_flat_merge(patch) {
                let mut kept: HashMap<_, _> =
                    indexes.rows(Some(facts(document))).into_iter().map(|row| (row.index_id, row.key)).collect();
                let after = updated(&merged, 9);
                for row in rows {
                    let key = row.key.map(|key| key.with_times(after.created, after.updated));
                    let before = kept.insert(row.index_id, key);
                    prop_assert!(!row.is_of_creation || kept.get(&row.index_id) == before.as_ref());
                }
                for row in indexes.rows(Some(after)) {
                    prop_assert_eq!(&kept[&row.index_id], &row.key);
                }
            }
        }
    }
}
