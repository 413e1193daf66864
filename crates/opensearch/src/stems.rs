//! Stems of words, as the servers make them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use crate::client::{Body, Client};
use crate::error::Error;
use crate::template::stemmer;

/// Words of one request: the servers refuse more than 10,000.
const WORDS: usize = 5000;
/// Words whose stems are kept.
const MAX_KEPT: usize = 50_000;

/// Stems that were asked for before.
#[derive(Debug, Default)]
pub(crate) struct KeptStems(Mutex<HashMap<(&'static str, String), String>>);

#[derive(Deserialize)]
struct Analyzed {
    tokens: Vec<Token>,
}

#[derive(Deserialize)]
struct Token {
    token: String,
    position: usize,
}

impl KeptStems {
    /// The stems of words in a language of fields, in their order.
    pub(crate) async fn of(
        &self,
        client: &Client,
        language: &'static str,
        words: &[&str],
        timeout: Duration,
    ) -> Result<Vec<String>, Error> {
        let Some(stemmer) = stemmer(language) else {
            return Ok(words.iter().map(|&word| word.to_owned()).collect());
        };
        let mut found = self.known(language, words);
        let unknown: Vec<usize> =
            (0..words.len()).filter(|&place| found[place].is_none()).collect();
        for places in unknown.chunks(WORDS) {
            let asked: Vec<&str> = places.iter().map(|&place| words[place]).collect();
            let body = json!({
                "tokenizer": "whitespace", "text": asked.join(" "),
                "filter": [{"type": "stemmer", "language": stemmer}],
            });
            let body = Body::Json(body.to_string());
            let analyzed: Analyzed =
                client.json(Method::POST, &["_analyze"], "", body, timeout).await?;
            for Token { token, position } in analyzed.tokens {
                if let Some(&place) = places.get(position) {
                    found[place] = Some(token);
                }
            }
        }
        let stems = found.into_iter().zip(words);
        let stems: Vec<String> =
            stems.map(|(stem, word)| stem.unwrap_or_else(|| (*word).to_owned())).collect();
        self.keep(language, unknown.iter().map(|&place| (words[place], stems[place].as_str())));
        Ok(stems)
    }

    fn known(&self, language: &'static str, words: &[&str]) -> Vec<Option<String>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        words.iter().map(|&word| kept.get(&(language, word.to_owned())).cloned()).collect()
    }

    fn keep<'w>(
        &self,
        language: &'static str,
        stems: impl ExactSizeIterator<Item = (&'w str, &'w str)>,
    ) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() + stems.len() > MAX_KEPT {
            kept.clear();
        }
        kept.extend(stems.map(|(word, stem)| ((language, word.to_owned()), stem.to_owned())));
    }
}
