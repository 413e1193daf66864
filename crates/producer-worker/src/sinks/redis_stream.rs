//! `redis-stream`: an entry (`XADD`) for each update.
//!
//! A delivery is written in transactions (`MULTI`) of about 1 MiB, one after the other. Where Redis is out of
//! memory it runs none of a transaction; without one, an entry could be refused and the one behind it written. A
//! script would do the same at one and a half times the CPU of Redis.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::BoxFuture;
use producer_core::EntityKey;
use redis::{Cmd, cmd};
use tokio::time::Instant;

use crate::config::{Format, Part, Secret, Template};
use crate::format::Formatter;
use crate::redis_link::{Link, TIMEOUT};
use crate::sink::{Failure, NotDelivered, Sink};
use crate::update::Update;

/// Bytes of the fields of one transaction, about.
const TRANSACTION_BYTES: usize = 1 << 20;

/// No transaction is begun later: with a connection and an answer before the sink's deadline.
const LAST_BEGIN: Duration = TIMEOUT;

pub(super) struct RedisStream {
    link: Link,
    formatter: Formatter,
    stream: Template,
    maxlen: Option<u64>,
}

impl RedisStream {
    pub(super) fn open(
        url: &Secret,
        stream: &Template,
        maxlen: Option<u64>,
        format: &Format,
    ) -> Result<Self, String> {
        let link = Link::new(url, &[])?;
        Ok(Self { link, formatter: Formatter::new(format), stream: stream.clone(), maxlen })
    }

    async fn write(&self, updates: &[Update]) -> Result<Vec<Result<(), NotDelivered>>, Failure> {
        let last_begin = Instant::now() + LAST_BEGIN;
        // it says how long a value may be
        self.link.connect().await?;
        let mut delivery = Delivery::new(updates);
        while let Some(transaction) = self.next_transaction(&mut delivery) {
            if Instant::now() > last_begin {
                delivery.stop(&Failure::new("Redis takes the delivery too slowly"));
                break;
            }
            let Transaction { commands, places, .. } = transaction;
            match self.link.run_transaction(commands).await {
                Err(failure) if !delivery.has_begun() => return Err(failure),
                Err(failure) => delivery.stop(&failure),
                Ok(answers) => {
                    for (place, answer) in places.into_iter().zip(answers) {
                        let written = answer.map(drop).map_err(|error| self.link.failure(&error));
                        delivery.settle(place, written.map_err(NotDelivered::Failed));
                    }
                }
            }
        }
        Ok(delivery.into_results())
    }

    /// The commands of the next updates; `None` where there are no more.
    ///
    /// An entity's updates may go to several streams only where the name has the event's. Of these a
    /// transaction could write the second without the first, so there it has one update of each entity.
    fn next_transaction<'a>(&self, delivery: &mut Delivery<'a>) -> Option<Transaction<'a>> {
        let each_once = self.stream.has(&Part::EventName);
        let mut transaction = Transaction::default();
        while let Some((place, update)) = delivery.next() {
            if each_once && transaction.keys.contains(update.key())
                || transaction.bytes >= TRANSACTION_BYTES
            {
                break;
            }
            delivery.at = place + 1;
            if delivery.stopped.contains(update.key()) {
                let behind = Failure::new("an earlier update of the entity is not delivered");
                delivery.settle(place, Err(behind.into()));
                continue;
            }
            match self.entry(update) {
                Ok((command, bytes)) => {
                    transaction.commands.push(command);
                    transaction.places.push(place);
                    transaction.bytes += bytes;
                    if each_once {
                        transaction.keys.insert(update.key());
                    }
                }
                Err(refused) => delivery.settle(place, Err(refused)),
            }
        }
        (!transaction.places.is_empty()).then_some(transaction)
    }

    /// The command that writes an update, and about how many bytes it has.
    fn entry(&self, update: &Update) -> Result<(Cmd, usize), NotDelivered> {
        let mut command = cmd("XADD");
        command.arg(self.stream.redis_key(update.into()));
        if let Some(maxlen) = self.maxlen {
            command.arg("MAXLEN").arg("~").arg(maxlen);
        }
        command.arg("*");
        let (mut bytes, limit) = (0, self.link.max_bulk());
        for (name, value) in self.formatter.fields(update) {
            if value.len() > limit {
                let detail = format!(
                    "the field {name} has {} bytes, and Redis takes at most {limit} \
                     (proto-max-bulk-len)",
                    value.len()
                );
                let message = self.formatter.structured(update).into_bytes();
                return Err(NotDelivered::Refused { detail, message });
            }
            command.arg(name).arg(&*value);
            bytes += name.len() + value.len();
        }
        Ok((command, bytes))
    }
}

impl Sink for RedisStream {
    fn deliver<'a>(
        &'a self,
        updates: &'a [Update],
    ) -> BoxFuture<'a, Result<Vec<Result<(), NotDelivered>>, Failure>> {
        Box::pin(self.write(updates))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async {
            self.link.check_writable().await?;
            let [Part::Text(stream)] = &*self.stream.0 else { return Ok(()) };
            match &*self.link.type_of(stream).await? {
                "stream" | "none" => Ok(()),
                other => Err(Failure::new(format!("the key {stream} is a {other}, not a stream"))),
            }
        })
    }
}

/// Entries that are written all or none.
#[derive(Default)]
struct Transaction<'a> {
    commands: Vec<Cmd>,
    /// Where in the delivery its updates are.
    places: Vec<usize>,
    keys: HashSet<&'a EntityKey>,
    bytes: usize,
}

/// What became of the updates of a delivery so far.
struct Delivery<'a> {
    updates: &'a [Update],
    results: Vec<Option<Result<(), NotDelivered>>>,
    /// The first update that is in no transaction yet.
    at: usize,
    /// Entities of which an update is not delivered.
    stopped: HashSet<&'a EntityKey>,
}

impl<'a> Delivery<'a> {
    fn new(updates: &'a [Update]) -> Self {
        let results = updates.iter().map(|_| None).collect();
        Self { updates, results, at: 0, stopped: HashSet::new() }
    }

    fn next(&self) -> Option<(usize, &'a Update)> {
        Some((self.at, self.updates.get(self.at)?))
    }

    /// Whether anything is known to be delivered or refused.
    fn has_begun(&self) -> bool {
        self.results.iter().any(Option::is_some)
    }

    fn settle(&mut self, place: usize, result: Result<(), NotDelivered>) {
        if result.is_err() {
            self.stopped.insert(self.updates[place].key());
        }
        self.results[place] = Some(result);
    }

    /// All that is not settled failed.
    fn stop(&mut self, failure: &Failure) {
        self.at = self.updates.len();
        for result in self.results.iter_mut().filter(|result| result.is_none()) {
            *result = Some(Err(failure.clone().into()));
        }
    }

    fn into_results(mut self) -> Vec<Result<(), NotDelivered>> {
        self.stop(&Failure::new("it was not sent"));
        self.results.into_iter().flatten().collect()
    }
}
