//! How an update is written: as a CloudEvent, or as a small object of its own.

mod cloudevents;
mod plain;

use std::borrow::Cow;

pub use cloudevents::Attributes;

use crate::config::{Form, Format};
use crate::update::Update;

/// Writes updates as a sink's `format` says. All texts are on one line.
#[derive(Debug, Clone)]
pub struct Formatter {
    format: Format,
}

impl Formatter {
    /// A formatter.
    pub fn new(format: &Format) -> Self {
        Self { format: format.clone() }
    }

    /// Which form it writes.
    pub fn form(&self) -> Form {
        self.format.form
    }

    /// The id of the message, in either form the one of the CloudEvent: visible ASCII characters without a
    /// full stop.
    pub fn id(&self, update: &Update) -> String {
        cloudevents::id(update)
    }

    /// The whole message as a JSON object: a CloudEvent in its JSON format, or the plain object.
    pub fn structured(&self, update: &Update) -> String {
        match self.format.form {
            Form::CloudEvents => cloudevents::structured(&self.attributes(update), update),
            Form::Plain => self.plain(update).structured(),
        }
    }

    /// The message as flat fields: a CloudEvent's attributes and `data`, or the plain object's members, each as
    /// a text of its own.
    pub fn fields<'a>(&'a self, update: &'a Update) -> Vec<(&'static str, Cow<'a, str>)> {
        match self.format.form {
            Form::CloudEvents => {
                let mut fields = self.attributes(update).into_fields();
                fields.push(("data", self.data(update).into()));
                fields
            }
            Form::Plain => self.plain(update).into_fields(),
        }
    }

    /// The attributes of the CloudEvent that it is, for the binary mode of a protocol; with the form's own
    /// `type`.
    pub fn attributes<'a>(&'a self, update: &'a Update) -> Attributes<'a> {
        cloudevents::attributes(&self.format.cloudevents_source, self.event_type(update), update)
    }

    /// The `data` alone, as JSON: of a CloudEvent the change's item with its state, of the plain object the
    /// state, or `null`.
    pub fn data(&self, update: &Update) -> String {
        let mut text = String::new();
        match self.format.form {
            Form::CloudEvents => cloudevents::write_data(update, &mut text),
            Form::Plain => plain::write_data(update, &mut text),
        }
        text
    }

    fn plain<'a>(&'a self, update: &'a Update) -> plain::Message<'a> {
        let unit = self.format.timestamp_unit;
        plain::Message { event_type: self.event_type(update), unit, update }
    }

    /// The message's type: by the template `event_type`, or the form's own.
    fn event_type<'a>(&'a self, update: &'a Update) -> Cow<'a, str> {
        match (&self.format.event_type, self.format.form) {
            (Some(template), _) => Cow::Owned(template.raw(update.into())),
            (None, Form::CloudEvents) => Cow::Borrowed(cloudevents::event_type(update)),
            (None, Form::Plain) => Cow::Owned(plain::event_type(update)),
        }
    }
}

#[cfg(test)]
mod tests;
