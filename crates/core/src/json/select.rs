//! Reads values at given paths out of JSON texts that the scanner has passed before, without checking
//! them again: one pass over the text, whatever the number of paths.
//!
//! Recursion is bounded by the number of keys of the longest path. Of a text that is no JSON, what
//! is found means nothing.

use smallvec::SmallVec;

use super::path::Path;
use super::text::{decode, end_of_plain};

/// A step from a value into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathStep {
    /// Into an object's member.
    Key(Box<str>),
    /// Into an array's element, from 0.
    Index(usize),
}

/// The values found at the paths of a [`Selection`], by their slots: their raw texts.
type Found<'a> = SmallVec<[Option<&'a str>; 8]>;

/// Which of the paths of a [`Selection`] a patch names, by their slots.
pub(crate) type Named = SmallVec<[bool; 16]>;

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

    /// The slot of a path through objects, which is added where it is new.
    pub(crate) fn add_path(&mut self, path: &Path) -> usize {
        self.add(path.keys().map(|key| PathStep::Key(key.into())).collect())
    }

    /// The paths by their slots.
    pub(crate) fn paths(&self) -> &[Vec<PathStep>] {
        &self.paths
    }

    /// Whether the value itself is the only path.
    pub(crate) fn is_whole(&self) -> bool {
        self.root.children.is_empty() && self.root.slot.is_some()
    }

    /// What a text has at the paths.
    pub(crate) fn find<'a>(&self, text: &'a str) -> Found<'a> {
        let mut found = Found::from_elem(None, self.paths.len());
        if !found.is_empty() {
            let mut walk = Walk { text, missing: found.len(), found: &mut found };
            walk.value(&self.root, space(text.as_bytes(), 0));
        }
        found
    }

    /// For each path whether a merge patch names the member there, one above it or one below. A patch
    /// replaces arrays as a whole, so any index means the whole array.
    pub(crate) fn named_by(&self, patch: &str) -> Named {
        let mut named = Named::from_elem(false, self.paths.len());
        let mut names = Names { text: patch, named: &mut named };
        names.value(&self.root, space(patch.as_bytes(), 0));
        named
    }
}

struct Walk<'f, 'a> {
    text: &'a str,
    found: &'f mut Found<'a>,
    /// Slots without a value yet.
    missing: usize,
}

impl Walk<'_, '_> {
    /// Reads the value that begins at `at`; returns where it ends, or `None` as soon as all is found.
    fn value(&mut self, node: &Node, at: usize) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let end = match bytes.get(at)? {
            b'{' if !node.children.is_empty() => self.object(node, at + 1),
            b'[' if !node.children.is_empty() => self.array(node, at + 1),
            _ => value_end(bytes, at),
        }?;
        if let Some(slot) = node.slot {
            self.missing -= usize::from(self.found[slot].is_none());
            self.found[slot] = self.text.get(at..end);
        }
        (self.missing > 0).then_some(end)
    }

    fn object(&mut self, node: &Node, at: usize) -> Option<usize> {
        let text = self.text;
        members(text, at, |key, value| match node.child_of_key(key) {
            Some(child) => self.value(child, value),
            None => value_end(text.as_bytes(), value),
        })
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

struct Names<'f, 'a> {
    text: &'a str,
    named: &'f mut Named,
}

impl Names<'_, '_> {
    /// Notes that the patch names the member of this node by the value at `at`; returns where that ends.
    fn value(&mut self, node: &Node, at: usize) -> Option<usize> {
        if let Some(slot) = node.slot {
            self.named[slot] = true;
        }
        let (text, is_object) = (self.text, self.text.as_bytes().get(at)? == &b'{');
        for (step, child) in &node.children {
            if !is_object || matches!(step, PathStep::Index(_)) {
                self.all(child);
            }
        }
        if !is_object || node.children.is_empty() {
            return value_end(text.as_bytes(), at);
        }
        members(text, at + 1, |key, value| match node.child_of_key(key) {
            Some(child) => self.value(child, value),
            None => value_end(text.as_bytes(), value),
        })
    }

    /// Notes all paths of a node and below it.
    fn all(&mut self, node: &Node) {
        if let Some(slot) = node.slot {
            self.named[slot] = true;
        }
        node.children.iter().for_each(|(_, child)| self.all(child));
    }
}

impl Node {
    fn child_of_key(&self, raw: &str) -> Option<&Self> {
        if self.children.is_empty() {
            return None;
        }
        let key = decode(raw);
        let is_it = |step: &PathStep| matches!(step, PathStep::Key(known) if **known == *key);
        self.children.iter().find(|(step, _)| is_it(step)).map(|(_, child)| child)
    }

    fn child_of_index(&self, index: usize) -> Option<&Self> {
        let is_it = |step: &PathStep| matches!(step, PathStep::Index(known) if *known == index);
        self.children.iter().find(|(step, _)| is_it(step)).map(|(_, child)| child)
    }
}

/// Calls `read` for the members of the object whose brace is before `at`, with the raw key and where the
/// value begins; it returns where the value ends. Returns where the object ends.
pub(super) fn members<'a>(
    text: &'a str,
    at: usize,
    mut read: impl FnMut(&'a str, usize) -> Option<usize>,
) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = space(bytes, at);
    while bytes.get(at)? == &b'"' {
        let key_end = string_end(bytes, at)?;
        let key = text.get(at + 1..key_end - 1)?;
        let value = space(bytes, space(bytes, key_end) + 1);
        at = behind_comma(bytes, read(key, value)?);
    }
    Some(at + 1)
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
        at = end_of_plain(bytes, at);
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
        let mut selection = Selection::default();
        selection.add(vec![key("a"), key("b")]);
        for (patch, names) in [
            (r#"{"a":{"b":1}}"#, true),
            (r#" {"z":[{}], "\u0061" : {"b":{"c":1}}}"#, true),
            (r#"{"a":5}"#, true),
            (r#"{"a":null}"#, true),
            (r#"{"a":{}}"#, false),
            (r#"{"a":{"c":1},"b":2}"#, false),
            ("{}", false),
        ] {
            assert_eq!(selection.named_by(patch)[..], [names], "{patch}");
        }
        selection.add(vec![key("a"), PathStep::Index(1), key("b")]);
        selection.add(vec![]);
        assert_eq!(selection.named_by(r#"{"a":{"c":1}}"#)[..], [false, true, true]);
        assert_eq!(selection.named_by("{}")[..], [false, false, true]);
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
            selection.named_by(text);
            assert!(elements(text).count() < 9);
        }
    }
}
