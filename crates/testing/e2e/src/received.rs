//! What a reader of the change feed got since it began, and the check that it is what was committed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::changes::{ChangeItem, EntityKey};
use crate::local_copy::{Beginning, CopyFilter, LocalCopy, StateSource, StoredEntities};

/// How many of the missing changes are named.
const MAX_NAMED: usize = 5;

/// Everything that was committed.
#[derive(Debug)]
pub struct Committed {
    /// Entity and version of each change, in the order of the log.
    changes: Vec<(EntityKey, u64)>,
    /// The place of each version in that order.
    places: HashMap<EntityKey, HashMap<u64, usize>>,
    /// The entities as they are.
    pub entities: StoredEntities,
}

impl Committed {
    /// The changes in the order of the log, and the entities.
    pub fn new(changes: Vec<(EntityKey, u64)>, entities: StoredEntities) -> Self {
        let mut places = HashMap::<EntityKey, HashMap<u64, usize>>::new();
        for (place, (key, version)) in changes.iter().enumerate() {
            match places.get_mut(key) {
                Some(versions) => drop(versions.insert(*version, place)),
                None => drop(places.insert(key.clone(), [(*version, place)].into())),
            }
        }
        Self { changes, places, entities }
    }

    /// How many changes were committed.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// The last version of each entity.
    pub fn last_versions(&self) -> HashMap<EntityKey, u64> {
        let last = |versions: &HashMap<u64, usize>| versions.keys().copied().max().unwrap_or(0);
        self.places.iter().map(|(key, versions)| (key.clone(), last(versions))).collect()
    }

    /// Whether nothing was committed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// An order that no log may have: an entity's versions must follow on each other.
    pub fn problems(&self) -> Vec<String> {
        let mut last = HashMap::<&EntityKey, u64>::new();
        let wrong = self.changes.iter().filter_map(|(key, version)| {
            let before = last.insert(key, *version).unwrap_or(0);
            (before + 1 != *version)
                .then(|| format!("the log has {key}, version {version}, after version {before}"))
        });
        wrong.collect()
    }

    fn place(&self, key: &EntityKey, version: u64) -> Option<usize> {
        self.places.get(key)?.get(&version).copied()
    }

    fn name(&self, place: usize) -> String {
        let (key, version) = &self.changes[place];
        format!("{key} version {version} (change {place})")
    }
}

/// What a reader got since it began, over all of its connections.
#[derive(Debug)]
pub struct Received {
    beginning: Beginning,
    types: Vec<String>,
    /// The changes of each connection since the last check.
    connections: Vec<Vec<(Arc<EntityKey>, u64)>>,
    /// All before this place was checked; `None` while it is unknown where a snapshot began.
    checked: Option<usize>,
    copy: LocalCopy,
    problems: Vec<String>,
}

impl Received {
    /// Of a reader that has only begun. Without types it gets all of them, and without a filter all entities.
    pub fn new(
        beginning: Beginning,
        source: StateSource,
        types: Vec<String>,
        filter: Option<CopyFilter>,
    ) -> Self {
        let checked = (beginning == Beginning::Start).then_some(0);
        let copy = LocalCopy::new(source, beginning, filter);
        Self { beginning, types, connections: Vec::new(), checked, copy, problems: Vec::new() }
    }

    /// Of a reader that begins anew with a snapshot over the copy that it has. Returns what it got before,
    /// without the copy.
    #[must_use]
    pub fn begin_snapshot(&mut self, source: StateSource) -> Self {
        let mut new =
            Self::new(Beginning::Snapshot, source, self.types.clone(), self.copy.filter());
        std::mem::swap(&mut self.copy, &mut new.copy);
        new.copy.begin_snapshot();
        std::mem::replace(self, new)
    }

    /// The copy that it keeps.
    pub fn copy(&self) -> &LocalCopy {
        &self.copy
    }

    /// The types that it asked for.
    pub fn types(&self) -> &[String] {
        &self.types
    }

    /// A new connection: from here on items may come again.
    pub fn connect(&mut self) {
        self.connections.push(Vec::new());
    }

    /// Adds what came.
    pub fn add(&mut self, item: &ChangeItem) {
        let problem = self.copy.apply(item);
        self.problems.extend(problem);
        if let ChangeItem::Change(change) | ChangeItem::Left(change) = item {
            let key = self.copy.key(&change.key);
            if self.connections.is_empty() {
                self.connect();
            }
            self.connections.last_mut().expect("just added").push((key, change.version));
        }
    }

    /// Checks and forgets what came since the last check. `is_current`: the reader has read all that was
    /// committed; else it was thrown away somewhere before.
    pub fn check(&mut self, committed: &Committed, is_current: bool) -> Vec<String> {
        let mut problems = std::mem::take(&mut self.problems);
        let mut places = BTreeSet::new();
        for connection in std::mem::take(&mut self.connections) {
            problems.extend(self.check_connection(&connection, committed, &mut places));
        }
        if self.copy.filter().is_none() {
            // with a filter the copy shows what is missing
            problems.extend(self.check_complete(&places, committed, is_current));
        }
        if is_current {
            problems.extend(self.copy.differences(&committed.entities, &self.types));
        }
        problems
    }

    fn is_wanted(&self, key: &EntityKey) -> bool {
        self.types.is_empty() || self.types.contains(&key.entity_type)
    }

    /// Everything is committed and wanted, and comes once in the order of the log.
    fn check_connection(
        &self,
        connection: &[(Arc<EntityKey>, u64)],
        committed: &Committed,
        places: &mut BTreeSet<usize>,
    ) -> Vec<String> {
        let (mut problems, mut last) = (Vec::new(), None);
        for (key, version) in connection {
            let Some(place) = committed.place(key, *version) else {
                problems.push(format!("{key} version {version} came, but is not committed"));
                continue;
            };
            if !self.is_wanted(key) {
                problems.push(format!("{} is not of a wanted type", committed.name(place)));
            }
            if let Some(before) = last.filter(|&before| before >= place) {
                let (name, before) = (committed.name(place), committed.name(before));
                problems.push(format!("{name} came after {before}"));
            }
            last = Some(place);
            places.insert(place);
        }
        problems
    }

    /// Nothing is missing between the first change and the last, or the end of the log.
    fn check_complete(
        &mut self,
        places: &BTreeSet<usize>,
        committed: &Committed,
        is_current: bool,
    ) -> Vec<String> {
        let end = match is_current {
            true => committed.len(),
            false => places.last().map_or(0, |last| last + 1),
        };
        let begin = self.checked.or(places.first().copied()).unwrap_or(end);
        let is_missing =
            |place: &usize| self.is_wanted(&committed.changes[*place].0) && !places.contains(place);
        let missing: Vec<usize> = (begin..end).filter(is_missing).collect();
        if is_current {
            self.checked = Some(end);
        }
        if missing.is_empty() {
            return Vec::new();
        }
        let named = missing.iter().take(MAX_NAMED).map(|&place| committed.name(place));
        let named = named.collect::<Vec<_>>().join(", ");
        let beginning = self.beginning;
        vec![format!("begun with {beginning:?}, {} changes never came: {named}", missing.len())]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::changes::{EntityChange, EntitySnapshot};
    use crate::proto::Operation;

    fn key(id: &str) -> EntityKey {
        let (entity_type, entity_id) = id.split_once('/').unwrap_or(("Car", id));
        EntityKey { entity_type: entity_type.into(), entity_id: entity_id.into() }
    }

    /// Entity and version; each document counts its updates.
    const LOG: [(&str, u64); 6] = [("a", 1), ("b", 1), ("a", 2), ("Loan/l", 1), ("a", 3), ("b", 2)];

    fn committed(log: &[(&str, u64)]) -> Committed {
        let changes: Vec<_> = log.iter().map(|(id, version)| (key(id), *version)).collect();
        let state = |(key, version): &(EntityKey, u64)| {
            (key.clone(), (*version, Some(json!({"n": version}))))
        };
        let entities = changes.iter().map(state).collect();
        Committed::new(changes, entities)
    }

    fn change((id, version): (&str, u64)) -> ChangeItem {
        ChangeItem::Change(EntityChange {
            token: "t".into(),
            key: key(id),
            version,
            operation: Operation::Merge,
            created: version == 1,
            patch: json!({"n": version}).to_string(),
            data: None,
        })
    }

    fn snapshot((id, version): (&str, u64)) -> ChangeItem {
        let data = json!({"n": version}).to_string();
        ChangeItem::Snapshot(EntitySnapshot { token: "t".into(), key: key(id), version, data })
    }

    fn received(beginning: Beginning, types: &[&str], connections: &[&[(&str, u64)]]) -> Received {
        let types = types.iter().map(|&name| name.to_owned()).collect();
        let mut received = Received::new(beginning, StateSource::Patches, types, None);
        add(&mut received, connections);
        received
    }

    fn add(received: &mut Received, connections: &[&[(&str, u64)]]) {
        for connection in connections {
            received.connect();
            connection.iter().for_each(|&one| received.add(&change(one)));
        }
    }

    fn check(connections: &[&[(&str, u64)]]) -> Vec<String> {
        received(Beginning::Start, &[], connections).check(&committed(&LOG), true)
    }

    #[test]
    fn a_complete_sequence_is_right_with_what_came_again() {
        assert_eq!(check(&[&LOG]), [""; 0]);
        assert_eq!(check(&[&LOG[..3], &LOG[1..5], &[], &LOG[5..]]), [""; 0]);
        assert_eq!(committed(&LOG).problems(), [""; 0]);
    }

    #[test]
    fn a_skipped_change_is_found() {
        // also where neither a later version nor the copy shows it
        for (skipped, (id, version)) in LOG.into_iter().enumerate() {
            let got = [&LOG[..skipped], &LOG[skipped + 1..]].concat();
            let problems = check(&[&got]).join("\n");
            let name = format!("1 changes never came: {} version {version} ", key(id));
            assert!(problems.contains(&name), "{problems}");
        }
        // at a reconnect
        assert!(!check(&[&LOG[..3], &LOG[4..]]).is_empty());
        let mut thrown_away = received(Beginning::Start, &[], &[&LOG[..1], &LOG[2..4]]);
        assert_eq!(thrown_away.check(&committed(&LOG), false).len(), 1);
    }

    #[test]
    fn a_swapped_order_is_found() {
        for first in 0..LOG.len() - 1 {
            let mut got = LOG;
            got.swap(first, first + 1);
            let problems = check(&[&got]).join("\n");
            assert!(problems.contains(" came after "), "{problems}");
        }
        let twice = [&LOG[..2], &LOG[1..]].concat();
        assert!(check(&[&twice]).join("\n").contains("came after"), "twice in one connection");
    }

    #[test]
    fn what_is_not_committed_or_not_wanted_is_found() {
        let more = [&LOG[..], &[("a", 4)]].concat();
        assert!(check(&[&more]).join("\n").contains("not committed"));
        let mut cars = received(Beginning::Start, &["Car"], &[&LOG]);
        assert!(cars.check(&committed(&LOG), true).join("\n").contains("not of a wanted type"));
        let got: Vec<_> = LOG.iter().copied().filter(|(id, _)| !id.contains('/')).collect();
        let mut cars = received(Beginning::Start, &["Car"], &[&got]);
        assert_eq!(cars.check(&committed(&LOG), true), [""; 0]);
    }

    #[test]
    fn a_log_out_of_order_is_found() {
        assert_eq!(committed(&[("a", 2), ("a", 1)]).problems().len(), 2);
        assert_eq!(committed(&[("a", 1), ("a", 3)]).problems().len(), 1);
    }

    #[test]
    fn what_follows_on_a_snapshot_is_complete() {
        let with_snapshot = |entities: &[(&'static str, u64)], changes: &[(&str, u64)]| {
            let mut received = received(Beginning::Snapshot, &[], &[]);
            entities.iter().for_each(|&one| received.add(&snapshot(one)));
            received.add(&ChangeItem::SnapshotEnd { token: "t".into() });
            add(&mut received, &[changes]);
            received.check(&committed(&LOG), true)
        };
        let two = [("a", 2), ("b", 1)];
        assert_eq!(with_snapshot(&two, &LOG[2..]), [""; 0]);
        assert_eq!(with_snapshot(&[("a", 3), ("b", 2), ("Loan/l", 1)], &[]), [""; 0]);
        assert_eq!(with_snapshot(&two, &[]).len(), 3, "the copy is stale");
        assert!(!with_snapshot(&two, &[LOG[2], LOG[4], LOG[5]]).is_empty(), "one is missing");
        assert!(!with_snapshot(&two, &LOG[2..5]).is_empty(), "the last one is missing");
    }

    #[test]
    fn what_came_is_checked_once() {
        let mut got = received(Beginning::Start, &[], &[&LOG[..4]]);
        assert_eq!(got.check(&committed(&LOG[..4]), true), [""; 0]);
        add(&mut got, &[&LOG[5..]]);
        assert!(got.check(&committed(&LOG), true).join("\n").contains("(change 4)"));
    }

    #[test]
    fn a_snapshot_over_a_copy_is_a_new_beginning() {
        let mut got = received(Beginning::Start, &[], &[&LOG[..2]]);
        let mut before = got.begin_snapshot(StateSource::Patches);
        assert_eq!(before.check(&committed(&LOG), false), [""; 0]);
        for one in [("a", 3), ("b", 2), ("Loan/l", 1)] {
            got.add(&snapshot(one));
        }
        got.add(&ChangeItem::SnapshotEnd { token: "t".into() });
        assert_eq!(got.check(&committed(&LOG), true), [""; 0]);
    }
}
