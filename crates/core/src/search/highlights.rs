//! Which words of the hits are marked: alike for every engine, which helps with stems only.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::fragments::fragments;
use super::port::{SearchEngine, SearchPart, StemsQuery};
use super::query::{Leaf, Term, Terms};
use super::request::Highlight;
use super::typos::is_meant_with_a_typo;
use crate::json::Selection;
use crate::model::Entity;
use crate::query::ReadError;
use crate::types::SearchDefinition;
use crate::types::search_text::each_string;
use crate::types::words::{Folding, Word, words};

/// Fragments of a path at most.
const FRAGMENTS: usize = 3;
/// Bytes of a hit's text in which matches are looked for.
const MAX_BYTES: usize = 32 << 10;
/// Different words of a page's hits that an engine is asked for the stems of.
const MAX_WORDS: usize = 20_000;
/// Terms of a query that are marked; each has a bit.
const MAX_TERMS: usize = 64;
/// The language in which a word is its own stem.
const SIMPLE: &str = "simple";

/// What a query marks in the entities of one type.
pub(super) struct Highlights<'q> {
    definition: &'q SearchDefinition,
    /// Whether terms may have a typo.
    fuzzy: bool,
    /// The leaves that must be there, each word as its place among the terms.
    leaves: Vec<Vec<usize>>,
    terms: Vec<Term>,
    /// For each word that a term means, the bits of the terms.
    meant: BTreeMap<String, u64>,
    /// The bits of the terms that mean any word within a phrase.
    passed_over: u64,
}

impl<'q> Highlights<'q> {
    /// For these hits of a part.
    pub(super) async fn new(
        engine: &dyn SearchEngine,
        part: &'q SearchPart,
        query: &Terms,
        fuzzy: bool,
        hits: &[&Entity],
    ) -> Result<Self, ReadError> {
        let mut terms = BTreeMap::new();
        let leaves = query.wanted().filter_map(|leaf| places(leaf, &mut terms)).collect();
        let mut in_order: Vec<_> = terms.into_iter().collect();
        in_order.sort_by_key(|(_, place)| *place);
        let mut highlights = Self {
            definition: &part.definition,
            fuzzy,
            leaves,
            terms: in_order.into_iter().map(|(term, _)| term).take(MAX_TERMS).collect(),
            meant: BTreeMap::new(),
            passed_over: 0,
        };
        let mut words = BTreeSet::new();
        for hit in hits {
            highlights.each_text(hit, |_, text_words, _| {
                words.extend(text_words.iter().map(|word| word.folded.clone()));
            });
        }
        highlights.find_meanings(engine, words).await?;
        Ok(highlights)
    }

    async fn find_meanings(
        &mut self,
        engine: &dyn SearchEngine,
        words: BTreeSet<String>,
    ) -> Result<(), ReadError> {
        let language = self.definition.language.as_str();
        if self.terms.is_empty() {
            return Ok(());
        }
        if language == SIMPLE || self.fuzzy {
            for word in &words {
                let terms = self.terms.iter().enumerate();
                let meant = terms.filter(|(_, term)| is_meant(word, term, self.fuzzy));
                let bits = meant.fold(0, |bits, (place, _)| bits | 1 << place);
                if bits != 0 {
                    self.meant.insert(word.clone(), bits);
                }
            }
        }
        if language == SIMPLE {
            return Ok(());
        }
        let words: Vec<_> = words.into_iter().take(MAX_WORDS).collect();
        let query = StemsQuery { language, words: &words, terms: &self.terms };
        let stems = engine.stems(query).await?;
        for (word, term) in stems.meant {
            *self.meant.entry(words[word].clone()).or_default() |= 1 << term;
        }
        self.passed_over = stems.passed_over.iter().fold(0, |bits, place| bits | 1 << place);
        let is_passed_over = |term: &usize| self.passed_over & 1 << term != 0;
        for leaf in &mut self.leaves {
            // at its edges they may mean no word at all
            while leaf.pop_if(|term| is_passed_over(term)).is_some() {}
            let leading = leaf.iter().take_while(|term| is_passed_over(term)).count();
            leaf.drain(..leading);
        }
        self.leaves.retain(|leaf| !leaf.is_empty());
        Ok(())
    }

    /// The fragments of a hit, by the paths that have any.
    pub(super) fn of(&self, hit: &Entity) -> Vec<Highlight> {
        let mut found: Vec<Vec<String>> = vec![Vec::new(); self.definition.paths.len()];
        self.each_text(hit, |path, words, text| {
            let left = FRAGMENTS - found[path].len();
            found[path].extend(fragments(text, &self.marks(words), left));
        });
        let paths = self.definition.paths.iter().map(|(path, _)| path.clone());
        let highlights = paths.zip(found).map(|(path, fragments)| Highlight { path, fragments });
        highlights.filter(|highlight| !highlight.fragments.is_empty()).collect()
    }

    /// Calls `each` with the place of its path, the words and the text of every string that is searched.
    fn each_text(&self, hit: &Entity, mut each: impl FnMut(usize, &[Word], &str)) {
        let mut selection = Selection::default();
        let slots: Vec<_> =
            self.definition.paths.iter().map(|(path, _)| selection.add_path(path)).collect();
        let found = selection.find(&hit.data);
        let (folding, mut room) = (Folding::of(&self.definition.language), MAX_BYTES);
        for (path, slot) in slots.into_iter().enumerate() {
            each_string(found[slot].unwrap_or("null"), &mut |text| {
                let text = &text[..text.floor_char_boundary(room)];
                room -= text.len();
                each(path, &words(text, folding).collect::<Vec<_>>(), text);
                room > 0
            });
        }
    }

    /// The places of a text that match; words that touch each other are one.
    fn marks(&self, words: &[Word]) -> Vec<Range<usize>> {
        let bits = words.iter().map(|word| self.meant.get(&word.folded).copied().unwrap_or(0));
        let bits: Vec<u64> = bits.collect();
        let mut is_marked = vec![false; words.len()];
        for leaf in &self.leaves {
            for (start, window) in bits.windows(leaf.len()).enumerate() {
                let is_it = window
                    .iter()
                    .zip(leaf)
                    .all(|(bits, &term)| (bits | self.passed_over) & 1 << term != 0);
                if is_it {
                    is_marked[start..start + leaf.len()].fill(true);
                }
            }
        }
        let mut marks: Vec<Range<usize>> = Vec::new();
        for (word, _) in words.iter().zip(is_marked).filter(|(_, is_marked)| *is_marked) {
            match marks.last_mut() {
                Some(last) if last.end == word.place.start => last.end = word.place.end,
                _ => marks.push(word.place.clone()),
            }
        }
        marks
    }
}

/// The places of a leaf's words among the terms, which it is added to; `None` where there are too many.
fn places(leaf: &Leaf, terms: &mut BTreeMap<Term, usize>) -> Option<Vec<usize>> {
    let place = |term| {
        let next = terms.len();
        *terms.entry(term).or_insert(next)
    };
    let places: Vec<_> = leaf.terms().map(place).collect();
    places.iter().all(|&place| place < MAX_TERMS).then_some(places)
}

/// A word that may go on has no typo.
fn is_meant(word: &str, term: &Term, fuzzy: bool) -> bool {
    match term {
        Term { word: wanted, begins: true } => word.starts_with(wanted),
        Term { word: wanted, .. } if fuzzy => is_meant_with_a_typo(wanted, word),
        Term { word: wanted, .. } => word == wanted,
    }
}
