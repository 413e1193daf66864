//! Reads values at given paths out of JSON texts that the scanner has passed before, without checking
//! them again: one pass over the text, whatever the number of paths.
//!
//! Recursion is bounded by the number of keys of the longest path. Of a text that is no JSON, what
//! is found means nothing.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::text::decode;

/// A step from a value into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathStep {
    /// Into an object's member.
    Key(Box<str>),
    /// Into an array's element, from 0.
    Index(usize),
}

/// The values found at the paths of a [`Selection`], by their slots: their raw texts.
pub(crate) type Found<'a> = SmallVec<[Option<&'a str>; 8]>;

/// A set of paths. Each has a slot, which is its place in the order in which the paths were added.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    root: Node,
    paths: Vec<Vec<PathStep>>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    slot: Option<usize>,
    children: Vec<(PathStep, Node)>,
}

impl Selection {
    /// The slot of a path, which is added where it is new.
    pub(crate) fn add(&mut self, path: Vec<PathStep>) -> usize {
        let mut node = &mut self.root;
        for step in &path {
            let known = node.children.iter().position(|(known, _)| known == step);
            let place = known.unwrap_or_else(|| {
                node.children.push((step.clone(), Node::default()));
                node.children.len() - 1
            });
            node = &mut node.children[place].1;
        }
        let slot = *node.slot.get_or_insert(self.paths.len());
        if slot == self.paths.len() {
            self.paths.push(path);
        }
        slot
    }

    /// The paths by their slots.
    pub(crate) fn paths(&self) -> &[Vec<PathStep>] {
        &self.paths
    }

    /// What a text has at the paths.
    pub(crate) fn find<'a>(&self, text: &'a str) -> Found<'a> {
        let mut found = Found::from_elem(None, self.paths.len());
        if !self.paths.is_empty() {
            let mut walk = Walk { text, found: &mut found };
            walk.value(&self.root, space(text.as_bytes(), 0));
        }
        found
    }
}

struct Walk<'f, 'a> {
    text: &'a str,
    found: &'f mut Found<'a>,
}

impl Walk<'_, '_> {
    /// Reads the value that begins at `at`; returns where it ends.
    fn value(&mut self, node: &Node, at: usize) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let end = match bytes.get(at)? {
            b'{' if !node.children.is_empty() => self.object(node, at + 1),
            b'[' if !node.children.is_empty() => self.array(node, at + 1),
            _ => value_end(bytes, at),
        }?;
        if let Some(slot) = node.slot {
            self.found[slot] = self.text.get(at..end);
        }
        Some(end)
    }

    fn object(&mut self, node: &Node, at: usize) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let mut at = space(bytes, at);
        while bytes.get(at)? == &b'"' {
            let key_end = string_end(bytes, at)?;
            let key = self.text.get(at + 1..key_end - 1)?;
            let value = space(bytes, space(bytes, key_end) + 1);
            at = match node.child_of_key(key) {
                Some(child) => self.value(child, value)?,
                None => value_end(bytes, value)?,
            };
            at = behind_comma(bytes, at);
        }
        Some(at + 1)
    }

    fn array(&mut self, node: &Node, at: usize) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let mut at = space(bytes, at);
        for index in 0.. {
            if bytes.get(at)? == &b']' {
                break;
            }
            at = match node.child_of_index(index) {
                Some(child) => self.value(child, at)?,
                None => value_end(bytes, at)?,
            };
            at = behind_comma(bytes, at);
        }
        Some(at + 1)
    }
}

impl Node {
    fn child_of_key(&self, raw: &str) -> Option<&Self> {
        let key = decode(raw);
        let is_it = |step: &PathStep| matches!(step, PathStep::Key(known) if **known == *key);
        self.children.iter().find(|(step, _)| is_it(step)).map(|(_, child)| child)
    }

    fn child_of_index(&self, index: usize) -> Option<&Self> {
        let wanted = PathStep::Index(index);
        self.children.iter().find(|(step, _)| *step == wanted).map(|(_, child)| child)
    }
}

/// What a value's raw text is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RawValue<'a> {
    Object,
    Array,
    String(Cow<'a, str>),
    /// The text of a number.
    Number(&'a str),
    Bool(bool),
    Null,
}

impl<'a> RawValue<'a> {
    /// Takes a raw text as [`Selection::find`] returns it.
    pub(crate) fn new(raw: &'a str) -> Self {
        match raw.as_bytes().first() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b'"') => Self::String(decode(raw.get(1..raw.len() - 1).unwrap_or(""))),
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'n') => Self::Null,
            _ => Self::Number(raw),
        }
    }
}

/// The raw texts of the elements of an array, or of the values of an object.
pub(crate) fn elements(raw: &str) -> impl Iterator<Item = &str> {
    let bytes = raw.as_bytes();
    let is_object = bytes.first() == Some(&b'{');
    let mut at = space(bytes, 1);
    std::iter::from_fn(move || {
        if matches!(bytes.get(at)?, b']' | b'}') {
            return None;
        }
        if is_object {
            at = space(bytes, space(bytes, string_end(bytes, at)?) + 1);
        }
        let (start, end) = (at, value_end(bytes, at)?);
        at = behind_comma(bytes, end);
        raw.get(start..end)
    })
}

/// Whether a merge patch names the member at these keys, one above it or one below.
pub(crate) fn patch_names<'k>(patch: &str, keys: impl IntoIterator<Item = &'k str>) -> bool {
    let mut value = patch;
    for key in keys {
        if !value.starts_with('{') {
            return true;
        }
        let mut selection = Selection::default();
        selection.add(vec![PathStep::Key(key.into())]);
        match selection.find(value)[0] {
            Some(member) => value = member,
            None => return false,
        }
    }
    true
}

pub(super) fn space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// Where the next value or key begins, or the container ends.
pub(super) fn behind_comma(bytes: &[u8], at: usize) -> usize {
    let at = space(bytes, at);
    if bytes.get(at) == Some(&b',') { space(bytes, at + 1) } else { at }
}

/// Where the string ends that begins at `at`.
pub(super) fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Where the value ends that begins at `at`.
pub(super) fn value_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => string_end(bytes, at),
        b'{' | b'[' => container_end(bytes, at),
        _ => {
            let rest = &bytes[at..];
            let is_end = |b: &u8| matches!(b, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
            let length = rest.iter().position(is_end).unwrap_or(rest.len());
            (length > 0).then_some(at + length)
        }
    }
}

fn container_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = string_end(bytes, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str) -> PathStep {
        PathStep::Key(key.into())
    }

    #[test]
    fn values_are_found_at_their_paths() {
        let text =
            r#" { "a" : {"b":[1, {"c":"x\"}"}, []] , "\u0062": "twice"} , "e":{}, "n":null } "#;
        let mut selection = Selection::default();
        for path in [
            vec![],
            vec![key("a"), key("b")],
            vec![key("a"), key("b"), PathStep::Index(1), key("c")],
            vec![key("a"), key("b"), PathStep::Index(3)],
            vec![key("e")],
            vec![key("n")],
            vec![key("n"), key("x")],
        ] {
            selection.add(path);
        }
        assert_eq!(selection.add(vec![key("e")]), 4, "a path has one slot");
        let found = selection.find(text);
        assert_eq!(found[0], Some(text.trim()));
        assert_eq!(found[1], Some("\"twice\""));
        assert_eq!(found[3..], [None, Some("{}"), Some("null"), None]);
        let found = selection.find(r#"{"a":{"b":[0,{"c":"x\"}"}]}}"#);
        assert_eq!(found[2], Some(r#""x\"}""#));
    }

    #[test]
    fn elements_of_arrays_and_values_of_objects() {
        let all = |raw| elements(raw).collect::<Vec<_>>();
        assert_eq!(all(r#"[1 , "a,]" ,[2,3],{"a":[]}]"#), ["1", "\"a,]\"", "[2,3]", "{\"a\":[]}"]);
        assert_eq!(all(r#"{"a" : 1, "b":{"c":2}}"#), ["1", "{\"c\":2}"]);
        assert!(all("[ ]").is_empty() && all("{}").is_empty());
    }

    #[test]
    fn a_patch_names_what_is_at_above_or_below_a_path() {
        for (patch, names) in [
            (r#"{"a":{"b":1}}"#, true),
            (r#"{"a":{"b":{"c":1}}}"#, true),
            (r#"{"a":5}"#, true),
            (r#"{"a":null}"#, true),
            (r#"{"a":{}}"#, false),
            (r#"{"a":{"c":1},"b":2}"#, false),
            ("{}", false),
        ] {
            assert_eq!(patch_names(patch, ["a", "b"]), names, "{patch}");
        }
    }

    #[test]
    fn texts_that_are_no_json_do_no_harm() {
        let mut selection = Selection::default();
        selection.add(vec![key("a"), PathStep::Index(0)]);
        for text in [
            "",
            "{",
            "{\"a",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":[",
            "{\"a\":[1",
            "{\"a\":[\"\\",
            "]",
            "{]",
        ] {
            selection.find(text);
            assert!(elements(text).count() < 9);
        }
    }
}
