//! A source's call of the ingest: events go in through a task of their own, so that outcomes can be taken while
//! one waits for room.

use futures_util::FutureExt;
use producer_core::ingest::{CallResults, CallSender};
use producer_core::model::Outcome;
use producer_core::{Event, Ingest, Problem};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// An open call. Dropping it cancels the events that no writer has taken.
pub(super) struct Call {
    /// Bounded by what its user has in flight.
    events: mpsc::UnboundedSender<Event>,
    results: CallResults,
    _feeder: AbortOnDropHandle<()>,
}

impl Call {
    /// # Errors
    /// As [`Ingest::open_call`].
    pub(super) fn open(ingest: &Ingest) -> Result<Self, Problem> {
        let (sender, results) = ingest.open_call()?;
        let (events, received) = mpsc::unbounded_channel();
        let feeder = AbortOnDropHandle::new(tokio::spawn(feed(sender, received)));
        Ok(Self { events, results, _feeder: feeder })
    }

    /// Sends the next event. Once the call is broken it has no effect: such events have no outcome.
    pub(super) fn send(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// The outcome of the next event that was sent; `None` behind the last one of a broken call. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Outcome> {
        self.results.next().await
    }

    /// The same, where it is known already.
    pub(super) fn try_next(&mut self) -> Option<Option<Outcome>> {
        self.results.next().now_or_never()
    }
}

async fn feed(mut sender: CallSender, mut events: mpsc::UnboundedReceiver<Event>) {
    loop {
        let event = tokio::select! {
            biased;
            () = sender.broken() => return,
            event = events.recv() => event,
        };
        let Some(event) = event else { return };
        if !sender.send(Ok(event)).await {
            return;
        }
    }
}
