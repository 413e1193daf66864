//! A message becomes an event.

use std::borrow::Cow;

use producer_core::decode::Defaults;
use producer_core::json::CheckedJson;
use producer_core::{
    Clock, Draft, EntityFields, Event, Field, Header, Location, Operation, Patch, Problem, Step,
    Violations,
};

use super::find::{Document, Found};
use super::pointer::Pointer;
use super::rules::{Map, Rule, Unit};
use super::time;
use crate::source::Body;

const NO_CHOICE: &str = "is none of the values that the map names";
const NO_TIME: &str = "must be a number, or an RFC 3339 date and time";

impl Map {
    /// Makes an event of a message.
    ///
    /// # Errors
    /// `Validation` with the broken rules, located in the message.
    pub fn event(
        &self,
        body: &Body,
        defaults: Defaults<'_>,
        clock: &Clock,
    ) -> Result<Event, Problem> {
        let message = Document::read(body).map_err(Problem::validation)?;
        let mut reading = Reading { message, broken: Violations::default() };
        let draft = reading.draft(self);
        if !reading.broken.is_empty() {
            return Err(Problem::validation(reading.broken));
        }
        let event = draft.with_defaults(defaults).finish(clock);
        event.map_err(|problem| {
            problem
                .map_violations(|violations| violations.relocated(|place| self.in_message(place)))
        })
    }

    /// Where a message has what is at this place of its event.
    fn in_message(&self, place: &Location) -> Location {
        let (pointer, rest) = match &place.0[..] {
            [_, Step::Key(name)] => (self.header_rule(name).and_then(Rule::pointer), &[][..]),
            [_, _, Step::Index(_), Step::Key(name), rest @ ..] => (self.entity_pointer(name), rest),
            _ => (None, &[][..]),
        };
        let Some(pointer) = pointer else { return place.clone() };
        let mut location = pointer.location(pointer.steps().len());
        location.0.extend_from_slice(rest);
        location
    }

    fn header_rule(&self, name: &str) -> Option<&Rule> {
        match name {
            "uuid" => self.uuid.as_ref(),
            "eventName" => Some(&self.event_name),
            "eventType" => self.event_type.as_ref(),
            "createdDate" => self.created_date.as_ref(),
            "actor" => self.actor.as_ref(),
            _ => None,
        }
    }

    fn entity_pointer(&self, name: &str) -> Option<&Pointer> {
        match name {
            "entityType" => self.entity_type.pointer(),
            "entityId" => self.entity_id.pointer(),
            "operation" => self.operation.as_ref().and_then(Rule::pointer),
            "updatedAttributes" => self.attributes.as_ref(),
            _ => None,
        }
    }
}

/// A message that is being read, and what of it can't be.
struct Reading<'a> {
    message: Document<'a>,
    broken: Violations,
}

impl<'a> Reading<'a> {
    fn draft(&mut self, map: &'a Map) -> Draft {
        let header = Header {
            uuid: self.optional(map.uuid.as_ref()),
            event_name: self.field(&map.event_name),
            created_date: self.optional(map.created_date.as_ref()),
            event_type: self.optional(map.event_type.as_ref()),
            actor: self.optional(map.actor.as_ref()),
            ..Header::default()
        };
        let operation = self.optional(map.operation.as_ref());
        let entity = EntityFields {
            entity_type: self.field(&map.entity_type),
            entity_id: self.field(&map.entity_id),
            ..EntityFields::new(self.attributes(map, &operation))
        };
        let mut draft = Draft::new();
        draft.header(header);
        draft.body(|draft| draft.entity(EntityFields { operation, ..entity }));
        draft
    }

    fn optional(&mut self, rule: Option<&'a Rule>) -> Field<'a> {
        rule.map_or(Field::Absent, |rule| self.field(rule))
    }

    fn field(&mut self, rule: &'a Rule) -> Field<'a> {
        match rule {
            Rule::Constant(text) => Field::Text(Cow::Borrowed(text)),
            Rule::Pointer(pointer) => self.find(pointer).map_or(Field::Absent, field),
            Rule::Time(pointer, unit) => self.time(pointer, *unit),
            Rule::Choice { pointer, values, otherwise } => {
                self.choice(pointer, values, otherwise.as_deref())
            }
        }
    }

    fn time(&mut self, pointer: &Pointer, unit: Unit) -> Field<'a> {
        let Some(text) = self.find(pointer).map(Found::into_text) else { return Field::Absent };
        match time::moment(&text, unit) {
            Some(Ok(moment)) => Field::Text(Cow::Owned(moment.to_string())),
            Some(Err(detail)) => self.refuse(pointer, detail),
            // a date and time, or what is refused as one
            None if text.contains(['-', ':']) => Field::Text(text),
            None => self.refuse(pointer, NO_TIME),
        }
    }

    fn choice(
        &mut self,
        pointer: &Pointer,
        values: &'a [(String, String)],
        otherwise: Option<&'a str>,
    ) -> Field<'a> {
        let found = self.find(pointer);
        let meant = |found: &Found<'_>| {
            let value = found.as_str();
            values.iter().find(|(known, _)| known == value).map(|(_, meant)| meant.as_str())
        };
        let chosen = found.as_ref().and_then(meant);
        match (chosen.or(otherwise), found) {
            (Some(meant), _) => Field::Text(Cow::Borrowed(meant)),
            (None, None) => Field::Absent,
            (None, Some(_)) => self.refuse(pointer, NO_CHOICE),
        }
    }

    /// The patch; of a delete `{}`, whatever the message has.
    fn attributes(&mut self, map: &Map, operation: &Field<'_>) -> Result<Patch, Violations> {
        let is_delete =
            matches!(operation, Field::Text(name) if *name == Operation::Delete.as_str());
        let pointer = match &map.attributes {
            Some(pointer) if !is_delete => pointer,
            _ => return Patch::parse("{}"),
        };
        let Some(found) = self.find(pointer) else {
            return Err(Violations::one(Location::default(), "is required"));
        };
        if map.omit.is_empty() {
            return Patch::parse(found.as_str());
        }
        Patch::parse(&CheckedJson::parse(found.as_str())?.without(&map.omit))
    }

    /// What is at the pointer; null counts as nothing. What can't be read on the way is noted.
    fn find(&mut self, pointer: &Pointer) -> Option<Found<'a>> {
        match self.message.find(pointer) {
            Ok(found) => found.filter(|found| *found != Found::Json(Cow::Borrowed("null"))),
            Err(violations) => {
                // several fields may be looked for in one text
                if !self.broken.listed().iter().any(|known| Some(known) == violations.first()) {
                    self.broken.append(violations);
                }
                None
            }
        }
    }

    fn refuse(&mut self, pointer: &Pointer, detail: &'static str) -> Field<'a> {
        self.broken.add(|| pointer.location(pointer.steps().len()), detail);
        Field::Refused
    }
}

/// A whole number counts as its text, since many systems have numbers for ids.
fn field(found: Found<'_>) -> Field<'_> {
    let text = match found {
        Found::Text(text) => return Field::Text(text),
        Found::Json(text) => text,
    };
    let is_whole = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    match text {
        text if is_whole(&text) => Field::Text(text),
        Cow::Borrowed("true") => Field::Bool(true),
        Cow::Borrowed("false") => Field::Bool(false),
        Cow::Borrowed(number) if !number.starts_with(['{', '[']) => Field::Number(number),
        _ => Field::Other,
    }
}

#[cfg(test)]
mod tests;
