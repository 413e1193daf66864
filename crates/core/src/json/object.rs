//! Writes JSON objects on one line. Stored JSON is copied, not parsed.

use std::fmt::{Arguments, Display, Write};

use super::text::write_string;

/// An object that is being written at the end of a text. Names of members must need no escape.
///
/// ```
/// # use producer_core::json::ObjectWriter;
/// let mut text = String::new();
/// let mut object = ObjectWriter::begin(&mut text);
/// object.string("name", "a \"b\"");
/// object.plain("version", 7);
/// object.json("data", "{\"n\":\n1}");
/// object.end();
/// assert_eq!(text, r#"{"name":"a \"b\"","version":7,"data":{"n": 1}}"#);
/// ```
#[derive(Debug)]
pub struct ObjectWriter<'t> {
    text: &'t mut String,
}

impl<'t> ObjectWriter<'t> {
    /// Begins an object.
    pub fn begin(text: &'t mut String) -> Self {
        text.push('{');
        Self { text }
    }

    /// A member whose value `write` adds.
    pub fn value(&mut self, name: &str, write: impl FnOnce(&mut String)) {
        if !self.text.ends_with('{') {
            self.text.push(',');
        }
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
        write(self.text);
    }

    /// A string.
    pub fn string(&mut self, name: &str, value: &str) {
        self.value(name, |text| write_string(text, value));
    }

    /// A string; nothing where there is no value.
    pub fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.string(name, value);
        }
    }

    /// A number or a boolean.
    pub fn plain(&mut self, name: &str, value: impl Display) {
        self.value(name, |text| write_into(text, format_args!("{value}")));
    }

    /// A string of a value that has no character that needs an escape, such as a time.
    pub fn quoted(&mut self, name: &str, value: impl Display) {
        self.value(name, |text| write_into(text, format_args!("\"{value}\"")));
    }

    /// Stored JSON, on one line.
    pub fn json(&mut self, name: &str, stored: &str) {
        self.value(name, |text| write_on_one_line(text, stored));
    }

    /// Ends the object.
    pub fn end(self) {
        self.text.push('}');
    }
}

/// Appends stored JSON on one line: its line breaks are white space, since strings have none.
pub fn write_on_one_line(out: &mut String, stored: &str) {
    for (index, line) in stored.split(['\n', '\r']).enumerate() {
        out.push_str(if index == 0 { "" } else { " " });
        out.push_str(line);
    }
}

fn write_into(text: &mut String, value: Arguments<'_>) {
    // a String takes all that is written
    let _ = text.write_fmt(value);
}
