//! Every parser of text from outside, over the corpus in `fuzz/` and changes of it: the same ones every
//! time. `fuzz/README.md` says how to look longer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use pha_core::cluster::Cluster;
use pha_core::deadcheck::LockAnswer;
use pha_core::link_name::{Flushed, LinkName};
use pha_core::lsn::Lsn;
use pha_core::names::ResourceName;
use pha_core::parse::cib::Cib;
use pha_core::parse::standby_names::StandbyNames;
use pha_core::parse::waldump::{self, Waldump};
use pha_core::parse::{conffile, controldata, history};
use pha_core::register::{ClusterId, Memory, PromiseAnswer, PromiseRequest};
use pha_core::repl_info::ReplInfo;
use pha_core::status::{DataStatus, PgsqlStatus, Score};
use pha_core::timeline::TimelineId;
use pha_host::config::ClusterConfig;
use pha_host::conninfo::Conninfo;
use pha_host::memory::MemoryFile;

/// What is wrong with the text, in the words that an operator would see.
type Said = Vec<String>;

fn said<T, E: Display>(read: Result<T, E>) -> Said {
    read.err()
        .map(|error| error.to_string())
        .into_iter()
        .collect()
}

/// Takes the bytes, as text where the parser takes text.
type Parser = fn(&[u8], &str) -> Said;

const PARSERS: &[(&str, Parser)] = &[
    ("cib", |_, text| match Cib::parse(text) {
        Ok(cib) => {
            let resource: ResourceName = "pgsql".parse().unwrap();
            Cluster::of_cib(&cib, &resource).malformed
        }
        Err(error) => vec![error.to_string()],
    }),
    ("conffile", |bytes, _| {
        let removed = conffile::without_settings(bytes, &["port"]);
        let included = conffile::ensure_include(bytes, "/own", &["b"]);
        let scanned = conffile::scan(bytes);
        assert_eq!(removed.is_ok(), scanned.is_ok());
        [said(scanned), said(removed), said(included)].concat()
    }),
    ("controldata", |_, text| said(controldata::parse(text))),
    ("history", |_, text| {
        said(history::parse(TimelineId::new(9).unwrap(), text))
    }),
    ("standby_names", |_, text| {
        let read = text.parse::<StandbyNames>();
        if let Ok(names) = &read {
            assert_eq!(
                names.to_string().parse::<StandbyNames>().as_ref(),
                Ok(names)
            );
        }
        said(read)
    }),
    ("waldump", |_, text| {
        let dump = Waldump {
            start: "0/1500708".parse().unwrap(),
            timeline: TimelineId::FIRST,
            geometry: controldata::WalGeometry::DEFAULT,
            last_record: waldump::last_record_line(text),
            stderr: text.split_once('\n').map_or(text, |(_, rest)| rest),
        };
        said(waldump::end_of_wal(&dump))
    }),
    ("values", |_, text| {
        [
            said(text.parse::<ReplInfo>()),
            said(text.parse::<LinkName>()),
            said(text.parse::<Flushed>()),
            said(text.parse::<Lsn>()),
            said(Lsn::from_hex16(text)),
            said(text.parse::<ResourceName>()),
            said(ResourceName::from_instance(text)),
            said(text.parse::<PgsqlStatus>()),
            said(text.parse::<DataStatus>()),
            said(text.parse::<Score>()),
            said(text.parse::<TimelineId>()),
        ]
        .concat()
    }),
    ("conninfo", |_, text| {
        [
            said(text.parse::<Conninfo>()),
            said(pha_core::conninfo::parse(text)),
        ]
        .concat()
    }),
    ("promise", |bytes, _| {
        let cluster = ClusterId {
            lock: "distlock:x".to_owned(),
            system: None,
        };
        let node = "node2".parse().unwrap();
        let answer = PromiseAnswer::of_output(bytes, &node, &cluster);
        [said(PromiseRequest::of_json(bytes)), said(answer)].concat()
    }),
    ("memory", |_, text| {
        let path = std::env::temp_dir().join(format!("mutations-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let read = said(MemoryFile::new(&path).load());
        std::fs::remove_file(&path).unwrap();
        read
    }),
    ("lock_answer", |_, text| {
        let all = [0, 1, 2, 3].map(|status| LockAnswer::of(status, text, text).released());
        all.into_iter().filter_map(Result::err).collect()
    }),
    ("config", |_, text| {
        said(ClusterConfig::parse(Path::new("config.ini"), text))
    }),
];

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
    for sentence in sentences {
        let fits =
            !sentence.contains(['\n', '\r', '\0', '\u{1b}']) && sentence.chars().count() < 2000;
        assert!(fits, "{sentence:?} of {}", shown());
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
