//! Which members of entities an answer shows.

use strsim::damerau_levenshtein;

use crate::json::{Path, Projection};

/// What else than the document may be named.
const NAMES: [&str; 7] =
    ["type", "entityType", "id", "entityId", "version", "createdAt", "updatedAt"];

/// The members of entities that an answer shows, beside type and id, which it always shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    /// Whether to show the version.
    pub version: bool,
    /// Whether to show when it was created.
    pub created_at: bool,
    /// Whether to show when it was updated.
    pub updated_at: bool,
    /// What to show of the document; `None` where it is not shown at all.
    data: Option<Projection>,
}

impl Fields {
    /// Reads `version,data.a,data.b.c`.
    ///
    /// # Errors
    /// The end of a sentence about the text: `must …`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut fields = Self::default();
        for name in split(text) {
            match name.trim() {
                "type" | "entityType" | "id" | "entityId" => {}
                "version" => fields.version = true,
                "createdAt" => fields.created_at = true,
                "updatedAt" => fields.updated_at = true,
                "" => return Err("must name fields with commas between them".into()),
                path if path == "data"
                    || path.starts_with("data.")
                    || path.starts_with("data[") =>
                {
                    let path = Path::parse(path).map_err(|rule| format!("{rule} (in {path})"))?;
                    fields.data.get_or_insert_default().add(&path);
                }
                unknown => return Err(unknown_name(unknown)),
            }
        }
        Ok(fields)
    }

    /// What is shown of a document, as a JSON object; `None` where it is not shown at all.
    pub fn data(&self, document: &str) -> Option<String> {
        self.data.as_ref().map(|projection| projection.of(document))
    }
}

/// The texts between commas that are not within quotes.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |c| {
        if c == '"' && !is_escaped {
            is_quoted = !is_quoted;
        }
        is_escaped = is_quoted && c == '\\' && !is_escaped;
        c == ',' && !is_quoted
    })
}

fn unknown_name(name: &str) -> String {
    let nearest =
        NAMES.iter().chain(&["data"]).min_by_key(|known| damerau_levenshtein(known, name));
    let nearest = nearest.unwrap_or(&"data");
    let name = &name[..name.floor_char_boundary(64)];
    format!(
        "must name known fields; {name:?} is none, the nearest is {nearest} (members of the document are \
         paths such as data.total)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_show_what_they_name() {
        let fields = Fields::parse(r#"version,data.a, data["x,\"y"].z ,id"#).expect("fields");
        assert!(fields.version && !fields.created_at && !fields.updated_at);
        let document = r#"{"a":1.0,"b":2,"x,\"y":{"z":[3],"w":4}}"#;
        assert_eq!(fields.data(document).as_deref(), Some(r#"{"a":1.0,"x,\"y":{"z":[3]}}"#));
        let times = Fields::parse("createdAt,updatedAt,type").expect("fields");
        assert!(!times.version && times.created_at && times.updated_at);
        assert_eq!(times.data(document), None);
        let all = Fields::parse("data").expect("fields");
        assert_eq!(all.data(document).as_deref(), Some(document));
    }

    #[test]
    fn unknown_fields_name_the_nearest_one() {
        for (text, rule) in [
            (
                "versoin",
                "must name known fields; \"versoin\" is none, the nearest is version (members of the \
                 document are paths such as data.total)",
            ),
            ("", "must name fields with commas between them"),
            ("id,,version", "must name fields with commas between them"),
            ("data.a[0]", "has an error at column 7: expected .name or [\"a key\"] (in data.a[0])"),
        ] {
            assert_eq!(Fields::parse(text), Err(rule.into()));
        }
        assert!(Fields::parse(&"x".repeat(10_000)).is_err_and(|rule| rule.len() < 300));
    }
}
