//! The door and the merge beside `serde_json::Value` on the same bytes.

use divan::Bencher;
use divan::counter::BytesCount;
use producer_core::json::{Document, fold_flat};
use producer_core::{Clock, Patch, Timestamp, decode};

fn main() {
    divan::main();
}

/// An event with so many attributes.
fn event(attributes: usize) -> String {
    let attributes: Vec<_> = (0..attributes)
        .map(|i| match i % 3 {
            0 => format!(r#""balance{i}":24439.75"#),
            1 => format!(r#""lastPaidDate{i}":"2024-01-15T10:30:00Z""#),
            _ => format!(r#""tags{i}":["a","b",true,{i}]"#),
        })
        .collect();
    format!(
        r#"{{"eventHeader":{{"uuid":"550e8400-e29b-41d4-a716-446655440000","eventName":"LoanPaymentSubmitted","eventType":"LoanPaymentSubmitted","createdDate":"2024-01-15T10:30:00Z","savedDate":1705314605000}},"eventBody":{{"entities":[{{"entityType":"Loan","entityId":"loan-12345","updatedAttributes":{{{}}}}}]}}}}"#,
        attributes.join(",")
    )
}

/// 400 B, and 64 KiB.
const ATTRIBUTES: [usize; 2] = [2, 2050];

#[divan::bench(args = ATTRIBUTES, sample_size = 50)]
fn parse_event(bencher: Bencher<'_, '_>, attributes: usize) {
    let body = event(attributes);
    let clock = Clock::from_fn(|| Timestamp::from_micros(0));
    bencher.counter(BytesCount::of_str(&body)).bench(|| decode::event(body.as_bytes(), &clock));
}

#[divan::bench(args = ATTRIBUTES, sample_size = 50)]
fn parse_pretty_event(bencher: Bencher<'_, '_>, attributes: usize) {
    let value: serde_json::Value = serde_json::from_str(&event(attributes)).expect("JSON");
    let body = serde_json::to_string_pretty(&value).expect("JSON");
    let clock = Clock::from_fn(|| Timestamp::from_micros(0));
    bencher.counter(BytesCount::of_str(&body)).bench(|| decode::event(body.as_bytes(), &clock));
}

#[divan::bench(args = ATTRIBUTES, sample_size = 50)]
fn serde_json_value(bencher: Bencher<'_, '_>, attributes: usize) {
    let body = event(attributes);
    bencher
        .counter(BytesCount::of_str(&body))
        .bench(|| serde_json::from_slice::<serde_json::Value>(body.as_bytes()));
}

fn patch(text: &str) -> Patch {
    Patch::parse(text).expect("a patch")
}

/// A document of so many members that are objects, and a patch that reaches into each.
fn deep(members: usize) -> (String, String) {
    let object = |value: &str| {
        let members: Vec<_> = (0..members).map(|i| format!(r#""k{i}":{{"v":{value}}}"#)).collect();
        format!("{{{}}}", members.join(","))
    };
    (object("[1,2,3]"), object("\"new\""))
}

#[divan::bench(args = [10, 1000])]
fn merge_deep(bencher: Bencher<'_, '_>, members: usize) {
    let (stored, text) = deep(members);
    let patch = patch(&text);
    bencher.counter(BytesCount::new(stored.len() + text.len())).bench(|| {
        let mut document = Document::parse(&stored).expect("a document");
        document.apply(&patch);
        (document.size(), document.to_json())
    });
}

/// The same over `serde_json::Value`, the patch's parsing left out here too.
#[divan::bench(args = [10, 1000])]
fn merge_deep_serde_json_value(bencher: Bencher<'_, '_>, members: usize) {
    let (stored, text) = deep(members);
    let patch: serde_json::Value = serde_json::from_str(&text).expect("a patch");
    bencher.counter(BytesCount::new(stored.len() + text.len())).bench(|| {
        let mut document: serde_json::Value = serde_json::from_str(&stored).expect("a document");
        merge_values(&mut document, &patch);
        document.to_string()
    });
}

/// RFC 7396, as it stands there.
fn merge_values(target: &mut serde_json::Value, patch: &serde_json::Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = serde_json::Value::Object(serde_json::Map::new());
    }
    let Some(target) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge_values(target.entry(name.as_str()).or_insert(serde_json::Value::Null), value);
        }
    }
}

#[divan::bench(args = [2, 100])]
fn fold_flat_patches(bencher: Bencher<'_, '_>, patches: usize) {
    let patches: Vec<_> = (0..patches)
        .map(|i| patch(&format!(r#"{{"balance":{i},"lastPaidDate":"2024-01-15T10:30:00Z"}}"#)))
        .collect();
    let patches: Vec<_> = patches.iter().collect();
    bencher.bench(|| fold_flat(&patches));
}
