//! A copy of the entities that a reader of the change feed keeps, by the contract's rules: the higher
//! version wins, what is deleted or has left is dropped, and so is what a snapshot did not send.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::changes::{ChangeItem, EntityChange, EntityKey, EntitySnapshot};
use crate::merge::merge_patch;
use crate::proto::Operation;

/// The stored entities: version and document, `None` where deleted.
pub type StoredEntities = BTreeMap<EntityKey, (u64, Option<Value>)>;

/// How a copy learns the states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateSource {
    /// It applies the patches.
    Patches,
    /// It takes the `data` of each change.
    Data,
}

/// Where a reader has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// With the first change of all.
    Start,
    /// With a snapshot.
    Snapshot,
}

/// A filter over type, id and document. A copy with one takes the `data` of each change.
#[derive(Debug, Clone, Copy)]
pub struct CopyFilter {
    /// As the service reads it.
    pub text: &'static str,
    /// The same, as the copy checks it.
    pub matches: fn(&EntityKey, &Value) -> bool,
}

impl CopyFilter {
    fn matches_text(&self, key: &EntityKey, document: &str) -> bool {
        (self.matches)(key, &serde_json::from_str(document).unwrap_or_default())
    }
}

/// A copy.
#[derive(Debug)]
pub struct LocalCopy {
    source: StateSource,
    beginning: Beginning,
    filter: Option<CopyFilter>,
    entities: HashMap<Arc<EntityKey>, Kept>,
    /// Counts the snapshots.
    snapshot: u64,
    /// Whether the last snapshot is under way.
    in_snapshot: bool,
}

#[derive(Debug)]
struct Kept {
    /// The last version of which a change or a snapshot came.
    last_version: u64,
    state_version: u64,
    state: State,
    /// The last snapshot that had it.
    snapshot: u64,
}

#[derive(Debug)]
enum State {
    /// As it came.
    Text(String),
    Document(Value),
    Deleted,
    /// A merge into an entity that the snapshot did not have, because it was deleted by then: its delete is
    /// still to come.
    Unknown,
}

impl LocalCopy {
    /// An empty copy: of all entities, or of those that match.
    pub fn new(source: StateSource, beginning: Beginning, filter: Option<CopyFilter>) -> Self {
        let in_snapshot = beginning == Beginning::Snapshot;
        Self { source, beginning, filter, entities: HashMap::new(), snapshot: 1, in_snapshot }
    }

    /// The filter of what it keeps.
    pub fn filter(&self) -> Option<CopyFilter> {
        self.filter
    }

    /// Begins a new snapshot over what is kept.
    pub fn begin_snapshot(&mut self) {
        self.beginning = Beginning::Snapshot;
        self.snapshot += 1;
        self.in_snapshot = true;
    }

    /// The version of an entity that is kept; `None` of one that is not, or is deleted.
    pub fn version(&self, key: &EntityKey) -> Option<u64> {
        let kept = self.entities.get(key)?;
        (!matches!(kept.state, State::Deleted)).then_some(kept.state_version)
    }

    /// A shared key, to remember changes by.
    pub fn key(&self, key: &EntityKey) -> Arc<EntityKey> {
        let known = self.entities.get_key_value(key).map(|(known, _)| Arc::clone(known));
        known.unwrap_or_else(|| Arc::new(key.clone()))
    }

    /// Applies an item; returns what is wrong with it.
    pub fn apply(&mut self, item: &ChangeItem) -> Option<String> {
        match item {
            ChangeItem::Change(change) => match self.filter {
                Some(filter) => self.matching_change(change, filter),
                None => self.change(change),
            },
            ChangeItem::Left(change) => self.left(change),
            ChangeItem::Snapshot(entity) => self.snapshot(entity),
            ChangeItem::SnapshotEnd { .. } if self.in_snapshot => {
                self.in_snapshot = false;
                self.entities.retain(|_, kept| kept.snapshot == self.snapshot);
                None
            }
            ChangeItem::SnapshotEnd { .. } => Some("the end of no snapshot".into()),
            ChangeItem::Bookmark { caught_up, .. } => {
                (self.in_snapshot && *caught_up).then(|| "caught up within a snapshot".into())
            }
        }
    }

    fn snapshot(&mut self, entity: &EntitySnapshot) -> Option<String> {
        let EntitySnapshot { key, version, data, .. } = entity;
        if !self.in_snapshot {
            return Some(format!("{key}: a snapshot after the end of all snapshots"));
        }
        if self.filter.is_some_and(|filter| !filter.matches_text(key, data)) {
            return Some(format!("{key}: a snapshot of {data}, which does not match"));
        }
        let kept = self.kept(key);
        kept.last_version = kept.last_version.max(*version);
        if *version > kept.state_version {
            (kept.state_version, kept.state) = (*version, State::Text(data.clone()));
        }
        None
    }

    /// The entry of an entity that the snapshot under way, or a change behind it, is about.
    fn kept(&mut self, key: &EntityKey) -> &mut Kept {
        let shared = self.key(key);
        let new = Kept { last_version: 0, state_version: 0, state: State::Deleted, snapshot: 0 };
        let kept = self.entities.entry(shared).or_insert(new);
        kept.snapshot = self.snapshot;
        kept
    }

    fn change(&mut self, change: &EntityChange) -> Option<String> {
        let EntityChange { key, version, .. } = change;
        if self.in_snapshot {
            return Some(format!("{key}: a change within a snapshot"));
        }
        let (source, beginning) = (self.source, self.beginning);
        let is_new = !self.entities.contains_key(key);
        let kept = self.kept(key);
        // what came before a snapshot is not known
        let problem =
            match kept.last_version + 1 < *version && (!is_new || beginning == Beginning::Start) {
                true => Some(format!("{key}: version {version} came after {}", kept.last_version)),
                false => None,
            };
        let misfit = match source {
            StateSource::Data => kept.take_data(change),
            StateSource::Patches if *version > kept.state_version => kept.patch(change, is_new),
            StateSource::Patches => None,
        };
        kept.last_version = kept.last_version.max(*version);
        problem.or(misfit)
    }

    /// A change that the filter let through, because of the state that came with it.
    fn matching_change(&mut self, change: &EntityChange, filter: CopyFilter) -> Option<String> {
        let EntityChange { key, version, data, .. } = change;
        if self.in_snapshot {
            return Some(format!("{key}: a change within a snapshot"));
        }
        let matches = data.as_ref().is_some_and(|(_, data)| filter.matches_text(key, data));
        if !matches {
            return Some(format!(
                "{key}: version {version} came with {data:?}, which does not match"
            ));
        }
        self.kept(key).take_data(change)
    }

    fn left(&mut self, change: &EntityChange) -> Option<String> {
        let EntityChange { key, version, data, .. } = change;
        self.entities.remove(key);
        match self.filter {
            None => Some(format!("{key}: version {version} has left, without a filter")),
            Some(_) if self.in_snapshot => Some(format!("{key}: it has left within a snapshot")),
            Some(_) => data.as_ref().map(|_| format!("{key}: version {version} left with data")),
        }
    }

    /// How it differs from the stored entities, of those types; of all, if none are given.
    pub fn differences(&self, stored: &StoredEntities, types: &[String]) -> Vec<String> {
        if let Some(filter) = self.filter {
            return self.differences_in_matching(stored, filter);
        }
        let is_wanted = |key: &EntityKey| types.is_empty() || types.contains(&key.entity_type);
        let mut differences = Vec::new();
        for (key, (version, document)) in stored.iter().filter(|(key, _)| is_wanted(key)) {
            let Some(kept) = self.entities.get(key) else {
                // one that was deleted before the snapshot never came
                if document.is_some() || self.beginning == Beginning::Start {
                    differences.push(format!("{key}: not kept, stored at version {version}"));
                }
                continue;
            };
            if kept.state_version != *version || kept.document() != *document {
                differences.push(format!(
                    "{key}: kept at version {} as {:?}, stored at {version} as {document:?}",
                    kept.state_version, kept.state
                ));
            }
        }
        let strays =
            self.entities.keys().filter(|key| !is_wanted(key) || !stored.contains_key(&***key));
        differences.extend(strays.map(|key| format!("{key}: kept, but not stored or not wanted")));
        differences
    }

    /// How it differs from the stored entities that match.
    fn differences_in_matching(&self, stored: &StoredEntities, filter: CopyFilter) -> Vec<String> {
        let is_wanted = |key: &EntityKey, document: Option<&Value>| {
            document.is_some_and(|document| (filter.matches)(key, document))
        };
        let mut differences = Vec::new();
        for (key, (version, document)) in stored {
            let kept = self.entities.get(key);
            let is_same = match kept {
                Some(kept) => {
                    kept.state_version == *version
                        && kept.document() == *document
                        && is_wanted(key, document.as_ref())
                }
                None => !is_wanted(key, document.as_ref()),
            };
            if !is_same {
                differences.push(format!(
                    "{key}: kept as {kept:?}, stored at version {version} as {document:?}"
                ));
            }
        }
        let strays = self.entities.keys().filter(|key| !stored.contains_key(&***key));
        differences.extend(strays.map(|key| format!("{key}: kept, but not stored")));
        differences
    }
}

impl Kept {
    fn document(&self) -> Option<Value> {
        match &self.state {
            State::Text(text) => Some(serde_json::from_str(text).unwrap_or_default()),
            State::Document(document) => Some(document.clone()),
            State::Deleted | State::Unknown => None,
        }
    }

    fn take_data(&mut self, change: &EntityChange) -> Option<String> {
        let EntityChange { key, version, data, .. } = change;
        let (state_version, state) = match data {
            Some((data_version, data)) => (*data_version, State::Text(data.clone())),
            None => (*version, State::Deleted),
        };
        if state_version > self.state_version {
            (self.state_version, self.state) = (state_version, state);
        }
        (state_version < *version)
            .then(|| format!("{key}: version {version} came with data of {state_version}"))
    }

    fn patch(&mut self, change: &EntityChange, is_new: bool) -> Option<String> {
        let EntityChange { key, version, operation, created, patch, .. } = change;
        let before = std::mem::replace(&mut self.state, State::Unknown);
        self.state_version = *version;
        let exists = match &before {
            State::Text(_) | State::Document(_) => Some(true),
            State::Deleted if !is_new || *version == 1 => Some(false),
            State::Deleted | State::Unknown => None,
        };
        let misfit =
            exists.is_some_and(|exists| exists == *created) && *operation != Operation::Delete;
        let base = match before {
            _ if *created || *operation == Operation::Replace => Some(Value::Object(Map::new())),
            State::Text(text) => serde_json::from_str(&text).ok(),
            State::Document(document) => Some(document),
            State::Deleted | State::Unknown => None,
        };
        self.state = match (operation, base) {
            (Operation::Delete, _) => State::Deleted,
            (_, Some(mut document)) => {
                merge_patch(&mut document, &serde_json::from_str(patch).unwrap_or_default());
                State::Document(document)
            }
            (_, None) => State::Unknown,
        };
        misfit.then(|| {
            format!("{key}: version {version} has created {created}, not as the one before")
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(id: &str) -> EntityKey {
        EntityKey { entity_type: "Car".into(), entity_id: id.into() }
    }

    fn change(id: &str, version: u64, operation: Operation, patch: Value) -> EntityChange {
        let created = version == 1;
        let (key, patch) = (key(id), patch.to_string());
        EntityChange { token: "t".into(), key, version, operation, created, patch, data: None }
    }

    fn merge(id: &str, version: u64, patch: Value) -> ChangeItem {
        ChangeItem::Change(change(id, version, Operation::Merge, patch))
    }

    fn with_data(id: &str, version: u64, data: Option<(u64, Value)>) -> ChangeItem {
        let data = data.map(|(version, data)| (version, data.to_string()));
        let change = change(id, version, Operation::Merge, json!({}));
        ChangeItem::Change(EntityChange { data, ..change })
    }

    fn delete(id: &str, version: u64) -> ChangeItem {
        ChangeItem::Change(change(id, version, Operation::Delete, json!({})))
    }

    fn snapshot(id: &str, version: u64, data: Value) -> ChangeItem {
        let (token, data) = ("t".into(), data.to_string());
        ChangeItem::Snapshot(EntitySnapshot { token, key: key(id), version, data })
    }

    fn end() -> ChangeItem {
        ChangeItem::SnapshotEnd { token: "t".into() }
    }

    fn stored(entities: &[(&str, u64, Option<Value>)]) -> StoredEntities {
        let entity =
            |(id, version, data): &(&str, _, Option<Value>)| (key(id), (*version, data.clone()));
        entities.iter().map(entity).collect()
    }

    /// Applies items that must all be right.
    fn apply(copy: &mut LocalCopy, items: &[ChangeItem]) {
        for item in items {
            assert_eq!(copy.apply(item), None, "{item:?}");
        }
    }

    fn patched(items: &[ChangeItem]) -> LocalCopy {
        let mut copy = LocalCopy::new(StateSource::Patches, Beginning::Start, None);
        apply(&mut copy, items);
        copy
    }

    #[test]
    fn patches_make_the_state() {
        let copy = patched(&[
            merge("a", 1, json!({"n": 1, "m": {"x": 1}})),
            merge("b", 1, json!({})),
            merge("a", 2, json!({"n": null, "m": {"y": 2}})),
            delete("b", 2),
            // again, after a resume
            merge("a", 1, json!({"n": 1})),
        ]);
        let expected = [("a", 2, Some(json!({"m": {"x": 1, "y": 2}}))), ("b", 2, None)];
        assert_eq!(copy.differences(&stored(&expected), &[]), [""; 0]);
        assert_eq!(copy.differences(&stored(&expected), &["Loan".into()]).len(), 2, "not wanted");
    }

    #[test]
    fn a_stale_a_wrong_and_a_missing_entity_are_found() {
        let copy = patched(&[merge("a", 1, json!({"n": 1}))]);
        let differs = |id, version, data| copy.differences(&stored(&[(id, version, data)]), &[]);
        assert_eq!(differs("a", 1, Some(json!({"n": 1}))), [""; 0]);
        assert_eq!(differs("a", 2, Some(json!({"n": 1}))).len(), 1, "stale");
        assert_eq!(differs("a", 1, Some(json!({"n": 2}))).len(), 1, "wrong");
        assert_eq!(differs("a", 2, None).len(), 1, "deleted");
        assert_eq!(differs("b", 1, Some(json!({}))).len(), 2, "one missing, one too many");
    }

    #[test]
    fn a_skipped_version_is_found() {
        let mut copy = patched(&[merge("a", 1, json!({}))]);
        assert!(copy.apply(&merge("a", 3, json!({}))).is_some_and(|text| text.contains("after 1")));
        assert!(copy.apply(&merge("b", 2, json!({}))).is_some_and(|text| text.contains("after 0")));
        let mut copy = LocalCopy::new(StateSource::Data, Beginning::Snapshot, None);
        apply(&mut copy, &[snapshot("a", 3, json!({})), end()]);
        apply(&mut copy, &[with_data("a", 2, Some((4, json!({}))))]);
        assert!(copy.apply(&with_data("a", 5, Some((5, json!({}))))).is_some());
        let anew = ChangeItem::Change(EntityChange {
            created: true,
            ..change("c", 2, Operation::Merge, json!({}))
        });
        assert!(
            patched(&[merge("c", 1, json!({}))]).apply(&anew).is_some(),
            "made while it exists"
        );
    }

    #[test]
    fn the_higher_version_wins() {
        let mut copy = LocalCopy::new(StateSource::Data, Beginning::Snapshot, None);
        apply(&mut copy, &[snapshot("a", 1, json!({"n": 1})), snapshot("b", 1, json!({})), end()]);
        apply(&mut copy, &[with_data("a", 2, Some((4, json!({"n": 4}))))]);
        apply(&mut copy, &[with_data("a", 3, None), with_data("b", 2, None)]);
        let expected = [("a", 4, Some(json!({"n": 4}))), ("b", 2, None)];
        assert_eq!(copy.differences(&stored(&expected), &[]), [""; 0]);
        assert!(copy.apply(&with_data("a", 4, Some((3, json!({}))))).is_some(), "data too old");
    }

    const MATCHING: CopyFilter =
        CopyFilter { text: "data.n > 1", matches: |_, document| document["n"].as_u64() > Some(1) };

    fn left(id: &str, version: u64) -> ChangeItem {
        ChangeItem::Left(change(id, version, Operation::Merge, json!({"n": 0})))
    }

    #[test]
    fn a_filtered_copy_has_what_matches() {
        let mut copy = LocalCopy::new(StateSource::Data, Beginning::Snapshot, Some(MATCHING));
        apply(&mut copy, &[snapshot("a", 1, json!({"n": 2})), snapshot("b", 3, json!({"n": 2}))]);
        apply(&mut copy, &[end(), with_data("a", 4, Some((4, json!({"n": 4})))), left("b", 4)]);
        // one that has left before it came, and one that came in between
        apply(&mut copy, &[left("c", 7), with_data("d", 2, Some((2, json!({"n": 3}))))]);
        let states = [("a", 4, 4), ("b", 4, 0), ("c", 7, 1), ("d", 2, 3)];
        let states = states.map(|(id, version, n)| (id, version, Some(json!({"n": n}))));
        assert_eq!(copy.differences(&stored(&states), &[]), [""; 0]);
        let differs = |id, version, document: Option<Value>| {
            let mut states = states.clone();
            let place = states.iter().position(|state| state.0 == id).expect("an entity");
            states[place] = (id, version, document);
            copy.differences(&stored(&states), &[]).len()
        };
        assert_eq!(differs("a", 5, Some(json!({"n": 5}))), 1, "stale");
        assert_eq!(differs("a", 4, Some(json!({"n": 1}))), 1, "it has left");
        assert_eq!(differs("a", 5, None), 1, "deleted");
        assert_eq!(differs("b", 5, Some(json!({"n": 2}))), 1, "missing");
        assert_eq!(differs("b", 5, None), 0);
        assert_eq!(copy.differences(&stored(&states[1..]), &[]).len(), 1, "not stored");
    }

    #[test]
    fn what_a_filter_should_not_let_through_is_found() {
        let filtered = || LocalCopy::new(StateSource::Data, Beginning::Snapshot, Some(MATCHING));
        assert!(filtered().apply(&snapshot("a", 1, json!({"n": 1}))).is_some());
        assert!(filtered().apply(&left("a", 1)).is_some(), "within a snapshot");
        let mut copy = filtered();
        apply(&mut copy, &[end()]);
        assert!(copy.apply(&with_data("a", 1, Some((1, json!({"n": 1}))))).is_some());
        assert!(copy.apply(&with_data("a", 1, None)).is_some(), "deleted");
        let data = Some((1, json!({"n": 1}).to_string()));
        let change = change("a", 1, Operation::Merge, json!({}));
        let with_data = ChangeItem::Left(EntityChange { data, ..change });
        assert!(copy.apply(&with_data).is_some(), "left with data");
        assert!(patched(&[]).apply(&left("a", 1)).is_some(), "without a filter");
    }

    #[test]
    fn a_snapshot_drops_what_it_does_not_send() {
        let mut copy = patched(&[merge("a", 1, json!({})), merge("b", 1, json!({}))]);
        copy.begin_snapshot();
        assert!(copy.apply(&merge("a", 2, json!({}))).is_some(), "a change within a snapshot");
        apply(&mut copy, &[snapshot("a", 5, json!({"n": 5})), end()]);
        assert!(copy.apply(&snapshot("a", 6, json!({}))).is_some(), "behind its end");
        // what the snapshot has already, and an entity that was deleted when it was read
        apply(&mut copy, &[merge("a", 4, json!({"n": 4})), merge("b", 3, json!({"n": 3}))]);
        let expected = stored(&[("a", 5, Some(json!({"n": 5}))), ("b", 4, None)]);
        assert_eq!(copy.differences(&expected, &[]).len(), 1, "its delete is missing");
        apply(&mut copy, &[delete("b", 4)]);
        assert_eq!(copy.differences(&expected, &[]), [""; 0]);
    }
}
