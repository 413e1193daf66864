//! The port of the worker: connectors and dead letters in a database.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::connector::{Connector, Role};
use super::dead_letter::{DeadLetter, DeadLetterQuery, NewDeadLetter};
use super::report::Report;
use crate::model::EntityKey;
use crate::query::ReadError;

/// A database that keeps connectors and dead letters. Leases end by the database's clock.
pub trait WorkerStore: Send + Sync + 'static {
    // what workers do

    /// Makes a connector known, where it is not: of a sink with the place where it begins.
    fn register<'a>(
        &'a self,
        role: Role,
        name: &'a str,
        kind: &'a str,
        start: Option<(&'a str, u64)>,
    ) -> BoxFuture<'a, Result<Registered, ReadError>>;

    /// Takes a connector that no worker runs: its last lease was released or has ended. `None` where another
    /// one runs it, or where it is not known. A connector that is paused is taken too: its worker answers for
    /// it.
    fn take<'a>(
        &'a self,
        role: Role,
        name: &'a str,
        worker: &'a str,
        duration: Duration,
    ) -> BoxFuture<'a, Result<Option<Lease>, ReadError>>;

    /// Extends a lease, stores what the worker says, and returns what is asked of it; `None` where the lease is
    /// lost.
    fn renew<'a>(
        &'a self,
        lease: &'a Lease,
        duration: Duration,
        report: &'a Report,
    ) -> BoxFuture<'a, Result<Option<Control>, ReadError>>;

    /// Moves a sink's position on. False where the lease is lost or the sink was reset meanwhile: nothing is
    /// moved then.
    fn advance<'a>(
        &'a self,
        lease: &'a Lease,
        token: &'a str,
        position: u64,
    ) -> BoxFuture<'a, Result<bool, ReadError>>;

    /// Ends a lease, so that another worker can take the connector at once.
    fn release<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<(), ReadError>>;

    /// Stores a worker's word on a connector that several run at once, without a lease, and returns what is
    /// asked of it; `None` where it is not known. `worker` is shown for `duration`.
    fn report_shared<'a>(
        &'a self,
        role: Role,
        name: &'a str,
        worker: &'a str,
        duration: Duration,
        report: &'a Report,
    ) -> BoxFuture<'a, Result<Option<Control>, ReadError>>;

    /// Stores dead letters, all or none; those that are there already stay as they are. Returns how many the
    /// connector has then, of which about [`MAX_DEAD_LETTERS`](super::MAX_DEAD_LETTERS) are counted; `None` where
    /// the lease is lost, or the connector is not known: nothing is stored then. Sources without a lease pass
    /// none.
    fn add_dead_letters<'a>(
        &'a self,
        connector: (Role, &'a str),
        lease: Option<&'a Lease>,
        letters: &'a [NewDeadLetter],
    ) -> BoxFuture<'a, Result<Option<u64>, ReadError>>;

    /// The entities of a sink that have a dead letter or a change that waits behind one, each once.
    fn held_entities<'a>(
        &'a self,
        sink: &'a str,
    ) -> BoxFuture<'a, Result<Vec<EntityKey>, ReadError>>;

    /// What is to be delivered again, the oldest first, up to `most`: what is replaying; and, of each entity, the
    /// first change that waits, where nothing of the entity is before it.
    fn due_dead_letters<'a>(
        &'a self,
        connector: (Role, &'a str),
        most: u32,
    ) -> BoxFuture<'a, Result<Vec<DeadLetter>, ReadError>>;

    /// Deletes a dead letter that was delivered; nothing where the lease is lost.
    fn settle_dead_letter<'a>(
        &'a self,
        lease: Option<&'a Lease>,
        id: u64,
    ) -> BoxFuture<'a, Result<(), ReadError>>;

    /// Notes that a dead letter, or a change that waited, was refused (again): it is dead, with what
    /// `letter` says. Nothing where the lease is lost.
    fn fail_dead_letter<'a>(
        &'a self,
        lease: Option<&'a Lease>,
        id: u64,
        letter: &'a NewDeadLetter,
    ) -> BoxFuture<'a, Result<(), ReadError>>;

    /// Deletes a sink's dead letters of an entity whose newer state was delivered or refused; nothing where the
    /// lease is lost.
    fn settle_entity<'a>(
        &'a self,
        lease: &'a Lease,
        key: &'a EntityKey,
    ) -> BoxFuture<'a, Result<(), ReadError>>;

    // what users do

    /// All connectors of a role in the order of their names, or the one with a name.
    fn connectors<'a>(
        &'a self,
        role: Role,
        name: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Connector>, ReadError>>;

    /// Pauses or resumes; false where it is not known.
    fn set_paused<'a>(
        &'a self,
        role: Role,
        name: &'a str,
        paused: bool,
    ) -> BoxFuture<'a, Result<bool, ReadError>>;

    /// Asks a sink to give up the change that it can't get past; false where it is not known.
    fn skip<'a>(&'a self, sink: &'a str, token: &'a str) -> BoxFuture<'a, Result<bool, ReadError>>;

    /// Puts a sink elsewhere; false where it is not known. Its dead letters stay.
    fn reset<'a>(
        &'a self,
        sink: &'a str,
        token: &'a str,
        position: u64,
    ) -> BoxFuture<'a, Result<bool, ReadError>>;

    /// Forgets a connector and its dead letters, where no worker runs it. Where there are many dead letters,
    /// they go in steps: a worker that takes the connector meanwhile keeps the rest.
    fn delete_connector<'a>(
        &'a self,
        role: Role,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Deleted, ReadError>>;

    /// Dead letters, newest first, without their messages.
    fn dead_letters<'a>(
        &'a self,
        query: DeadLetterQuery<'a>,
    ) -> BoxFuture<'a, Result<Vec<DeadLetter>, ReadError>>;

    /// A dead letter.
    fn dead_letter(&self, id: u64) -> BoxFuture<'_, Result<Option<DeadLetter>, ReadError>>;

    /// Asks for a dead letter to be delivered again. Returns its state before: nothing is changed where that is
    /// not [`Dead`](super::DeadLetterState::Dead).
    fn replay_dead_letter(
        &self,
        id: u64,
    ) -> BoxFuture<'_, Result<Option<super::DeadLetterState>, ReadError>>;

    /// Deletes a dead letter; false where there is none.
    fn delete_dead_letter(&self, id: u64) -> BoxFuture<'_, Result<bool, ReadError>>;

    /// The same for up to `limit` of a connector that are dead, the oldest first. Returns how many.
    fn replay_dead_letters<'a>(
        &'a self,
        connector: (Role, &'a str),
        limit: u32,
    ) -> BoxFuture<'a, Result<u64, ReadError>>;

    /// The same for up to `limit` of a connector, the oldest first. Returns how many.
    fn delete_dead_letters<'a>(
        &'a self,
        connector: (Role, &'a str),
        limit: u32,
    ) -> BoxFuture<'a, Result<u64, ReadError>>;
}

/// What [`WorkerStore::register`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// It is known, by now or since long.
    Known,
    /// The name is that of a connector of this other kind.
    OtherKind(String),
}

/// A worker's right to run a connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The connector.
    pub role: Role,
    /// The connector.
    pub name: String,
    /// Rises with every worker that takes it: what an earlier one does has no effect.
    pub epoch: u64,
    /// As [`Control::generation`] when it was taken; one that differs later means that the position was reset.
    pub generation: u64,
    /// Of a sink: where it goes on, a token or `snapshot`.
    pub token: Option<String>,
    /// What is asked of the connector.
    pub control: Control,
}

/// What is asked of a connector.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Control {
    /// Whether it is paused.
    pub paused: bool,
    /// Rises when the position is reset.
    pub generation: u64,
    /// The token of the change to give up.
    pub skip: Option<String>,
    /// Rises when somebody replays or deletes dead letters.
    pub letters_generation: u64,
}

/// What [`WorkerStore::delete_connector`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deleted {
    /// It is forgotten.
    Deleted,
    /// It is not known.
    NotFound,
    /// This worker runs it.
    InUse(String),
}
