//! A query of the services in the language of the servers.

use producer_core::search::{Leaf, Terms, may_have_a_typo};
use serde_json::{Value, json};

use crate::document::fields;
use crate::template::has_stems;

/// Words that the beginning of one may mean in a phrase: all there are.
const ALL_WORDS: u32 = i32::MAX as u32;
/// Words that one with a typo may mean in a phrase: each counts for the servers' limit of clauses.
const WORDS_OF_A_PHRASE: u32 = 100;
/// How much less a word with a typo counts.
const OF_A_TYPO: f64 = 0.5;

/// What is looked for in which fields.
pub(crate) struct Fields<'a> {
    /// Of fields.
    pub(crate) language: &'a str,
    /// Those that the type's paths have.
    pub(crate) weights: &'a [u8],
    /// Whether words may have a typo.
    pub(crate) fuzzy: bool,
}

/// What is looked for. Where nothing must be there, all scores are 0.
pub(crate) fn query(terms: &Terms, fields: &Fields<'_>) -> Value {
    let groups = match terms {
        Terms::All => return json!({"bool": {"filter": [{"match_all": {}}]}}),
        Terms::Nothing => return json!({"match_none": {}}),
        Terms::Groups(groups) => groups,
    };
    let (mut must, mut must_not) = (Vec::new(), Vec::new());
    for group in groups {
        match group.as_slice() {
            [leaf] if leaf.negated => push_new(&mut must_not, fields.leaf(leaf)),
            leaves => {
                let one = leaves.iter().map(|leaf| {
                    let found = fields.leaf(leaf);
                    if leaf.negated { json!({"bool": {"must_not": [found]}}) } else { found }
                });
                push_new(&mut must, any(one.collect()));
            }
        }
    }
    json!({"bool": {"must": must, "must_not": must_not}})
}

/// A word that stands twice is looked for once.
fn push_new(queries: &mut Vec<Value>, query: Value) {
    if !queries.contains(&query) {
        queries.push(query);
    }
}

fn any(mut queries: Vec<Value>) -> Value {
    if queries.len() == 1 {
        return queries.swap_remove(0);
    }
    json!({"bool": {"should": queries, "minimum_should_match": 1}})
}

impl Fields<'_> {
    /// What must not be there has no typo.
    fn leaf(&self, leaf: &Leaf) -> Value {
        let fuzzy = self.fuzzy && !leaf.negated;
        let of_weights = fields(self.language).filter(|(_, weight)| self.weights.contains(weight));
        any(of_weights
            .flat_map(|(field, weight)| self.in_field(leaf, fuzzy, &field, weight))
            .collect())
    }

    /// The queries of a field, one of which must match.
    fn in_field(&self, leaf: &Leaf, fuzzy: bool, field: &str, weight: u8) -> Vec<Value> {
        let boost = f64::from(weight) / 4.0;
        let stems = has_stems(self.language).then(|| format!("{field}.stems"));
        let mut queries = Vec::new();
        match (leaf.words.as_slice(), leaf.begins) {
            ([word], true) => {
                queries.push(json!({"prefix": {field: {"value": word, "boost": boost}}}));
            }
            ([word], false) => {
                let best = stems.as_deref().unwrap_or(field);
                queries.push(json!({"match": {best: {"query": word, "boost": boost}}}));
                if fuzzy && may_have_a_typo(word) {
                    queries.push(with_a_typo(field, word, boost * OF_A_TYPO));
                }
            }
            (words, begins) => {
                let text = words.join(" ");
                if begins {
                    let phrase = |field: &str| {
                        let phrase =
                            json!({"query": text, "max_expansions": ALL_WORDS, "boost": boost});
                        json!({"match_phrase_prefix": {field: phrase}})
                    };
                    queries.push(phrase(field));
                    queries.extend(stems.as_deref().map(phrase));
                } else {
                    let best = stems.as_deref().unwrap_or(field);
                    queries.push(json!({"match_phrase": {best: {"query": text, "boost": boost}}}));
                    if fuzzy && words.iter().any(|word| may_have_a_typo(word)) {
                        queries.push(phrase_with_typos(field, words, boost * OF_A_TYPO));
                    }
                }
            }
        }
        queries
    }
}

/// All words that are there with a typo, with the same score: so they are no clauses.
fn with_a_typo(field: &str, word: &str, boost: f64) -> Value {
    let word = json!({
        "value": word, "fuzziness": 1, "transpositions": true, "rewrite": "constant_score", "boost": boost,
    });
    json!({"fuzzy": {field: word}})
}

fn phrase_with_typos(field: &str, words: &[String], boost: f64) -> Value {
    let word = |word: &String| {
        if may_have_a_typo(word) {
            let word = json!({
                "value": word, "fuzziness": 1, "transpositions": true,
                "max_expansions": WORDS_OF_A_PHRASE,
            });
            json!({"span_multi": {"match": {"fuzzy": {field: word}}}})
        } else {
            json!({"span_term": {field: word}})
        }
    };
    let words: Vec<_> = words.iter().map(word).collect();
    json!({"span_near": {"clauses": words, "slop": 0, "in_order": true, "boost": boost}})
}

#[cfg(test)]
mod tests {
    use producer_core::search::Query;

    use super::*;

    fn of(text: &str, language: &str) -> Value {
        let terms = Query::parse(text).expect(text).terms(language);
        query(&terms, &Fields { language, weights: &[4], fuzzy: false })
    }

    #[test]
    fn words_are_looked_for_by_their_stems_where_there_are_any() {
        let word = |field: &str| json!({"match": {field: {"query": "red", "boost": 1.0}}});
        let must = |query: &Value| query["bool"]["must"].clone();
        assert_eq!(must(&of("red red", "simple")), json!([word("words.w4.simple")]));
        assert_eq!(must(&of("red", "english")), json!([word("words.w4.english.stems")]));
        let not = of("-red", "simple");
        assert_eq!(not["bool"]["must_not"], json!([word("words.w4.simple")]));
        assert_eq!(must(&not), json!([]));
        let prefix = json!({"prefix": {"words.w4.english": {"value": "red", "boost": 1.0}}});
        assert_eq!(must(&of("red*", "english")), json!([prefix]));
    }

    #[test]
    fn what_must_not_be_there_has_no_typo() {
        let of = |text: &str| {
            let terms = Query::parse(text).expect(text).terms("simple");
            query(&terms, &Fields { language: "simple", weights: &[1, 4], fuzzy: true }).to_string()
        };
        assert!(of("potter").contains("fuzziness") && of("\"of potter\"").contains("span_multi"));
        for text in ["pot", "-potter", "potter*", "\"a b c\"", ""] {
            assert!(!of(text).contains("fuzziness"), "{text}");
        }
    }
}
