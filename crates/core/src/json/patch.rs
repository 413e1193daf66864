//! A JSON Merge Patch as its text, with what the scanner learned about it.

use super::lexer::{Lexer, Malformed};
use super::scanner::{Kind, Scanner};
use super::violation::{Location, Violations};

/// A JSON Merge Patch (RFC 7396) that the scanner has passed: a JSON object, kept as its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    text: Box<str>,
    size: usize,
    flat: bool,
    without_nulls: bool,
}

impl Patch {
    /// Parses one JSON object that obeys every rule of `updatedAttributes`.
    ///
    /// # Errors
    /// The broken rules, with locations relative to the object; a text that is no JSON is one of them.
    pub fn parse(text: &str) -> Result<Self, Violations> {
        Self::read_whole(text).unwrap_or_else(|malformed| {
            let detail = format!("must be a JSON object: {malformed}");
            Err(Violations::one(Location::default(), detail))
        })
    }

    /// As [`Patch::parse`], but a text that is no JSON is no broken rule.
    pub(crate) fn read_whole(text: &str) -> Result<Result<Self, Violations>, Malformed> {
        let mut violations = Violations::default();
        let patch = whole_patch(text, &mut violations)?;
        Ok(patch.filter(|_| violations.is_empty()).ok_or(violations))
    }

    /// `{}`.
    pub(crate) fn empty() -> Self {
        Self { text: "{}".into(), size: 2, flat: true, without_nulls: true }
    }

    /// Whether it has no member.
    pub(crate) fn is_empty(&self) -> bool {
        self.size == 2
    }

    /// Reads the next object. The patch is valid only if no violation was added.
    pub(crate) fn read(
        scan: &mut Scanner<'_>,
        violations: &mut Violations,
    ) -> Result<Self, Malformed> {
        scan.lexer.saw_odd_zero = false;
        let object = scan.value(violations)?;
        let text =
            if scan.lexer.saw_odd_zero { plain_zeros(object.raw) } else { object.raw.into() };
        Ok(Self { text, size: object.size, flat: object.flat, without_nulls: object.without_nulls })
    }

    /// The JSON text as the client sent it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Bytes as compact UTF-8 with numbers written out: what the patch adds to a document at most.
    pub fn size(&self) -> usize {
        self.size
    }

    /// No member's value is an object or null, so that `jsonb || jsonb` and a shallow overwrite are
    /// exactly RFC 7396. The contents of arrays don't matter.
    pub fn is_flat(&self) -> bool {
        self.flat
    }

    /// No member of an object is null, so that merging it into `{}` gives itself. (Within arrays nulls
    /// would be kept; those count too, which is cheaper to find out.)
    pub fn is_document(&self) -> bool {
        self.without_nulls
    }

    /// Whether every document that it is merged into exceeds `bytes` bytes: all members of a flat patch
    /// are kept. The size of others proves nothing, since nulls remove.
    pub(crate) fn makes_more_than(&self, bytes: usize) -> bool {
        self.flat && self.size > bytes
    }
}

fn whole_patch(text: &str, violations: &mut Violations) -> Result<Option<Patch>, Malformed> {
    let mut scan = Scanner::new(text);
    let patch = if scan.next_kind()? == Kind::Object {
        Some(Patch::read(&mut scan, violations)?)
    } else {
        violations.add(Location::default, "must be a JSON object");
        scan.value(violations)?;
        None
    };
    scan.lexer.end()?;
    Ok(patch)
}

/// Writes `0` for zeros whose exponent PostgreSQL would not read, such as `0e9999999999`.
#[cold]
fn plain_zeros(object: &str) -> Box<str> {
    let mut out = String::with_capacity(object.len());
    let mut rest = Lexer::new(object);
    let mut copied = 0;
    while let Some(byte) = rest.peek_raw() {
        let start = rest.at();
        rest.saw_odd_zero = false;
        let passed = match byte {
            b'"' => rest.string().is_ok(),
            b'-' | b'0'..=b'9' => rest.number().is_ok(),
            _ => false,
        };
        if rest.saw_odd_zero {
            out.push_str(&object[copied..start]);
            out.push('0');
            copied = rest.at();
        }
        if !passed {
            rest.bump();
        }
    }
    out.push_str(&object[copied..]);
    out.into()
}
