//! After a snapshot: removes what the cache has and the database does not.

use producer_core::EntityKey;
use redis::{cmd, from_redis_value, pipe};

use super::{Put, RedisCache};
use crate::config::Part;
use crate::sink::{Failure, Present};

/// Keys of one step, about.
const STEP: usize = 500;

/// Bytes of a value that hold its type, id and version: names have at most 255 characters, and a character at
/// most 6 bytes in JSON.
const HEAD_BYTES: usize = 4096;

impl RedisCache {
    /// Looks at all keys that begin as the template does. What is none of ours stays: no JSON of an entity, a
    /// type that the sink does not have, or an entity whose key is another.
    pub(super) async fn remove_absent(&self, present: &dyn Present) -> Result<(), Failure> {
        let pattern = format!("{}*", escaped(self.prefix()));
        let mut cursor = String::from("0");
        loop {
            let mut command = cmd("SCAN");
            command.arg(&cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(STEP);
            command.arg("TYPE").arg("string");
            let (next, keys): (String, Vec<Vec<u8>>) = self.link.run(&command).await?;
            let cached = self.cached(keys).await?;
            self.remove(present, cached).await?;
            if next == "0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// What every key begins with.
    fn prefix(&self) -> &str {
        match self.template.0.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// The entities that these keys have, with their versions.
    async fn cached(&self, keys: Vec<Vec<u8>>) -> Result<Vec<(EntityKey, u64)>, Failure> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut commands = pipe();
        for key in &keys {
            commands.cmd("GETRANGE").arg(key).arg(0).arg(HEAD_BYTES - 1);
        }
        let answers = self.link.run_all(&mut commands).await?;
        let heads = answers.into_iter().map(|answer| text(answer.ok()?));
        let entities = keys.iter().zip(heads).filter_map(|(key, head)| {
            let (entity, version) = read_head(&head?)?;
            let is_ours = self.types.include(entity.entity_type())
                && self.template.redis_key((&entity).into()).as_bytes() == key;
            is_ours.then_some((entity, version))
        });
        Ok(entities.collect())
    }

    async fn remove(
        &self,
        present: &dyn Present,
        cached: Vec<(EntityKey, u64)>,
    ) -> Result<(), Failure> {
        let (keys, versions): (Vec<_>, Vec<_>) = cached.into_iter().unzip();
        if keys.is_empty() {
            return Ok(());
        }
        let there = present.versions(&keys).await;
        let there = there.map_err(|error| {
            Failure::new(format!("the database can't be asked which entities there are: {error}"))
        })?;
        let seen = self.marker.seen();
        let mut commands = pipe();
        for ((key, version), there) in keys.iter().zip(versions).zip(there) {
            if there.is_none() {
                commands.add_command(self.command(key, &Put::removal(version, seen.as_ref())));
            }
        }
        if commands.is_empty() {
            return Ok(());
        }
        for answer in self.link.run_all(&mut commands).await? {
            answer.map_err(|error| self.link.failure(&error))?;
        }
        Ok(())
    }
}

fn text(value: redis::Value) -> Option<Vec<u8>> {
    from_redis_value(value).ok()
}

/// Type, id and version that a value begins with, as [`head`](super::head) writes them.
fn read_head(bytes: &[u8]) -> Option<(EntityKey, u64)> {
    let rest = bytes.strip_prefix(b"{\"entityType\":")?;
    let (entity_type, rest) = read_string(rest)?;
    let rest = rest.strip_prefix(b",\"entityId\":")?;
    let (entity_id, rest) = read_string(rest)?;
    let rest = rest.strip_prefix(b",\"version\":")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let version = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
    // behind the version there is more
    rest.get(digits)?;
    Some((EntityKey::new(&entity_type, &entity_id).ok()?, version))
}

/// A JSON string, and what is behind it.
fn read_string(bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut strings = serde_json::Deserializer::from_slice(bytes).into_iter::<String>();
    let string = strings.next()?.ok()?;
    Some((string, &bytes[strings.byte_offset()..]))
}

/// A text as a pattern that only it matches.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::redis_cache::head;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        for (entity_type, id) in
            [("Order", "1"), ("a\"b\\", "\u{1}\",\"version\":9"), ("ä", &"\u{1}".repeat(255))]
        {
            let key = EntityKey::new(entity_type, id).expect("a key");
            let text = format!("{}18446744073709551615,\"createdAt\"", head(&key));
            assert!(text.len() <= HEAD_BYTES);
            assert_eq!(read_head(text.as_bytes()), Some((key, u64::MAX)));
        }
        for other in ["", "{}", "{\"entityType\":\"a\"", "{\"entityType\":1", "deleted 5 7 e"] {
            assert_eq!(read_head(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_pattern_matches_its_text_alone() {
        assert_eq!(escaped("a*b[c]\\?:"), "a\\*b\\[c\\]\\\\\\?:");
    }
}
