//! A table of the file: reads its keys, and notes what is wrong with them.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::errors::Problems;
use super::text::Text;

/// Up to so many edits a key is taken for a typing error of another.
const TYPO: usize = 2;

/// What reading the file needs everywhere.
pub(super) struct Context<'a> {
    /// What is wrong so far.
    pub(super) problems: Problems<'a>,
    /// The value of a variable.
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
}

/// A table. A key that is absent is `None`; so is one that is wrong, which is noted.
pub(super) struct Table<'a> {
    context: &'a Context<'a>,
    /// What errors call it, such as `sink "orders"`; empty of the whole file.
    place: String,
    entries: &'a DeTable<'a>,
    span: Range<usize>,
    /// The keys that were asked for.
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    pub(super) fn new(
        context: &'a Context<'a>,
        place: impl Into<String>,
        table: &'a DeTable<'a>,
        span: Range<usize>,
    ) -> Self {
        let place = place.into();
        Self { context, place, entries: table, span, known: RefCell::default() }
    }

    /// The same table, called otherwise in errors.
    pub(super) fn called(self, place: String) -> Self {
        Self { place, ..self }
    }

    /// Notes what is wrong with a key; `text` is the end of a sentence about it.
    pub(super) fn wrong(&self, key: &str, text: impl std::fmt::Display) {
        let span = self.entry(key).map_or(self.span.clone(), |(name, _)| name.span());
        self.wrong_at(&span, key, text);
    }

    /// The same at these bytes of the file.
    pub(super) fn wrong_at(&self, span: &Range<usize>, key: &str, text: impl std::fmt::Display) {
        let separator = if self.place.is_empty() { "" } else { ": " };
        self.context.problems.add(span, format_args!("{}{separator}{key}: {text}", self.place));
    }

    /// Notes that a key is missing, where it is. One that is there and wrong was noted.
    pub(super) fn require<T>(&self, key: &'static str, value: Option<T>) -> Option<T> {
        if !self.has(key) {
            self.wrong(key, "is missing");
        }
        value
    }

    /// Whether a key is there, wrong or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// The line of a key that is there.
    pub(super) fn line(&self, key: &str) -> usize {
        let span = self.entry(key).map_or(self.span.clone(), |(name, _)| name.span());
        self.context.problems.line(span.start)
    }

    fn entry(&self, key: &str) -> Option<(&'a Spanned<Cow<'a, str>>, &'a Spanned<DeValue<'a>>)> {
        self.entries.iter().find(|(name, _)| name.get_ref() == key)
    }

    /// Any value.
    pub(super) fn value(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.borrow_mut().push(key);
        self.entry(key).map(|(_, value)| value)
    }

    /// A text.
    pub(super) fn text(&self, key: &'static str) -> Option<Text> {
        let value = self.value(key)?;
        self.text_of(key, value)
    }

    fn text_of(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Text> {
        let DeValue::String(written) = value.get_ref() else {
            self.wrong_type(key, "a text", value);
            return None;
        };
        match Text::expand(written, self.context.environment) {
            Ok(text) => Some(text),
            Err(wrong) => {
                wrong.into_iter().for_each(|text| self.wrong_at(&value.span(), key, text));
                None
            }
        }
    }

    /// A text with variables and mounted secrets put in.
    ///
    /// # Errors
    /// For each that stands for nothing, why.
    pub(super) fn expand(&self, written: &str) -> Result<String, Vec<String>> {
        Text::expand(written, self.context.environment).map(Text::into_string)
    }

    /// A text that means something. The error of `parse` is the end of a sentence about the key.
    pub(super) fn parsed<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&Text) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(key)?;
        let parsed = parse(&text);
        parsed.map_err(|reason| self.wrong(key, reason)).ok()
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        self.parsed(key, |text| {
            let found = words.iter().find(|(word, _)| *word == text.as_str());
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            found.map(|(_, meaning)| *meaning).ok_or_else(|| must_be_one_of(&names, text))
        })
    }

    /// A whole number within limits, which `allowed` says.
    pub(super) fn number(
        &self,
        key: &'static str,
        limits: RangeInclusive<u64>,
        allowed: &str,
    ) -> Option<u64> {
        let value = self.value(key)?;
        let DeValue::Integer(number) = value.get_ref() else {
            self.wrong_type(key, "a whole number", value);
            return None;
        };
        let parsed = u64::from_str_radix(number.as_str(), number.radix()).ok();
        let parsed = parsed.filter(|number| limits.contains(number));
        if parsed.is_none() {
            self.wrong(key, format_args!("must be {allowed}, not {number}"));
        }
        parsed
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        let DeValue::Boolean(is) = value.get_ref() else {
            self.wrong_type(key, "true or false", value);
            return None;
        };
        Some(*is)
    }

    /// An array of texts. Wrong ones are noted and left out.
    pub(super) fn texts(&self, key: &'static str) -> Option<Vec<Text>> {
        let value = self.value(key)?;
        let DeValue::Array(values) = value.get_ref() else {
            self.wrong_type(key, "an array of texts", value);
            return None;
        };
        Some(values.iter().filter_map(|value| self.text_of(key, value)).collect())
    }

    /// A table.
    pub(super) fn table(&self, key: &'static str) -> Option<Table<'a>> {
        let value = self.value(key)?;
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong_type(key, "a table", value);
            return None;
        };
        let separator = if self.place.is_empty() { "" } else { ": " };
        let place = format!("{}{separator}{key}", self.place);
        Some(Table::new(self.context, place, table, value.span()))
    }

    /// The tables of an array.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Table<'a>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let not_tables = |value: &Spanned<DeValue<'_>>| {
            self.wrong_type(key, &format!("a table for each, [[{key}]]"), value);
        };
        let DeValue::Array(values) = value.get_ref() else {
            not_tables(value);
            return Vec::new();
        };
        let table = |(index, value): (usize, &'a Spanned<DeValue<'a>>)| match value.get_ref() {
            DeValue::Table(table) => {
                Some(Table::new(self.context, format!("{key} {}", index + 1), table, value.span()))
            }
            _ => {
                not_tables(value);
                None
            }
        };
        values.iter().enumerate().filter_map(table).collect()
    }

    /// All keys of a table that the user names, with their values: texts, and where `scalars` is true numbers
    /// and booleans too.
    pub(super) fn free(&self, scalars: bool) -> BTreeMap<String, Text> {
        let entry = |(name, value): (&Spanned<Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
            let key = name.get_ref().as_ref();
            let text = match value.get_ref() {
                DeValue::Integer(number) if scalars => Some(Text::plain(number.to_string())),
                DeValue::Boolean(is) if scalars => Some(Text::plain(is.to_string())),
                DeValue::String(_) => self.text_of(key, value),
                _ => {
                    let expected =
                        if scalars { "a text, a whole number or true or false" } else { "a text" };
                    self.wrong_type(key, expected, value);
                    None
                }
            };
            Some((key.to_owned(), text?))
        };
        self.entries.iter().filter_map(entry).collect()
    }

    /// Lets a key stand, whatever it says.
    pub(super) fn pass_over(&self, key: &'static str) {
        self.known.borrow_mut().push(key);
    }

    /// Notes the keys that nobody asked for.
    pub(super) fn finish(self) {
        let known = self.known.borrow();
        for (name, _) in self.entries.iter() {
            let key = name.get_ref().as_ref();
            if known.contains(&key) {
                continue;
            }
            let why = match closest(key, &known) {
                Some(meant) => format!("is unknown; did you mean {meant}?"),
                None => "is unknown".to_owned(),
            };
            self.wrong_at(&name.span(), key, why);
        }
    }

    fn wrong_type(&self, key: &str, expected: &str, value: &Spanned<DeValue<'_>>) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time; put it in quotes",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.wrong_at(&value.span(), key, format_args!("must be {expected}, not {found}"));
    }
}

/// The end of a sentence about a text that is none of these words.
pub(super) fn must_be_one_of(words: &[&str], text: &Text) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    let all = match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    };
    let meant = closest(text.as_str(), words).filter(|_| !text.is_secret());
    let hint = meant.map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"));
    format!("must be {all}, not {text}{hint}")
}

/// The word that is probably meant.
fn closest<'w>(text: &str, words: &[&'w str]) -> Option<&'w str> {
    let distance = |word: &&&str| strsim::osa_distance(&text.to_lowercase(), word);
    words.iter().min_by_key(distance).filter(|word| distance(word) <= TYPO).copied()
}
