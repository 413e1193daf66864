//! The indexes of a sink: their names, making them, and telling whether they are still the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use producer_opensearch::{Body, Client, Error, IndexIdentity, template};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::failure::SMALL;
use crate::config::{Part, Template};
use crate::names::Values;
use crate::sinks::open_error::OpenError;

/// Making an index waits for the cluster's state.
const MAKE: Duration = Duration::from_secs(30);
/// Bytes of names in one request: servers take request lines of 4 KiB, in which a character may be three.
const NAMES_BYTES: usize = 1000;
/// An index that is not there is no error.
const ABSENT_TOO: &str = "ignore_unavailable=true";

/// The indexes.
pub(super) struct Indexes {
    index: Template,
    /// What the names of all begin with, and `*`; or the one name.
    pattern: String,
    of_user: Option<Value>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The names of those that are there, by type.
    made: HashMap<String, String>,
    /// Names of those that were written to since the last refresh.
    written: BTreeSet<String>,
    has_template: bool,
}

impl Indexes {
    /// # Errors
    /// The names of different types would be one, or the template would be that of every index; the user's file
    /// can't be read.
    pub(super) fn new(
        index: &Template,
        template: Option<&Path>,
        types: Option<&[String]>,
    ) -> Result<Self, OpenError> {
        let pattern = pattern(index);
        if pattern == "*" {
            let text = "index must begin with a text: its index template is for all indexes that \
                        begin with it";
            return Err(OpenError(text.to_owned()));
        }
        if !index.has(&Part::Type) && types.is_none_or(|types| types.len() != 1) {
            let text = "index must have {type}, unless types names one type alone";
            return Err(OpenError(text.to_owned()));
        }
        let of_user = template.map(read_template).transpose()?;
        Ok(Self { index: index.clone(), pattern, of_user, state: Mutex::default() })
    }

    /// A type's index.
    pub(super) fn name(&self, entity_type: &str) -> String {
        if let Some(name) = self.state().made.get(entity_type) {
            return name.clone();
        }
        self.index.index(Values::of_type(entity_type))
    }

    /// What the names of all match, among others.
    pub(super) fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Makes the indexes of types where they are not there.
    pub(super) async fn make(&self, client: &Client, types: BTreeSet<&str>) -> Result<(), Error> {
        for entity_type in types {
            if self.state().made.contains_key(entity_type) {
                continue;
            }
            let name = self.index.index(Values::of_type(entity_type));
            self.make_one(client, &name).await?;
            self.state().made.insert(entity_type.to_owned(), name);
        }
        Ok(())
    }

    async fn make_one(&self, client: &Client, name: &str) -> Result<(), Error> {
        if !self.state().has_template {
            template::put(client, &self.pattern, self.of_user.as_ref(), MAKE).await?;
            self.state().has_template = true;
        }
        match client.send(Method::PUT, &[name], "", Body::Empty, MAKE).await {
            Err(error) if !error.is("resource_already_exists_exception") => Err(error),
            _ => Ok(()),
        }
    }

    /// Notes that an index was written to.
    pub(super) fn note_written(&self, name: &str) {
        let mut state = self.state();
        if !state.written.contains(name) {
            state.written.insert(name.to_owned());
        }
    }

    /// Notes that a type's index is there.
    pub(super) fn note_made(&self, entity_type: &str, name: &str) {
        let mut state = self.state();
        if !state.made.contains_key(entity_type) {
            state.made.insert(entity_type.to_owned(), name.to_owned());
        }
    }

    /// Notes that an index is not there.
    pub(super) fn note_absent(&self, name: &str) {
        self.state().made.retain(|_, made| made != name);
    }

    /// Forgets what is there: it is looked up, and made, again.
    pub(super) fn forget(&self) {
        *self.state() = State::default();
    }

    /// Makes what was written seen by searches.
    pub(super) async fn refresh(&self, client: &Client) -> Result<(), Error> {
        let written = std::mem::take(&mut self.state().written);
        for names in joined(written.iter()) {
            let path = [names.as_str(), "_refresh"];
            let refreshed = client.send(Method::POST, &path, ABSENT_TOO, Body::Empty, SMALL).await;
            if let Err(error) = refreshed {
                self.state().written.extend(written);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Deletes indexes.
    pub(super) async fn delete(
        &self,
        client: &Client,
        names: impl Iterator<Item = &str>,
    ) -> Result<(), Error> {
        for names in joined(names) {
            client.send(Method::DELETE, &[&names], ABSENT_TOO, Body::Empty, MAKE).await?;
        }
        Ok(())
    }

    /// Whether these indexes are still the same.
    pub(super) async fn are(
        &self,
        client: &Client,
        known: &BTreeMap<String, IndexIdentity>,
    ) -> Result<bool, Error> {
        let names = known.values().map(|index| index.name.as_str());
        let uuids = uuids(client, names).await?;
        Ok(known.values().all(|index| uuids.get(&index.name) == Some(&index.uuid)))
    }

    /// The identities of the indexes that are `known` and of those that were made since.
    pub(super) async fn identities(
        &self,
        client: &Client,
        mut known: BTreeMap<String, IndexIdentity>,
    ) -> Result<BTreeMap<String, IndexIdentity>, Error> {
        let made = self.state().made.clone();
        let new: Vec<_> = made.into_iter().filter(|(name, _)| !known.contains_key(name)).collect();
        let uuids = uuids(client, new.iter().map(|(_, name)| name.as_str())).await?;
        for (entity_type, name) in new {
            if let Some(uuid) = uuids.get(&name) {
                known.insert(entity_type, IndexIdentity { name, uuid: uuid.clone() });
            }
        }
        Ok(known)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // it holds no rule that a panic could have broken
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the names of all types' indexes begin with.
fn pattern(index: &Template) -> String {
    if !index.has(&Part::Type) {
        return index.index(Values::of_type(""));
    }
    let [one, other] = ["a", "b"].map(|name| index.index(Values::of_type(name)));
    let same = one.char_indices().zip(other.chars()).find(|((_, a), b)| a != b);
    let same = same.map_or(one.len(), |((at, _), _)| at);
    format!("{}*", &one[..same])
}

fn read_template(file: &Path) -> Result<Value, OpenError> {
    let error = |why: String| OpenError(format!("template {}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|why| error(why.to_string()))?;
    let value: Value = serde_json::from_str(&text).map_err(|why| error(why.to_string()))?;
    if value.is_object() { Ok(value) } else { Err(error("it must be a JSON object".to_owned())) }
}

#[derive(Deserialize)]
struct IndexSettings {
    settings: Settings,
}

#[derive(Deserialize)]
struct Settings {
    index: Uuid,
}

#[derive(Deserialize)]
struct Uuid {
    uuid: String,
}

/// The identities of those of these indexes that are there, by their names.
async fn uuids(
    client: &Client,
    names: impl Iterator<Item = &str>,
) -> Result<HashMap<String, String>, Error> {
    let mut uuids = HashMap::new();
    for names in joined(names) {
        let path = [names.as_str(), "_settings", "index.uuid"];
        let found: HashMap<String, IndexSettings> =
            client.json(Method::GET, &path, ABSENT_TOO, Body::Empty, SMALL).await?;
        let found = found.into_iter();
        uuids.extend(found.map(|(name, index)| (name, index.settings.index.uuid)));
    }
    Ok(uuids)
}

/// All names, joined by commas, as many at once as a request has room for.
fn joined(names: impl Iterator<Item = impl AsRef<str>>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in names {
        let name = name.as_ref();
        match all.last_mut().filter(|last| last.len() + name.len() < NAMES_BYTES) {
            Some(last) => {
                last.push(',');
                last.push_str(name);
            }
            None => all.push(name.to_owned()),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        Template::parse(text, &[Part::Type]).expect(text)
    }

    #[test]
    fn a_pattern_is_what_names_begin_with() {
        assert_eq!(pattern(&template("entities-{type}")), "entities-*");
        assert_eq!(pattern(&template("Störung {type}-x")), "störung_*");
        assert_eq!(pattern(&template("orders")), "orders");
        assert_eq!(pattern(&template("{type}-x")), "*");
        assert_eq!(pattern(&template("_{type}")), "*");
    }

    #[test]
    fn names_that_cannot_work_are_refused() {
        let open = |text: &str, types: Option<&[String]>| {
            Indexes::new(&template(text), None, types).map(|_| ()).map_err(|error| error.0)
        };
        let one = ["Order".to_owned()];
        let two = ["Order".to_owned(), "Car".to_owned()];
        assert_eq!(open("entities-{type}", None), Ok(()));
        assert_eq!(open("orders", Some(&one)), Ok(()));
        for types in [None, Some(two.as_slice())] {
            assert!(open("orders", types).expect_err("one index").contains("must have {type}"));
        }
        assert!(open("{type}", None).expect_err("all").contains("must begin with a text"));
        let missing = Indexes::new(&template("a-{type}"), Some(Path::new("/none.json")), None);
        assert!(missing.is_err_and(|error| error.0.starts_with("template /none.json: ")));
    }

    #[test]
    fn many_names_take_several_requests() {
        let names: Vec<String> = (0..30).map(|n| format!("{n:0>200}")).collect();
        let all = joined(names.iter());
        assert!(all.len() > 1 && all.iter().all(|joined| joined.len() <= NAMES_BYTES));
        assert_eq!(all.join(",").split(',').collect::<Vec<_>>(), names);
        assert!(joined(std::iter::empty::<&str>()).is_empty());
    }
}
