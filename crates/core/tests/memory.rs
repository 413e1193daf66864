//! What a batch may hold in memory. One test alone in its process, because the high-water mark is the
//! process's.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

mod support;

use producer_core::ingest::Verdict;
use support::{Db, applied, car, default, event, unhurried};

const DOCUMENTS: usize = 40;
const MIB: usize = 1 << 20;

/// The most memory that the process has had resident since [`forget_the_peak`], in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

fn forget_the_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

#[tokio::test]
async fn a_batch_holds_little_at_once() {
    let (sqlite, postgres) = (Db::sqlite(default).await, Db::postgres(unhurried).await);
    taken_uuids_of_large_events_load_one_at_once(&postgres).await;
    for db in [sqlite, postgres] {
        an_event_over_many_full_documents_loads_few_of_them_at_once(&db).await;
    }
}

async fn taken_uuids_of_large_events_load_one_at_once(db: &Db) {
    let n = || (0..).take(DOCUMENTS);
    let full = format!(r#"{{"a":"{}"}}"#, "x".repeat(MIB - 100));
    for n in n() {
        db.apply(&[car(5000 + n, "large", &full)]).await;
    }
    let batch: Vec<_> = n().map(|n| car(5000 + n, "large", r#"{"a":1}"#)).collect();
    forget_the_peak();
    let before = peak();
    assert_eq!(db.apply(&batch).await, vec![Verdict::Conflict; DOCUMENTS]);
    let grown = peak() - before;
    assert!(grown < 16 * MIB, "{} MiB for {DOCUMENTS} events of a MiB", grown / MIB);
}

async fn an_event_over_many_full_documents_loads_few_of_them_at_once(db: &Db) {
    let ids: Vec<String> = (0..DOCUMENTS).map(|n| n.to_string()).collect();
    let full = format!(r#"{{"a":"{}"}}"#, "x".repeat(MIB - 100));
    for (n, id) in (0..).zip(&ids) {
        db.apply(&[car(n, id, &full)]).await;
    }
    let updates: Vec<_> = ids.iter().map(|id| ("Car", id.as_str(), r#"{"o":{}}"#)).collect();
    let event = event(1000, &updates);
    forget_the_peak();
    let before = peak();
    let verdicts = db.apply(&[event]).await;
    assert_eq!(verdicts, [applied(vec![2; DOCUMENTS])]);
    let grown = peak() - before;
    assert!(grown < 80 * MIB, "{} MiB for {DOCUMENTS} MiB of documents", grown / MIB);
}
