//! Lines of a body of any length, in bounded memory.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use producer_core::{Problem, ProblemKind};
use producer_server::budget::Lease;
use tokio::time::{Instant, timeout_at};

use crate::body::{DecodedBody, buffer_exhausted};

/// Bytes of an incomplete line that are not counted, so that short lines never wait for the budget.
const FREE_BYTES: usize = 64 << 10;

/// The next part of a body.
#[derive(Debug)]
pub(crate) enum Line {
    /// A line that isn't blank, without its end.
    Text(Bytes),
    /// A line over `MAX_BODY_BYTES`; it was skipped.
    TooLong,
    /// The body ends here with an error.
    Broken(Problem),
}

/// Splits a [`DecodedBody`] into lines.
pub(crate) struct Lines {
    body: DecodedBody,
    /// Covers the bytes of `partial`.
    lease: Lease,
    max_line: usize,
    budget_timeout: Duration,
    /// Received and not split yet.
    chunk: Bytes,
    /// The beginning of a line whose end isn't received yet.
    partial: BytesMut,
    skipping: bool,
    /// Lines that have ended, blank ones too.
    number: usize,
    /// When the present wait for the budget fails.
    budget_deadline: Option<Instant>,
    ended: bool,
}

enum Step {
    Line(Line),
    Read,
    /// Wait until the budget has room for so many bytes.
    AwaitBudget(usize),
}

impl Lines {
    /// Lines of at most `max_line` bytes. A wait for the budget longer than `budget_timeout` ends the
    /// body.
    pub(crate) fn new(
        body: DecodedBody,
        lease: Lease,
        max_line: usize,
        budget_timeout: Duration,
    ) -> Self {
        Self {
            body,
            lease,
            max_line,
            budget_timeout,
            chunk: Bytes::new(),
            partial: BytesMut::new(),
            skipping: false,
            number: 0,
            budget_deadline: None,
            ended: false,
        }
    }

    /// The number of the line that [`Lines::next`] returned last, from 1, as editors count: blank lines
    /// too. Of a body that broke off, the line that it broke off in.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// The next line that isn't blank; `None` after the last. Cancel safe. The bytes of a line stay
    /// in the budget until the next call: its event takes their place until it is queued.
    pub(crate) async fn next(&mut self) -> Option<Line> {
        if self.partial.is_empty() {
            self.lease.shrink(usize::MAX);
        }
        loop {
            match self.step() {
                Step::Line(Line::Text(text)) if is_blank(&text) => {}
                Step::Line(line) => return Some(line),
                Step::Read if self.ended => return self.last(),
                Step::Read => match self.body.next().await {
                    Some(Ok(chunk)) => self.chunk = chunk,
                    Some(Err(problem)) => return Some(self.broken(problem)),
                    None => self.ended = true,
                },
                Step::AwaitBudget(more) => {
                    let deadline = self.budget_deadline();
                    if timeout_at(deadline, self.lease.grow_when_free(more)).await.is_err() {
                        return Some(self.broken(buffer_exhausted()));
                    }
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
        } else if end.is_none() || !self.partial.is_empty() {
            let more = self.missing_budget(length);
            if more > 0 && !self.lease.grow(more) {
                return Step::AwaitBudget(more);
            }
        }
        self.budget_deadline = None;
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

    /// Bytes to lease before the incomplete line may grow by `more`.
    fn missing_budget(&self, more: usize) -> usize {
        let counted = (self.partial.len() + more).saturating_sub(FREE_BYTES);
        counted.saturating_sub(self.lease.held())
    }

    fn budget_deadline(&mut self) -> Instant {
        let timeout = self.budget_timeout;
        *self.budget_deadline.get_or_insert_with(|| Instant::now() + timeout)
    }

    fn finish(&mut self, part: Bytes) -> Line {
        self.number += 1;
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

    /// What follows the last line end.
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
        self.number += 1;
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
    let detail = format!("longer than {max_line} bytes (MAX_BODY_BYTES)");
    Problem::new(ProblemKind::TooLarge, detail)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::{FutureExt, stream};
    use http::HeaderMap;
    use producer_server::budget::Budget;

    use super::*;
    use crate::body::{BodyLimits, BodyStream};

    const LIMITS: BodyLimits = BodyLimits { bytes: 1 << 20, timeout: Duration::from_secs(20) };

    /// Lines of a body that comes in these chunks.
    fn lines<const N: usize>(chunks: [Bytes; N], budget: &Budget, timeout: Duration) -> Lines {
        lines_of(chunks.map(Ok).into(), budget, timeout)
    }

    fn lines_of(chunks: Vec<std::io::Result<Bytes>>, budget: &Budget, timeout: Duration) -> Lines {
        let body = BodyStream::new(Body::from_stream(stream::iter(chunks)), LIMITS);
        let Ok(body) = body.decoded(&HeaderMap::new()) else { panic!("it has no encoding") };
        Lines::new(body, budget.lease(), LIMITS.bytes, timeout)
    }

    #[tokio::test]
    async fn numbers_count_every_line_of_the_body() {
        let budget = Budget::new(200 << 10);
        for size in [1, 2, 3, 100] {
            let text = b"\r\n \n{}\n\n{}\r\n\n7";
            let chunks = text.chunks(size).map(|part| Ok(Bytes::from_static(part)));
            let broken = std::iter::once(Err(std::io::Error::other("connection reset")));
            let mut lines = lines_of(chunks.chain(broken).collect(), &budget, LIMITS.timeout);
            let mut numbers = Vec::new();
            while let Some(line) = lines.next().await {
                numbers.push((lines.number(), matches!(line, Line::Broken(_))));
            }
            assert_eq!(numbers, [(3, false), (5, false), (7, true)], "chunks of {size}");
        }
    }

    #[tokio::test]
    async fn a_line_stays_in_the_budget_until_the_next_call() {
        let budget = Budget::new(200 << 10);
        let begin = Bytes::from(vec![b'x'; 200 << 10]);
        let chunks = [begin, Bytes::from_static(b"x\nnext\n")];
        let mut lines = lines(chunks, &budget, LIMITS.timeout);
        for (length, is_free) in [((200 << 10) + 1, false), (4, true)] {
            let line = lines.next().await;
            assert!(matches!(line, Some(Line::Text(text)) if text.len() == length));
            assert_eq!(budget.lease().grow(200 << 10), is_free);
        }
    }

    #[tokio::test]
    async fn a_line_goes_on_as_soon_as_the_budget_has_room() {
        let budget = Budget::new(200 << 10);
        let mut other = budget.lease();
        assert!(other.grow(200 << 10));
        let chunks = [Bytes::from(vec![b'x'; 100 << 10]), Bytes::from_static(b"\n")];
        let mut lines = lines(chunks, &budget, LIMITS.timeout);
        let mut next = Box::pin(lines.next());
        assert!((&mut next).now_or_never().is_none());
        drop(other);
        let line = next.now_or_never().expect("it waits for nothing else");
        assert!(matches!(line, Some(Line::Text(text)) if text.len() == 100 << 10));
    }

    #[tokio::test]
    async fn a_wait_for_the_budget_ends_at_its_timeout() {
        let budget = Budget::new(200 << 10);
        let mut other = budget.lease();
        assert!(other.grow(200 << 10));
        let chunks = [Bytes::from(vec![b'x'; 100 << 10]), Bytes::from_static(b"\nnext\n")];
        let mut lines = lines(chunks, &budget, Duration::from_millis(20));
        let line = lines.next().await;
        assert!(
            matches!(&line, Some(Line::Broken(problem)) if problem.kind == ProblemKind::Overloaded),
            "{line:?}"
        );
        assert!(lines.next().await.is_none());
    }
}
