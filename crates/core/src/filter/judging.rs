//! Judging while other tasks wait for the thread.

use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

use super::condition::Filter;
use super::evaluate::Facts;

/// Longer than this nothing else waits for a filter's verdicts.
const LONG: Duration = Duration::from_millis(4);

/// How long filters may have kept a task since it let others go on, at most: a filter of 64 conditions may
/// take half a second with a document of 1 MiB. Whoever judges in a loop that does not wait keeps one of
/// these.
#[derive(Debug, Clone, Copy, Default)]
pub struct JudgingTime(Duration);

impl JudgingTime {
    /// Whether a filter holds: [`Filter::matches`].
    pub fn matches(&mut self, filter: &Filter, facts: &Facts<'_>) -> bool {
        self.spend(filter.longest(facts.bytes()), || filter.matches(facts))
    }

    /// Whether a filter holds of no state: [`Filter::excludes`].
    pub fn excludes(&mut self, filter: &Filter, facts: &Facts<'_>) -> bool {
        self.spend(filter.longest(facts.bytes()), || filter.excludes(facts))
    }

    /// Does what takes `longest` at most. Where that is long, together with what was done before, the other
    /// tasks of the runtime's thread go on on another thread meanwhile.
    pub fn spend<T>(&mut self, longest: Duration, work: impl FnOnce() -> T) -> T {
        if self.adds_up(longest) && has_other_threads() { block_in_place(work) } else { work() }
    }

    /// Whether it is time to let other tasks go on, with so much more; then it begins anew.
    pub fn adds_up(&mut self, longest: Duration) -> bool {
        self.0 = self.0.saturating_add(longest);
        let is_long = self.0 >= LONG;
        if is_long {
            self.0 = Duration::ZERO;
        }
        is_long
    }
}

/// Whether the tasks of this thread can go on on another one: not in a runtime of a single thread, where
/// [`block_in_place`] would panic, and not outside of a runtime.
fn has_other_threads() -> bool {
    Handle::try_current()
        .is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio::task::spawn;

    use super::*;
    use crate::filter::{Scope, State};
    use crate::time::Timestamp;

    /// A document and the slowest filter that is known.
    fn slowest(bytes: usize) -> (String, Filter) {
        let conditions: Vec<_> = (2..23).map(|n| format!("data.a.exists(x, x == {n})")).collect();
        let filter = Filter::parse(&conditions.join(" || "), Scope::Entity).expect("a filter");
        (format!(r#"{{"a":[{}1]}}"#, "1,".repeat(bytes / 2)), filter)
    }

    fn facts(data: &str) -> Facts<'_> {
        let time = Timestamp::from_micros(0);
        Facts {
            entity_type: "Car",
            entity_id: "c",
            version: 1,
            state: Some(State { created_at: time, updated_at: time, data }),
            change: None,
            now: time,
        }
    }

    /// The runtime has one thread, as that of the connections on two cores.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_go_on_while_a_large_document_is_judged() {
        let (began, has_begun) = oneshot::channel();
        let judging = spawn(async move {
            let (data, filter) = slowest(256 << 10);
            began.send(()).expect("the other task waits");
            JudgingTime::default().matches(&filter, &facts(&data))
        });
        let other = spawn(async move {
            has_begun.await.expect("it begins");
            judging.is_finished()
        });
        assert!(!other.await.expect("no panic"), "it went on only after the verdict");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_go_on_while_many_documents_are_judged() {
        let (began, has_begun) = oneshot::channel();
        let judging = spawn(async move {
            let (data, filter) = slowest(2 << 10);
            let mut time = JudgingTime::default();
            assert!(filter.longest(data.len()) < LONG, "one alone is short");
            began.send(()).expect("the other task waits");
            (0..100).filter(|_| time.matches(&filter, &facts(&data))).count()
        });
        let other = spawn(async move {
            has_begun.await.expect("it begins");
            judging.is_finished()
        });
        assert!(!other.await.expect("no panic"), "it went on only after all verdicts");
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_judges_too() {
        let (data, filter) = slowest(64 << 10);
        assert!(filter.longest(data.len()) > LONG);
        assert!(!JudgingTime::default().matches(&filter, &facts(&data)));
    }

    #[test]
    fn a_usual_document_is_short() {
        for text in ["data.a == 1 && data.b > 2", "data.items.exists(i, i.price > 300)"] {
            let filter = Filter::parse(text, Scope::Entity).expect(text);
            assert!(filter.longest(8 << 10) < LONG / 2, "{text}");
        }
    }
}
