//! What an index looks like: settings, analyzers and mappings, as an index template.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Body, Client};
use crate::error::Error;

/// Our settings and mappings, which a template of the user's own may be composed of.
pub const COMPONENT: &str = "producer-entities";

/// What the names of our templates begin with.
const PREFIX: &str = "producer-";

/// Fields of an index at most; the servers' own limit is 1,000.
const TOTAL_FIELDS: u32 = 2500;
/// As deep as documents may be, with the levels around them.
const DEPTH: u32 = 150;

/// The language in which words are not reduced.
const SIMPLE: &str = "simple";

/// Languages, by the names that types declare, and their stemmers. Those of PostgreSQL, as far as both servers
/// have them.
const LANGUAGES: [(&str, &str); 25] = [
    ("arabic", "arabic"),
    ("armenian", "armenian"),
    ("basque", "basque"),
    ("catalan", "catalan"),
    ("danish", "danish"),
    ("dutch", "dutch"),
    // the algorithm that PostgreSQL has too
    ("english", "porter2"),
    ("estonian", "estonian"),
    ("finnish", "finnish"),
    ("french", "french"),
    ("german", "german"),
    ("greek", "greek"),
    ("hindi", "hindi"),
    ("hungarian", "hungarian"),
    ("indonesian", "indonesian"),
    ("irish", "irish"),
    ("italian", "italian"),
    ("lithuanian", "lithuanian"),
    ("norwegian", "norwegian"),
    ("portuguese", "portuguese"),
    ("romanian", "romanian"),
    ("russian", "russian"),
    ("spanish", "spanish"),
    ("swedish", "swedish"),
    ("turkish", "turkish"),
];

/// The language as fields and analyzers are named: one without a stemmer is `simple`.
pub fn field_language(language: &str) -> &'static str {
    let known = LANGUAGES.iter().find(|(name, _)| *name == language);
    known.map_or(SIMPLE, |(name, _)| name)
}

/// Whether words of this field have stems.
pub(crate) fn has_stems(field_language: &str) -> bool {
    field_language != SIMPLE
}

/// The servers' name of what makes stems.
pub(crate) fn stemmer(field_language: &str) -> Option<&'static str> {
    let known = LANGUAGES.iter().find(|(name, _)| *name == field_language);
    known.map(|(_, stemmer)| *stemmer)
}

/// The analyzer that reduces the words of a language, which are cut already, to their stems.
pub(crate) fn analyzer(field_language: &str) -> String {
    format!("{PREFIX}{field_language}")
}

/// Puts our settings and mappings, and a template for the indexes that match `pattern`. `of_user` is the user's
/// own template instead of ours; where it names no patterns, it is for these.
///
/// # Errors
/// As [`Error`] says.
pub async fn put(
    client: &Client,
    pattern: &str,
    of_user: Option<&Value>,
    timeout: Duration,
) -> Result<(), Error> {
    let body = Body::Json(component().to_string());
    client.send(Method::PUT, &["_component_template", COMPONENT], "", body, timeout).await?;
    let name = format!("{PREFIX}{}", pattern.trim_end_matches('*'));
    let body = Body::Json(index_template(pattern, of_user).to_string());
    client.send(Method::PUT, &["_index_template", &name], "", body, timeout).await?;
    Ok(())
}

/// A longer pattern beats a shorter one that matches the same index: two of the same priority are refused.
fn index_template(pattern: &str, of_user: Option<&Value>) -> Value {
    const PRIORITY: usize = 100;
    let priority = PRIORITY + pattern.len();
    let mut template = of_user.cloned().unwrap_or_else(|| json!({"composed_of": [COMPONENT]}));
    if let Some(members) = template.as_object_mut() {
        members.entry("index_patterns").or_insert_with(|| json!([pattern]));
        members.entry("priority").or_insert_with(|| json!(priority));
    }
    template
}

/// Our settings and mappings.
///
/// - A deleted document's version is known for an hour, so that an older write that comes late does not bring it
///   back; the servers' own time is a minute.
/// - A text that looks like a date is a text: otherwise the first one would decide that others don't fit.
/// - Words come cut and folded from the services' core, so that all engines find the same: they are only
///   separated here, and reduced to stems.
pub fn component() -> Value {
    let mut analyzers = json!({
        analyzer(SIMPLE): {"type": "custom", "tokenizer": "whitespace"},
    });
    let mut filters = json!({});
    for (language, stemmer) in LANGUAGES {
        let name = analyzer(language);
        filters[&name] = json!({"type": "stemmer", "language": stemmer});
        analyzers[&name] = json!({"type": "custom", "tokenizer": "whitespace", "filter": [name]});
    }
    let simple_words = json!({"type": "text", "analyzer": analyzer(SIMPLE)});
    let words = json!({
        "type": "text", "analyzer": analyzer(SIMPLE),
        "fields": {"stems": {"type": "text", "analyzer": analyzer("{name}")}},
    });
    let date = json!({"type": "date"});
    let keyword = json!({"type": "keyword"});
    json!({"template": {
        "settings": {
            "index": {
                "gc_deletes": "1h",
                "mapping": {
                    "total_fields": {"limit": TOTAL_FIELDS},
                    "depth": {"limit": DEPTH},
                },
            },
            "analysis": {"filter": filters, "analyzer": analyzers},
        },
        "mappings": {
            "date_detection": false,
            "dynamic_templates": [
                {"words_as_they_are": {
                    "path_match": "words.*.simple", "match_mapping_type": "string",
                    "mapping": simple_words,
                }},
                {"words": {
                    "path_match": "words.*.*", "match_mapping_type": "string", "mapping": words,
                }},
                {"decimals": {
                    "path_match": "data.*", "match_mapping_type": "double",
                    "mapping": {"type": "double"},
                }},
            ],
            "properties": {
                "entityType": keyword, "entityId": keyword, "version": {"type": "long"},
                "createdAt": date, "updatedAt": date,
                "data": {"type": "object", "dynamic": true},
            },
        },
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_without_a_stemmer_are_as_simple() {
        assert_eq!(field_language("english"), "english");
        assert_eq!(field_language("yiddish"), "simple");
        assert_eq!(field_language("a.b*"), "simple");
    }

    #[test]
    fn a_users_template_may_leave_out_what_is_known() {
        let ours = index_template("entities-*", None);
        assert_eq!(ours["composed_of"], json!(["producer-entities"]));
        assert_eq!(
            (&ours["index_patterns"], &ours["priority"]),
            (&json!(["entities-*"]), &json!(110))
        );
        let of_user = json!({"index_patterns": ["x"], "template": {}});
        let users = index_template("entities-*", Some(&of_user));
        assert_eq!(users["index_patterns"], json!(["x"]));
        assert!(users.get("composed_of").is_none());
    }
}
