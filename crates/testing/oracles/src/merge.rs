//! Both ways to merge, compared with RFC 7396.

use producer_core::Patch;
use producer_core::json::{Document, fold_flat, same_value};

use crate::exact::Exact;

/// Each line is a patch; lines that are none are skipped. The document, a fold of the flat patches
/// and the reference agree after each of them.
pub(crate) fn oracle(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let patches: Vec<Patch> =
        text.lines().filter_map(|line| Patch::parse(line).ok()).take(8).collect();
    let mut before = empty();
    let mut document = Document::empty();
    for patch in &patches {
        let after = before.clone().merge_patch(&exact(patch.text()));
        document.apply(patch);
        is_the_same(&document, &after);
        twice_is_once(&document, patch);
        paths_between(&before, &after);
        before = after;
    }
    flat_patches_fold(&patches);
}

fn empty() -> Exact {
    exact("{}")
}

fn exact(text: &str) -> Exact {
    Exact::read(text).expect("an object that breaks no rule")
}

fn document(text: &str) -> Document<'_> {
    Document::parse(text).expect("a document")
}

fn is_the_same(ours: &Document<'_>, expected: &Exact) {
    let text = ours.to_json();
    assert_eq!(exact(&text), *expected);
    assert_eq!(ours.size(), expected.written().len());
    assert!(same_value(&text, &expected.written()));
    assert_eq!(document(&expected.written()), *ours);
}

fn twice_is_once(once: &Document<'_>, patch: &Patch) {
    let mut twice = once.clone();
    let again = patch.clone();
    twice.merge(document(again.text()));
    assert_eq!(twice.to_json(), once.to_json());
}

/// The patches between two documents, as `rebuild` and `adopt` compute them.
fn paths_between(before: &Exact, after: &Exact) {
    let (from, to) = (before.written(), after.written());
    let (from, to) = (document(&from), document(&to));
    let patch = exact(&from.patch_to(&to).to_json());
    assert_eq!(before.clone().merge_patch(&patch), *after);
    let lacking = exact(&from.lacking(&to).to_json());
    assert_eq!(before.clone().merge_patch(&lacking), after.clone().merge_patch(before));
}

/// As the fast path does: patches folded into one, which `jsonb || jsonb` merges one level deep.
fn flat_patches_fold(patches: &[Patch]) {
    let mut expected = empty();
    let Some((first, rest)) = patches.split_first() else { return };
    expected = expected.merge_patch(&exact(first.text()));
    let flat: Vec<_> = rest.iter().filter(|patch| patch.is_flat()).collect();
    if flat.is_empty() {
        return;
    }
    let (Exact::Object(mut shallow), Exact::Object(folded)) =
        (expected.clone(), exact(&fold_flat(&flat)))
    else {
        unreachable!("documents are objects");
    };
    shallow.extend(folded);
    for patch in flat {
        expected = expected.merge_patch(&exact(patch.text()));
    }
    assert_eq!(Exact::Object(shallow), expected);
}
