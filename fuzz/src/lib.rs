//! Every parser of text from outside, as `fuzz_targets/` and the tests of changed texts
//! (`crates/host/tests/mutations.rs`) call it.

use std::fmt::Display;
use std::path::Path;

use pha_core::cluster::Cluster;
use pha_core::deadcheck::LockAnswer;
use pha_core::link_name::{Flushed, LinkName};
use pha_core::lsn::Lsn;
use pha_core::names::ResourceName;
use pha_core::parse::cib::Cib;
use pha_core::parse::cpg::Groups;
use pha_core::parse::standby_names::StandbyNames;
use pha_core::parse::waldump::{self, Waldump};
use pha_core::parse::{conffile, controldata, history, mounts};
use pha_core::register::{ClusterId, PromiseAnswer, PromiseRequest, RawRow, Register};
use pha_core::repl_info::ReplInfo;
use pha_core::status::{DataStatus, PgsqlStatus, Score};
use pha_core::timeline::TimelineId;
use pha_host::config::ClusterConfig;
use pha_host::conninfo::Conninfo;
use pha_host::memory::MemoryFile;
use pha_host::pgctl::Version;
use pha_host::process::PidFile;
use pha_host::record::RecordFile;

/// What is wrong with the text, in the words that an operator would see.
pub type Said = Vec<String>;

fn said<T, E: Display>(read: Result<T, E>) -> Said {
    read.err()
        .map(|error| error.to_string())
        .into_iter()
        .collect()
}

/// Takes the bytes, as text where the parser takes text.
pub type Parser = fn(&[u8], &str) -> Said;

/// Every parser, by the name of its corpus.
pub const PARSERS: &[(&str, Parser)] = &[
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
    ("memory", |bytes, _| {
        let file = MemoryFile::new("/memory.json");
        [
            said(file.parse(bytes)),
            said(RecordFile::beside(&file).parse(bytes)),
        ]
        .concat()
    }),
    ("register", |_, text| said(Register::try_from(row(text)))),
    ("pidfile", |_, text| {
        if let Some(file) = PidFile::parse(text) {
            assert!(file.pid > 0);
        }
        if let Some(version) = Version::parse(text) {
            assert!(version.major() > 0);
        }
        Said::new()
    }),
    ("mounts", |_, text| {
        let (fstab, mounts) = text.split_once("\n\n").unwrap_or((text, ""));
        let path = Path::new("/data/postgresql/data");
        if let Some(missing) = mounts::not_mounted(fstab, mounts, path) {
            assert!(path.starts_with(missing));
        }
        Said::new()
    }),
    ("cpg", |_, text| {
        let groups = Groups::parse(text);
        assert!((0..5).all(|id| groups.missing(&id.to_string()).len() < 4));
        Said::new()
    }),
    ("lock_answer", |_, text| {
        let all = [0, 1, 2, 3].map(|status| LockAnswer::of(status, text, text).released());
        all.into_iter().filter_map(Result::err).collect()
    }),
    ("config", |_, text| {
        said(ClusterConfig::parse(Path::new("config.ini"), text))
    }),
];

/// The columns of the lock service's row, a line each; a line that is missing is NULL.
fn row(text: &str) -> RawRow {
    let mut lines = text.lines();
    let mut next = || lines.next().filter(|line| *line != "NULL");
    let list = |line: &str| {
        let entries = line.split(',').map(|entry| Some(entry.to_owned()));
        entries
            .map(|entry| entry.filter(|entry| entry != "NULL"))
            .collect()
    };
    RawRow {
        owner: next().map(str::to_owned),
        term: next().and_then(|line| line.parse().ok()),
        epoch: next().and_then(|line| line.parse().ok()),
        holders: next().map(list),
        positions: next().map(str::to_owned),
        lease_left: next().and_then(|line| line.parse().ok()),
        ttl: next().and_then(|line| line.parse().ok()),
        timelines: next().map(str::to_owned),
        renewed: next().map(str::to_owned),
        ..RawRow::default()
    }
}

/// What is wrong with what a parser says: a sentence is one line, and short.
pub fn unfit(said: &[String]) -> Option<&String> {
    said.iter().find(|sentence| {
        sentence.contains(['\n', '\r', '\0', '\u{1b}']) || sentence.chars().count() >= 2000
    })
}

/// Gives one text to the parser of that name, and fails where it says what an operator cannot read.
pub fn look(name: &str, bytes: &[u8]) {
    let found = PARSERS.iter().find(|(parser, _)| *parser == name);
    let (_, parser) = found.unwrap_or_else(|| panic!("there is no parser {name}"));
    let said = parser(bytes, &String::from_utf8_lossy(bytes));
    assert_eq!(unfit(&said), None, "{name}");
}
