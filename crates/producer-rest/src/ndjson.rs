//! Lines of a body of any length, in bounded memory.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use producer_core::{Problem, ProblemKind};
use producer_server::budget::Lease;
use tokio::time::{Instant, sleep};

use crate::body::{Source, no_room};

/// Bytes of an unfinished line that count for nothing, so that small lines never wait for budget.
const FREE_BYTES: usize = 64 << 10;
/// Pause before the budget is asked again.
const BUDGET_PAUSE: Duration = Duration::from_millis(10);

/// What comes next.
#[derive(Debug)]
pub(crate) enum Line {
    /// A line that isn't blank, without its end.
    Text(Bytes),
    /// A line over `MAX_BODY_BYTES`; it was skipped.
    TooLong,
    /// The body ends here, and not as it should.
    Broken(Problem),
}

/// Splits a [`Source`] into lines.
pub(crate) struct Lines {
    source: Source,
    lease: Lease,
    max_line: usize,
    patience: Duration,
    /// Read and not looked at.
    chunk: Bytes,
    /// The begin of a line whose end isn't read yet.
    partial: BytesMut,
    skipping: bool,
    starved_since: Option<Instant>,
    ended: bool,
}

enum Step {
    Line(Line),
    Read,
    AwaitBudget,
}

impl Lines {
    /// Lines of at most `max_line` bytes; one that waits for the budget longer than `patience` ends
    /// the body.
    pub(crate) fn new(source: Source, lease: Lease, max_line: usize, patience: Duration) -> Self {
        Self {
            source,
            lease,
            max_line,
            patience,
            chunk: Bytes::new(),
            partial: BytesMut::new(),
            skipping: false,
            starved_since: None,
            ended: false,
        }
    }

    /// The next line that isn't blank; `None` after the last. Dropping the future loses nothing.
    /// The bytes of a line stay in the budget until the next one is asked for: its event takes
    /// their place until it is queued.
    pub(crate) async fn next(&mut self) -> Option<Line> {
        if self.partial.is_empty() {
            self.lease.shrink(usize::MAX);
        }
        loop {
            match self.step() {
                Step::Line(Line::Text(text)) if is_blank(&text) => {}
                Step::Line(line) => return Some(line),
                Step::Read if self.ended => return self.last(),
                Step::Read => match self.source.next().await {
                    Some(Ok(chunk)) => self.chunk = chunk,
                    Some(Err(problem)) => return Some(self.broken(problem)),
                    None => self.ended = true,
                },
                Step::AwaitBudget => {
                    let since = *self.starved_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= self.patience {
                        return Some(self.broken(no_room()));
                    }
                    sleep(BUDGET_PAUSE).await;
                }
            }
        }
    }

    fn step(&mut self) -> Step {
        if self.chunk.is_empty() {
            return Step::Read;
        }
        let end = self.chunk.iter().position(|&byte| byte == b'\n');
        let length = end.unwrap_or(self.chunk.len());
        self.skipping |= self.partial.len() + length > self.max_line + 1; // one for a CR
        if self.skipping {
            self.forget_partial();
        } else if (end.is_none() || !self.partial.is_empty()) && !self.afford(length) {
            return Step::AwaitBudget;
        }
        self.starved_since = None;
        let part = self.chunk.split_to(length);
        if end.is_none() {
            if !self.skipping {
                self.partial.extend_from_slice(&part);
            }
            return Step::Read;
        }
        self.chunk.advance(1);
        Step::Line(self.finish(part))
    }

    fn afford(&mut self, more: usize) -> bool {
        let after = (self.partial.len() + more).saturating_sub(FREE_BYTES);
        let now = self.partial.len().saturating_sub(FREE_BYTES);
        after == now || self.lease.grow(after - now)
    }

    fn finish(&mut self, part: Bytes) -> Line {
        if std::mem::take(&mut self.skipping) {
            return Line::TooLong;
        }
        let mut line = part;
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(&line);
            line = self.partial.split().freeze();
        }
        if line.ends_with(b"\r") {
            line.truncate(line.len() - 1);
        }
        if line.len() > self.max_line { Line::TooLong } else { Line::Text(line) }
    }

    fn forget_partial(&mut self) {
        self.partial = BytesMut::new();
        self.lease.shrink(usize::MAX);
    }

    /// What stands behind the last line end.
    fn last(&mut self) -> Option<Line> {
        if self.partial.is_empty() && !self.skipping {
            return None;
        }
        match self.finish(Bytes::new()) {
            Line::Text(text) if is_blank(&text) => None,
            line => Some(line),
        }
    }

    fn broken(&mut self, problem: Problem) -> Line {
        self.ended = true;
        self.skipping = false;
        self.chunk = Bytes::new();
        self.forget_partial();
        Line::Broken(problem)
    }
}

/// Whether a line is empty, apart from the white space of JSON.
fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

/// The problem of a line that is too long.
pub(crate) fn line_too_long(max_line: usize) -> Problem {
    Problem::new(ProblemKind::TooLarge, format!("the line is longer than {max_line} bytes"))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::stream;
    use http::HeaderMap;
    use producer_server::budget::Budget;

    use super::*;
    use crate::body::{BodyLimits, BodyStream};

    #[tokio::test]
    async fn a_line_stays_in_the_budget_until_the_next_is_asked_for() {
        let begin = Bytes::from(vec![b'x'; 200 << 10]);
        let chunks = [begin, Bytes::from_static(b"x\nnext\n")].map(Ok::<_, std::io::Error>);
        let limits = BodyLimits { bytes: 1 << 20, timeout: Duration::from_secs(20) };
        let wire = BodyStream::new(Body::from_stream(stream::iter(chunks)), limits);
        let Ok(source) = wire.endless(&HeaderMap::new()) else { panic!("no encoding is named") };
        let budget = Budget::new(200 << 10);
        let mut lines = Lines::new(source, budget.lease(), 1 << 20, limits.timeout);
        for (length, is_free) in [((200 << 10) + 1, false), (4, true)] {
            let line = lines.next().await;
            assert!(matches!(line, Some(Line::Text(text)) if text.len() == length));
            assert_eq!(budget.lease().grow(200 << 10), is_free);
        }
    }
}
