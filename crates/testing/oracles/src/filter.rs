//! Filters: any text as a filter, any text as a document.

use producer_core::filter::{ChangeFacts, Facts, Filter, Scope, State};
use producer_core::json::{Document, Path};
use producer_core::{Patch, Timestamp};

const NOW: Timestamp = Timestamp::from_micros(1_705_311_000_000_000);

/// The first line is a filter, the rest a document and a patch. No text panics or takes long (libFuzzer reports
/// what does); an error points into the text; a verdict depends on the document's value alone.
pub(crate) fn oracle(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (text, document) = text.split_once('\n').unwrap_or((text, "{}"));
    for scope in [Scope::Entity, Scope::Change, Scope::History] {
        match Filter::parse(text, scope) {
            Ok(filter) => judge(&filter, scope, document),
            Err(error) => {
                assert!((1..=text.chars().count() + 1).contains(&error.column), "{error}");
                assert!(error.detail.len() < 500, "{error}");
            }
        }
    }
}

fn judge(filter: &Filter, scope: Scope, document: &str) {
    // no document of the store is no JSON; one all the same does no harm
    let verdict = filter.matches(&facts(scope, document));
    filter.is_touched_by(document);
    if let Ok(patch) = Patch::parse(document) {
        let rewritten = Document::parse(patch.text()).expect("an object").to_json();
        assert_eq!(verdict, filter.matches(&facts(scope, &rewritten)), "{rewritten}");
        assert_eq!(filter.is_touched_by(document), filter.is_touched_by(&rewritten));
    }
    if let Ok(opposite) = Filter::parse(&format!("!({})", filter.text()), scope) {
        assert_ne!(verdict, opposite.matches(&facts(scope, document)));
    }
    let root = Path::root();
    let lax = filter.without(&root);
    assert!(!verdict || lax.is_none_or(|lax| lax.matches(&facts(scope, document))));
}

fn facts(scope: Scope, document: &str) -> Facts<'_> {
    let change = ChangeFacts {
        operation: "merge",
        is_total: false,
        created: true,
        committed_at: NOW,
        event_name: "Paid",
        event_type: None,
        event_source: Some("shop"),
        event_actor: None,
        patch: document,
    };
    Facts {
        entity_type: "Car",
        entity_id: "c-1",
        version: 3,
        state: Some(State { created_at: NOW, updated_at: NOW, data: document }),
        change: (scope != Scope::Entity).then_some(change),
        now: NOW,
    }
}
