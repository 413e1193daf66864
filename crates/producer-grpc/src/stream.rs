//! `StreamEvents`: one task reads the events, the stream of the answer returns the results in order.

use std::sync::Arc;

use futures_util::{Stream, stream};
use producer_core::ingest::bulk::{BatchSummary, ItemStatus};
use producer_core::ingest::{CallResults, CallSender};
use producer_core::{Clock, Event, Problem, ProblemKind};
use producer_telemetry::request as telemetry;
use producer_telemetry::request::RequestContext;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use crate::proto::v1;
use crate::request_id::RequestId;
use crate::violation_budget::PendingViolations;
use crate::wire::event::EventMessage;
use crate::{convert, status};

/// Why no more events are read.
enum End {
    /// The client has sent everything, or is gone.
    Complete,
    /// An item came back unavailable or unknown.
    Broken,
    Draining,
    /// A message can't be decoded or exceeds a limit.
    Failed(Status),
}

/// Reads the events of one call.
struct Reader {
    events: Streaming<EventMessage>,
    sender: CallSender,
    pending: PendingViolations,
    clock: Clock,
    shutdown: CancellationToken,
    index: u64,
}

impl Reader {
    /// Reads until something ends it. What was read is queued, and gets its result in any case.
    async fn read(mut self) -> End {
        loop {
            let next = tokio::select! {
                biased;
                () = self.sender.broken() => return End::Broken,
                () = self.shutdown.cancelled() => return End::Draining,
                next = self.events.message() => next,
            };
            let message = match next {
                Ok(Some(message)) => message,
                Ok(None) => return End::Complete,
                Err(status) => return End::Failed(status),
            };
            let draft = message.draft(|_| {});
            drop(message);
            let item = match draft {
                Ok(draft) => draft.finish(&self.clock),
                Err(error) => return End::Failed(Status::invalid_argument(error.to_string())),
            };
            if !self.send(item).await {
                return End::Broken;
            }
        }
    }

    /// False once the call is broken.
    async fn send(&mut self, item: Result<Event, Problem>) -> bool {
        if let Err(problem) = &item {
            tokio::select! {
                () = self.pending.reserve(self.index, problem) => {}
                () = self.sender.broken() => {}
            }
        }
        self.index += 1;
        self.sender.send(item).await
    }
}

/// The results of one call.
struct Results {
    outcomes: CallResults,
    reader: Option<JoinHandle<End>>,
    pending: PendingViolations,
    request: RequestId,
    index: u64,
    summary: BatchSummary,
    /// Not the current one where the client leaves and this is dropped.
    context: Option<Arc<RequestContext>>,
    /// The problem that ends the stream: the first unknown outcome, else the first unavailable.
    broken: Option<Problem>,
}

impl Drop for Results {
    fn drop(&mut self) {
        self.pending.close();
        if let (Some(context), Some(refusal)) = (&self.context, self.summary.refusal()) {
            context.refuse(refusal);
        }
    }
}

/// The results of the call, then the status that it ends with unless that is OK.
pub(crate) fn results(
    events: Streaming<EventMessage>,
    (sender, outcomes): (CallSender, CallResults),
    clock: Clock,
    shutdown: CancellationToken,
    request: RequestId,
) -> impl Stream<Item = Result<v1::EventResult, Status>> + Send {
    let pending = PendingViolations::new();
    let reader = Reader { events, sender, pending: pending.clone(), clock, shutdown, index: 0 };
    let reader = Some(tokio::spawn(telemetry::with_current_request(reader.read())));
    let results = Results {
        outcomes,
        reader,
        pending,
        request,
        index: 0,
        summary: BatchSummary::default(),
        context: telemetry::current(),
        broken: None,
    };
    stream::unfold(results, |mut results| async move {
        let item = results.next().await?;
        Some((item, results))
    })
}

impl Results {
    async fn next(&mut self) -> Option<Result<v1::EventResult, Status>> {
        let Some(outcome) = self.outcomes.next().await else {
            return self.end().await.map(Err);
        };
        let status = self.summary.count(&outcome);
        if let Err(problem) = &outcome {
            self.note(status, problem);
        }
        let index = self.index;
        self.index += 1;
        self.pending.release(index);
        Some(Ok(convert::result(index, outcome)))
    }

    /// Keeps the problem if the stream has to end with it.
    fn note(&mut self, status: ItemStatus, problem: &Problem) {
        let is_unknown = |problem: &Problem| problem.kind == ProblemKind::OutcomeUnknown;
        match status {
            ItemStatus::Unknown if !self.broken.as_ref().is_some_and(is_unknown) => {
                self.broken = Some(problem.clone());
            }
            ItemStatus::Unavailable if self.broken.is_none() => {
                self.broken = Some(problem.clone());
            }
            _ => {}
        }
    }

    /// The status after the last result, once.
    async fn end(&mut self) -> Option<Status> {
        let end = self.reader.take()?.await;
        if let Some(problem) = &self.broken {
            return Some(status::from_problem(problem, &self.request));
        }
        match end {
            Ok(End::Complete) => None,
            Ok(End::Failed(status)) => Some(status::with_details(&status, &self.request)),
            Ok(End::Draining | End::Broken) => {
                let detail = "the service is stopping; events without a result were not stored";
                let problem = Problem::new(ProblemKind::Unavailable, detail);
                Some(status::from_problem(&problem, &self.request))
            }
            Err(_panicked) => Some(status::internal(&self.request)),
        }
    }
}
