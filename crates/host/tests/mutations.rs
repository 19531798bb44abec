//! Every parser of text from outside, over the corpus in `fuzz/` and changes of it: the same ones every
//! time. `fuzz/README.md` says how to look longer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use parsers::{PARSERS, Parser, unfit};
use pha_core::register::Memory;

#[path = "../../../fuzz/src/lib.rs"]
#[allow(dead_code, missing_docs, unreachable_pub)]
mod parsers;

/// A generator of numbers that is the same everywhere (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }
}

/// Pieces that parsers stumble over.
const PIECES: [&str; 24] = [
    "'",
    "\"",
    "\\",
    "\n",
    "\r",
    "\0",
    "=",
    ",",
    "<",
    ">",
    "&#x0;",
    "]]>",
    "--",
    "#",
    "{",
    "[",
    "%",
    "18446744073709551616",
    "-1",
    "\u{fffd}\u{1f418}",
    "\u{7f}\u{1b}[2J",
    "id-ref=\"r\"",
    "|",
    "''",
];

fn changed(text: &[u8], other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut text = text.to_vec();
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(text.len() + 1);
        let end = (at + numbers.below(40)).min(text.len());
        match numbers.below(6) {
            0 if at < text.len() => text[at] = u8::try_from(numbers.below(256)).unwrap(),
            1 => drop(text.drain(at..end)),
            2 => {
                let piece = text[at..end].repeat(numbers.below(20));
                drop(text.splice(at..at, piece));
            }
            3 => drop(text.splice(at..at, PIECES[numbers.below(PIECES.len())].bytes())),
            4 => {
                let from = numbers.below(other.len() + 1);
                drop(text.splice(at.., other[from..].iter().copied()));
            }
            _ => drop(text.splice(at..end, PIECES[numbers.below(PIECES.len())].bytes())),
        }
    }
    text
}

fn corpus(parser: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(parser);
    let entries = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let texts = files.iter().map(|file| std::fs::read(file).unwrap());
    let mut texts: Vec<Vec<u8>> = texts.collect();
    if parser == "memory" {
        // What this version writes.
        texts.push(serde_json::to_vec(&Memory::none()).unwrap());
    }
    texts
}

fn computed() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap(),
        time.tv_nsec.try_into().unwrap(),
    )
}

/// Gives one text to one parser.
fn look(name: &str, parser: Parser, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let before = computed();
    let outcome = catch_unwind(AssertUnwindSafe(|| parser(bytes, &text)));
    let spent = computed() - before;
    let shown = || format!("{name}: {}", text.escape_debug());
    let sentences = outcome.unwrap_or_else(|_| panic!("it panics: {}", shown()));
    assert!(spent < Duration::from_secs(2), "{spent:?}: {}", shown());
    if let Some(sentence) = unfit(&sentences) {
        panic!("{sentence:?} of {}", shown());
    }
}

fn number(variable: &str, usual: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(usual, |text| text.parse().unwrap())
}

#[test]
fn no_change_of_the_corpus_breaks_a_parser() {
    let each = number("PHA_MUTATIONS", 2000);
    for (name, parser) in PARSERS {
        let texts = corpus(name);
        assert!(!texts.is_empty(), "{name}: no corpus");
        let mut numbers = Numbers(number("PHA_SEED", 1) ^ 0x9e37_79b9_7f4a_7c15);
        for text in &texts {
            look(name, *parser, text);
            for _ in 0..each {
                let other = &texts[numbers.below(texts.len())];
                look(name, *parser, &changed(text, other, &mut numbers));
            }
        }
    }
}
