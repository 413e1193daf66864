//! Dead letters: what is refused or given up, what waits behind it, and what is delivered again.

use producer_core::worker::MAX_DEAD_LETTERS;

use super::state::Session;
use crate::runner::lanes::Pending;
use crate::runner::letters::{self, Again};
use crate::runner::window::Place;
use crate::update::Cause;

impl Session<'_> {
    /// What was tried for longer than `max_age` becomes a dead letter.
    pub(super) fn give_up_old(&mut self, detail: &str) {
        let Some(max_age) = self.runner.config.retry.max_age else { return };
        let now = self.runner.parts.clock.now().micros();
        let oldest = now.saturating_sub(i64::try_from(max_age.as_micros()).unwrap_or(i64::MAX));
        for pending in self.lanes.take_waiting(|first_at| first_at.micros() < oldest) {
            let detail = format!("older than max_age: {detail}");
            self.give_up(&pending, detail);
        }
    }

    /// What a user wants to skip becomes a dead letter, where it is what can't be got past.
    pub(super) fn give_up_skipped(&mut self) {
        let Some(skip) = &self.lease.control.skip else { return };
        let Some(number) = self.lanes.first_failed().and_then(Pending::first_number) else {
            return;
        };
        let is_meant = |place: &Place| place.token().to_string() == *skip;
        if self.window.place(number).is_some_and(is_meant)
            && let Some(pending) = self.lanes.remove_number(number)
        {
            self.lease.control.skip = None;
            let why = self.last_error.as_ref().map_or("", |error| error.detail.as_str());
            self.give_up(&pending, format!("skipped by a user: {why}"));
        }
    }

    pub(super) fn give_up(&mut self, pending: &Pending, detail: String) {
        let message = match &pending.update.cause {
            Cause::Change(change) | Cause::Left(change) => change.json(true).as_bytes().to_vec(),
            Cause::Snapshot(entity) => entity.data.as_bytes().to_vec(),
        };
        self.refuse(pending, detail, message);
    }

    /// An update becomes a dead letter; with `hold`, what waits of its entity waits behind it.
    pub(super) fn refuse(&mut self, pending: &Pending, detail: String, message: Vec<u8>) {
        self.runner.metrics.dead.inc();
        self.note(&detail);
        let clock = &self.runner.parts.clock;
        let position = self.window.position(pending.first_number());
        self.letters.refused(pending, detail, message, position, clock);
        if self.letters.holds_entities() {
            for behind in self.lanes.remove(pending.update.key()) {
                let position = self.window.position(behind.first_number());
                self.letters.park(&behind, position, clock);
            }
        }
    }

    /// Takes in what became of dead letters.
    pub(super) async fn stored(&mut self, done: letters::Done) {
        for number in self.letters.done(&done) {
            self.window.settle(number);
        }
        match done {
            letters::Done::Stored(_, count) if count >= MAX_DEAD_LETTERS => {
                let why = format!(
                    "there are {count} dead letters: replay or delete them, then resume the sink"
                );
                self.pause_itself(why).await;
            }
            letters::Done::LeaseLost => self.is_ending = true,
            letters::Done::Due(letters) => {
                for (letter, again) in letters {
                    if let Again::Update(update) = again {
                        self.lanes.push(Pending::of_letter(update, &letter));
                    }
                }
            }
            _ => {}
        }
    }
}
