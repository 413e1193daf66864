//! Walks a JSON text by objects, arrays and whole values, and reports every violation of the rules for
//! all JSON of the contract: duplicate keys, depth, long numbers, `\u0000`, lone surrogates. An explicit
//! stack instead of recursion; a location is only built for a violation.

use std::borrow::Cow;
use std::collections::HashSet;

use smallvec::SmallVec;

use super::lexer::{Flaw, Lexer, Malformed, Number, Text};
use super::violation::{Location, Step, Violations};

/// How deep containers may be nested.
pub(crate) const MAX_DEPTH: usize = 64;
/// Keys of one object that are compared one by one; more are hashed.
const FEW_KEYS: usize = 32;
/// Bytes of keys that a location shows in full; longer ones are clipped, so that a list of locations
/// stays small.
const LOCATION_BYTES: usize = 1024;
/// Bytes that a clipped key of a location shows.
const CLIPPED_KEY_BYTES: usize = 16;

/// The message for a NUL, wherever it is found.
pub(crate) const HAS_NUL: &str = "must not contain the character U+0000";
const HAS_LONE_SURROGATE: &str = "must not contain a lone surrogate";
const TOO_LONG: &str = "must not need more than 400 digits when written out";
const TOO_DEEP: &str = "must not be nested deeper than 64 levels";
const REPEATED: &str = "must not occur twice in one object";

/// An open container.
#[derive(Debug)]
enum Frame<'a> {
    /// Its keys are `keys[first..]`, as long as they are few.
    Object { first: usize, many: Option<Box<ManyKeys<'a>>> },
    /// The index of the next element.
    Array { next: usize },
}

/// Boxed, since most objects have few keys.
#[derive(Debug)]
struct ManyKeys<'a>(HashSet<Cow<'a, str>>);

/// A decoded key of an open object.
#[derive(Debug)]
struct Key<'a> {
    /// Unequal for most unequal keys: saves most comparisons.
    fingerprint: u64,
    text: Cow<'a, str>,
}

impl<'a> Key<'a> {
    fn new(text: Cow<'a, str>) -> Self {
        let bytes = text.as_bytes();
        let length = bytes.len() as u64;
        let ends = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
            (Some(first), Some(last)) => {
                u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(29)
            }
            _ => bytes.iter().fold(0, |print, &b| print << 8 | u64::from(b)),
        };
        Self { fingerprint: ends ^ length << 56, text }
    }
}

/// The kinds of JSON value that the contract distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Number,
    Null,
    Bool,
}

/// A value that was skipped over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value<'a> {
    pub(crate) raw: &'a str,
    /// Bytes as compact UTF-8 with numbers written out.
    pub(crate) size: usize,
    /// No direct member is an object or null.
    pub(crate) flat: bool,
    /// No member of any object in it is null.
    pub(crate) without_nulls: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    pub(crate) lexer: Lexer<'a>,
    // as many as most events need, without memory of their own
    frames: SmallVec<[Frame<'a>; 8]>,
    keys: SmallVec<[Key<'a>; 16]>,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { lexer: Lexer::new(text), frames: SmallVec::new(), keys: SmallVec::new() }
    }

    /// The kind of the next value, by its first byte.
    #[inline]
    pub(crate) fn next_kind(&mut self) -> Result<Kind, Malformed> {
        match self.lexer.peek() {
            b'{' => Ok(Kind::Object),
            b'[' => Ok(Kind::Array),
            b'"' => Ok(Kind::String),
            b'-' | b'0'..=b'9' => Ok(Kind::Number),
            b'n' => Ok(Kind::Null),
            b't' | b'f' => Ok(Kind::Bool),
            _ => Err(self.lexer.malformed("expected a JSON value")),
        }
    }

    /// Enters the next object; [`Scanner::next_member`] continues from there.
    #[inline]
    pub(crate) fn enter_object(&mut self) {
        self.lexer.bump();
        self.frames.push(Frame::Object { first: self.keys.len(), many: None });
    }

    /// Enters the next array; [`Scanner::next_element`] continues from there.
    #[inline]
    pub(crate) fn enter_array(&mut self) {
        self.lexer.bump();
        self.frames.push(Frame::Array { next: 0 });
    }

    /// Moves to the value of the next member of the open object; false: the object has ended.
    #[inline]
    pub(crate) fn next_member(&mut self, sink: &mut Violations) -> Result<bool, Malformed> {
        let Some(Frame::Object { first, many }) = self.frames.last() else {
            return Ok(false);
        };
        let (first, starts) = (*first, many.is_none() && self.keys.len() == *first);
        match self.lexer.peek() {
            b'}' => {
                self.lexer.bump();
                self.keys.truncate(first);
                self.frames.pop();
                return Ok(false);
            }
            b',' if !starts => self.lexer.bump(),
            _ if starts => {}
            _ => return Err(self.lexer.malformed("expected ',' or '}'")),
        }
        self.key(sink)?;
        Ok(true)
    }

    /// Moves to the next element of the open array; false: the array has ended.
    #[inline]
    pub(crate) fn next_element(&mut self) -> Result<bool, Malformed> {
        let Some(Frame::Array { next }) = self.frames.last_mut() else {
            return Ok(false);
        };
        let starts = *next == 0;
        *next += 1;
        match self.lexer.peek() {
            b']' => {
                self.lexer.bump();
                self.frames.pop();
                return Ok(false);
            }
            b',' if !starts => self.lexer.bump(),
            _ if starts => {}
            _ => return Err(self.lexer.malformed("expected ',' or ']'")),
        }
        Ok(true)
    }

    /// The key of the member that [`Scanner::next_member`] moved to.
    pub(crate) fn current_key(&self) -> &Cow<'a, str> {
        const NONE: &Cow<'static, str> = &Cow::Borrowed("");
        self.keys.last().map_or(NONE, |key| &key.text)
    }

    fn key(&mut self, sink: &mut Violations) -> Result<(), Malformed> {
        let text = self.bare_key()?;
        let key = Key::new(text.decoded());
        let repeated = self.is_repeated(&key);
        self.keys.push(key);
        self.report_flaw(text.flaw, sink);
        if repeated {
            sink.add(|| self.location(), REPEATED);
        }
        Ok(())
    }

    fn bare_key(&mut self) -> Result<Text<'a>, Malformed> {
        if self.lexer.peek() != b'"' {
            return Err(self.lexer.malformed("expected a key in quotes"));
        }
        let text = self.lexer.string()?;
        if self.lexer.peek() != b':' {
            return Err(self.lexer.malformed("expected ':'"));
        }
        self.lexer.bump();
        Ok(text)
    }

    /// Whether the open object has this key already. Few keys are compared one by one; many are
    /// hashed (with a random seed, so that collisions can't be prepared), and of them only the first
    /// few and the last are kept in `keys`.
    #[inline]
    fn is_repeated(&mut self, key: &Key<'a>) -> bool {
        let Some(Frame::Object { first, many }) = self.frames.last_mut() else {
            return false;
        };
        let earlier = &self.keys[*first..];
        if earlier.len() < FEW_KEYS {
            return earlier.iter().any(|e| e.fingerprint == key.fingerprint && e.text == key.text);
        }
        let all = || earlier.iter().map(|earlier| earlier.text.clone()).collect();
        let ManyKeys(many) = &mut **many.get_or_insert_with(|| Box::new(ManyKeys(all())));
        self.keys.truncate(*first + FEW_KEYS);
        !many.insert(key.text.clone())
    }

    /// Skips over the next value, whatever it holds.
    pub(crate) fn value(&mut self, sink: &mut Violations) -> Result<Value<'a>, Malformed> {
        self.next_kind()?; // skips white space: only the value itself is measured
        let (start, growth) = (self.lexer.at(), self.lexer.growth());
        let base = self.frames.len();
        let (mut flat, mut without_nulls) = (true, true);
        loop {
            let kind = self.next_kind()?;
            flat &= self.frames.len() != base + 1 || !matches!(kind, Kind::Object | Kind::Null);
            without_nulls &= kind != Kind::Null || !self.is_in_object();
            self.value_or_entrance(kind, base, sink)?;
            if !self.next_place(base, sink)? {
                break;
            }
        }
        let raw = self.lexer.since(start);
        let size = raw.len().saturating_add_signed(self.lexer.growth() - growth);
        Ok(Value { raw, size, flat, without_nulls })
    }

    fn is_in_object(&self) -> bool {
        matches!(self.frames.last(), Some(Frame::Object { .. }))
    }

    /// Skips a scalar, enters a container, or skips one that is too deep.
    #[inline]
    fn value_or_entrance(
        &mut self,
        kind: Kind,
        base: usize,
        sink: &mut Violations,
    ) -> Result<(), Malformed> {
        match kind {
            Kind::Object | Kind::Array if self.frames.len() - base == MAX_DEPTH => {
                sink.add(|| self.location(), TOO_DEEP);
                return self.skip_deep();
            }
            Kind::Object => self.enter_object(),
            Kind::Array => self.enter_array(),
            _ => return self.scalar(kind, sink),
        }
        Ok(())
    }

    /// Skips a value that is neither object nor array.
    #[inline]
    fn scalar(&mut self, kind: Kind, sink: &mut Violations) -> Result<(), Malformed> {
        match kind {
            Kind::String => self.string(sink).map(|_| ()),
            Kind::Number => self.number(sink).map(|_| ()),
            Kind::Null => self.lexer.literal("null"),
            _ if self.lexer.peek() == b't' => self.lexer.literal("true"),
            _ => self.lexer.literal("false"),
        }
    }

    /// Moves to the next value, leaving containers that end; false: the outermost value has ended.
    #[inline]
    fn next_place(&mut self, base: usize, sink: &mut Violations) -> Result<bool, Malformed> {
        while self.frames.len() > base {
            let found = match self.frames.last() {
                Some(Frame::Object { .. }) => self.next_member(sink)?,
                _ => self.next_element()?,
            };
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Skips a container that is too deep, with a byte of memory for each level. It is refused already,
    /// so only its syntax is checked.
    fn skip_deep(&mut self) -> Result<(), Malformed> {
        let mut closers = Vec::new();
        let mut ignored = Violations::default();
        loop {
            let kind = self.next_kind()?;
            if matches!(kind, Kind::Object | Kind::Array) {
                self.lexer.bump();
                closers.push(if kind == Kind::Object { b'}' } else { b']' });
                if self.lexer.peek() != closers[closers.len() - 1] {
                    self.deep_key(&closers)?;
                    continue;
                }
            } else {
                self.scalar(kind, &mut ignored)?;
            }
            while self.closes(&mut closers) {}
            if closers.is_empty() {
                return Ok(());
            }
            if self.lexer.peek() != b',' {
                return Err(self.lexer.malformed("expected ',' or the end of a container"));
            }
            self.lexer.bump();
            self.deep_key(&closers)?;
        }
    }

    fn closes(&mut self, closers: &mut Vec<u8>) -> bool {
        let closes = closers.last().is_some_and(|&closer| self.lexer.peek() == closer);
        if closes {
            self.lexer.bump();
            closers.pop();
        }
        closes
    }

    fn deep_key(&mut self, closers: &[u8]) -> Result<(), Malformed> {
        if closers.last() == Some(&b'}') {
            self.bare_key()?;
        }
        Ok(())
    }

    /// The next string; its flaw is reported.
    #[inline]
    pub(crate) fn string(&mut self, sink: &mut Violations) -> Result<Text<'a>, Malformed> {
        let text = self.lexer.string()?;
        self.report_flaw(text.flaw, sink);
        Ok(text)
    }

    /// The next number.
    #[inline]
    pub(crate) fn number(&mut self, sink: &mut Violations) -> Result<Number<'a>, Malformed> {
        let number = self.lexer.number()?;
        if number.too_long {
            sink.add(|| self.location(), TOO_LONG);
        }
        Ok(number)
    }

    #[inline]
    fn report_flaw(&self, flaw: Option<Flaw>, sink: &mut Violations) {
        match flaw {
            None => {}
            Some(Flaw::Nul) => sink.add(|| self.location(), HAS_NUL),
            Some(Flaw::LoneSurrogate) => sink.add(|| self.location(), HAS_LONE_SURROGATE),
        }
    }

    /// The scanner's location: the key or index of every open container.
    #[cold]
    pub(crate) fn location(&self) -> Location {
        let mut room = LOCATION_BYTES;
        let mut steps = Vec::with_capacity(self.frames.len());
        let mut keys_end = self.keys.len();
        for frame in self.frames.iter().rev() {
            match frame {
                Frame::Array { next } => steps.push(Step::Index(next.saturating_sub(1))),
                Frame::Object { first, .. } => {
                    let key = self.keys.get(keys_end.wrapping_sub(1)).map_or("", |key| &key.text);
                    steps.push(Step::Key(Cow::Owned(clipped(key, &mut room))));
                    keys_end = *first;
                }
            }
        }
        steps.reverse();
        Location(steps)
    }
}

fn clipped(key: &str, room: &mut usize) -> String {
    let shown = key.floor_char_boundary((*room).max(CLIPPED_KEY_BYTES));
    *room = room.saturating_sub(shown);
    let mut out = key[..shown].to_owned();
    if shown < key.len() {
        out.push('…');
    }
    out
}
