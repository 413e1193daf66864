//! The marker: how far the sink was when Redis had it, so that lost writes are noticed.
//!
//! A hash with `token`, up to which all is delivered, and `snapshot` while one is under way. A server that lost
//! something (flushed, restarted without its data, failed over to a replica that was behind) has an older marker, or
//! none: what it has is the beginning of what was written, in order.
//!
//! What the runner does:
//! - After taking the lease it calls `checkpoint(stored, stored)`, and on [`Kept::Lost`] takes a snapshot.
//! - It calls `checkpoint(reached, stored)` before it stores `reached`. So the marker is never behind what the
//!   database has, unless something was lost. In a snapshot too: without that, what was lost before another worker
//!   took over is not noticed.
//! - A token of a snapshot without its last entity says that nothing of the snapshot is stored yet. The first call
//!   with it has nothing to compare, and writes the marker whatever it was: so at the first run of all. Later ones
//!   compare with what was written then.
//! - At a snapshot's end it calls [`sweep`](crate::sink::Sink::sweep) first, then `checkpoint` with the token
//!   behind the snapshot.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use producer_core::feed::{Cursor, Token};
use redis::{Script, cmd};

use crate::redis_link::{Link, call};
use crate::sink::{Failure, Kept};

/// How often a marker that another worker moves meanwhile is read again.
const TRIES: usize = 3;

pub(super) static MARK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("mark.lua")));

pub(super) struct Marker {
    key: String,
    /// Names the snapshots of this sink as this process opened it: those of another one, which may write late,
    /// have another name.
    snapshot: String,
    /// Whether the marker has the name.
    has_begun: AtomicBool,
    seen: Mutex<Option<Token>>,
    /// What this process last wrote into the marker.
    marked: Mutex<Option<Token>>,
}

impl Marker {
    pub(super) fn new(sink: &str) -> Self {
        Self {
            key: format!("producer:{sink}"),
            snapshot: format!("{:016x}", fastrand::u64(..)),
            has_begun: AtomicBool::new(false),
            seen: Mutex::default(),
            marked: Mutex::default(),
        }
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The name of the snapshot under way.
    pub(super) fn snapshot(&self) -> &str {
        &self.snapshot
    }

    /// The last place that the runner named.
    pub(super) fn seen(&self) -> Option<Token> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Before the first entity of a snapshot: from now on those of this snapshot replace whatever is there.
    pub(super) async fn begin_snapshot(&self, link: &Link) -> Result<(), Failure> {
        if self.has_begun.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut command = cmd("HSET");
        command.arg(&self.key).arg("snapshot").arg(&self.snapshot);
        link.run::<()>(&command).await?;
        self.has_begun.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether Redis still has what the database says it has; then the marker says `reached`.
    pub(super) async fn compare_and_set(
        &self,
        link: &Link,
        reached: &Token,
        stored: &Token,
    ) -> Result<Kept, Failure> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(reached.clone());
        let marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // a snapshot that begins has nothing to compare; while it goes on, it has what was marked at its beginning
        let begins = is_start(reached) && marked.as_ref() != Some(reached);
        if begins {
            self.has_begun.store(false, Ordering::Relaxed);
        }
        let expected =
            marked.filter(|marked| is_later(marked, stored)).unwrap_or_else(|| stored.clone());
        for _ in 0..TRIES {
            let mut command = cmd("HMGET");
            command.arg(&self.key).arg("token").arg("snapshot");
            let (text, snapshot): (Option<String>, Option<String>) = link.run(&command).await?;
            let found = text.as_deref().and_then(Token::parse);
            let begun = self.has_begun.load(Ordering::Relaxed);
            let is_kept = (!begun || snapshot.as_deref() == Some(&self.snapshot))
                && is_kept(found.as_ref(), snapshot.is_some(), &expected);
            if !begins && !is_kept {
                self.has_begun.store(false, Ordering::Relaxed);
                self.set_marked(None);
                return Ok(Kept::Lost);
            }
            let is_log = matches!(reached.cursor, Cursor::Log(_));
            if is_log && snapshot.is_none() && found.as_ref().is_some_and(|f| is_at(f, reached)) {
                self.set_marked(found);
                return Ok(Kept::Everything);
            }
            let mut command = call(&MARK, 1);
            command.arg(&self.key).arg(text.unwrap_or_default());
            command.arg(reached.to_string()).arg(if is_log { "1" } else { "" });
            if link.run(&command).await? {
                if is_log {
                    self.has_begun.store(false, Ordering::Relaxed);
                }
                self.set_marked(Some(reached.clone()));
                return Ok(Kept::Everything);
            }
        }
        Err(Failure::new("another worker moves the marker in Redis"))
    }

    fn set_marked(&self, token: Option<Token>) {
        *self.marked.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }
}

/// Whether what this process has marked says more than what the database has: it was marked before that.
fn is_later(marked: &Token, stored: &Token) -> bool {
    let is_log = matches!(marked.cursor, Cursor::Log(_)) && matches!(stored.cursor, Cursor::Log(_));
    marked.epoch == stored.epoch
        && (is_start(stored) || is_log && marked.position() > stored.position())
}

/// Whether nothing of a snapshot is delivered yet.
fn is_start(stored: &Token) -> bool {
    matches!(&stored.cursor, Cursor::Snapshot(cursor) if cursor.after.is_none())
}

/// Whether a marker in the log is at a place or behind it: an older one never replaces it, such as that of a
/// worker which has lost its lease.
fn is_at(found: &Token, place: &Token) -> bool {
    matches!(found.cursor, Cursor::Log(_))
        && found.epoch == place.epoch
        && found.position() >= place.position()
}

fn is_kept(found: Option<&Token>, has_snapshot: bool, stored: &Token) -> bool {
    match (&stored.cursor, found) {
        (Cursor::Log(_), found) => found.is_some_and(|found| is_at(found, stored)),
        (Cursor::Snapshot(stored_at), Some(Token { epoch, cursor: Cursor::Snapshot(at) }))
            if *epoch == stored.epoch && at.position == stored_at.position =>
        {
            at.after >= stored_at.after
        }
        // a runner that names no place within a snapshot
        (Cursor::Snapshot(_), _) => has_snapshot,
    }
}
