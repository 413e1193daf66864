//! Notices that the server may have crashed.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Sessions that are remembered; with more of them all count as new once.
const MOST_SESSIONS: usize = 1000;

/// A crash ends every session. So as long as only sessions are used that were used before, there was none. A
/// session that is new proves nothing, and counts as a crash: then what was awaited is awaited anew.
#[derive(Debug, Default)]
pub(super) struct Generations(Mutex<Sessions>);

#[derive(Debug, Default)]
struct Sessions {
    seen: HashSet<String>,
    generation: u64,
}

impl Generations {
    /// The generation after a statement in this session.
    pub(super) fn note(&self, session: String) -> u64 {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !sessions.seen.contains(&session) {
            if sessions.seen.len() >= MOST_SESSIONS {
                sessions.seen.clear();
            }
            sessions.seen.insert(session);
            sessions.generation += 1;
        }
        sessions.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_sessions_are_a_new_generation() {
        let generations = Generations::default();
        let note = |session: &str| generations.note(session.to_owned());
        let (one, two) = (note("1"), note("2"));
        assert!(one < two);
        assert_eq!([note("1"), note("2"), note("1")], [two; 3]);
        let last = (0..2 * MOST_SESSIONS).fold(0, |_, n| note(&format!("s{n}")));
        assert!(last < note("1"), "it was forgotten");
    }
}
