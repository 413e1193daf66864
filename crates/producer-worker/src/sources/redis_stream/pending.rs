//! Messages that were delivered and never acknowledged: of consumers that are gone, or that never reached this one.

use std::time::Duration;

use redis::{Value, cmd, pipe};
use tokio::time::Instant;

use super::RedisStream;
use super::entry::{Entry, Id, entries, is_absent};
use super::walk::{MIN_IDLE, Walk};
use crate::sink::Failure;
use crate::source::Body;

/// A pending message: which one, and how often it was delivered.
type Pending = (Id, u32);

impl RedisStream {
    /// The next messages that are taken over; none where the walk ended or none is due.
    pub(super) async fn take_over(&mut self, most: usize) -> Result<Vec<Entry>, Failure> {
        loop {
            let (behind, idle) = match self.walk {
                Walk::At(behind, idle) => (behind, idle),
                Walk::Ended(next) if next > Instant::now() => return Ok(Vec::new()),
                Walk::Ended(_) => (None, MIN_IDLE),
            };
            let pending = self.pending(behind, idle, most).await?;
            let last = pending.last().map(|(id, _)| *id);
            let is_last = pending.len() < most;
            let wanted: Vec<_> =
                pending.into_iter().filter(|(id, _)| !self.unsettled.contains(id)).collect();
            let taken = match wanted.is_empty() {
                true => Vec::new(),
                false => self.claim(&wanted, idle).await?,
            };
            self.walk = if is_last { Walk::ended() } else { Walk::At(last, idle) };
            if is_last || !taken.is_empty() {
                return Ok(taken);
            }
        }
    }

    async fn pending(
        &mut self,
        behind: Option<Id>,
        idle: Duration,
        most: usize,
    ) -> Result<Vec<Pending>, Failure> {
        let start = behind.map_or_else(|| "-".to_owned(), |id| format!("({id}"));
        let mut command = cmd("XPENDING");
        command.arg(&self.stream).arg(&self.group).arg("IDLE").arg(millis(idle));
        command.arg(start).arg("+").arg(most);
        let rows: Vec<(String, String, u64, u32)> = match self.link.try_run(&command).await? {
            Ok(rows) => rows,
            Err(error) if is_absent(&error) => {
                self.lost_group();
                return Ok(Vec::new());
            }
            Err(error) => return Err(self.link.failure(&error)),
        };
        let ids = rows.into_iter();
        Ok(ids.filter_map(|(id, _, _, count)| Some((id.parse().ok()?, count))).collect())
    }

    /// Makes messages this consumer's. Those that were trimmed stay pending until they are acknowledged: Redis 7
    /// would forget them if they were claimed, before it is stored that they are gone.
    async fn claim(&self, wanted: &[Pending], idle: Duration) -> Result<Vec<Entry>, Failure> {
        let mut reads = pipe();
        let mut claims = cmd("XCLAIM");
        claims.arg(&self.stream).arg(&self.group).arg(&self.consumer).arg(millis(idle));
        for (id, _) in wanted {
            let id = id.to_string();
            reads.cmd("XRANGE").arg(&self.stream).arg(&id).arg(&id);
        }
        let mut found = Vec::with_capacity(wanted.len());
        for answer in self.link.run_all(&mut reads).await? {
            let answer = answer.map_err(|error| self.link.failure(&error))?;
            found.push(entries(answer).pop());
        }
        let there: Vec<_> = found.iter().flatten().map(|(id, _)| id.to_string()).collect();
        let claimed: Vec<String> = match there.is_empty() {
            true => Vec::new(),
            false => self.link.run(claims.arg(&there).arg("JUSTID")).await?,
        };
        let is_ours = |id: Id| claimed.contains(&id.to_string());
        let taken = wanted.iter().zip(found).filter_map(|(&(id, deliveries), found)| {
            let body = match found {
                None => Body::Gone,
                Some((_, body)) if is_ours(id) => body,
                // somebody else took it meanwhile
                Some(_) => return None,
            };
            Some((id, body, deliveries.saturating_add(1)))
        });
        Ok(taken.collect())
    }

    /// When the first message that is pending was sent, by its id.
    pub(super) async fn first_pending(&self) -> Result<Option<Id>, Failure> {
        let mut command = cmd("XPENDING");
        command.arg(&self.stream).arg(&self.group).arg("-").arg("+").arg(1);
        let rows: Vec<(String, String, u64, u32)> = self.link.run(&command).await?;
        Ok(rows.first().and_then(|(id, ..)| id.parse().ok()))
    }

    /// The first entry behind an id.
    pub(super) async fn first_behind(&self, id: Id) -> Result<Option<Id>, Failure> {
        let mut command = cmd("XRANGE");
        command.arg(&self.stream).arg(format!("({id}")).arg("+").arg("COUNT").arg(1);
        let answer: Value = self.link.run(&command).await?;
        Ok(entries(answer).first().map(|(id, _)| *id))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
