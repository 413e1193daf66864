//! `StreamEvents`: one task reads, the answer's stream tells the outcomes in their order.

use futures_util::{Stream, stream};
use producer_core::ingest::bulk::ItemStatus;
use producer_core::ingest::{CallResults, CallSender};
use producer_core::{Clock, Event, Problem, ProblemKind};
use producer_telemetry::request as telemetry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use crate::admission::RequestId;
use crate::message::EventMessage;
use crate::pending::Pending;
use crate::proto::v1;
use crate::{bulk, status};

/// Why no more is read.
enum End {
    /// The client has sent everything, or is gone.
    Done,
    /// An item came back unavailable or unknown.
    Broken,
    Draining,
    /// What came is no message, or broke a limit.
    Failed(Status),
}

/// The end of a stream that events come in at.
struct Reader {
    events: Streaming<EventMessage>,
    sender: CallSender,
    pending: Pending,
    clock: Clock,
    shutdown: CancellationToken,
    index: u64,
}

impl Reader {
    /// Reads until something ends it. What was read is queued, and answered whatever comes later.
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
                Ok(None) => return End::Done,
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
                () = self.pending.take(self.index, problem) => {}
                () = self.sender.broken() => {}
            }
        }
        self.index += 1;
        self.sender.send(item).await
    }
}

struct Answers {
    results: CallResults,
    reader: Option<JoinHandle<End>>,
    pending: Pending,
    request: RequestId,
    index: u64,
    /// The problem that ends the stream: the first unknown outcome, else the first unavailable.
    broken: Option<Problem>,
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.pending.close();
    }
}

/// The results of the call, and the status that it ends with where that isn't OK.
pub(crate) fn answers(
    events: Streaming<EventMessage>,
    (sender, results): (CallSender, CallResults),
    clock: Clock,
    shutdown: CancellationToken,
    request: RequestId,
) -> impl Stream<Item = Result<v1::EventResult, Status>> + Send {
    let pending = Pending::new();
    let reader = Reader { events, sender, pending: pending.clone(), clock, shutdown, index: 0 };
    let reader = Some(tokio::spawn(telemetry::with_current_request(reader.read())));
    let answers = Answers { results, reader, pending, request, index: 0, broken: None };
    stream::unfold(answers, |mut answers| async move {
        let item = answers.next().await?;
        Some((item, answers))
    })
}

impl Answers {
    async fn next(&mut self) -> Option<Result<v1::EventResult, Status>> {
        let Some(outcome) = self.results.next().await else {
            return self.end().await.map(Err);
        };
        if let Err(problem) = &outcome {
            self.note(problem);
        }
        let index = self.index;
        self.index += 1;
        self.pending.give_back(index);
        Some(Ok(bulk::result(index, outcome)))
    }

    fn note(&mut self, problem: &Problem) {
        let is_unknown = |problem: &Problem| problem.kind == ProblemKind::OutcomeUnknown;
        match ItemStatus::from_outcome(&Err(problem.clone())) {
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
            Ok(End::Done) => None,
            Ok(End::Failed(status)) => Some(status::completed(&status, &self.request)),
            Ok(End::Draining | End::Broken) => {
                let detail = "the service is stopping; events without a result were not stored";
                Some(status::from_problem(
                    &Problem::new(ProblemKind::Unavailable, detail),
                    &self.request,
                ))
            }
            Err(_panicked) => {
                let detail = "the call failed because of a defect here";
                Some(status::from_problem(
                    &Problem::new(ProblemKind::Internal, detail),
                    &self.request,
                ))
            }
        }
    }
}
