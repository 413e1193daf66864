//! The log line of a request that was refused because of what it is, or that had such events: without
//! it, only the client knows.

use std::net::SocketAddr;

use super::log_rate::LogRate;
use super::stopwatch::RequestEnd;

/// Characters of the detail that are logged: locations may contain keys of any length.
const MAX_DETAIL: usize = 300;

static RATE: LogRate = LogRate::new();

/// Why a request, or events of it, were refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The type of the problem, such as `validation`.
    pub problem: &'static str,
    /// What is wrong, with the first violation; never a value of the payload.
    pub detail: String,
    /// How many events of a call were refused; `None` where the whole request was.
    pub events: Option<u64>,
}

impl Refusal {
    /// A refusal of a whole request.
    pub fn new(problem: &'static str, detail: &str) -> Self {
        Self { problem, detail: clipped(detail), events: None }
    }

    pub(crate) fn log(&self, end: &RequestEnd<'_>, client: Option<SocketAddr>) {
        let Some(omitted) = RATE.try_log() else { return };
        tracing::info!(
            method = end.method,
            route = end.route,
            status = end.status,
            problem = self.problem,
            detail = self.detail,
            events = self.events,
            client = client.map(tracing::field::display),
            omitted,
            "refused"
        );
    }
}

fn clipped(detail: &str) -> String {
    match detail.char_indices().nth(MAX_DETAIL) {
        Some((end, _)) => format!("{}…", &detail[..end]),
        None => detail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_detail_is_cut_between_characters() {
        let refusal = Refusal::new("validation", &"ä".repeat(1000));
        assert_eq!(refusal.detail.chars().count(), MAX_DETAIL + 1);
    }
}
