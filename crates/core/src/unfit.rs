//! Why a standby could not be the next primary, or only as the last of all (R14), as its own agent says it to the
//! cluster.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// What kind of reason it is: what is to be done about it goes by that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnfitKind {
    /// Replay is paused, since a limit is lower than the primary's: PostgreSQL would end when it is promoted.
    Limits,
    /// A file of its settings has an error, so that PostgreSQL takes up no change: it would be promoted and go on waiting
    /// for a standby that cannot exist.
    Files,
    /// Its disk has no room for a new timeline: it is promoted only where no other standby can be.
    Room,
}

impl UnfitKind {
    const ALL: [Self; 3] = [Self::Limits, Self::Files, Self::Room];

    fn word(self) -> &'static str {
        match self {
            Self::Limits => "limits",
            Self::Files => "files",
            Self::Room => "room",
        }
    }
}

/// What an agent says of itself when its disk is full. One that says no kind yet says this alone.
const NO_ROOM: &str = "the file system of its pg_wal has no room for the WAL of a new timeline";

/// A reason.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unfit {
    /// Its kind; none of one that this version does not know.
    pub kind: Option<UnfitKind>,
    /// A sentence.
    pub why: String,
}

impl Unfit {
    /// A reason of this kind.
    #[must_use]
    pub fn new(kind: UnfitKind, why: impl Into<String>) -> Self {
        Self {
            kind: Some(kind),
            why: why.into(),
        }
    }

    /// The disk is full.
    #[must_use]
    pub fn no_room() -> Self {
        Self::new(UnfitKind::Room, NO_ROOM)
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Some(kind) => write!(f, "{}: {}", kind.word(), self.why),
            None => f.write_str(&self.why),
        }
    }
}

impl FromStr for Unfit {
    type Err = Infallible;

    /// An agent of an earlier version says a sentence alone: of a full disk, or of limits.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let of_word = |word: &str| UnfitKind::ALL.into_iter().find(|kind| kind.word() == word);
        let is_word = |word: &str| word.bytes().all(|byte| byte.is_ascii_lowercase());
        Ok(match text.split_once(": ") {
            Some((word, why)) if of_word(word).is_some() => Self {
                kind: of_word(word),
                why: why.to_owned(),
            },
            Some((word, _)) if is_word(word) => Self {
                kind: None,
                why: text.to_owned(),
            },
            _ if text == NO_ROOM => Self::no_room(),
            _ => Self::new(UnfitKind::Limits, text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_without_a_kind_is_an_earlier_agents() {
        let limits = "replay is paused, since max_connections is 50 and the primary had 100";
        for (text, kind, why) in [
            (NO_ROOM, Some(UnfitKind::Room), NO_ROOM),
            (limits, Some(UnfitKind::Limits), limits),
            (
                "files: a.conf line 1: x",
                Some(UnfitKind::Files),
                "a.conf line 1: x",
            ),
            ("weather: it rains", None, "weather: it rains"),
        ] {
            let read: Unfit = text.parse().unwrap();
            assert_eq!((read.kind, read.why.as_str()), (kind, why), "{text}");
        }
        for kind in UnfitKind::ALL {
            let said = Unfit::new(kind, "it is so: truly");
            assert_eq!(said.to_string().parse(), Ok(said));
        }
    }
}
