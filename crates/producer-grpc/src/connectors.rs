//! From connectors and dead letters to the messages of `WorkerService`.

use producer_core::worker::{
    Breaker, Connector, ConnectorState, Current, DeadLetterPlace, DeadLetterState, DeadLettersPage,
    LastError, Role, SeenDeadLetter,
};

use crate::convert::timestamp;
use crate::proto::v1;

/// A sink or a source.
pub(crate) fn connector(connector: Connector) -> v1::Connector {
    v1::Connector {
        state: state(connector.state()).into(),
        lag_changes: connector.lag_changes(),
        lag_seconds: connector.lag_seconds(),
        caught_up: connector.is_caught_up(),
        name: connector.name,
        kind: connector.kind,
        token: connector.token,
        current: connector.report.current.map(current),
        last_error: connector.report.last_error.map(last_error),
        breaker: breaker(connector.report.breaker).into(),
        dead_letters: connector.dead_letters,
        worker: connector.worker,
    }
}

/// Sinks or sources.
pub(crate) fn connectors(connectors: Vec<Connector>) -> Vec<v1::Connector> {
    connectors.into_iter().map(connector).collect()
}

fn state(state: ConnectorState) -> v1::ConnectorState {
    match state {
        ConnectorState::Running => v1::ConnectorState::Running,
        ConnectorState::Retrying => v1::ConnectorState::Retrying,
        ConnectorState::Paused => v1::ConnectorState::Paused,
        ConnectorState::Unassigned => v1::ConnectorState::Unassigned,
    }
}

fn breaker(breaker: Breaker) -> v1::BreakerState {
    match breaker {
        Breaker::Closed => v1::BreakerState::Closed,
        Breaker::Open => v1::BreakerState::Open,
        Breaker::HalfOpen => v1::BreakerState::HalfOpen,
    }
}

fn current(current: Current) -> v1::CurrentChange {
    v1::CurrentChange {
        token: current.token,
        entity_type: current.entity_type,
        entity_id: current.entity_id,
        tries: current.tries,
    }
}

fn last_error(error: LastError) -> v1::ConnectorError {
    v1::ConnectorError { at: Some(timestamp(error.at())), detail: error.detail }
}

/// A page of dead letters, without their messages.
pub(crate) fn dead_letters(page: DeadLettersPage) -> v1::ListDeadLettersResponse {
    v1::ListDeadLettersResponse {
        dead_letters: page.letters.into_iter().map(listed).collect(),
        next_page_token: page.next.unwrap_or_default(),
    }
}

/// A dead letter with its message, where it has one.
pub(crate) fn dead_letter(mut seen: SeenDeadLetter) -> v1::DeadLetter {
    let message = std::mem::take(&mut seen.letter.letter.message);
    let is_read_from_log = seen.letter.letter.state == DeadLetterState::Waiting;
    v1::DeadLetter { message: (!is_read_from_log).then_some(message), ..listed(seen) }
}

fn listed(SeenDeadLetter { letter: stored, token }: SeenDeadLetter) -> v1::DeadLetter {
    let letter = stored.letter;
    let mut message = v1::DeadLetter {
        id: stored.id,
        connector: Some(match stored.role {
            Role::Sink => v1::dead_letter::Connector::Sink(stored.connector),
            Role::Source => v1::dead_letter::Connector::Source(stored.connector),
        }),
        token: token.map(|token| token.to_string()),
        error: letter.error,
        tries: letter.tries,
        first_at: Some(timestamp(letter.first_at)),
        last_at: Some(timestamp(letter.last_at)),
        ..v1::DeadLetter::default()
    };
    message.set_state(match letter.state {
        DeadLetterState::Dead => v1::DeadLetterState::Dead,
        DeadLetterState::Waiting => v1::DeadLetterState::Waiting,
        DeadLetterState::Replaying => v1::DeadLetterState::Replaying,
    });
    match letter.place {
        DeadLetterPlace::Change { key, version, .. } => {
            message.entity_type = Some(key.entity_type().into());
            message.entity_id = Some(key.entity_id().into());
            message.version = Some(version);
        }
        DeadLetterPlace::Message(place) => message.place = Some(place),
    }
    message
}
