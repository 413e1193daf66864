//! Dead letters of a source that are to be tried again.

use std::sync::Arc;

use producer_core::store::Store;
use producer_core::worker::{
    DeadLetter, DeadLetterPlace, DeadLetterState, Lease, NewDeadLetter, Role,
};
use producer_core::{Clock, Event, Ingest, Problem};

use crate::config::SourceConfig;
use crate::decode::Decoder;
use crate::source::Message;
use crate::stored;

/// Dead letters that are read at once.
const DUE: u32 = 16;

/// What trying again needs.
pub(super) struct Replay {
    pub(super) config: Arc<SourceConfig>,
    pub(super) store: Arc<dyn Store>,
    pub(super) ingest: Ingest,
    pub(super) decoder: Decoder,
    pub(super) clock: Clock,
    pub(super) lease: Option<Lease>,
}

impl Replay {
    /// Tries all that are due, the oldest first.
    ///
    /// # Errors
    /// Why the others are to be tried later, in one sentence.
    pub(super) async fn run(self) -> Result<(), String> {
        let connector = (Role::Source, self.config.name.as_str());
        loop {
            let due = self.store.due_dead_letters(connector, DUE).await;
            let due = due.map_err(|error| error.problem().detail.into_owned())?;
            if due.is_empty() {
                return Ok(());
            }
            for letter in due {
                self.replay(letter).await?;
            }
        }
    }

    async fn replay(&self, letter: DeadLetter) -> Result<(), String> {
        let DeadLetter { id, letter, .. } = letter;
        let done = match self.submit(&letter).await {
            Ok(()) => self.store.settle_dead_letter(self.lease.as_ref(), id).await,
            Err(problem) if problem.kind.is_retryable() => return Err(problem.detail.into_owned()),
            Err(problem) => {
                let letter = NewDeadLetter {
                    state: DeadLetterState::Dead,
                    error: problem.detail.into_owned(),
                    tries: letter.tries.saturating_add(1),
                    last_at: self.clock.now(),
                    ..letter
                };
                self.store.fail_dead_letter(self.lease.as_ref(), id, &letter).await
            }
        };
        done.map_err(|error| error.problem().detail.into_owned())
    }

    async fn submit(&self, letter: &NewDeadLetter) -> Result<(), Problem> {
        self.ingest.submit(self.event(letter)?).await.map(drop)
    }

    fn event(&self, letter: &NewDeadLetter) -> Result<Event, Problem> {
        let place = match &letter.place {
            DeadLetterPlace::Message(text) => stored::place(text),
            // sources have none of changes
            DeadLetterPlace::Change { position, .. } => stored::place(&position.to_string()),
        };
        let body = stored::body(&self.config.kind, letter.message.clone());
        self.decoder.event(&Message { place, body, deliveries: letter.tries })
    }
}
