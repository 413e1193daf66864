//! What `producer-worker` does, seen and steered: sinks, sources and dead letters.

use producer_core::Problem;
use producer_core::worker::{
    Connectors, DEAD_LETTERS_AT_ONCE, DeadLettersRequest, MAX_DEAD_LETTERS_AT_ONCE, Role,
};
use producer_server::App;
use producer_telemetry::request as telemetry;
use producer_telemetry::stopwatch::Part;
use tonic::{Request, Response, Status};

use crate::args::Args;
use crate::call::{Call, broken, page_size, size};
use crate::connectors::{connector, connectors, dead_letter, dead_letters};
use crate::proto::{server, v1};
use crate::request_id::RequestId;
use crate::status;

/// The service of sinks, sources and dead letters.
#[derive(Clone)]
pub(crate) struct WorkerService {
    connectors: Connectors,
}

impl WorkerService {
    pub(crate) fn new(app: &App<Args>) -> Self {
        Self { connectors: app.connectors.clone() }
    }
}

/// Answers a call by what `work` finds or does.
async fn answer<C, T>(
    id: &RequestId,
    work: impl Future<Output = Result<C, Problem>>,
    message: impl FnOnce(C) -> T,
) -> Result<Response<T>, Status> {
    let done = telemetry::measure(Part::Database, work).await;
    done.map(|done| Response::new(message(done)))
        .map_err(|problem| status::from_problem(&problem, id))
}

#[tonic::async_trait]
impl server::v1::worker_service_server::WorkerService for WorkerService {
    async fn list_sinks(
        &self,
        request: Request<v1::ListSinksRequest>,
    ) -> Result<Response<v1::ListSinksResponse>, Status> {
        let Call { id, .. } = Call::new(request)?;
        let sinks = self.connectors.list(Role::Sink);
        answer(&id, sinks, |sinks| v1::ListSinksResponse { sinks: connectors(sinks) }).await
    }

    async fn get_sink(
        &self,
        request: Request<v1::GetSinkRequest>,
    ) -> Result<Response<v1::Connector>, Status> {
        let Call { id, message, .. } = Call::new(request)?;
        answer(&id, self.connectors.get(Role::Sink, &message.name), connector).await
    }

    async fn pause_sink(
        &self,
        request: Request<v1::PauseSinkRequest>,
    ) -> Result<Response<v1::Connector>, Status> {
        let Call { id, message, .. } = Call::new(request)?;
        let paused = self.connectors.set_paused(Role::Sink, &message.name, true);
        answer(&id, paused, connector).await
    }

    async fn resume_sink(
        &self,
        request: Request<v1::ResumeSinkRequest>,
    ) -> Result<Response<v1::Connector>, Status> {
        let Call { id, message, .. } = Call::new(request)?;
        let resumed = self.connectors.set_paused(Role::Sink, &message.name, false);
        answer(&id, resumed, connector).await
    }

    async fn skip_sink(
        &self,
        request: Request<v1::SkipSinkRequest>,
    ) -> Result<Response<v1::Connector>, Status> {
        let Call { id, message, .. } = Call::new(request)?;
        answer(&id, self.connectors.skip(&message.name, &message.token), connector).await
    }

    async fn reset_sink(
        &self,
        request: Request<v1::ResetSinkRequest>,
    ) -> Result<Response<v1::Connector>, Status> {
        let Call { id, message, .. } = Call::new(request)?;
        answer(&id, self.connectors.reset(&message.name, &message.from), connector).await
    }

    async fn delete_sink(
        &self,
        request: Request<v1::DeleteSinkRequest>,
    ) -> Result<Response<v1::DeleteSinkResponse>, Status> {
        let Call { id, message, .. } = Call::new(request)?;
        let deleted = self.connectors.delete(Role::Sink, &message.name);
        answer(&id, deleted, |()| v1::DeleteSinkResponse {}).await
    }

    async fn list_sources(
        &self,
        request: Request<v1::ListSourcesRequest>,
    ) -> Result<Response<v1::ListSourcesResponse>, Status> {
        let Call { id, .. } = Call::new(request)?;
        let sources = self.connectors.list(Role::Source);
        answer(&id, sources, |sources| v1::ListSourcesResponse { sources: connectors(sources) })
            .await
    }

    async fn get_source(
        &self,
        request: Request<v1::GetSourceRequest>,
    ) -> Result<Response<v1::Connector>, Status> {
        let Call { id, message, .. } = Call::new(request)?;
        answer(&id, self.connectors.get(Role::Source, &message.name), connector).await
    }

    async fn pause_source(
        &self,
        request: Request<v1::PauseSourceRequest>,
    ) -> Result<Response<v1::Connector>, Status> {
        let Call { id, message, .. } = Call::new(request)?;
        let paused = self.connectors.set_paused(Role::Source, &message.name, true);
        answer(&id, paused, connector).await
    }

    async fn resume_source(
        &self,
        request: Request<v1::ResumeSourceRequest>,
    ) -> Result<Response<v1::Connector>, Status> {
        let Call { id, message, .. } = Call::new(request)?;
        let resumed = self.connectors.set_paused(Role::Source, &message.name, false);
        answer(&id, resumed, connector).await
    }

    async fn delete_source(
        &self,
        request: Request<v1::DeleteSourceRequest>,
    ) -> Result<Response<v1::DeleteSourceResponse>, Status> {
        let Call { id, message, .. } = Call::new(request)?;
        let deleted = self.connectors.delete(Role::Source, &message.name);
        answer(&id, deleted, |()| v1::DeleteSourceResponse {}).await
    }

    async fn list_dead_letters(
        &self,
        request: Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<v1::ListDeadLettersResponse>, Status> {
        use v1::list_dead_letters_request::Connector;
        let Call { id, message, .. } = Call::new(request)?;
        let connector = message.connector.map(|connector| match connector {
            Connector::Sink(name) => (Role::Sink, name),
            Connector::Source(name) => (Role::Source, name),
        });
        let page = self.connectors.dead_letters(DeadLettersRequest {
            connector,
            size: page_size(message.page_size),
            token: Some(message.page_token).filter(|token| !token.is_empty()),
        });
        answer(&id, page, dead_letters).await
    }

    async fn get_dead_letter(
        &self,
        request: Request<v1::GetDeadLetterRequest>,
    ) -> Result<Response<v1::DeadLetter>, Status> {
        let Call { id, message, .. } = Call::new(request)?;
        answer(&id, self.connectors.dead_letter(message.id), dead_letter).await
    }

    async fn replay_dead_letter(
        &self,
        request: Request<v1::ReplayDeadLetterRequest>,
    ) -> Result<Response<v1::ReplayDeadLetterResponse>, Status> {
        let Call { id, message, .. } = Call::new(request)?;
        let replayed = self.connectors.replay_dead_letter(message.id);
        answer(&id, replayed, |accepted| v1::ReplayDeadLetterResponse { accepted }).await
    }

    async fn delete_dead_letter(
        &self,
        request: Request<v1::DeleteDeadLetterRequest>,
    ) -> Result<Response<v1::DeleteDeadLetterResponse>, Status> {
        let Call { id, message, .. } = Call::new(request)?;
        let deleted = self.connectors.delete_dead_letter(message.id);
        answer(&id, deleted, |()| v1::DeleteDeadLetterResponse {}).await
    }

    async fn replay_dead_letters(
        &self,
        request: Request<v1::ReplayDeadLettersRequest>,
    ) -> Result<Response<v1::ReplayDeadLettersResponse>, Status> {
        use v1::replay_dead_letters_request::Connector;
        let Call { id, message, .. } = Call::new(request)?;
        let replayed = async {
            let (role, name) = match message.connector {
                Some(Connector::Sink(name)) => (Role::Sink, name),
                Some(Connector::Source(name)) => (Role::Source, name),
                None => return Err(no_connector()),
            };
            self.connectors.replay_dead_letters(role, &name, limit(message.limit)).await
        };
        answer(&id, replayed, |accepted| v1::ReplayDeadLettersResponse { accepted }).await
    }

    async fn delete_dead_letters(
        &self,
        request: Request<v1::DeleteDeadLettersRequest>,
    ) -> Result<Response<v1::DeleteDeadLettersResponse>, Status> {
        use v1::delete_dead_letters_request::Connector;
        let Call { id, message, .. } = Call::new(request)?;
        let deleted = async {
            let (role, name) = match message.connector {
                Some(Connector::Sink(name)) => (Role::Sink, name),
                Some(Connector::Source(name)) => (Role::Source, name),
                None => return Err(no_connector()),
            };
            self.connectors.delete_dead_letters(role, &name, limit(message.limit)).await
        };
        answer(&id, deleted, |accepted| v1::DeleteDeadLettersResponse { accepted }).await
    }
}

fn limit(asked: u64) -> u32 {
    size(asked, DEAD_LETTERS_AT_ONCE, MAX_DEAD_LETTERS_AT_ONCE)
}

/// All dead letters at once would often be a mistake.
fn no_connector() -> Problem {
    broken("sink", "must be given, or source")
}
