//! The catalogue, and what becomes of a message in either language.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "it reads the sources"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::zh::TEXTS;
use super::*;
use crate::message;

#[test]
fn a_message_is_said_in_either_language() {
    let name: NodeName = "node2".parse().unwrap();
    let text = message!(
        "{name} is out of service, as an operator asked (standby in Pacemaker)",
        name
    );
    assert_eq!(
        text.to_string(),
        "node2 is out of service, as an operator asked (standby in Pacemaker)"
    );
    assert_eq!(serde_json::to_value(&text).unwrap(), text.to_string());
    assert_eq!(
        text.in_language(Language::Chinese),
        "node2 已被人工下线维护（Pacemaker standby，不是“备库”）"
    );
    // What stands in braces is never taken for a name.
    let names = ["a{b}", "b", "c"].map(Message::from);
    let nodes = Message::all(names);
    assert_eq!(nodes.to_string(), "a{b} and b and c");
    let both = message!("{nodes} are primary at the same time", nodes);
    assert_eq!(
        both.in_language(Language::Chinese),
        "脑裂：a{b}、b、c 同时为主库"
    );
    assert_eq!(Message::any([]).to_string(), "");
}

#[test]
fn chinese_is_for_a_locale_that_can_write_it() {
    for (locale, expected) in [
        ("zh_CN.UTF-8", Language::Chinese),
        ("zh_CN.utf8", Language::Chinese),
        ("zh_SG.UTF-8@pinyin", Language::Chinese),
        ("zh.utf8", Language::Chinese),
        ("zh_CN.GB18030", Language::English),
        ("zh_CN.GBK", Language::English),
        ("zh_CN", Language::English),
        ("en_US.UTF-8", Language::English),
        ("zhx.UTF-8", Language::English),
        ("C.UTF-8", Language::English),
        ("C", Language::English),
        ("", Language::English),
    ] {
        assert_eq!(Language::of_locale(locale), expected, "{locale}");
    }
}

/// The names in braces.
fn names(text: &str) -> BTreeSet<&str> {
    let behind = text.split('{').skip(1);
    behind.map(|rest| rest.split('}').next().unwrap()).collect()
}

/// That each message has an entry is seen when it is compiled; this, that each entry has a message.
#[test]
fn the_catalogue_has_what_is_said_and_nothing_else() {
    let mut sources = String::new();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for directory in [here.join("src"), here.join("../../cli/src")] {
        read(&directory, &mut sources);
    }
    for (english, chinese) in TEXTS {
        let written = format!("{english:?}").replace("\\'", "'");
        assert!(sources.contains(&written), "no message says {written}");
        assert_eq!(names(english), names(chinese), "{english}");
        assert_eq!(commands(english), commands(chinese), "{english}");
    }
    let different: BTreeSet<&str> = TEXTS.iter().map(|(english, _)| *english).collect();
    assert_eq!(different.len(), TEXTS.len(), "an entry is there twice");
}

/// The commands of this product.
fn commands(text: &str) -> BTreeSet<&str> {
    let places = text.match_indices("cls_").map(|(at, _)| &text[at..]);
    let ends = |rest: &str| rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
    places
        .map(|rest| &rest[..ends(rest).unwrap_or(rest.len())])
        .collect()
}

/// Every source below a directory, but the catalogue and what only tests say.
fn read(directory: &Path, sources: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") {
            read(&path, sources);
        } else if path.extension().is_some_and(|end| end == "rs")
            && !["zh.rs", "tests.rs"]
                .map(|name| path.ends_with(name))
                .contains(&true)
        {
            sources.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}
