//! `redis-stream`: a consumer of a group. Needs Redis 6.2.
//!
//! It has two connections: one waits for new messages, the other acknowledges and takes over. New messages are read by
//! a task: so nothing that Redis has answered is lost where [`Source::receive`] is dropped, and of a backlog the next
//! messages come while the last ones are worked on.

mod entry;
mod group;
mod pending;
mod walk;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use redis::{RedisResult, Script, Value, cmd};
use tokio::task::JoinHandle;

use self::entry::{Entry, Id, entries_of_streams, is_absent};
use self::walk::Walk;
use crate::config::{Secret, SourceStart};
use crate::redis_link::{Link, call};
use crate::sink::Failure;
use crate::source::{Message, Place, Source, SourceLag};

/// So long Redis waits for a message before it answers that there is none.
const BLOCK: Duration = Duration::from_secs(1);

/// Consumers without pending messages that did nothing for so long are deleted: each worker has a name of its own.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// The first release that has all commands as they are used.
const RELEASE: (u32, u32) = (6, 2);

static TIDY: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("redis_stream/tidy.lua")));
static SCRIPTS: &[&LazyLock<Script>] = &[&TIDY];

/// New messages, as Redis answers them.
type Reading = JoinHandle<Result<RedisResult<Value>, Failure>>;

pub(super) struct RedisStream {
    reads: Arc<Link>,
    link: Link,
    stream: String,
    group: String,
    consumer: String,
    from: SourceStart,
    has_group: bool,
    /// What was read and is not acknowledged.
    unsettled: BTreeSet<Id>,
    /// The last message that the group has delivered, as far as this consumer knows.
    last: Option<Id>,
    walk: Walk,
    reading: Option<Reading>,
    /// What was read and is more than was asked for.
    ready: VecDeque<Entry>,
}

impl RedisStream {
    pub(super) fn open(
        url: &Secret,
        stream: &str,
        group: &str,
        from: SourceStart,
        worker: &str,
    ) -> Result<Self, String> {
        Ok(Self {
            reads: Arc::new(Link::new(url, &[])?.waits(BLOCK)),
            link: Link::new(url, SCRIPTS)?,
            stream: stream.to_owned(),
            group: group.to_owned(),
            consumer: worker.to_owned(),
            from,
            has_group: false,
            unsettled: BTreeSet::new(),
            last: None,
            walk: Walk::first(),
            reading: None,
            ready: VecDeque::new(),
        })
    }

    /// What was read already; then what is pending; then what is new.
    async fn next(&mut self, most: usize) -> Result<Vec<Message>, Failure> {
        if !self.has_group {
            self.make_group().await?;
            self.has_group = true;
        }
        if self.reading.as_ref().is_some_and(JoinHandle::is_finished) {
            self.read(most).await?;
        }
        if self.walk.begins_with_all() {
            // ends the connection before it, so that this one's last read is pending by now, or never will be
            self.reads.connect().await?;
        }
        if self.ready.is_empty() {
            let taken = self.take_over(most).await?;
            self.keep(taken);
        }
        if self.ready.is_empty() && self.has_group {
            self.read(most).await?;
        }
        let count = most.min(self.ready.len());
        let messages = self.ready.drain(..count).map(|(id, body, deliveries)| Message {
            place: Place { stream: self.stream.clone(), id: id.to_string() },
            body,
            deliveries,
        });
        Ok(messages.collect())
    }

    /// Makes ready what is not there yet.
    fn keep(&mut self, entries: impl IntoIterator<Item = Entry>) {
        let new = entries.into_iter().filter(|(id, ..)| self.unsettled.insert(*id));
        self.ready.extend(new);
    }

    /// Waits until new messages are ready, about a second at most.
    async fn read(&mut self, most: usize) -> Result<(), Failure> {
        if self.reading.is_none() {
            self.reading = Some(self.begin_reading(most));
        }
        let Some(reading) = &mut self.reading else { return Ok(()) };
        let answer = reading.await;
        self.reading = None;
        let answer = answer.unwrap_or_else(|error| Err(Failure::new(error.to_string())));
        let failure = match answer {
            Ok(Ok(answer)) => {
                let new = entries_of_streams(answer);
                self.last = self.last.max(new.last().map(|(id, _)| *id));
                if new.len() >= most {
                    self.reading = Some(self.begin_reading(most));
                }
                self.keep(new.into_iter().map(|(id, body)| (id, body, 1)));
                return Ok(());
            }
            Ok(Err(error)) if is_absent(&error) => {
                self.lost_group();
                return Ok(());
            }
            Ok(Err(error)) => self.reads.failure(&error),
            Err(failure) => failure,
        };
        // Redis may have delivered what was not heard
        self.walk = Walk::first();
        Err(failure)
    }

    fn begin_reading(&self, most: usize) -> Reading {
        let mut command = cmd("XREADGROUP");
        command.arg("GROUP").arg(&self.group).arg(&self.consumer).arg("COUNT").arg(most);
        command.arg("BLOCK").arg(BLOCK.as_millis().to_string());
        command.arg("STREAMS").arg(&self.stream).arg(">");
        let reads = Arc::clone(&self.reads);
        tokio::spawn(async move { reads.try_run(&command).await })
    }

    fn lost_group(&mut self) {
        tracing::warn!(
            stream = self.stream,
            group = self.group,
            "the stream or its consumer group was deleted; it is made again"
        );
        self.has_group = false;
    }

    async fn settle(&mut self, places: &[Place]) -> Result<(), Failure> {
        let ids: Vec<Id> = places.iter().filter_map(|place| place.id.parse().ok()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let mut command = cmd("XACK");
        command.arg(&self.stream).arg(&self.group);
        for id in &ids {
            command.arg(id.to_string());
        }
        self.link.run::<u64>(&command).await?;
        for id in &ids {
            self.unsettled.remove(id);
        }
        Ok(())
    }

    async fn waiting(&self) -> Result<Option<SourceLag>, Failure> {
        let Some(group) = self.group().await? else { return Ok(None) };
        let behind = self.first_behind(group.last_delivered).await?;
        let pending = if group.pending > 0 { self.first_pending().await? } else { None };
        let new = group.lag.unwrap_or(u64::from(behind.is_some()));
        let (seconds, micros): (u64, u64) = self.link.run(&cmd("TIME")).await?;
        let now = Duration::from_secs(seconds) + Duration::from_micros(micros);
        let sent = pending.or(behind).map(|id| Duration::from_millis(id.millis));
        Ok(Some(SourceLag {
            messages: group.pending + new,
            age: sent.map(|sent| now.saturating_sub(sent)),
        }))
    }

    async fn look(&self) -> Result<(), Failure> {
        self.link.check_writable().await?;
        match &*self.link.type_of(&self.stream).await? {
            "stream" | "none" => {}
            other => {
                let detail = format!("the key {} is a {other}, not a stream", self.stream);
                return Err(Failure::new(detail));
            }
        }
        // not everybody may ask
        let info: RedisResult<String> = self.link.try_run(cmd("INFO").arg("server")).await?;
        match info.ok().and_then(|info| release(&info)) {
            Some(release) if release < RELEASE => {
                let ((major, minor), (least, part)) = (release, RELEASE);
                let detail = format!("Redis is {major}.{minor}, and {least}.{part} is needed");
                Err(Failure::new(detail))
            }
            _ => Ok(()),
        }
    }

    async fn leave(&mut self) {
        if let Some(reading) = self.reading.take() {
            // what it still reads stays pending, for the next worker
            if let Some(id) = self.reads.client_id() {
                let mut command = cmd("CLIENT");
                let _ = self.link.try_run::<Value>(command.arg("UNBLOCK").arg(id)).await;
            }
            let _ = tokio::time::timeout(BLOCK, reading).await;
        }
        let mut command = call(&TIDY, 1);
        command.arg(&self.stream).arg(&self.group).arg(&self.consumer);
        command.arg(FORGOTTEN.as_millis().to_string());
        if let Err(failure) = self.link.run::<Value>(&command).await {
            tracing::info!(
                stream = self.stream,
                reason = failure.detail,
                "the consumer stays in its group"
            );
        }
    }
}

impl Drop for RedisStream {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.abort();
        }
    }
}

impl Source for RedisStream {
    fn receive(&mut self, most: usize) -> BoxFuture<'_, Result<Vec<Message>, Failure>> {
        Box::pin(self.next(most))
    }

    fn acknowledge<'a>(&'a mut self, places: &'a [Place]) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.settle(places))
    }

    fn lag(&mut self) -> BoxFuture<'_, Option<SourceLag>> {
        Box::pin(async { self.waiting().await.ok().flatten() })
    }

    fn check(&mut self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async { self.look().await })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.leave())
    }
}

/// The release that `INFO` names.
fn release(info: &str) -> Option<(u32, u32)> {
    let text = info.lines().find_map(|line| line.strip_prefix("redis_version:"))?;
    let mut numbers = text.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.trim().parse().ok()?))
}
