//! `redis-cache`: an entity's key has the JSON that `GET` of the entity answers.
//!
//! | key | what |
//! |---|---|
//! | the entity's | the JSON, a plain string. It begins with type, id and version, and all but the version is known, so a script finds the version without reading JSON |
//! | the entity's and `:version` | the *guard*: for an hour, the version that removed the entity, with position and epoch of its change; with a `ttl` below an hour also the one that was written. Values have no colon in keys, so all keys of a template have equally many, and a guard is never an entity's key |
//! | `producer:` and the sink's name | the *marker* (`marker.rs`) |
//!
//! Each update is one call of `put.lua`, which compares and writes in one step: so nothing goes back to an older
//! version, whoever writes, and the order of calls does not matter. (One call for many updates would take two
//! thirds of Redis's CPU, but hold up its other clients for as long as the whole delivery takes.)
//!
//! A call has keys of several slots: Redis Cluster is not supported.

mod marker;
mod sweep;

use std::sync::LazyLock;
use std::time::Duration;

use futures_util::future::BoxFuture;
use producer_core::EntityKey;
use producer_core::feed::{Token, Types};
use producer_core::json::write_string;
use producer_core::query::write_entity;
use redis::{Cmd, Script, pipe};
use tokio::time::Instant;

use self::marker::Marker;
use crate::config::{Secret, SinkConfig, Template};
use crate::redis_link::{Link, TIMEOUT, call};
use crate::sink::{Failure, Kept, NotDelivered, Present, Sink};
use crate::update::{Cause, Update};

/// So long a guard is kept.
const GUARDED: Duration = Duration::from_secs(3600);

/// Bytes of what is sent at once, about.
const CALL_BYTES: usize = 1 << 20;

/// Nothing is sent later: with a connection and an answer before the sink's deadline.
const LAST_CALL: Duration = TIMEOUT;

static PUT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis_cache/put.lua")));

static SCRIPTS: &[&LazyLock<Script>] = &[&PUT, &marker::MARK];

pub(super) struct RedisCache {
    link: Link,
    template: Template,
    types: Types,
    ttl: Option<Duration>,
    marker: Marker,
}

/// What is to be put, beside the entity.
struct Put {
    /// The JSON; empty to remove it.
    value: String,
    version: u64,
    /// Epoch and position of the change, where they are known.
    place: Option<(String, u64)>,
    is_snapshot: bool,
}

impl RedisCache {
    pub(super) fn open(
        config: &SinkConfig,
        url: &Secret,
        template: &Template,
        ttl: Option<Duration>,
    ) -> Result<Self, String> {
        Ok(Self {
            link: Link::new(url, SCRIPTS)?,
            template: template.clone(),
            types: config.types.clone(),
            ttl,
            marker: Marker::new(&config.name),
        })
    }

    async fn write(&self, updates: &[Update]) -> Result<Vec<Result<(), NotDelivered>>, Failure> {
        let last_call = Instant::now() + LAST_CALL;
        // it says how long a value may be
        self.link.connect().await?;
        if updates.iter().any(|update| matches!(update.cause, Cause::Snapshot(_))) {
            self.marker.begin_snapshot(&self.link).await?;
        }
        let mut results = Vec::with_capacity(updates.len());
        while let Some(rest) = updates.get(results.len()..).filter(|rest| !rest.is_empty()) {
            let failed = if Instant::now() > last_call {
                Some(Failure::new("Redis takes the delivery too slowly"))
            } else {
                self.write_some(rest, &mut results).await.err()
            };
            match failed {
                None => {}
                Some(failure) if results.is_empty() => return Err(failure),
                Some(failure) => {
                    results.resize_with(updates.len(), || Err(failure.clone().into()));
                }
            }
        }
        Ok(results)
    }

    /// Writes the first of these updates, and adds what became of them to the results.
    async fn write_some(
        &self,
        updates: &[Update],
        results: &mut Vec<Result<(), NotDelivered>>,
    ) -> Result<(), Failure> {
        let mut commands = pipe();
        let mut refused = Vec::new();
        let mut bytes = 0;
        for update in updates {
            let put = Put::new(update);
            bytes += put.value.len();
            let limit = self.link.max_bulk();
            if put.value.len() > limit {
                let detail = format!(
                    "the entity has {} bytes, and Redis takes at most {limit} (proto-max-bulk-len)",
                    put.value.len()
                );
                refused.push(Some(NotDelivered::Refused { detail, message: put.value.into() }));
            } else {
                commands.add_command(self.command(update.key(), &put));
                refused.push(None);
            }
            if bytes >= CALL_BYTES {
                break;
            }
        }
        let answers = match commands.is_empty() {
            true => Vec::new(),
            false => self.link.run_all(&mut commands).await?,
        };
        let mut answers = answers.into_iter();
        for refused in refused {
            results.push(match refused {
                Some(refused) => Err(refused),
                None => match answers.next() {
                    Some(Ok(_)) => Ok(()),
                    Some(Err(error)) => Err(self.link.failure(&error).into()),
                    None => Err(Failure::new("Redis did not answer all").into()),
                },
            });
        }
        Ok(())
    }

    /// The call of the script.
    fn command(&self, entity: &EntityKey, put: &Put) -> Cmd {
        let key = self.template.redis_key(entity.into());
        let guard = format!("{key}:version");
        let removes = put.value.is_empty();
        let ttl = self.ttl.map(|ttl| ttl.as_millis().to_string()).unwrap_or_default();
        // where the value ends before, its version would be forgotten; without a place, a guard could not tell an
        // entity that was made anew
        let guards = self.ttl.is_some_and(|ttl| ttl < GUARDED) || removes && put.place.is_some();
        let keep = if guards { GUARDED.as_millis().to_string() } else { String::new() };
        let snapshot = if put.is_snapshot { self.marker.snapshot() } else { "" };
        let (epoch, position) = match &put.place {
            Some((epoch, position)) => (&**epoch, position.to_string()),
            None => ("", String::new()),
        };
        let mut command = call(&PUT, 3);
        command.arg(key).arg(guard).arg(self.marker.key());
        command.arg(head(entity)).arg(&put.value).arg(put.version).arg(position).arg(epoch);
        command.arg(ttl).arg(keep).arg(snapshot);
        command
    }
}

impl Put {
    fn new(update: &Update) -> Self {
        let (place, is_snapshot) = match &update.cause {
            Cause::Change(change) | Cause::Left(change) => {
                (Some((change.token.epoch.to_string(), change.position)), false)
            }
            Cause::Snapshot(_) => (None, true),
        };
        let mut value = String::new();
        if let Some(entity) = update.state.as_deref().filter(|_| !update.is_removal()) {
            write_entity(&mut value, entity, None);
        }
        Self { value, version: update.kept_version(), place, is_snapshot }
    }

    /// What a sweep removes.
    fn removal(version: u64, seen: Option<&Token>) -> Self {
        let place = seen.map(|token| (token.epoch.to_string(), token.position()));
        Self { value: String::new(), version, place, is_snapshot: false }
    }
}

/// How the JSON of an entity begins, up to its version.
fn head(entity: &EntityKey) -> String {
    let mut head = String::from("{\"entityType\":");
    write_string(&mut head, entity.entity_type());
    head.push_str(",\"entityId\":");
    write_string(&mut head, entity.entity_id());
    head.push_str(",\"version\":");
    head
}

impl Sink for RedisCache {
    fn deliver<'a>(
        &'a self,
        updates: &'a [Update],
    ) -> BoxFuture<'a, Result<Vec<Result<(), NotDelivered>>, Failure>> {
        Box::pin(self.write(updates))
    }

    fn checkpoint<'a>(
        &'a self,
        reached: &'a Token,
        stored: &'a Token,
    ) -> BoxFuture<'a, Result<Kept, Failure>> {
        Box::pin(self.marker.compare_and_set(&self.link, reached, stored))
    }

    fn sweep<'a>(&'a self, present: &'a dyn Present) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.remove_absent(present))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(self.link.check_writable())
    }
}
