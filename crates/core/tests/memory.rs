//! What a batch may hold in memory. The only test of its process, because the high-water mark is the
//! process's.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

mod support;

use producer_core::store::Verdict;
use support::{Db, car, event};

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
async fn an_event_over_many_full_documents_loads_few_of_them_at_once() {
    let unhurried = ["--database-statement-timeout", "30s"];
    for db in [Db::sqlite(&[]).await, Db::postgres(&unhurried).await] {
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
        assert_eq!(verdicts, [Verdict::Applied(vec![2; DOCUMENTS])]);
        let grown = peak() - before;
        assert!(grown < 80 * MIB, "{} MiB for {DOCUMENTS} MiB of documents", grown / MIB);
    }
}
