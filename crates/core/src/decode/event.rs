//! The members of an event in JSON, read into a [`Draft`]. The depth is fixed, so plain nested functions
//! are enough.

use super::draft::Draft;
use super::fields::Field;
use crate::json::{Kind, Malformed, Patch, Scanner};

const NO_OBJECT: &str = "must be a JSON object";

/// Reads one event from the scanner's position into an empty draft, which is too large to be moved about.
pub(super) fn read(scan: &mut Scanner<'_>, draft: &mut Draft) -> Result<(), Malformed> {
    let mut reader = Reader { scan, draft };
    if !reader.event()? {
        reader.draft.need_no_members();
    }
    Ok(())
}

struct Reader<'s, 'a> {
    scan: &'s mut Scanner<'a>,
    draft: &'s mut Draft,
}

impl<'a> Reader<'_, 'a> {
    /// False where the value is no object at all.
    fn event(&mut self) -> Result<bool, Malformed> {
        if !self.enters_object()? {
            return Ok(false);
        }
        while self.next_member()? {
            match &**self.scan.current_key() {
                "eventHeader" => self.header()?,
                "eventBody" => self.body()?,
                _ => self.unknown_member()?,
            }
        }
        Ok(true)
    }

    fn header(&mut self) -> Result<(), Malformed> {
        if self.is_null()? {
            return self.ignored();
        }
        self.draft.begin_header();
        if !self.enters_object()? {
            return Ok(());
        }
        while self.next_member()? {
            match &**self.scan.current_key() {
                "uuid" => self.field(Draft::uuid)?,
                "eventName" => self.field(Draft::event_name)?,
                "eventType" => self.field(Draft::event_type)?,
                "createdDate" => self.field(Draft::created_date)?,
                "savedDate" => self.field(Draft::saved_date)?,
                "source" => self.field(Draft::source)?,
                "actor" => self.field(Draft::actor)?,
                _ => self.unknown_member()?,
            }
        }
        self.draft.end_header();
        Ok(())
    }

    fn body(&mut self) -> Result<(), Malformed> {
        if self.is_null()? {
            return self.ignored();
        }
        self.draft.begin_body();
        if !self.enters_object()? {
            return Ok(());
        }
        while self.next_member()? {
            match &**self.scan.current_key() {
                "entities" => self.entities()?,
                _ => self.unknown_member()?,
            }
        }
        self.draft.end_body();
        Ok(())
    }

    fn entities(&mut self) -> Result<(), Malformed> {
        if self.is_null()? {
            return self.ignored();
        }
        self.draft.begin_entities();
        if self.scan.next_kind()? != Kind::Array {
            return self.wrong_type("must be a JSON array");
        }
        self.scan.enter_array();
        while self.scan.next_element()? {
            self.entity()?;
        }
        self.draft.end_entities();
        Ok(())
    }

    fn entity(&mut self) -> Result<(), Malformed> {
        self.draft.begin_entity();
        if !self.enters_object()? {
            return Ok(());
        }
        while self.next_member()? {
            match &**self.scan.current_key() {
                "entityType" => self.field(Draft::entity_type)?,
                "entityId" => self.field(Draft::entity_id)?,
                "operation" => self.field(Draft::operation)?,
                "expectedVersion" => self.field(Draft::expected_version)?,
                "exists" => self.field(Draft::exists)?,
                "condition" => self.field(Draft::condition)?,
                "updatedAttributes" => self.attributes()?,
                _ => {
                    self.draft.unknown_entity_member(self.scan.current_key());
                    self.unknown_member()?;
                }
            }
        }
        self.draft.end_entity();
        Ok(())
    }

    fn attributes(&mut self) -> Result<(), Malformed> {
        match self.scan.next_kind()? {
            Kind::Null => self.ignored(),
            Kind::Object => {
                let patch = Patch::read(self.scan, self.draft.violations_mut())?;
                self.draft.patch(Some(patch));
                Ok(())
            }
            _ => {
                self.draft.patch(None);
                self.wrong_type(NO_OBJECT)
            }
        }
    }

    fn field(&mut self, take: fn(&mut Draft, Field<'_>)) -> Result<(), Malformed> {
        let sink = self.draft.violations_mut();
        let field = match self.scan.next_kind()? {
            Kind::Null => {
                self.scan.value(sink)?;
                Field::Absent
            }
            Kind::String => match self.scan.string(sink)? {
                text if text.flaw.is_some() => Field::Refused,
                text => Field::Text(text.decoded()),
            },
            Kind::Number => match self.scan.number(sink)? {
                number if number.too_long => Field::Refused,
                number => Field::Number(number.raw),
            },
            Kind::Bool => Field::Bool(self.scan.value(sink)?.raw == "true"),
            _ => {
                // its type is reported at its start, before violations inside it
                take(self.draft, Field::Other);
                return self.ignored();
            }
        };
        take(self.draft, field);
        Ok(())
    }

    fn is_null(&mut self) -> Result<bool, Malformed> {
        Ok(self.scan.next_kind()? == Kind::Null)
    }

    fn next_member(&mut self) -> Result<bool, Malformed> {
        self.scan.next_member(self.draft.violations_mut())
    }

    /// Enters the next object. Another value is reported and skipped: false.
    fn enters_object(&mut self) -> Result<bool, Malformed> {
        if self.scan.next_kind()? != Kind::Object {
            self.wrong_type(NO_OBJECT)?;
            return Ok(false);
        }
        self.scan.enter_object();
        Ok(true)
    }

    fn wrong_type(&mut self, detail: &'static str) -> Result<(), Malformed> {
        self.draft.violations_mut().add(|| self.scan.location(), detail);
        self.ignored()
    }

    fn unknown_member(&mut self) -> Result<(), Malformed> {
        let name = self.scan.current_key();
        if name.contains('_') {
            self.draft.unknown_member(name);
        }
        self.ignored()
    }

    fn ignored(&mut self) -> Result<(), Malformed> {
        self.scan.value(self.draft.violations_mut())?;
        Ok(())
    }
}
