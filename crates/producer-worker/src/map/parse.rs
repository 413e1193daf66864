//! Reads a map from `worker.toml`.

use std::borrow::Cow;
use std::ops::Range;

use producer_core::{Clock, Draft, EntityFields, Field, Header, Patch};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::pointer::Pointer;
use super::rules::{Map, Rule, Unit};

const KEYS: &str = "entityType, entityId, attributes, eventName, eventType, createdDate, uuid, operation, \
                    actor or omit";
const NO_VALUE: &str = "must be a text, or a table with path and unit, or with path and values";

/// Something that is wrong with a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapError {
    /// The key of the map; empty where it is the map itself.
    pub key: String,
    /// Where the file has it, in bytes.
    pub span: Range<usize>,
    /// The end of a sentence about the key: `must …`.
    pub rule: String,
}

/// Puts values of the environment into a text of the file. Its errors are ends of sentences.
pub type Expand<'a> = &'a dyn Fn(&str) -> Result<String, Vec<String>>;

impl Map {
    /// Reads a map.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(value: &Spanned<DeValue<'_>>, expand: Expand<'_>) -> Result<Self, Vec<MapError>> {
        let mut reader = Reader { expand, errors: Vec::new() };
        let map = reader.map(value);
        map.filter(|_| reader.errors.is_empty()).ok_or(reader.errors)
    }
}

/// A key of a table that is read.
struct Entry<'a> {
    key: &'a str,
    span: Range<usize>,
    value: &'a DeValue<'a>,
}

struct Reader<'e> {
    expand: Expand<'e>,
    errors: Vec<MapError>,
}

impl Reader<'_> {
    fn map(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Map> {
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong("", value.span(), "must be a table");
            return None;
        };
        let (mut attributes, mut omit) = (None, Vec::new());
        let [mut entity_type, mut entity_id, mut event_name, mut event_type] =
            [None, None, None, None];
        let [mut created_date, mut uuid, mut operation, mut actor] = [None, None, None, None];
        for entry in entries(table) {
            match entry.key {
                "entityType" => entity_type = self.rule(&entry),
                "entityId" => entity_id = self.rule(&entry),
                "eventName" => event_name = self.rule(&entry),
                "eventType" => event_type = self.rule(&entry),
                "createdDate" => created_date = self.rule(&entry),
                "uuid" => uuid = self.rule(&entry),
                "operation" => operation = self.rule(&entry),
                "actor" => actor = self.rule(&entry),
                "attributes" => attributes = self.attributes(&entry),
                "omit" => omit = self.texts(&entry),
                _ => self.wrong(entry.key, entry.span, format!("is unknown; must be {KEYS}")),
            }
        }
        let is_delete = operation == Some(Rule::Constant("delete".into()));
        for (key, is_optional) in [
            ("entityType", false),
            ("entityId", false),
            ("eventName", false),
            ("attributes", is_delete),
        ] {
            if !is_optional && !entries(table).any(|entry| entry.key == key) {
                self.wrong(key, value.span(), "is missing");
            }
        }
        let (entity_type, entity_id, event_name) = (entity_type?, entity_id?, event_name?);
        Some(Map {
            entity_type,
            entity_id,
            event_name,
            attributes,
            event_type,
            created_date,
            uuid,
            operation,
            actor,
            omit,
        })
    }

    fn rule(&mut self, entry: &Entry<'_>) -> Option<Rule> {
        match entry.value {
            DeValue::String(text) => {
                let text = self.expanded(entry, text)?;
                if text.is_empty() || text.starts_with('/') {
                    return self.pointer(entry, &text).map(Rule::Pointer);
                }
                self.constant(entry, text).map(Rule::Constant)
            }
            DeValue::Table(table) => self.rule_of_table(entry, table),
            _ => {
                self.wrong(entry.key, entry.span.clone(), NO_VALUE);
                None
            }
        }
    }

    fn rule_of_table(&mut self, entry: &Entry<'_>, table: &DeTable<'_>) -> Option<Rule> {
        let [mut path, mut unit, mut values, mut otherwise] = [None; 4];
        for (name, value) in table.iter() {
            match &**name.get_ref() {
                "path" => path = Some(value.get_ref()),
                "unit" => unit = Some(value.get_ref()),
                "values" => values = Some(value.get_ref()),
                "else" => otherwise = Some(value.get_ref()),
                other => {
                    let rule = format!(
                        "has {other}, which is unknown; must be path, unit, values or else"
                    );
                    self.wrong(entry.key, name.span(), rule);
                }
            }
        }
        let pointer = match path {
            Some(DeValue::String(path)) => {
                let path = self.expanded(entry, path)?;
                self.pointer(entry, &path)
            }
            _ => {
                self.wrong(entry.key, entry.span.clone(), "must have a path, a JSON Pointer");
                None
            }
        };
        match (unit, values) {
            (None, None) if otherwise.is_none() => pointer.map(Rule::Pointer),
            (Some(unit), None) if otherwise.is_none() => {
                let unit = self.unit(entry, unit);
                Some(Rule::Time(pointer?, unit?))
            }
            (None, Some(DeValue::Table(values))) => {
                let values = self.values(entry, values);
                let otherwise = match otherwise {
                    Some(otherwise) => Some(self.constant_of(entry, otherwise)?),
                    None => None,
                };
                Some(Rule::Choice { pointer: pointer?, values: values?, otherwise })
            }
            _ => {
                self.wrong(entry.key, entry.span.clone(), NO_VALUE);
                None
            }
        }
    }

    fn unit(&mut self, entry: &Entry<'_>, unit: &DeValue<'_>) -> Option<Unit> {
        if entry.key != "createdDate" {
            self.wrong(entry.key, entry.span.clone(), "must have no unit, since it is no time");
            return None;
        }
        match unit {
            DeValue::String(unit) if unit == "ms" => Some(Unit::Milliseconds),
            DeValue::String(unit) if unit == "s" => Some(Unit::Seconds),
            _ => {
                self.wrong(entry.key, entry.span.clone(), r#"must have the unit "ms" or "s""#);
                None
            }
        }
    }

    fn values(&mut self, entry: &Entry<'_>, values: &DeTable<'_>) -> Option<Vec<(String, String)>> {
        let mut all = Vec::with_capacity(values.len());
        for (name, value) in values.iter() {
            all.push((
                name.get_ref().clone().into_owned(),
                self.constant_of(entry, value.get_ref()),
            ));
        }
        all.into_iter().map(|(name, value)| Some((name, value?))).collect()
    }

    fn constant_of(&mut self, entry: &Entry<'_>, value: &DeValue<'_>) -> Option<String> {
        let DeValue::String(text) = value else {
            self.wrong(entry.key, entry.span.clone(), "must have texts for values and else");
            return None;
        };
        let text = self.expanded(entry, text)?;
        self.constant(entry, text)
    }

    /// A constant is checked as events are.
    fn constant(&mut self, entry: &Entry<'_>, text: String) -> Option<String> {
        if let Err(rule) = check(entry.key, &text) {
            self.wrong(entry.key, entry.span.clone(), rule);
            return None;
        }
        Some(text)
    }

    fn attributes(&mut self, entry: &Entry<'_>) -> Option<Pointer> {
        let DeValue::String(text) = entry.value else {
            self.wrong(entry.key, entry.span.clone(), "must be a JSON Pointer, such as /data");
            return None;
        };
        let text = self.expanded(entry, text)?;
        self.pointer(entry, &text)
    }

    fn pointer(&mut self, entry: &Entry<'_>, text: &str) -> Option<Pointer> {
        let pointer = Pointer::parse(text);
        pointer.map_err(|rule| self.wrong(entry.key, entry.span.clone(), rule)).ok()
    }

    fn texts(&mut self, entry: &Entry<'_>) -> Vec<String> {
        let mut texts = Vec::new();
        let values = match entry.value {
            DeValue::Array(values) => values.iter().map(Spanned::get_ref).collect(),
            _ => vec![entry.value],
        };
        for value in values {
            match value {
                DeValue::String(text) if matches!(entry.value, DeValue::Array(_)) => {
                    texts.extend(self.expanded(entry, text));
                }
                _ => {
                    self.wrong(
                        entry.key,
                        entry.span.clone(),
                        "must be an array of names of members",
                    );
                    break;
                }
            }
        }
        texts
    }

    fn expanded(&mut self, entry: &Entry<'_>, text: &str) -> Option<String> {
        let expanded = (self.expand)(text);
        let noted = |rules: Vec<String>| {
            rules.into_iter().for_each(|rule| self.wrong(entry.key, entry.span.clone(), rule));
        };
        expanded.map_err(noted).ok()
    }

    fn wrong(&mut self, key: &str, span: Range<usize>, rule: impl Into<String>) {
        self.errors.push(MapError { key: key.to_owned(), span, rule: rule.into() });
    }
}

fn entries<'a>(table: &'a DeTable<'a>) -> impl Iterator<Item = Entry<'a>> {
    table.iter().map(|(name, value)| Entry {
        key: name.get_ref(),
        span: name.span(),
        value: value.get_ref(),
    })
}

/// Whether an event may have this text there, by making one.
fn check(key: &str, text: &str) -> Result<(), String> {
    let field = |name, sample| {
        let text = if name == key { text } else { sample };
        if text.is_empty() && name != key {
            Field::Absent
        } else {
            Field::Text(Cow::Borrowed(text))
        }
    };
    let mut draft = Draft::new();
    draft.header(Header {
        uuid: field("uuid", ""),
        event_name: field("eventName", "name"),
        created_date: field("createdDate", ""),
        event_type: field("eventType", ""),
        actor: field("actor", ""),
        ..Header::default()
    });
    draft.body(|draft| {
        draft.entity(EntityFields {
            entity_type: field("entityType", "type"),
            entity_id: field("entityId", "id"),
            operation: field("operation", ""),
            ..EntityFields::new(Patch::parse("{}"))
        });
    });
    let clock = Clock::from_fn(|| producer_core::Timestamp::from_micros(0));
    match draft.finish(&clock) {
        Ok(_) => Ok(()),
        Err(problem) => match problem.violations.first() {
            Some(first) => Err(first.detail.to_string()),
            None => Err(problem.detail.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Map, Vec<MapError>> {
        let table = DeTable::parse(text).expect("TOML");
        let (_, map) = table.get_ref().iter().next().expect("a key");
        let expand = |text: &str| match text.strip_prefix("${") {
            Some("TYPE}") => Ok("Order".to_owned()),
            Some(_) => Err(vec!["names a variable that is not set".to_owned()]),
            None => Ok(text.to_owned()),
        };
        Map::parse(map, &expand)
    }

    #[test]
    fn a_map_has_constants_pointers_times_and_choices() {
        let map = parse(
            r#"map = { entityType = "${TYPE}", entityId = "/data/id", eventName = "/event_type", attributes = "",
            createdDate = { path = "/timestamp", unit = "s" }, uuid = { path = "/id" }, omit = ["id"],
            operation = { path = "/event_type", values = { "order.deleted" = "delete" }, else = "merge" } }"#,
        )
        .expect("a map");
        let pointer = |text| Pointer::parse(text).expect("a pointer");
        assert_eq!(map.entity_type, Rule::Constant("Order".into()));
        assert_eq!(map.entity_id, Rule::Pointer(pointer("/data/id")));
        assert_eq!(map.attributes, Some(pointer("")));
        assert_eq!(map.created_date, Some(Rule::Time(pointer("/timestamp"), Unit::Seconds)));
        assert_eq!(map.uuid, Some(Rule::Pointer(pointer("/id"))));
        assert_eq!(map.omit, ["id"]);
        let choice = Rule::Choice {
            pointer: pointer("/event_type"),
            values: vec![("order.deleted".into(), "delete".into())],
            otherwise: Some("merge".into()),
        };
        assert_eq!(map.operation, Some(choice));
        let delete = r#"map = {entityType="a",entityId="/b",eventName="c",operation="delete"}"#;
        assert_eq!(parse(delete).expect("a map").attributes, None);
    }

    #[test]
    fn all_that_is_wrong_is_reported_at_its_key() {
        let text = r#"map = { entityType = "..", eventName = 5, eventType = "/~", entityID = "/x",
            createdDate = { path = "/t", unit = "h" }, uuid = "no", actor = { path = "/a", unit = "s" },
            operation = { path = "/o", values = { a = "remove" } }, omit = "id", attributes = "data" }"#;
        let errors = parse(text).expect_err("wrong");
        let mut found: Vec<_> =
            errors.iter().map(|error| (error.key.as_str(), error.rule.as_str())).collect();
        found.sort_unstable();
        let pointer = "must be a JSON Pointer, such as /data/id";
        let unknown = format!("is unknown; must be {KEYS}");
        let mut expected = vec![
            ("actor", "must have no unit, since it is no time"),
            ("attributes", pointer),
            ("createdDate", r#"must have the unit "ms" or "s""#),
            ("entityID", unknown.as_str()),
            ("entityId", "is missing"),
            ("entityType", "must not be . or .."),
            ("eventName", NO_VALUE),
            ("eventType", "must have ~0 for each ~ and ~1 for each / of a name"),
            ("omit", "must be an array of names of members"),
            ("operation", "must be merge, replace or delete"),
            ("uuid", "must be a UUID, hyphenated or as 32 hexadecimal digits"),
        ];
        expected.sort_unstable();
        assert_eq!(found, expected);
        let operation = errors.iter().find(|error| error.key == "operation").expect("an error");
        assert_eq!(&text[operation.span.clone()], "operation");
    }

    #[test]
    fn tables_say_one_thing() {
        let rule_of = |rule: &str| {
            let map =
                format!(r#"map = {{entityType="a",entityId="/b",attributes="",eventName={rule}}}"#);
            parse(&map).map(|map| map.event_name).map_err(|errors| errors[0].rule.clone())
        };
        assert_eq!(rule_of(r#"{ unit = "s" }"#), Err("must have a path, a JSON Pointer".into()));
        for both in [
            r#"{ path = "/a", unit = "s", values = {} }"#,
            r#"{ path = "/a", else = "x" }"#,
            r#"{ path = "/a", values = 1 }"#,
        ] {
            assert_eq!(rule_of(both), Err(NO_VALUE.into()), "{both}");
        }
        assert_eq!(
            rule_of(r#"{ path = "/a", values = { a = 1 } }"#),
            Err("must have texts for values and else".into())
        );
        assert_eq!(rule_of(r#""${X}""#), Err("names a variable that is not set".into()));
        let unknown = rule_of(r#"{ path = "/a", default = "x" }"#).expect_err("an error");
        assert!(unknown.starts_with("has default, which is unknown"), "{unknown}");
        assert!(parse("map = 5").is_err());
    }
}
