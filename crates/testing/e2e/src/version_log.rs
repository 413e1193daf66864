//! The check of what a sink wrote to a stream or a topic: each version of each entity, in order. Duplicates are
//! allowed.

use std::collections::HashMap;

use crate::EntityKey;

/// What a stream or a topic has got so far.
#[derive(Debug)]
pub struct VersionLog {
    name: String,
    /// The highest version of each entity; all below came before it.
    versions: HashMap<EntityKey, u64>,
    entries: usize,
    duplicates: usize,
    problems: Vec<String>,
}

impl VersionLog {
    /// Of a stream or topic of this name that nothing was read of.
    pub fn new(name: &str) -> Self {
        let (versions, problems) = (HashMap::new(), Vec::new());
        Self { name: name.to_owned(), versions, entries: 0, duplicates: 0, problems }
    }

    /// Its next entry; `place` is where it stands.
    pub fn add(&mut self, key: EntityKey, version: u64, place: &str) {
        self.entries += 1;
        let last = self.versions.entry(key.clone()).or_default();
        if version <= *last {
            self.duplicates += 1;
        } else {
            if version != *last + 1 {
                let name = &self.name;
                let problem =
                    format!("{name}: {key} has version {version} ({place}) behind {last}");
                self.problems.push(problem);
            }
            *last = version;
        }
    }

    /// How many entries it has got.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// How many entries came again.
    pub fn duplicates(&self) -> usize {
        self.duplicates
    }

    /// Whether it has all of these versions.
    pub fn has(&self, versions: &HashMap<EntityKey, u64>) -> bool {
        versions.iter().all(|(key, version)| self.versions.get(key) >= Some(version))
    }

    /// What was out of order since the last call, and what it lacks of these versions.
    pub fn problems(&mut self, versions: &HashMap<EntityKey, u64>) -> Vec<String> {
        let mut problems = std::mem::take(&mut self.problems);
        for (key, version) in versions {
            let last = self.versions.get(key).copied().unwrap_or(0);
            if last != *version {
                let name = &self.name;
                problems.push(format!("{name}: {key} ends with version {last} of {version}"));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn car() -> EntityKey {
        EntityKey { entity_type: "Car".into(), entity_id: "1".into() }
    }

    fn log(versions: &[u64]) -> VersionLog {
        let mut log = VersionLog::new("s");
        for &version in versions {
            log.add(car(), version, "1-0");
        }
        log
    }

    fn up_to(version: u64) -> HashMap<EntityKey, u64> {
        [(car(), version)].into()
    }

    #[test]
    fn versions_in_order_may_come_again() {
        let mut log = log(&[1, 2, 1, 2, 3, 3]);
        assert!(log.has(&up_to(3)) && !log.has(&up_to(4)));
        assert_eq!((log.entries(), log.duplicates()), (6, 3));
        assert_eq!(log.problems(&up_to(3)), Vec::<String>::new());
    }

    #[test]
    fn what_is_missing_early_or_surplus_is_a_problem() {
        for (versions, last) in
            [(&[1, 3][..], 3), (&[1, 3, 2], 3), (&[2], 2), (&[1], 2), (&[1, 2], 1)]
        {
            assert_eq!(log(versions).problems(&up_to(last)).len(), 1, "{versions:?}");
        }
        assert_eq!(log(&[]).problems(&up_to(1)).len(), 1);
    }
}
