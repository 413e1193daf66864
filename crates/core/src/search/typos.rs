//! Words with a typo.

/// Letters from which on a word may have a typo.
const LEAST_LETTERS: usize = 4;

/// Whether a word of a query may have a typo: it has at least four letters.
pub fn may_have_a_typo(term: &str) -> bool {
    term.chars().nth(LEAST_LETTERS - 1).is_some()
}

/// Whether a word of a query means this word of a text when it may have one typo: a letter too much, too few or
/// another one, or two neighbours that changed places.
pub fn is_meant_with_a_typo(term: &str, word: &str) -> bool {
    if term == word {
        return true;
    }
    if !may_have_a_typo(term) {
        return false;
    }
    let (term, word) = (term.chars(), word.chars());
    let (mut one, mut other) = (term.clone(), word.clone());
    // what both begin and end with is the same
    loop {
        let before = (one.clone(), other.clone());
        match (one.next(), other.next()) {
            (Some(a), Some(b)) if a == b => {}
            _ => {
                (one, other) = before;
                break;
            }
        }
    }
    loop {
        let before = (one.clone(), other.clone());
        match (one.next_back(), other.next_back()) {
            (Some(a), Some(b)) if a == b => {}
            _ => {
                (one, other) = before;
                break;
            }
        }
    }
    let three = |mut rest: std::str::Chars<'_>| [rest.next(), rest.next(), rest.next()];
    match (three(one), three(other)) {
        ([_, None, _], [_, None, _]) => true,
        ([Some(a), Some(b), None], [Some(c), Some(d), None]) => (a, b) == (d, c),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_typo_and_no_more() {
        for (term, word, is_meant) in [
            ("potter", "potter", true),
            ("poter", "potter", true),
            ("pottter", "potter", true),
            ("pottre", "potter", true),
            ("potted", "potter", true),
            ("opttre", "potter", false),
            ("pot", "pt", false),
            ("pott", "pot", true),
            ("pot", "pott", false),
            ("ключ", "ключ", true),
            ("ключ", "клич", true),
            ("abcd", "badc", false),
            ("aaaa", "aaaaa", true),
            ("aaaa", "aaaaaa", false),
        ] {
            assert_eq!(is_meant_with_a_typo(term, word), is_meant, "{term} {word}");
        }
    }

    proptest! {
        #[test]
        fn it_is_a_distance_of_one(term in "[abé]{4,7}", word in "[abé]{2,8}") {
            let expected = strsim::osa_distance(&term, &word) <= 1;
            prop_assert_eq!(is_meant_with_a_typo(&term, &word), expected);
        }
    }
}
