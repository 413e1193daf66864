//! Filters against a naive model: random documents and conditions, printed in random notations, parsed and
//! judged by the code under test, and judged over a tree by a few lines that know no index, slot or scanner.

mod condition;
mod document;
mod judge;
mod random;

use condition::{Condition, condition, printed};
use document::{document, patch, text};
use judge::{Subject, holds, satisfies};
use producer_core::filter::{ChangeFacts, Facts, Field, Filter, Scope, State};
use producer_core::json::{Document, Path};
use producer_core::{Patch, Timestamp};
use random::Random;

/// Seeds of each test; `FILTER_CASES` overrides it.
fn cases() -> u64 {
    std::env::var("FILTER_CASES").map_or(20_000, |cases| cases.parse().expect("a number"))
}

/// What one seed makes: an entity, a change and a condition over them.
struct Case {
    scope: Scope,
    condition: Condition,
    filter: Filter,
    filter_text: String,
    subject: Subject,
    data: String,
    patch: String,
}

impl Case {
    /// `None` where the condition is larger than filters may be.
    fn new(seed: u64) -> Option<Self> {
        let random = &mut Random::new(seed);
        let scope = *random.pick(&[Scope::Entity, Scope::Change]);
        let (data, patch) = (document(random), patch(random));
        let subject = Subject::new(random, data, patch, scope);
        let condition = condition(random, &subject, scope);
        let filter_text = printed(random, &condition);
        let (data, patch) = (text(random, &subject.data), text(random, &subject.patch));
        let filter = match Filter::parse(&filter_text, scope) {
            Ok(filter) => filter,
            Err(error) => {
                let is_too_large = error.detail.contains("at most");
                assert!(is_too_large, "seed {seed}: {filter_text}: {error}");
                return None;
            }
        };
        Some(Self { scope, condition, filter, filter_text, subject, data, patch })
    }

    fn facts<'c>(&'c self, data: &'c str) -> Facts<'c> {
        let subject = &self.subject;
        let state = State {
            created_at: Timestamp::from_micros(subject.created_at),
            updated_at: Timestamp::from_micros(subject.updated_at),
            data,
        };
        let change = ChangeFacts {
            operation: subject.operation,
            is_total: subject.operation != "merge",
            created: subject.created,
            committed_at: Timestamp::from_micros(subject.committed_at),
            event_name: subject.event_name,
            event_type: subject.event_type,
            event_source: None,
            event_actor: Some("ann"),
            patch: &self.patch,
        };
        Facts {
            entity_type: subject.entity_type,
            entity_id: subject.entity_id,
            version: subject.version,
            state: Some(state),
            change: (self.scope == Scope::Change).then_some(change),
            now: Timestamp::from_micros(subject.now),
        }
    }

    fn shown(&self, seed: u64) -> String {
        let Self { filter_text, data, patch, .. } = self;
        format!("seed {seed}\nfilter {filter_text}\ndata {data}\npatch {patch}")
    }
}

fn each_case(mut check: impl FnMut(u64, &Case)) {
    let (mut judged, all) = (0, cases());
    for seed in 0..all {
        if let Some(case) = Case::new(seed) {
            judged += 1;
            check(seed, &case);
        }
    }
    assert!(judged * 10 > all * 9, "only {judged} of {all} conditions were small enough");
}

#[test]
fn a_filter_says_what_the_model_says() {
    let mut held = 0;
    each_case(|seed, case| {
        let expected = holds(&case.condition, &case.subject, None);
        held += u64::from(expected);
        let matches = case.filter.matches(&case.facts(&case.data));
        assert_eq!(matches, expected, "{}", case.shown(seed));
    });
    // neither verdict is so rare that the test says little
    assert!((cases() / 5..cases() * 4 / 5).contains(&held), "{held} of {} hold", cases());
}

#[test]
fn what_a_filter_demands_of_a_field_excludes_nothing_that_matches() {
    let mut demands = 0;
    each_case(|seed, case| {
        if !case.filter.matches(&case.facts(&case.data)) {
            return;
        }
        let now = Timestamp::from_micros(case.subject.now);
        let paths: Vec<Path> = document::paths(&case.subject.data);
        let fields = [Field::Type, Field::Id, Field::CreatedAt, Field::UpdatedAt];
        for field in fields.into_iter().chain(paths.iter().map(Field::Data)) {
            let value = case.subject.field(field);
            for constraint in case.filter.constraints(field, now) {
                demands += 1;
                let fulfils = value.as_ref().is_some_and(|value| satisfies(value, &constraint));
                assert!(fulfils, "{field:?} {constraint:?}\n{}", case.shown(seed));
            }
        }
    });
    assert!(demands > cases() / 50, "only {demands} demands");
}

#[test]
fn without_conditions_on_a_path_no_less_matches() {
    let mut removed = 0;
    each_case(|seed, case| {
        for path in document::paths(&case.subject.data) {
            let facts = case.facts(&case.data);
            let without = case.filter.without(&path);
            removed += u64::from(without.as_ref() != Some(&case.filter));
            if case.filter.matches(&facts) {
                let matches = without.is_none_or(|without| without.matches(&facts));
                assert!(matches, "without {path}\n{}", case.shown(seed));
            }
        }
    });
    assert!(removed > cases() / 50, "only {removed} filters lost a condition");
}

#[test]
fn an_update_that_does_not_touch_a_filter_changes_no_verdict() {
    let mut untouched = 0;
    each_case(|seed, case| {
        if !case.filter.reads_key_and_data_only() || case.filter.is_touched_by(&case.patch) {
            return;
        }
        untouched += 1;
        let patch = Patch::parse(&case.patch).expect("a patch");
        let mut document = Document::parse(&case.data).expect("a document");
        document.apply(&patch);
        let after = document.to_json();
        let (before, after) = (case.facts(&case.data), case.facts(&after));
        let (before, after) = (case.filter.matches(&before), case.filter.matches(&after));
        assert_eq!(before, after, "{}", case.shown(seed));
    });
    assert!(untouched > cases() / 50, "only {untouched} updates touch nothing");
}
