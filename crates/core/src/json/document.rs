//! RFC 7396 (JSON Merge Patch) over documents of which only the objects are parsed: every scalar and
//! array keeps its text, so that no digit is lost.
//!
//! Recursion is bounded: no document is nested deeper than 64 levels.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::equality::same_value;
use super::lexer::Malformed;
use super::patch::Patch;
use super::path::Path;
use super::scanner::{Kind, MAX_DEPTH, Scanner};
use super::text::{string_len, write_string};
use super::violation::Violations;

/// A JSON object that can be merged. It borrows from the texts that it was parsed from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Document<'a> {
    pub(super) members: Members<'a>,
}

/// In the order of their keys, so that a document is always written the same way.
pub(super) type Members<'a> = BTreeMap<Cow<'a, str>, Node<'a>>;

#[derive(Debug, Clone)]
pub(super) enum Node<'a> {
    Object(Members<'a>),
    /// Anything else: its text, and its bytes as compact UTF-8 with numbers written out.
    Leaf {
        raw: &'a str,
        size: usize,
    },
}

impl Node<'_> {
    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Leaf { raw: "null", .. })
    }
}

impl PartialEq for Node<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Object(a), Self::Object(b)) => a == b,
            (Self::Leaf { raw: a, .. }, Self::Leaf { raw: b, .. }) => same_value(a, b),
            _ => false,
        }
    }
}

/// Why a text is no JSON object by the contract's rules; for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a document: {0}")]
pub struct DocumentError(Cow<'static, str>);

impl From<Malformed> for DocumentError {
    fn from(malformed: Malformed) -> Self {
        Self(Cow::Owned(malformed.to_string()))
    }
}

impl<'a> Document<'a> {
    /// The document that a new entity starts from.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Parses a stored document or the text of a patch. Members that are null are kept.
    ///
    /// # Errors
    /// The text is no JSON object, or one that breaks a rule for attributes.
    pub fn parse(text: &'a str) -> Result<Self, DocumentError> {
        let mut scan = Scanner::new(text);
        if scan.next_kind()? != Kind::Object {
            return Err(DocumentError(Cow::Borrowed("not an object")));
        }
        let mut violations = Violations::default();
        let members = parse_object(&mut scan, &mut violations, 1)?;
        scan.lexer.end()?;
        match violations.listed().first() {
            None => Ok(Self { members }),
            Some(violation) => Err(DocumentError(Cow::Owned(violation.to_string()))),
        }
    }

    /// Merges `patch` into the document: objects merge deep, anything else replaces, null removes.
    pub fn apply(&mut self, patch: &'a Patch) {
        let patch = Self::parse(patch.text()).expect("a patch has passed the scanner");
        self.merge(patch);
    }

    /// Like [`Document::apply`], with a patch that is parsed already.
    pub fn merge(&mut self, patch: Self) {
        merge(&mut self.members, patch.members);
    }

    /// The members of `other` that this document lacks, deep: a patch that adds what is absent and
    /// changes nothing that is there. Nulls of `other` count as absent.
    #[must_use]
    pub fn lacking(&self, other: &Self) -> Self {
        Self { members: lacking(&self.members, &other.members) }
    }

    /// The patch that turns this document into `other`; neither holds a null.
    #[must_use]
    pub fn patch_to(&self, other: &Self) -> Self {
        Self { members: changes(&self.members, &other.members) }
    }

    /// Each leaf (scalar, array or empty object) that differs between this document and `other`, in the order
    /// of their paths; `None` where the paths need more than `limit` bytes: every leaf repeats the keys above
    /// it, so that they may need far more than the documents.
    #[must_use]
    pub fn differences(&self, other: &Self, limit: usize) -> Option<Vec<Difference<'a>>> {
        let mut differences = Differences { path: Vec::new(), found: Vec::new(), room: limit };
        differences.compare(Side::of_object(&self.members), Side::of_object(&other.members))?;
        Some(differences.found)
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Bytes as compact UTF-8, with numbers written out and no escape that JSON doesn't demand.
    pub fn size(&self) -> usize {
        size(&self.members)
    }

    /// The document as compact JSON; numbers keep the notation in which they came.
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(self.size());
        write(&mut out, &self.members);
        out
    }
}

/// A leaf that differs between two documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference<'a> {
    /// Where.
    pub path: Path,
    /// The JSON text in the first document; `None` where it has no such leaf.
    pub from: Option<&'a str>,
    /// The JSON text in the second document; `None` where it has no such leaf.
    pub to: Option<&'a str>,
}

/// What one of two documents has at a path.
#[derive(Clone, Copy, Default)]
struct Side<'n, 'a> {
    leaf: Option<&'a str>,
    members: Option<&'n Members<'a>>,
}

impl<'n, 'a> Side<'n, 'a> {
    fn of_object(members: &'n Members<'a>) -> Self {
        Self { leaf: members.is_empty().then_some("{}"), members: Some(members) }
    }

    fn below(self, key: &str) -> Self {
        match self.members.and_then(|members| members.get(key)) {
            Some(Node::Object(members)) => Self::of_object(members),
            Some(Node::Leaf { raw, .. }) => Self { leaf: Some(raw), members: None },
            None => Self::default(),
        }
    }

    fn keys(self) -> impl Iterator<Item = &'n Cow<'a, str>> {
        self.members.into_iter().flat_map(BTreeMap::keys)
    }
}

/// A walk through two documents at once.
struct Differences<'a> {
    path: Vec<String>,
    found: Vec<Difference<'a>>,
    /// Bytes that paths may still take.
    room: usize,
}

impl<'a> Differences<'a> {
    /// Notes what differs at the path and below it; `None` where there is no room.
    fn compare(&mut self, from: Side<'_, 'a>, to: Side<'_, 'a>) -> Option<()> {
        let is_same = match (from.leaf, to.leaf) {
            (Some(from), Some(to)) => same_value(from, to),
            (from, to) => from == to,
        };
        if !is_same {
            let path = Path::within(&self.path, &mut self.room)?;
            self.found.push(Difference { path, from: from.leaf, to: to.leaf });
        }
        let keys: BTreeSet<_> = from.keys().chain(to.keys()).collect();
        for key in keys {
            self.path.push(key.clone().into_owned());
            self.compare(from.below(key), to.below(key))?;
            self.path.pop();
        }
        Some(())
    }
}

/// Parses the next object, which is at `level`.
fn parse_object<'a>(
    scan: &mut Scanner<'a>,
    violations: &mut Violations,
    level: usize,
) -> Result<Members<'a>, DocumentError> {
    if level > MAX_DEPTH {
        return Err(DocumentError(Cow::Borrowed("nested deeper than 64 levels")));
    }
    let mut members = Vec::new();
    scan.enter_object();
    while scan.next_member(violations)? {
        let key = scan.current_key().clone();
        let node = if scan.next_kind()? == Kind::Object {
            Node::Object(parse_object(scan, violations, level + 1)?)
        } else {
            let leaf = scan.value(violations)?;
            Node::Leaf { raw: leaf.raw, size: leaf.size }
        };
        members.push((key, node));
    }
    Ok(members.into_iter().collect())
}

fn merge<'a>(target: &mut Members<'a>, patch: Members<'a>) {
    for (key, node) in patch {
        match (target.get_mut(&key), node) {
            (_, node) if node.is_null() => drop(target.remove(&key)),
            (Some(Node::Object(existing)), Node::Object(changes)) => merge(existing, changes),
            (Some(existing), node) => *existing = without_nulls(node),
            (None, node) => drop(target.insert(key, without_nulls(node))),
        }
    }
}

/// The result of a patch's value where there is no object to merge with.
fn without_nulls(node: Node<'_>) -> Node<'_> {
    match node {
        Node::Object(members) => Node::Object(
            members
                .into_iter()
                .filter(|(_, node)| !node.is_null())
                .map(|(key, node)| (key, without_nulls(node)))
                .collect(),
        ),
        leaf => leaf,
    }
}

fn lacking<'a>(existing: &Members<'a>, other: &Members<'a>) -> Members<'a> {
    let mut missing = Members::new();
    for (key, node) in other.iter().filter(|(_, node)| !node.is_null()) {
        match (existing.get(key), node) {
            (None, node) => {
                missing.insert(key.clone(), without_nulls(node.clone()));
            }
            (Some(Node::Object(existing)), Node::Object(other)) => {
                let inner = lacking(existing, other);
                if !inner.is_empty() {
                    missing.insert(key.clone(), Node::Object(inner));
                }
            }
            (Some(_), _) => {}
        }
    }
    missing
}

fn changes<'a>(from: &Members<'a>, to: &Members<'a>) -> Members<'a> {
    let null = Node::Leaf { raw: "null", size: 4 };
    let gone = from.keys().filter(|key| !to.contains_key(*key));
    let mut changed: Members<'a> = gone.map(|key| (key.clone(), null.clone())).collect();
    for (key, node) in to {
        match (from.get(key), node) {
            (Some(before), node) if before == node => {}
            (Some(Node::Object(before)), Node::Object(after)) => {
                changed.insert(key.clone(), Node::Object(changes(before, after)));
            }
            (_, node) => {
                changed.insert(key.clone(), node.clone());
            }
        }
    }
    changed
}

fn size(members: &Members<'_>) -> usize {
    let commas = members.len().saturating_sub(1);
    let inner: usize =
        members.iter().map(|(key, node)| string_len(key) + 1 + node_size(node)).sum();
    inner + commas + 2
}

fn node_size(node: &Node<'_>) -> usize {
    match node {
        Node::Object(members) => size(members),
        Node::Leaf { size, .. } => *size,
    }
}

fn write(out: &mut String, members: &Members<'_>) {
    write_object(out, members, |out, node| match node {
        Node::Object(members) => write(out, members),
        Node::Leaf { raw, .. } => write_compact(out, raw),
    });
}

fn write_object<V>(
    out: &mut String,
    members: &BTreeMap<Cow<'_, str>, V>,
    mut write_value: impl FnMut(&mut String, &V),
) {
    out.push('{');
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_string(out, key);
        out.push(':');
        write_value(out, value);
    }
    out.push('}');
}

/// Appends a JSON text without the white space between its tokens.
fn write_compact(out: &mut String, raw: &str) {
    if !raw.starts_with(['[', '{']) {
        return out.push_str(raw);
    }
    let (mut in_string, mut escaped) = (false, false);
    out.extend(raw.chars().filter(|&c| {
        let is_space = !in_string && matches!(c, ' ' | '\n' | '\r' | '\t');
        in_string ^= c == '"' && !escaped;
        escaped = in_string && c == '\\' && !escaped;
        !is_space
    }));
}

/// Folds flat patches of one entity into one JSON text: the last value of each member wins, which
/// is what applying them one by one gives. The first may also be a whole document.
pub fn fold_flat(patches: &[&Patch]) -> String {
    debug_assert!(patches.iter().skip(1).all(|patch| patch.is_flat()), "only flat patches compose");
    if let [only] = patches {
        return only.text().to_owned();
    }
    let mut members = BTreeMap::new();
    for patch in patches {
        collect_members(patch.text(), &mut members).expect("a patch has passed the scanner");
    }
    let length = patches.iter().map(|patch| patch.text().len()).sum();
    let mut out = String::with_capacity(length);
    write_object(&mut out, &members, |out, raw| out.push_str(raw));
    out
}

fn collect_members<'a>(
    text: &'a str,
    members: &mut BTreeMap<Cow<'a, str>, &'a str>,
) -> Result<(), Malformed> {
    let mut scan = Scanner::new(text);
    let mut ignored = Violations::default();
    scan.next_kind()?;
    scan.enter_object();
    while scan.next_member(&mut ignored)? {
        let key = scan.current_key().clone();
        members.insert(key, scan.value(&mut ignored)?.raw);
    }
    Ok(())
}
