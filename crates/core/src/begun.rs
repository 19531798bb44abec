//! What was begun in a data directory, as its mark says.
//!
//! The mark outlives the command that made it, and is read by other versions: one enum writes the words
//! and reads them.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use crate::text_enum::text_enum;

text_enum! {
    /// What makes data, and leaves a directory that is neither old nor new where it is interrupted.
    Begun, "what was begun" {
        /// A new database.
        Initdb = "initdb",
        /// The data of an old primary are rewound.
        Rewind = "pg_rewind",
        /// Everything is copied.
        Backup = "pg_basebackup",
    }
}

impl Begun {
    /// What a mark says. A word that is not understood counts as a rewind, after which nothing but a rebuild
    /// helps.
    #[must_use]
    pub fn of_mark(word: &str) -> Self {
        word.parse().unwrap_or(Self::Rewind)
    }
}

/// A link in the old data, and where it leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lead {
    /// The link, from the data directory on.
    pub link: PathBuf,
    /// Where it led.
    pub was: PathBuf,
    /// Where it leads once the old data are aside; the same for what is not moved.
    pub now: PathBuf,
}

/// The mark of a copy that has begun: a data directory that has one is never started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// What makes the data.
    #[serde(deserialize_with = "method")]
    pub method: Begun,
    /// The node that the data come from.
    pub source: String,
    /// What was moved aside: where it is now, and where it belongs.
    #[serde(default)]
    pub aside: Vec<(PathBuf, PathBuf)>,
    /// What was moved aside was itself the rest of an interrupted copy, not to be started.
    #[serde(default)]
    pub damaged: bool,
    /// The links of what was moved aside that lead out of the data directory.
    #[serde(default)]
    pub links: Vec<Lead>,
    /// It is being moved: what is in a place that is not aside yet is old data, and no copy's.
    #[serde(default)]
    pub under_way: bool,
    /// Where else a copy is written to; nothing was there before.
    #[serde(default)]
    pub into: Vec<PathBuf>,
}

fn method<'de, D: Deserializer<'de>>(from: D) -> Result<Begun, D::Error> {
    String::deserialize(from).map(|word| Begun::of_mark(&word))
}

impl Mark {
    /// The mark of what moves nothing aside.
    #[must_use]
    pub fn new(method: Begun, source: impl Into<String>) -> Self {
        Self {
            method,
            source: source.into(),
            aside: Vec::new(),
            damaged: false,
            links: Vec::new(),
            under_way: false,
            into: Vec::new(),
        }
    }

    /// Reads a mark. One that is not understood is one of a rewind all the same: what it was set on is not
    /// started, and nothing but a rebuild helps.
    #[must_use]
    pub fn of_text(text: &[u8]) -> Self {
        serde_json::from_slice(text).unwrap_or_else(|_| Self::of_rest())
    }

    /// That of data that lie where they belong and must not be started.
    #[must_use]
    pub fn of_rest() -> Self {
        Self {
            damaged: true,
            ..Self::new(Begun::Rewind, "")
        }
    }

    /// Whether it says where data were moved to, which is known nowhere else.
    #[must_use]
    pub fn leads_to_data(&self) -> bool {
        self.damaged || !self.aside.is_empty()
    }
}

/// Whether a new database may be made in a data directory: its mark makes what is in it a rest that may be taken
/// away, so that there is nothing in it yet, and it takes the place of no mark that leads to data.
#[must_use]
pub fn may_be_filled(mark: Option<&Mark>, empty: bool) -> bool {
    empty && !mark.is_some_and(Mark::leads_to_data)
}

/// Whether the mark of what was made goes: all of it was made, or it was seen that nothing is left of it.
#[must_use]
pub fn has_ended(made: bool, left: Option<bool>) -> bool {
    made || left == Some(false)
}

/// Whether these names in a directory are nothing that could be lost. The root of a file system has
/// `lost+found`.
#[must_use]
pub fn is_nothing(names: &[String]) -> bool {
    names.iter().all(|name| name == "lost+found")
}

/// Whether a node had data in a directory in which there are none now, by what only root can write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HadData {
    /// They were there, and are of the database with this system identifier.
    Yes(String),
    /// Nothing says so. Only then the node may be told to make a database.
    Never,
    /// What would say so cannot be read, and why.
    Unknown(String),
}

impl HadData {
    /// What the looks at each place that may say so amount to.
    #[must_use]
    pub fn of(looks: impl IntoIterator<Item = Result<Option<String>, String>>) -> Self {
        let mut untold = None;
        for look in looks {
            match look {
                Ok(Some(system)) => return Self::Yes(system),
                Ok(None) => {}
                Err(why) => untold = Some(why),
            }
        }
        untold.map_or(Self::Never, Self::Unknown)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_cannot_say_whether_it_had_data_is_not_one_that_never_had_any() {
        let unread = || Err("denied".to_owned());
        let seven = || Ok(Some("7".to_owned()));
        assert_eq!(HadData::of([Ok(None), Ok(None)]), HadData::Never);
        assert_eq!(
            HadData::of([unread(), seven()]),
            HadData::Yes("7".to_owned())
        );
        for looks in [[unread(), Ok(None)], [Ok(None), unread()]] {
            assert_eq!(HadData::of(looks), HadData::Unknown("denied".to_owned()));
        }
    }

    #[test]
    fn a_mark_that_is_not_understood_is_one_after_which_nothing_starts() {
        for text in [&b"{"[..], b"", b"{}", b"\xff"] {
            assert_eq!(Mark::of_text(text), Mark::of_rest());
        }
        assert!(Mark::of_rest().leads_to_data());
        let text = br#"{"method":"rsync","source":"b","aside":[["/a.old","/a"]]}"#;
        let mark = Mark::of_text(text);
        assert_eq!((mark.method, mark.damaged), (Begun::Rewind, false));
        assert_eq!(mark.aside, [("/a.old".into(), "/a".into())]);
        let written = serde_json::to_vec(&mark).unwrap();
        assert_eq!(Mark::of_text(&written), mark);
    }

    #[test]
    fn only_an_empty_directory_is_filled_whose_mark_leads_nowhere() {
        let plain = Mark {
            damaged: false,
            ..Mark::of_rest()
        };
        let aside = Mark {
            aside: vec![("/a.old".into(), "/a".into())],
            ..plain.clone()
        };
        assert!(may_be_filled(None, true));
        assert!(may_be_filled(Some(&plain), true));
        for mark in [Mark::of_rest(), aside] {
            assert!(!may_be_filled(Some(&mark), true), "{mark:?}");
        }
        assert!(!may_be_filled(None, false));
    }

    #[test]
    fn a_mark_goes_only_where_nothing_half_made_is_left() {
        assert!(has_ended(true, Some(true)));
        assert!(has_ended(false, Some(false)));
        assert!(!has_ended(false, Some(true)));
        // What cannot be looked at may have something in it.
        assert!(!has_ended(false, None));
    }

    #[test]
    fn lost_and_found_is_nothing() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(is_nothing(&[]));
        assert!(is_nothing(&names(&["lost+found"])));
        assert!(!is_nothing(&names(&["lost+found", "base"])));
    }
}
