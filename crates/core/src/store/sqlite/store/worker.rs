//! Connectors and dead letters.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::SqliteStore;
use crate::model::EntityKey;
use crate::query::ReadError;
use crate::store::sqlite::query;
use crate::worker::{
    Connector, Control, DeadLetter, DeadLetterQuery, DeadLetterState, Deleted, Lease,
    NewDeadLetter, Registered, Report, Role, WorkerStore,
};

impl WorkerStore for SqliteStore {
    fn register<'a>(
        &'a self,
        role: Role,
        name: &'a str,
        kind: &'a str,
        start: Option<(&'a str, u64)>,
    ) -> BoxFuture<'a, Result<Registered, ReadError>> {
        Box::pin(self.worker.register(role, name, kind, start))
    }

    fn take<'a>(
        &'a self,
        role: Role,
        name: &'a str,
        worker: &'a str,
        duration: Duration,
    ) -> BoxFuture<'a, Result<Option<Lease>, ReadError>> {
        Box::pin(self.worker.take(role, name, worker, duration))
    }

    fn renew<'a>(
        &'a self,
        lease: &'a Lease,
        duration: Duration,
        report: &'a Report,
    ) -> BoxFuture<'a, Result<Option<Control>, ReadError>> {
        Box::pin(self.worker.renew(lease, duration, report))
    }

    fn advance<'a>(
        &'a self,
        lease: &'a Lease,
        token: &'a str,
        position: u64,
    ) -> BoxFuture<'a, Result<bool, ReadError>> {
        Box::pin(self.worker.advance(lease, token, position))
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<(), ReadError>> {
        Box::pin(self.worker.release(lease))
    }

    fn report_shared<'a>(
        &'a self,
        role: Role,
        name: &'a str,
        worker: &'a str,
        duration: Duration,
        report: &'a Report,
    ) -> BoxFuture<'a, Result<Option<Control>, ReadError>> {
        Box::pin(self.worker.report_shared(role, name, worker, duration, report))
    }

    fn add_dead_letters<'a>(
        &'a self,
        connector: (Role, &'a str),
        lease: Option<&'a Lease>,
        letters: &'a [NewDeadLetter],
    ) -> BoxFuture<'a, Result<Option<u64>, ReadError>> {
        Box::pin(self.worker.add(connector, lease, letters))
    }

    fn held_entities<'a>(
        &'a self,
        sink: &'a str,
    ) -> BoxFuture<'a, Result<Vec<EntityKey>, ReadError>> {
        Box::pin(query::held_entities(&self.readers, sink))
    }

    fn due_dead_letters<'a>(
        &'a self,
        connector: (Role, &'a str),
        most: u32,
    ) -> BoxFuture<'a, Result<Vec<DeadLetter>, ReadError>> {
        Box::pin(query::due_dead_letters(&self.readers, connector, most))
    }

    fn settle_dead_letter<'a>(
        &'a self,
        lease: Option<&'a Lease>,
        id: u64,
    ) -> BoxFuture<'a, Result<(), ReadError>> {
        Box::pin(self.worker.settle(lease, id))
    }

    fn fail_dead_letter<'a>(
        &'a self,
        lease: Option<&'a Lease>,
        id: u64,
        letter: &'a NewDeadLetter,
    ) -> BoxFuture<'a, Result<(), ReadError>> {
        Box::pin(self.worker.fail(lease, id, letter))
    }

    fn settle_entity<'a>(
        &'a self,
        lease: &'a Lease,
        key: &'a EntityKey,
    ) -> BoxFuture<'a, Result<(), ReadError>> {
        Box::pin(self.worker.settle_entity(lease, key))
    }

    fn connectors<'a>(
        &'a self,
        role: Role,
        name: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Connector>, ReadError>> {
        Box::pin(query::connectors(&self.readers, role, name))
    }

    fn set_paused<'a>(
        &'a self,
        role: Role,
        name: &'a str,
        paused: bool,
    ) -> BoxFuture<'a, Result<bool, ReadError>> {
        Box::pin(self.worker.set_paused(role, name, paused))
    }

    fn skip<'a>(&'a self, sink: &'a str, token: &'a str) -> BoxFuture<'a, Result<bool, ReadError>> {
        Box::pin(self.worker.skip(sink, token))
    }

    fn reset<'a>(
        &'a self,
        sink: &'a str,
        token: &'a str,
        position: u64,
    ) -> BoxFuture<'a, Result<bool, ReadError>> {
        Box::pin(self.worker.reset(sink, token, position))
    }

    fn delete_connector<'a>(
        &'a self,
        role: Role,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Deleted, ReadError>> {
        Box::pin(self.worker.delete(role, name))
    }

    fn dead_letters<'a>(
        &'a self,
        query: DeadLetterQuery<'a>,
    ) -> BoxFuture<'a, Result<Vec<DeadLetter>, ReadError>> {
        Box::pin(query::dead_letters(&self.readers, query))
    }

    fn dead_letter(&self, id: u64) -> BoxFuture<'_, Result<Option<DeadLetter>, ReadError>> {
        Box::pin(query::dead_letter(&self.readers, id))
    }

    fn replay_dead_letter(
        &self,
        id: u64,
    ) -> BoxFuture<'_, Result<Option<DeadLetterState>, ReadError>> {
        Box::pin(self.worker.replay(id))
    }

    fn delete_dead_letter(&self, id: u64) -> BoxFuture<'_, Result<bool, ReadError>> {
        Box::pin(self.worker.delete_letter(id))
    }

    fn replay_dead_letters<'a>(
        &'a self,
        connector: (Role, &'a str),
        limit: u32,
    ) -> BoxFuture<'a, Result<u64, ReadError>> {
        Box::pin(self.worker.replay_oldest(connector, limit))
    }

    fn delete_dead_letters<'a>(
        &'a self,
        connector: (Role, &'a str),
        limit: u32,
    ) -> BoxFuture<'a, Result<u64, ReadError>> {
        Box::pin(self.worker.delete_oldest(connector, limit))
    }
}
