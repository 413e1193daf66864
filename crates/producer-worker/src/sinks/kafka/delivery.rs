//! What became of each update of a delivery so far.

use std::collections::HashSet;

use rdkafka::error::RDKafkaErrorCode;

use crate::sink::{Failure, NotDelivered};
use crate::update::Update;

/// What a record's failure means for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing: it only was beside or behind another one. It is sent again.
    Again,
    /// It or another of its batch is refused: it is sent by itself.
    Suspect,
    /// It is refused as it is.
    Refused,
    /// It may be delivered later.
    Failed,
}

impl Verdict {
    /// Of a record that the broker got with others.
    pub(super) fn together(code: RDKafkaErrorCode) -> Self {
        match Self::alone(code) {
            Self::Refused => Self::Suspect,
            other => other,
        }
    }

    /// Of a record that was judged by itself.
    pub(super) fn alone(code: RDKafkaErrorCode) -> Self {
        match code {
            RDKafkaErrorCode::QueueFull
            | RDKafkaErrorCode::PurgeQueue
            | RDKafkaErrorCode::PurgeInflight
            | RDKafkaErrorCode::GaplessGuarantee
            | RDKafkaErrorCode::Fatal
            | RDKafkaErrorCode::OutOfOrderSequenceNumber => Self::Again,
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::MessageBatchTooLarge
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidTimestamp
            | RDKafkaErrorCode::PolicyViolation => Self::Refused,
            _ => Self::Failed,
        }
    }
}

/// A delivery's updates, with their topics and results.
pub(super) struct Delivery<'a> {
    updates: &'a [Update],
    topics: Vec<String>,
    states: Vec<State>,
    /// How many were refused or have failed.
    given_up: usize,
}

#[derive(Debug, Clone)]
enum State {
    Open,
    Suspect,
    Done(Result<(), NotDelivered>),
}

impl<'a> Delivery<'a> {
    /// `topics` has one for each update.
    pub(super) fn new(updates: &'a [Update], topics: Vec<String>) -> Self {
        let states = vec![State::Open; updates.len()];
        Self { updates, topics, states, given_up: 0 }
    }

    pub(super) fn item(&self, item: usize) -> (&'a Update, &str) {
        (&self.updates[item], &self.topics[item])
    }

    /// The topics that are not known, each once.
    pub(super) fn topics_without(&self, known: &HashSet<String>) -> Vec<String> {
        let mut seen = HashSet::new();
        let unknown = self.topics.iter().filter(|topic| !known.contains(*topic));
        unknown.filter(|topic| seen.insert(*topic)).cloned().collect()
    }

    /// What is to be sent by itself, in order.
    pub(super) fn suspects(&self) -> Vec<usize> {
        let is_suspect = |item: &usize| matches!(self.states[*item], State::Suspect);
        (0..self.updates.len()).filter(is_suspect).collect()
    }

    /// What is to be sent, in order. What is behind an update of the same entity that was given up fails here.
    pub(super) fn open(&mut self) -> Vec<usize> {
        let mut open = Vec::with_capacity(self.updates.len());
        for item in 0..self.updates.len() {
            if self.is_done(item) {
                continue;
            }
            if self.is_behind(item) {
                self.not_delivered(item, behind().into());
            } else {
                open.push(item);
            }
        }
        open
    }

    /// Whether an earlier update of the same entity was given up.
    pub(super) fn is_behind(&self, item: usize) -> bool {
        let key = self.updates[item].key();
        let given_up = |earlier: usize| matches!(self.states[earlier], State::Done(Err(_)));
        self.given_up > 0
            && (0..item).any(|earlier| given_up(earlier) && self.updates[earlier].key() == key)
    }

    pub(super) fn delivered(&mut self, item: usize) {
        if !self.is_done(item) {
            self.states[item] = State::Done(Ok(()));
        }
    }

    pub(super) fn suspect(&mut self, item: usize) {
        if !self.is_done(item) {
            self.states[item] = State::Suspect;
        }
    }

    pub(super) fn not_delivered(&mut self, item: usize, reason: NotDelivered) {
        self.given_up += 1;
        self.states[item] = State::Done(Err(reason));
    }

    /// All that is open of a topic fails.
    pub(super) fn fail_topic(&mut self, topic: &str, failure: &Failure) {
        for item in 0..self.updates.len() {
            if self.topics[item] == topic && !self.is_done(item) {
                self.not_delivered(item, failure.clone().into());
            }
        }
    }

    /// All that is open fails.
    pub(super) fn fail_open(&mut self, failure: &Failure) {
        for item in 0..self.updates.len() {
            if !self.is_done(item) {
                self.not_delivered(item, failure.clone().into());
            }
        }
    }

    fn is_done(&self, item: usize) -> bool {
        matches!(self.states[item], State::Done(_))
    }

    /// The results, in order.
    ///
    /// # Errors
    /// All have failed.
    pub(super) fn into_result(self) -> Result<Vec<Result<(), NotDelivered>>, Failure> {
        let results: Vec<_> = self
            .states
            .into_iter()
            .map(|state| match state {
                State::Done(result) => result,
                // not reached: what is open at the end has failed
                State::Open | State::Suspect => Err(behind().into()),
            })
            .collect();
        let has_failed =
            |result: &Result<(), NotDelivered>| matches!(result, Err(NotDelivered::Failed(_)));
        match results.first() {
            Some(Err(NotDelivered::Failed(first))) if results.iter().all(has_failed) => {
                Err(first.clone())
            }
            _ => Ok(results),
        }
    }
}

/// Of what is not sent since an earlier update of the same entity was given up.
pub(super) fn behind() -> Failure {
    Failure::new("an earlier change of the entity was not delivered")
}
