//! All that is wrong with a file.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

/// All that is wrong with a file, in the order of its lines. No text shows a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    file: String,
    /// Lines, from 1, and what is wrong there. Never empty.
    found: Vec<(usize, String)>,
}

impl fmt::Display for ConfigErrors {
    /// A line each: `worker.toml:12: sink "orders": batch: must be 1 to 10,000, not 0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (line, text)) in self.found.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{}:{line}: {text}", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Gathers what is wrong while a file is read.
#[derive(Debug)]
pub(super) struct Problems<'a> {
    text: &'a str,
    found: RefCell<Vec<(usize, String)>>,
}

impl<'a> Problems<'a> {
    /// Of a file with this text.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, found: RefCell::default() }
    }

    /// Something is wrong at these bytes of the file.
    pub(super) fn add(&self, span: &Range<usize>, text: impl fmt::Display) {
        let line = self.line(span.start);
        self.found.borrow_mut().push((line, text.to_string().replace('\n', " ")));
    }

    /// The line of a byte, from 1.
    pub(super) fn line(&self, byte: usize) -> usize {
        let before = self.text.as_bytes().iter().take(byte);
        before.filter(|byte| **byte == b'\n').count() + 1
    }

    /// `value`, where nothing is wrong.
    ///
    /// # Errors
    /// All that was added.
    pub(super) fn unless_any<T>(self, file: &str, value: T) -> Result<T, ConfigErrors> {
        let mut found = self.found.into_inner();
        if found.is_empty() {
            return Ok(value);
        }
        found.sort_by_key(|(line, _)| *line);
        Err(ConfigErrors { file: file.to_owned(), found })
    }
}
