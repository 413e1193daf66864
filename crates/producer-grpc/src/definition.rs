//! Definitions of types as messages. Core's reader has all rules: a message is read as the JSON text that says the
//! same, and what that breaks is located at the message's fields.

use std::fmt::Write;

use producer_core::json::write_string;
use producer_core::types::{Definition, PartKind, PartState, PartStatus, StoredType};
use producer_core::{Location, Step, Violations};

use crate::convert;
use crate::proto::v1;

/// Reads the definition of a request.
///
/// # Errors
/// Every broken rule, located in the request.
pub(crate) fn read(message: &v1::TypeDefinition) -> Result<Definition, Violations> {
    Definition::parse(&json(message)).map_err(|violations| located(violations, message))
}

/// Violations of a definition in JSON, located in the request.
pub(crate) fn located(violations: Violations, message: &v1::TypeDefinition) -> Violations {
    violations.relocated(|location| in_request(location, message))
}

/// The JSON text that says what a message does.
fn json(message: &v1::TypeDefinition) -> String {
    let mut text = String::from("{\"indexes\":");
    write_list(&mut text, ['[', ']'], &message.indexes, |text, index| {
        write_list(text, ['[', ']'], &index.paths, |text, path| write_string(text, path));
    });
    if let Some(search) = &message.search {
        text.push_str(",\"search\":{\"paths\":");
        write_list(&mut text, ['{', '}'], &search.paths, |text, searched| {
            write_string(text, &searched.path);
            // a String takes all that is written
            let _ = write!(text, ":{}", searched.weight);
        });
        if !search.language.is_empty() {
            text.push_str(",\"language\":");
            write_string(&mut text, &search.language);
        }
        text.push('}');
    }
    text.push('}');
    text
}

fn write_list<T>(
    text: &mut String,
    [open, close]: [char; 2],
    items: &[T],
    write: impl Fn(&mut String, &T),
) {
    text.push(open);
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        write(text, item);
    }
    text.push(close);
}

/// The place in the JSON form of the request of a place in the JSON form of its definition, where an index is an
/// array and the paths of a search are names.
fn in_request(location: &Location, message: &v1::TypeDefinition) -> Location {
    let key = |name: &'static str| Step::Key(name.into());
    let steps = match location.0.as_slice() {
        [Step::Key(indexes), index, path] if indexes == "indexes" => {
            vec![key("indexes"), index.clone(), key("paths"), path.clone()]
        }
        [Step::Key(search), Step::Key(paths), Step::Key(path)]
            if search == "search" && paths == "paths" =>
        {
            let searched = message.search.as_ref().map_or(&[][..], |search| &search.paths);
            // of the same path twice the later one is wrong
            let place = searched.iter().rposition(|searched| searched.path == **path);
            let place = place.map(Step::Index);
            [key("search"), key("paths")].into_iter().chain(place).collect()
        }
        steps => steps.to_vec(),
    };
    Location([vec![key("definition")], steps].concat())
}

/// A definition as it is stored.
pub(crate) fn stored(stored: StoredType) -> v1::Type {
    v1::Type {
        r#type: stored.entity_type,
        version: stored.version,
        created_at: Some(convert::timestamp(stored.created_at)),
        updated_at: Some(convert::timestamp(stored.updated_at)),
        definition: Some(definition(stored.definition)),
        parts: stored.parts.into_iter().map(part).collect(),
    }
}

fn definition(definition: Definition) -> v1::TypeDefinition {
    let mut message = v1::TypeDefinition::default();
    for part in definition.parts() {
        match part {
            PartKind::Index(index) => {
                let paths = index.paths.iter().map(ToString::to_string).collect();
                message.indexes.push(v1::IndexDefinition { paths });
            }
            PartKind::Search(search) => {
                let searched = search.paths.iter().map(|(path, weight)| v1::SearchPath {
                    path: path.to_string(),
                    weight: (*weight).into(),
                });
                let (paths, language) = (searched.collect(), search.language);
                message.search = Some(v1::SearchDefinition { paths, language });
            }
        }
    }
    message
}

fn part(status: PartStatus) -> v1::TypePart {
    let PartStatus { part, state, done, total } = status;
    let (kind, paths) = match part.kind {
        PartKind::Index(index) => {
            (v1::TypePartKind::Index, index.paths.iter().map(ToString::to_string).collect())
        }
        PartKind::Search(search) => {
            let paths = search.paths.iter().map(|(path, _)| path.to_string());
            (v1::TypePartKind::Search, paths.collect())
        }
    };
    let (status, progress) = match state {
        PartState::Building => {
            (v1::TypePartStatus::Building, Some(v1::TypePartProgress { done, total }))
        }
        PartState::Ready => (v1::TypePartStatus::Ready, None),
        PartState::Dropping => (v1::TypePartStatus::Dropping, None),
    };
    v1::TypePart { kind: kind.into(), paths, status: status.into(), progress }
}

#[cfg(test)]
mod tests {
    use producer_core::Problem;

    use super::*;
    use crate::field_paths::FieldPaths;

    fn message(indexes: &[&[&str]], search: Option<(&[(&str, u32)], &str)>) -> v1::TypeDefinition {
        let text = |text: &&str| (*text).to_owned();
        let index =
            |paths: &&[&str]| v1::IndexDefinition { paths: paths.iter().map(text).collect() };
        let searched =
            |(path, weight): &(&str, u32)| v1::SearchPath { path: text(path), weight: *weight };
        v1::TypeDefinition {
            indexes: indexes.iter().map(index).collect(),
            search: search.map(|(paths, language)| v1::SearchDefinition {
                paths: paths.iter().map(searched).collect(),
                language: language.into(),
            }),
        }
    }

    #[test]
    fn a_message_and_its_definition_say_the_same() {
        for (message, json) in [
            (message(&[], None), r#"{"indexes":[]}"#),
            (
                message(
                    &[&["data.total"], &[r#"data["a \"b\""]"#, "createdAt"]],
                    Some((&[("data.t", 4), ("data.s.u", 1)], "english")),
                ),
                r#"{"indexes":["data.total",["data[\"a \\\"b\\\"\"]","createdAt"]],"search":{"paths":{"data.t":4,"data.s.u":1},"language":"english"}}"#,
            ),
        ] {
            let read = read(&message).expect("a definition");
            assert_eq!(read.to_json(), json);
            assert_eq!(definition(read), message);
        }
        let default = read(&message(&[], Some((&[("data.t", 1)], "")))).expect("a definition");
        assert_eq!(definition(default), message(&[], Some((&[("data.t", 1)], "simple"))));
    }

    #[test]
    fn a_broken_rule_is_located_in_the_request() {
        let many: Vec<&[&str]> = vec![&[]; 17];
        for (message, field, detail) in [
            (message(&[&["data.a"], &[]], None), "definition.indexes[1]", "must have at least one"),
            (
                message(&[&["data.a", "total"]], None),
                "definition.indexes[0].paths[1]",
                "must be createdAt, updatedAt or a path below data",
            ),
            (
                message(&[&["data.a"], &["data[\"a\"]"]], None),
                "definition.indexes[1]",
                "must not be declared twice",
            ),
            (message(&[], Some((&[], ""))), "definition.search.paths", "must have at least one"),
            (
                message(&[], Some((&[("data.a", 1), ("data.t", 0)], ""))),
                "definition.search.paths[1]",
                "must be a weight of 1 to 4",
            ),
            (
                message(&[], Some((&[("data.a", 1), ("data[\"a\"]", 1)], ""))),
                "definition.search.paths[1]",
                "must not occur twice",
            ),
            (
                message(&[], Some((&[("data.a", 1), ("data.b", 1), ("data.a", 1)], ""))),
                "definition.search.paths[2]",
                "",
            ),
            (
                message(&[], Some((&[("data.a", 1)], "Klingon!"))),
                "definition.search.language",
                "must be the name of a language",
            ),
            (message(&[&["data.a\0"]], None), "definition.indexes[0].paths[0]", "must not contain"),
            (message(&many[..16], None), "definition.indexes[0]", "must have at least one path"),
        ] {
            let violations = read(&message).expect_err("a broken rule");
            let first = violations.first().expect("one");
            assert_eq!(FieldPaths::default().path(&first.location), field);
            assert!(first.detail.starts_with(detail), "{field}: {}", first.detail);
        }
        // also those that are only counted
        let hundreds: Vec<&[&str]> = vec![&[]; 300];
        let violations = read(&message(&hundreds, None)).expect_err("broken rules");
        assert!(violations.count() > 300);
        assert!(Problem::validation(violations).detail.starts_with("/definition/indexes/0 must"));
    }
}
