//! Why a text is no filter.

use std::borrow::Cow;

/// Why a text is no filter, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {detail}")]
pub struct FilterError {
    /// The character where it stops being one, from 1.
    pub column: usize,
    /// What was expected there, maybe with a hint.
    pub detail: Cow<'static, str>,
}

impl FilterError {
    /// An error at a byte of the text.
    #[cold]
    pub(super) fn at(text: &str, byte: usize, detail: impl Into<Cow<'static, str>>) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        Self { column: before.chars().count() + 1, detail: detail.into() }
    }
}
