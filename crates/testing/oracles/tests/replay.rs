//! Every oracle on its corpus, which fuzzing has collected, and on mutations of it.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;
use producer_oracles::{ALL, check};
use tar::Archive;

/// The number of mutations for each oracle; `ORACLE_CASES` overrides it.
const CASES: usize = 1000;

/// The named inputs of a target, then its seeds, which are one archive.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus").join(target);
    let inputs = fs::read_dir(&folder).expect("the target's named inputs");
    let mut paths: Vec<_> = inputs.map(|input| input.expect("an entry").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{target} has no named inputs");
    let named = paths.iter().map(|path| fs::read(path).expect("an input"));
    named.chain(seeds(&folder.with_extension("tar.gz"))).collect()
}

fn seeds(archive: &Path) -> Vec<Vec<u8>> {
    let file = File::open(archive).expect("the target's seeds");
    let mut archive = Archive::new(GzDecoder::new(file));
    let seeds: Vec<_> = (archive.entries().expect("a tar archive"))
        .map(|entry| {
            let mut seed = Vec::new();
            entry.expect("an entry").read_to_end(&mut seed).expect("a seed");
            seed
        })
        .collect();
    assert!(!seeds.is_empty(), "the archive is empty");
    seeds
}

#[test]
fn every_input_of_the_corpus_passes_its_oracle() {
    for (target, _) in ALL {
        for input in corpus(target) {
            println!("{target}: {:?}", String::from_utf8_lossy(&input)); // shown where it panics
            check(target, &input);
        }
    }
}

#[test]
fn mutations_of_the_corpus_pass_too() {
    let cases =
        std::env::var("ORACLE_CASES").map_or(CASES, |cases| cases.parse().expect("a number"));
    for (target, _) in ALL {
        let corpus = corpus(target);
        let mut random = Random(88_172_645_463_325_252);
        for _ in 0..cases {
            let input = mutation(&corpus, &mut random);
            println!("{target}: {input:?}");
            check(target, &input);
        }
    }
}

/// Xorshift: the same numbers in every run.
struct Random(u64);

impl Random {
    /// A number below `end`, which is at least 1.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("below a usize")
    }

    fn byte(&mut self) -> u8 {
        self.below(256).to_le_bytes()[0]
    }

    /// A piece of `bytes`, shorter than `most`.
    fn piece(&mut self, bytes: &[u8], most: usize) -> std::ops::Range<usize> {
        let start = self.below(bytes.len() + 1);
        start..(start + self.below(most)).min(bytes.len())
    }
}

const WORDS: [&str; 30] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "\"\"",
    "\\u0000",
    "\\ud83d\\ude00",
    "\\ud800",
    "\\u0061",
    "\"a\":",
    "{\"a\":null}",
    "1e400",
    "-0.0",
    "0e-3",
    "1E+2",
    "\"entities\":",
    "\r\n",
    "+00:00",
    "&&",
    "||",
    "!(",
    "data.a",
    ".exists(x,",
    " in [",
    "\x0a\x00",
    "\x12\x00",
    "\x1a\x00",
];

/// An input of the corpus with one to five changes.
fn mutation(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(5) {
        let at = random.below(input.len() + 1);
        match random.below(5) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.byte(),
            2 => drop(input.drain(random.piece(&input, 16))),
            3 => drop(input.splice(at..at, WORDS[random.below(WORDS.len())].bytes())),
            _ => {
                let other = &corpus[random.below(corpus.len())];
                drop(input.splice(at..at, other[random.piece(other, 40)].iter().copied()));
            }
        }
    }
    input
}
