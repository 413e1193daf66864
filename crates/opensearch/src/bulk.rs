//! Bulks: many documents in one request.

use std::time::Duration;

use bytes::Bytes;
use producer_core::json::write_string;
use reqwest::Method;
use serde::Deserialize;

use crate::client::{Body, Client};
use crate::error::{Cause, Error, ErrorBody};

/// Of an answer only what counts.
const ANSWER: &str = "filter_path=items.*.status,items.*.error";

/// One document of a bulk.
///
/// Versions are external: nothing goes back to an older one. The same one may be written again
/// (`external_gte`), since a document also changes when its type's search does, and since what had left an index
/// may belong there again after its filter was changed.
#[derive(Debug, Clone, Copy)]
pub struct Action<'a> {
    /// Where.
    pub index: &'a str,
    /// `_id`
    pub id: &'a str,
    /// Of the document, or of what deletes it.
    pub version: u64,
    /// On one line; `None` deletes.
    pub document: Option<&'a str>,
}

impl Action<'_> {
    /// Appends its lines.
    pub fn write(&self, lines: &mut String) {
        let word = if self.document.is_some() { "index" } else { "delete" };
        lines.push_str("{\"");
        lines.push_str(word);
        lines.push_str("\":{\"_index\":");
        write_string(lines, self.index);
        lines.push_str(",\"_id\":");
        write_string(lines, self.id);
        lines.push_str(",\"version\":");
        lines.push_str(&self.version.to_string());
        lines.push_str(",\"version_type\":\"external_gte\"}}\n");
        if let Some(document) = self.document {
            lines.push_str(document);
            lines.push('\n');
        }
    }
}

/// What became of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is as it was to be, or newer.
    Done,
    /// Its index does not exist.
    NoIndex,
    /// It does not fit the mapping of its index.
    Misfit(Cause),
    /// It may be written later.
    Failed {
        /// The status of this document alone.
        status: u16,
        /// Why.
        cause: Cause,
    },
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    items: Vec<Item>,
}

/// Under the name of its action.
#[derive(Deserialize)]
struct Item {
    #[serde(alias = "index", alias = "delete")]
    done: ItemAnswer,
}

#[derive(Deserialize)]
struct ItemAnswer {
    status: u16,
    error: Option<ErrorBody>,
}

/// Sends a bulk of `count` documents, and returns what became of each.
///
/// # Errors
/// The request as a whole failed; 413: it is too large.
pub async fn send(
    client: &Client,
    lines: Bytes,
    count: usize,
    timeout: Duration,
) -> Result<Vec<Outcome>, Error> {
    let body = Body::Lines(lines);
    let answer: Answer = client.json(Method::POST, &["_bulk"], ANSWER, body, timeout).await?;
    if answer.items.len() != count {
        let text = format!("{} outcomes of {count} documents", answer.items.len());
        return Err(Error::Unreadable(text));
    }
    Ok(answer.items.into_iter().map(|item| item.done.outcome()).collect())
}

impl ItemAnswer {
    fn outcome(self) -> Outcome {
        let Some(error) = self.error else {
            // 404: what was to be deleted is not there
            return if matches!(self.status, 200..=299 | 404) {
                Outcome::Done
            } else {
                Outcome::Failed { status: self.status, cause: Cause::default() }
            };
        };
        let cause = error.into_cause();
        match (self.status, cause.kind.as_str()) {
            (409, _) => Outcome::Done,
            (404, "index_not_found_exception") => Outcome::NoIndex,
            (400, kind) if is_of_document(kind) => Outcome::Misfit(cause),
            (status, _) => Outcome::Failed { status, cause },
        }
    }
}

/// Whether an error is about the document; others with the status 400 are about the index.
fn is_of_document(kind: &str) -> bool {
    matches!(
        kind,
        "mapper_parsing_exception"
            | "document_parsing_exception"
            | "strict_dynamic_mapping_exception"
            | "illegal_argument_exception"
            | "parse_exception"
            | "parsing_exception"
            | "x_content_parse_exception"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_one_or_two_lines() {
        let mut lines = String::new();
        let action = Action { index: "a", id: "1\"", version: 7, document: None };
        action.write(&mut lines);
        Action { document: Some("{}"), ..action }.write(&mut lines);
        let expected = r#"{"delete":{"_index":"a","_id":"1\"","version":7,"version_type":"external_gte"}}
{"index":{"_index":"a","_id":"1\"","version":7,"version_type":"external_gte"}}
{}
"#;
        assert_eq!(lines, expected);
    }

    #[test]
    fn outcomes_are_told_apart() {
        let of = |text: &str| serde_json::from_str::<Item>(text).expect(text).done.outcome();
        for text in [
            r#"{"index":{"status":201}}"#,
            r#"{"delete":{"status":404}}"#,
            r#"{"index":{"status":409,"error":{"type":"version_conflict_engine_exception"}}}"#,
        ] {
            assert_eq!(of(text), Outcome::Done, "{text}");
        }
        let error = |status, kind: &str| {
            let reason = r#""reason":"no","caused_by":{"reason":"why\nhere"}"#;
            of(&format!(
                r#"{{"index":{{"status":{status},"error":{{"type":"{kind}",{reason}}}}}}}"#
            ))
        };
        let Outcome::Misfit(cause) = error(400, "mapper_parsing_exception") else {
            panic!("misfit")
        };
        assert_eq!(cause.to_string(), "mapper_parsing_exception: no: why");
        assert_eq!(error(404, "index_not_found_exception"), Outcome::NoIndex);
        for (status, kind) in [
            (400, "invalid_index_name_exception"),
            (400, "index_closed_exception"),
            (403, "cluster_block_exception"),
            (429, "cluster_block_exception"),
            (429, "rejected_execution_exception"),
            (503, "unavailable_shards_exception"),
        ] {
            assert!(matches!(error(status, kind), Outcome::Failed { .. }), "{kind}");
        }
    }
}
