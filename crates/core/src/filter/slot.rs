//! What a document has at a path, as often as a filter asks for it.

use std::borrow::Cow;
use std::cell::OnceCell;

use smallvec::SmallVec;

use super::value::Value;
use crate::json::{Number, Selection, elements};
use crate::time::Timestamp;

/// The slots of a [`Selection`].
pub(super) type Slots<'a> = SmallVec<[Slot<'a>; 2]>;

/// What a document has at a path. Whatever takes time in proportion to its length is done once: a condition
/// over the elements of an array may ask a hundred thousand times for a value outside of it.
#[derive(Debug, Clone)]
pub(super) struct Slot<'a> {
    raw: Option<&'a str>,
    text: OnceCell<Cow<'a, str>>,
    number: OnceCell<Number<'a>>,
    size: OnceCell<Option<u64>>,
    time: OnceCell<Option<i64>>,
}

/// What a text has at the paths of a selection.
pub(super) fn slots<'a>(selection: &Selection, text: &'a str) -> Slots<'a> {
    let mut slots = Slots::new();
    // of a text as it was sent a slot may have all
    fill(&mut slots, selection, text.trim_ascii());
    slots
}

/// Has the slots hold what another text has: an array may have half a million elements.
pub(super) fn fill<'a>(slots: &mut Slots<'a>, selection: &Selection, text: &'a str) {
    slots.clear();
    if selection.is_whole() {
        slots.push(Slot::new(Some(text)));
    } else {
        slots.extend(selection.find(text).into_iter().map(Slot::new));
    }
}

impl<'a> Slot<'a> {
    fn new(raw: Option<&'a str>) -> Self {
        Self {
            raw,
            text: OnceCell::new(),
            number: OnceCell::new(),
            size: OnceCell::new(),
            time: OnceCell::new(),
        }
    }

    /// The text of the value.
    pub(super) fn raw(&self) -> Option<&'a str> {
        self.raw
    }

    /// The value, where it is a scalar.
    pub(super) fn value(&self) -> Option<Value<'_>> {
        let raw = self.raw?;
        Some(match raw.as_bytes().first()? {
            b'{' | b'[' => return None,
            b'"' => Value::Text(self.text(raw)),
            b't' => Value::Bool(true),
            b'f' => Value::Bool(false),
            b'n' => Value::Null,
            _ => Value::Number(*self.number.get_or_init(|| Number::new(raw))),
        })
    }

    /// Characters, elements or members.
    pub(super) fn size(&self) -> Option<u64> {
        *self.size.get_or_init(|| {
            let raw = self.raw?;
            let count = match raw.as_bytes().first()? {
                b'{' | b'[' => elements(raw).count(),
                b'"' => self.text(raw).chars().count(),
                _ => return None,
            };
            u64::try_from(count).ok()
        })
    }

    /// A string or number, read as a time.
    pub(super) fn time(&self) -> Option<i64> {
        *self.time.get_or_init(|| {
            let time = match self.value()? {
                Value::Text(text) => Timestamp::from_text(text),
                Value::Number(_) => Timestamp::from_number(self.raw?),
                _ => return None,
            };
            time.ok().map(Timestamp::micros)
        })
    }

    fn text(&self, raw: &'a str) -> &str {
        self.text.get_or_init(|| crate::json::decode(raw.get(1..raw.len() - 1).unwrap_or("")))
    }
}
