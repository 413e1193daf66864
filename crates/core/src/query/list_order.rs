//! The order of a list.

use std::fmt;

use crate::json::Path;

const DESCENDING: &str = " desc";

/// What a list is ordered by; entities with the same value by their ids in the same direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListOrder {
    /// The value.
    pub by: OrderBy,
    /// Whether the largest comes first.
    pub descending: bool,
}

/// A value that entities are ordered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderBy {
    /// The id.
    Id,
    /// The version.
    Version,
    /// When it was created.
    CreatedAt,
    /// When it was updated.
    UpdatedAt,
    /// A scalar of the document: false, true, numbers, strings.
    Data(Path),
}

impl ListOrder {
    /// Reads `data.total`, `createdAt desc` and the like.
    ///
    /// # Errors
    /// The end of a sentence about the text: `must …`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let descending = text.strip_suffix(DESCENDING);
        let by = match descending.unwrap_or(text).trim() {
            "id" | "entityId" => OrderBy::Id,
            "version" => OrderBy::Version,
            "createdAt" => OrderBy::CreatedAt,
            "updatedAt" => OrderBy::UpdatedAt,
            path if path.starts_with("data") => OrderBy::Data(member(path)?),
            _ => {
                return Err(
                    "must be id, version, createdAt, updatedAt or a path such as data.total, \
                            with desc behind it for the reverse order"
                        .into(),
                );
            }
        };
        Ok(Self { by, descending: descending.is_some() })
    }
}

fn member(text: &str) -> Result<Path, String> {
    let path = Path::parse(text)?;
    if path == Path::root() {
        return Err("must name a member of the document, such as data.total".into());
    }
    Ok(path)
}

impl fmt::Display for ListOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.by.fmt(f)?;
        f.write_str(if self.descending { DESCENDING } else { "" })
    }
}

impl fmt::Display for OrderBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id => f.write_str("id"),
            Self::Version => f.write_str("version"),
            Self::CreatedAt => f.write_str("createdAt"),
            Self::UpdatedAt => f.write_str("updatedAt"),
            Self::Data(path) => path.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_reads_as_it_is_written() {
        for text in [
            "id",
            "version desc",
            "createdAt",
            "updatedAt desc",
            "data.total",
            r#"data["a desc"].b desc"#,
        ] {
            assert_eq!(ListOrder::parse(text).expect(text).to_string(), text);
        }
        let id = ListOrder { by: OrderBy::Id, descending: false };
        assert_eq!(ListOrder::parse("entityId"), Ok(id));
    }

    #[test]
    fn what_is_no_order_says_what_is_one() {
        for text in ["", " desc", "total", "id asc", "id DESC", "type", "-id", "id,version"] {
            let error = ListOrder::parse(text).expect_err(text);
            assert!(error.starts_with("must be id, version, "), "{text}: {error}");
        }
        for (text, error) in [
            ("data", "must name a member of the document, such as data.total"),
            ("data.a[0]", "has an error at column 7: expected .name or [\"a key\"]"),
        ] {
            assert_eq!(ListOrder::parse(text), Err(error.into()));
        }
    }
}
