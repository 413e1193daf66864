//! One delivery: several bulks, and what became of each update.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use producer_core::EntityKey;
use producer_opensearch::bulk::{self, Action, Outcome};
use producer_opensearch::{Client, Error, document};
use tokio::time::Instant;

use super::failure::failure;
use super::indexes::Indexes;
use super::searches::{TypeSearches, words};
use crate::names::document_id;
use crate::sink::{Failure, NotDelivered};
use crate::update::Update;

/// Bytes of a bulk, but for a single document that is larger.
const BULK_BYTES: usize = 5 << 20;
/// The status of a request that is too large.
const TOO_LARGE: u16 = 413;

/// What is to be written. Of several updates of one entity the last one is, since it has the newest state: all
/// of them share what becomes of it.
pub(super) struct Batch<'u> {
    /// The last update of each entity, in the order of their first ones.
    last: Vec<&'u Update>,
    /// For each update, which of these it is.
    places: Vec<usize>,
    outcomes: Vec<Option<Result<(), NotDelivered>>>,
}

/// A document that is written, or deleted.
struct Line {
    /// The place of its update.
    place: usize,
    index: String,
    version: u64,
    document: Option<String>,
}

/// Lines of one bulk.
#[derive(Default)]
struct Lines {
    lines: Vec<Line>,
    bytes: usize,
}

impl<'u> Batch<'u> {
    pub(super) fn new(updates: &'u [Update]) -> Self {
        let mut known: HashMap<&EntityKey, usize> = HashMap::with_capacity(updates.len());
        let (mut last, mut places) = (Vec::new(), Vec::with_capacity(updates.len()));
        for update in updates {
            let place = *known.entry(update.key()).or_insert(last.len());
            if place == last.len() {
                last.push(update);
            } else {
                last[place] = update;
            }
            places.push(place);
        }
        let outcomes = last.iter().map(|_| None).collect();
        Self { last, places, outcomes }
    }

    /// The types of what is written.
    pub(super) fn types(&self) -> BTreeSet<&'u str> {
        self.last.iter().map(|update| update.key().entity_type()).collect()
    }

    /// Sends all, and returns what became of each update.
    pub(super) async fn send(
        &mut self,
        client: &Client,
        indexes: &Indexes,
        searches: &TypeSearches,
        deadline: Instant,
    ) -> Result<Vec<Result<(), NotDelivered>>, Failure> {
        let mut lines = Lines::default();
        let mut failed = None;
        for place in 0..self.last.len() {
            let line = Line::of(place, self.last[place], indexes, searches);
            if !lines.has_room_for(&line) {
                failed =
                    self.send_lines(client, indexes, std::mem::take(&mut lines), deadline).await;
                if failed.is_some() {
                    break;
                }
            }
            lines.push(line);
        }
        if failed.is_none() {
            failed = self.send_lines(client, indexes, lines, deadline).await;
        }
        self.finish(failed)
    }

    /// Sends a bulk, in halves where it is too large for the server. Returns why the request failed, if it did.
    async fn send_lines(
        &mut self,
        client: &Client,
        indexes: &Indexes,
        lines: Lines,
        deadline: Instant,
    ) -> Option<Failure> {
        let mut waiting = vec![lines.lines];
        while let Some(mut lines) = waiting.pop() {
            if lines.is_empty() {
                continue;
            }
            let timeout = deadline.saturating_duration_since(Instant::now());
            match bulk::send(client, self.body(&lines), lines.len(), timeout).await {
                Ok(outcomes) => self.settle(lines, outcomes, indexes),
                Err(Error::Status { status: TOO_LARGE, cause, .. }) => {
                    if let [line] = lines.as_mut_slice() {
                        let detail = format!("the document is too large for the server: {cause}");
                        self.outcomes[line.place] = Some(Err(line.refused(detail)));
                    } else {
                        let behind = lines.split_off(lines.len() / 2);
                        waiting.extend([behind, lines]);
                    }
                }
                Err(error) => return Some(failure(error)),
            }
        }
        None
    }

    fn body(&self, lines: &[Line]) -> Bytes {
        let bytes = lines.iter().map(Line::bytes).sum();
        let mut body = String::with_capacity(bytes);
        for line in lines {
            let id = document_id(self.last[line.place].key().entity_id());
            let Line { index, version, document, .. } = line;
            let document = document.as_deref();
            Action { index, id: &id, version: *version, document }.write(&mut body);
        }
        body.into()
    }

    fn settle(&mut self, lines: Vec<Line>, outcomes: Vec<Outcome>, indexes: &Indexes) {
        for (mut line, outcome) in lines.into_iter().zip(outcomes) {
            let settled = match outcome {
                Outcome::Done => {
                    indexes.note_written(&line.index);
                    Ok(())
                }
                Outcome::NoIndex => {
                    indexes.note_absent(&line.index);
                    Err(Failure::new(format!("the index {} is not there", line.index)).into())
                }
                Outcome::Misfit(cause) => Err(line.refused(cause.to_string())),
                Outcome::Failed { status, cause } => {
                    Err(Failure::new(format!("{cause} (status {status})")).into())
                }
            };
            self.outcomes[line.place] = Some(settled);
        }
    }

    /// The outcomes of all updates; what was not sent has failed with the request that did.
    fn finish(
        &mut self,
        failed: Option<Failure>,
    ) -> Result<Vec<Result<(), NotDelivered>>, Failure> {
        if let Some(failure) = failed {
            if self.outcomes.iter().all(Option::is_none) {
                return Err(failure);
            }
            for outcome in self.outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
                *outcome = Some(Err(failure.clone().into()));
            }
        }
        let outcome = |place: &usize| self.outcomes[*place].clone().unwrap_or(Ok(()));
        Ok(self.places.iter().map(outcome).collect())
    }
}

impl Line {
    fn of(place: usize, update: &Update, indexes: &Indexes, searches: &TypeSearches) -> Self {
        let state = update.state.as_ref().filter(|_| !update.is_removal());
        Self {
            place,
            index: indexes.name(update.key().entity_type()),
            version: update.kept_version(),
            document: state.map(|entity| document::write(entity, words(searches, entity).as_ref())),
        }
    }

    /// About as many as it has.
    fn bytes(&self) -> usize {
        const ACTION: usize = 1024;
        ACTION + self.document.as_ref().map_or(0, String::len)
    }

    fn refused(&mut self, detail: String) -> NotDelivered {
        let message = self.document.take().unwrap_or_default().into_bytes();
        NotDelivered::Refused { detail, message }
    }
}

impl Lines {
    fn has_room_for(&self, line: &Line) -> bool {
        self.lines.is_empty() || self.bytes + line.bytes() <= BULK_BYTES
    }

    fn push(&mut self, line: Line) {
        self.bytes += line.bytes();
        self.lines.push(line);
    }
}
