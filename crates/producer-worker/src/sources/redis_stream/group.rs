//! The consumer group: made where it is absent, and what it says.

use std::collections::HashMap;

use redis::{Value, cmd, from_redis_value_ref};

use super::RedisStream;
use super::entry::{Id, is_absent, text};
use crate::config::SourceStart;
use crate::sink::Failure;

/// What Redis says about the group.
pub(super) struct Group {
    pub(super) last_delivered: Id,
    pub(super) pending: u64,
    /// Entries behind the last delivered one; `None` where Redis can't tell.
    pub(super) lag: Option<u64>,
}

impl RedisStream {
    /// Makes the group where it is absent. One that was deleted while this worker used it goes on with the first
    /// entry that is not settled.
    pub(super) async fn make_group(&mut self) -> Result<(), Failure> {
        let start = match self.last {
            Some(last) => self.continuation(last).await?.to_string(),
            None => match self.from {
                SourceStart::Start => "0".to_owned(),
                SourceStart::Now => "$".to_owned(),
            },
        };
        let mut command = cmd("XGROUP");
        command.arg("CREATE").arg(&self.stream).arg(&self.group).arg(&start).arg("MKSTREAM");
        match self.link.try_run::<Value>(&command).await? {
            Err(error) if error.code() != Some("BUSYGROUP") => {
                return Err(self.link.failure(&error));
            }
            Err(_exists) => {}
            Ok(_) => tracing::info!(
                stream = self.stream,
                group = self.group,
                start,
                "made the consumer group"
            ),
        }
        if let Some(group) = self.group().await? {
            self.last = self.last.max(Some(group.last_delivered));
        }
        Ok(())
    }

    /// Behind which entry a group goes on that was deleted.
    async fn continuation(&self, last: Id) -> Result<Id, Failure> {
        let mut command = cmd("XINFO");
        command.arg("STREAM").arg(&self.stream);
        let stream = match self.link.try_run::<Value>(&command).await? {
            Ok(stream) => facts(&stream),
            Err(error) if is_absent(&error) => HashMap::new(),
            Err(error) => return Err(self.link.failure(&error)),
        };
        let newest = stream.get("last-generated-id").and_then(text).and_then(|id| id.parse().ok());
        if newest.is_none_or(|newest: Id| newest < last) {
            // another stream of this name
            return Ok(Id { millis: 0, number: 0 });
        }
        Ok(self.unsettled.first().map_or(last, |first| first.before()))
    }

    /// What Redis says about the group; `None` where it is absent.
    pub(super) async fn group(&self) -> Result<Option<Group>, Failure> {
        let mut command = cmd("XINFO");
        command.arg("GROUPS").arg(&self.stream);
        let groups = match self.link.try_run::<Vec<Value>>(&command).await? {
            Ok(groups) => groups,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(self.link.failure(&error)),
        };
        let ours = groups
            .iter()
            .map(facts)
            .find(|facts| facts.get("name").and_then(text).is_some_and(|name| name == self.group));
        Ok(ours.and_then(|facts| {
            let number = |name: &str| from_redis_value_ref(facts.get(name)?).ok();
            Some(Group {
                last_delivered: text(facts.get("last-delivered-id")?)?.parse().ok()?,
                pending: number("pending")?,
                lag: number("lag"),
            })
        }))
    }
}

/// Names and values of an answer.
fn facts(value: &Value) -> HashMap<String, Value> {
    match value {
        Value::Map(pairs) => {
            pairs.iter().filter_map(|(name, value)| Some((text(name)?, value.clone()))).collect()
        }
        Value::Array(items) => {
            let pairs = items.chunks_exact(2);
            pairs.filter_map(|pair| Some((text(&pair[0])?, pair[1].clone()))).collect()
        }
        _ => HashMap::new(),
    }
}
