//! Timelines by name (R13).
//!
//! PostgreSQL numbers timelines, and two servers that open from the same position may take the same
//! number for different histories: PostgreSQL then streams across them, and `pg_rewind` finds nothing to
//! do. So a timeline is known by the term of the register at which it was begun, its number and where it
//! left the one before ([`TimelineName`]). The register keeps the names of the owner's timelines
//! ([`Timelines`]), and every node keeps, beside its memory and not in the data directory, those of the
//! data that it has ([`Record`]).
//!
//! All of it is read by other versions too, while nodes are upgraded one after the other, or one goes back:
//! a field that is not known is passed over. One that is missing, or that makes no sense, is damage.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::lsn::Lsn;
use crate::names::NodeName;
use crate::postgres::StandbySignal;
use crate::timeline::{History, TimelineId, WalPosition};

/// How many names are kept: more switches back than any data are of use.
const KEPT: usize = 50;

/// One timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TimelineName {
    /// The register's term at which it was begun, or first seen.
    pub term: u64,
    /// PostgreSQL's number.
    pub number: TimelineId,
    /// Where it left the timeline before; `0/0` for one that left none.
    pub fork: Lsn,
}

impl fmt::Display for TimelineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "timeline {} of term {}, begun at {}",
            self.number, self.term, self.fork
        )
    }
}

/// A timeline with those it came from, oldest first. Empty: nothing was ever named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lineage(Vec<TimelineName>);

impl Lineage {
    /// The names, oldest first.
    #[must_use]
    pub fn new(names: Vec<TimelineName>) -> Self {
        Self(names)
    }

    /// The names, oldest first.
    #[must_use]
    pub fn names(&self) -> &[TimelineName] {
        &self.0
    }

    /// Whether nothing was ever named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The newest timeline.
    #[must_use]
    pub fn last(&self) -> Option<TimelineName> {
        self.0.last().copied()
    }

    /// The timeline of this number.
    #[must_use]
    pub fn of(&self, number: TimelineId) -> Option<TimelineName> {
        self.0.iter().copied().find(|name| name.number == number)
    }

    /// The timeline of this number with those it came from; none when there is none.
    #[must_use]
    pub fn up_to(&self, number: TimelineId) -> Option<Self> {
        let index = self.0.iter().position(|name| name.number == number)?;
        Some(Self(self.0[..=index].to_vec()))
    }

    /// The same with a newer timeline.
    #[must_use]
    pub fn and(&self, name: TimelineName) -> Self {
        let mut names = self.0.clone();
        names.push(name);
        let older = names.len().saturating_sub(KEPT);
        names.drain(..older);
        Self(names)
    }

    /// Both from the first timeline on that they have in common, as far as their oldest names are
    /// kept, and how many they then have in common.
    fn aligned<'a>(
        &'a self,
        other: &'a Self,
    ) -> Option<(&'a [TimelineName], &'a [TimelineName], usize)> {
        let (first, theirs) = (self.0.first()?, other.0.first()?);
        let (mine, theirs) = match other.0.iter().position(|name| name == first) {
            Some(at) => (&self.0[..], &other.0[at..]),
            None => (
                &self.0[self.0.iter().position(|name| name == theirs)?..],
                &other.0[..],
            ),
        };
        let common = mine.iter().zip(theirs).take_while(|(a, b)| a == b).count();
        Some((mine, theirs, common))
    }

    /// A number that both have given, each to another timeline. PostgreSQL compares numbers alone, and
    /// would take the one for the other.
    #[must_use]
    pub fn clash(&self, other: &Self) -> Option<TimelineId> {
        let clashes = |mine: &&TimelineName| {
            let theirs = other.of(mine.number);
            theirs.is_some_and(|theirs| theirs != **mine)
        };
        self.0.iter().find(clashes).map(|name| name.number)
    }

    /// Whether the other one is this one, or went on from it.
    #[must_use]
    pub fn leads_to(&self, other: &Self) -> bool {
        self.aligned(other)
            .is_some_and(|(mine, _, common)| common == mine.len())
    }

    /// The timelines of a history that continues this one as the other one does: by number and fork.
    fn continued(&self, history: &History, other: &Self) -> Option<Self> {
        let found = other.up_to(history.own)?;
        let (_, theirs, _) = self
            .leads_to(&found)
            .then(|| self.aligned(&found))
            .flatten()?;
        let further = &theirs[self.0.len().min(theirs.len())..];
        further
            .iter()
            .all(|name| began(history, name.number) == Some(name.fork))
            .then(|| found.clone())
    }
}

/// Where a timeline of a history began; none for one that is not in it.
fn began(history: &History, number: TimelineId) -> Option<Lsn> {
    let index = match history.own == number {
        true => history.entries.len(),
        false => history
            .entries
            .iter()
            .position(|entry| entry.parent == number)?,
    };
    Some(match index.checked_sub(1) {
        Some(before) => history.entries[before].end,
        None => Lsn::INVALID,
    })
}

/// What the register knows of timelines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timelines {
    /// The term whose owner has named its timelines; any other than the register's own term: they are
    /// still to be named, by a primary that has just opened, or by an agent that knows no names.
    pub term: u64,
    /// The highest number that was ever given.
    pub highest: u32,
    /// The owner's timelines.
    pub lineage: Lineage,
    /// Who held everything before the owner was given the register, as long as it may give that back (R14). It
    /// is kept beside the names because what is there outlives a change by an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Box<Former>>,
}

/// The holders of before a promotion, with what was recorded of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Former {
    /// The term that the promotion has begun.
    pub term: u64,
    /// Who held everything then and has not replaced its data since (R6), with its recorded position (R10).
    #[serde(with = "recorded")]
    pub nodes: BTreeMap<NodeName, Option<Lsn>>,
}

/// Positions as the lock service's server writes them, which moves them from one column to the other.
mod recorded {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::lsn::Lsn;
    use crate::names::NodeName;

    type Nodes = BTreeMap<NodeName, Option<Lsn>>;

    pub(super) fn serialize<S: Serializer>(nodes: &Nodes, to: S) -> Result<S::Ok, S::Error> {
        let texts = nodes.iter();
        to.collect_map(texts.map(|(node, lsn)| (node, lsn.map(|lsn| lsn.to_string()))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Nodes, D::Error> {
        let texts = BTreeMap::<NodeName, Option<String>>::deserialize(from)?;
        let lsn = |text: String| text.parse::<Lsn>().map_err(D::Error::custom);
        let nodes = texts.into_iter();
        nodes
            .map(|(node, text)| Ok((node, text.map(lsn).transpose()?)))
            .collect()
    }
}

impl Timelines {
    /// What the register knows after the owner of `term` has named its timelines.
    #[must_use]
    pub fn named(&self, term: u64, lineage: &Lineage) -> Self {
        let number = lineage.last().map_or(0, |name| name.number.get());
        Self {
            term,
            highest: self.highest.max(number),
            lineage: lineage.clone(),
            // Who names its timelines has opened.
            former: None,
        }
    }
}

/// How this node came to hold its data as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// They were copied from the register's owner, or are about to be started as a standby's.
    Copied,
    /// They are a standby's: they were received, and never opened since.
    Following,
    /// This node was given the register, and opens them, or has.
    Opened(Opening),
}

/// What was so when a node was about to open its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "KeptOpening")]
pub struct Opening {
    /// The register's term.
    pub term: u64,
    /// The highest number of a timeline that was ever given: PostgreSQL is made to take a higher one, so
    /// that somebody else began what has this number or a lower one.
    pub above: u32,
}

impl Opening {
    /// An opening of which no more is known than its term.
    #[must_use]
    pub const fn at(term: u64) -> Self {
        Self { term, above: 0 }
    }
}

/// As it is kept: earlier programs kept the term alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum KeptOpening {
    Term(u64),
    Whole { term: u64, above: u32 },
}

impl From<KeptOpening> for Opening {
    fn from(kept: KeptOpening) -> Self {
        match kept {
            KeptOpening::Term(term) => Self::at(term),
            KeptOpening::Whole { term, above } => Self { term, above },
        }
    }
}

/// What a node keeps about its data, outside of them: written before the first byte is received and
/// before they are opened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Record {
    /// The system identifier of the data.
    pub system: u64,
    /// The timelines that they are on, or may have received from.
    pub lineage: Lineage,
    /// How they came to be.
    pub held: Held,
}

/// What is seen of data that lie on a disk.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What the node keeps about them; none before names began.
    pub record: Option<&'a Record>,
    /// Their system identifier, where it can be read.
    pub system: Option<u64>,
    /// Where their WAL ends.
    pub end: WalPosition,
    /// The history of that timeline.
    pub history: &'a History,
    /// Where `standby.signal` is there, they were not opened since the agent wrote it: PostgreSQL removes it before
    /// a server becomes a primary.
    pub standby_signal: StandbySignal,
    /// They are a base backup that was never started (`backup_label`).
    pub fresh_copy: bool,
}

/// Which timelines data are on.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nothing was recorded of these data: they are judged by numbers and positions.
    Unrecorded,
    /// These.
    Named(Lineage),
    /// They were opened by somebody else than the cluster, from this position on.
    OpenedByHand(WalPosition),
    /// It cannot be told; why.
    Unknown(String),
}

/// Tells which timelines data are on; `known` are those of the register.
pub fn origin(seen: &Seen<'_>, known: &Lineage) -> Origin {
    let Some(record) = seen
        .record
        .filter(|record| !seen.fresh_copy || record.held == Held::Copied)
    else {
        return Origin::Unrecorded;
    };
    let (Some(first), Some(last)) = (record.lineage.0.first(), record.lineage.last()) else {
        return Origin::Unrecorded;
    };
    if seen.system.is_some_and(|system| system != record.system) {
        return Origin::Unknown(format!(
            "the data here are of another database than those that this node recorded (system identifier {})",
            record.system
        ));
    }
    let number = seen.end.timeline;
    let unopened = seen.standby_signal.is_there() || record.held != Held::Following;
    let unseen = || {
        Origin::Unknown(
            "whether somebody opened the data here cannot be told, since it cannot be seen whether standby.signal is there"
                .to_owned(),
        )
    };
    if let Some(name) = record.lineage.of(number) {
        let began = began(seen.history, number);
        // Where the ancestors of the oldest name are not known, its fork is one that was seen.
        if began.is_some_and(|began| began != name.fork) {
            return Origin::Unknown(format!(
                "the data here are on another timeline {number} than the recorded {name}"
            ));
        }
        if !unopened && seen.standby_signal == StandbySignal::Unknown {
            return unseen();
        }
        if !unopened {
            return Origin::Unknown(
                "the standby here was opened, or its standby.signal removed, by somebody else than the cluster"
                    .to_owned(),
            );
        }
        return record
            .lineage
            .up_to(number)
            .map_or(Origin::Unrecorded, Origin::Named);
    }
    if number < first.number {
        return Origin::Unrecorded; // from before names began
    }
    let Some(left) = seen.history.end_of(last.number) else {
        return Origin::Unknown(format!(
            "the data here are on a timeline {number} that did not come from the recorded {last}"
        ));
    };
    match record.held {
        _ if seen.standby_signal == StandbySignal::Unknown => unseen(),
        Held::Opened(Opening { term, above })
            if last.term != term
                && number.get() > above
                && seen.history.last_switch().map(|switch| switch.parent) == Some(last.number)
                && !seen.standby_signal.is_there() =>
        {
            Origin::Named(record.lineage.and(TimelineName {
                term,
                number,
                fork: left,
            }))
        }
        _ => match record.lineage.continued(seen.history, known) {
            Some(lineage) if seen.standby_signal.is_there() => Origin::Named(lineage),
            _ => Origin::OpenedByHand(WalPosition {
                timeline: last.number,
                lsn: left,
            }),
        },
    }
}

/// A node's own data, as its commands look at them.
#[derive(Debug, Clone, Copy)]
pub enum OwnData<'a> {
    /// A server may be at work on them: what the agent has kept before it started that one, and the number of the
    /// timeline that it shows.
    Served(Option<&'a Record>, TimelineId),
    /// None is.
    Stopped(Seen<'a>),
}

impl OwnData<'_> {
    /// Which timelines they are on by name (R13), where that is proven. Of a server that runs the record is believed,
    /// without which it would not have been started; of stopped data what lies on the disk is held against it.
    #[must_use]
    pub fn lineage(&self) -> Option<Lineage> {
        match self {
            Self::Served(record, number) => (*record)?.lineage.up_to(*number),
            Self::Stopped(seen) => match origin(seen, &Lineage::default()) {
                Origin::Named(lineage) => Some(lineage),
                Origin::Unrecorded | Origin::OpenedByHand(_) | Origin::Unknown(_) => None,
            },
        }
    }

    /// What is not proven of them, so that they are not started ([`unproven`]); nothing where a server runs.
    #[must_use]
    pub fn unproven(&self, damaged: Option<String>) -> Option<Unproven> {
        match self {
            Self::Served(..) => None,
            Self::Stopped(seen) => unproven(seen, damaged),
        }
    }
}

/// Data that are not started, since it is not proven which timelines they are on. An operator may choose them
/// all the same (R15): then what they are on becomes a timeline of its own, of the decision's term, so that no
/// other node's data are taken for a part of it on the word of a number.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unproven {
    /// What is not known, or is known to be so.
    pub why: String,
    /// The timelines that it came from, where they are proven.
    before: Lineage,
    /// Its number.
    pub number: TimelineId,
    /// Where it left the timeline before.
    fork: Lsn,
    /// They are a standby's, which was told to open and has not. It may be that it has followed a primary since, to
    /// a timeline that the register knows.
    #[serde(default)]
    received: bool,
}

impl Unproven {
    /// Whether it is proven all the same, by the timelines that the register knows.
    #[must_use]
    pub fn is_proven_by(&self, known: &Lineage) -> bool {
        let same = |name: TimelineName| name.fork == self.fork;
        self.received && known.of(self.number).is_some_and(same) && self.before.leads_to(known)
    }

    /// Up to where it is proven whose the data are: what was written beyond that, since somebody opened them by
    /// hand, was acknowledged to nobody.
    #[must_use]
    pub fn proven(&self) -> Option<WalPosition> {
        let timeline = self.before.last()?.number;
        let lsn = self.fork;
        Some(WalPosition { timeline, lsn })
    }

    /// The timelines that an operator's decision goes on with, of which the register has this term then.
    #[must_use]
    pub fn chosen_at(&self, term: u64) -> Lineage {
        let (number, fork) = (self.number, self.fork);
        self.before.and(TimelineName { term, number, fork })
    }
}

/// What is not proven of a stopped server's data, if so; `damaged` says why what the node keeps about them cannot
/// be read. Data in which `standby.signal` lies are a standby's, that may have received what has no name yet. Where that
/// was told to open, and has gone on to such a timeline, no promotion opens it (`promote-strayed`).
#[must_use]
pub fn unproven(seen: &Seen<'_>, damaged: Option<String>) -> Option<Unproven> {
    let number = seen.history.own;
    let parent = seen.history.last_switch().map(|switch| switch.parent);
    let (why, before) = match (damaged, origin(seen, &Lineage::default())) {
        (Some(why), _) | (None, Origin::Unknown(why)) => (why, None),
        (None, Origin::OpenedByHand(fork)) if !seen.standby_signal.is_there() => (
            format!("somebody else than the cluster opened its data at {fork}"),
            parent.and_then(|parent| seen.record?.lineage.up_to(parent)),
        ),
        (None, Origin::OpenedByHand(fork)) if told_to_open(seen) => (
            format!(
                "before it was opened as it was told it went on at {fork} with another standby, which somebody else may have opened"
            ),
            parent.and_then(|parent| seen.record?.lineage.up_to(parent)),
        ),
        (None, Origin::Unrecorded | Origin::Named(_) | Origin::OpenedByHand(_)) => return None,
    };
    Some(Unproven {
        why,
        before: before.unwrap_or_default(),
        number,
        fork: began(seen.history, number)?,
        received: seen.standby_signal.is_there(),
    })
}

fn told_to_open(seen: &Seen<'_>) -> bool {
    seen.record
        .is_some_and(|record| matches!(record.held, Held::Opened(_)))
}

/// How data relate to the register's timelines.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kinship {
    /// There are no names to compare: numbers and positions decide.
    Unnamed,
    /// They are on the register's timelines, or a part of those.
    Follows,
    /// They have WAL that the register's owner does not have.
    Diverged {
        /// Where their ways part.
        fork: WalPosition,
        /// `pg_rewind` sees that too. It compares numbers, and takes two timelines of one number that
        /// began at one position for the same.
        rewindable: bool,
    },
    /// It cannot be told; why.
    Unknown(String),
}

/// Compares data with the register's timelines. `mine`: this node owns the register, so that its own
/// newest timeline need not be named there yet.
pub fn kinship(origin: &Origin, end: WalPosition, known: &Lineage, mine: bool) -> Kinship {
    let lineage = match origin {
        Origin::Unrecorded => return Kinship::Unnamed,
        Origin::Unknown(why) => return Kinship::Unknown(why.clone()),
        Origin::OpenedByHand(fork) => {
            return Kinship::Diverged {
                fork: *fork,
                rewindable: known.of(end.timeline).is_none(),
            };
        }
        Origin::Named(lineage) => lineage,
    };
    if known.is_empty() {
        return Kinship::Unnamed;
    }
    let Some((ours, theirs, common)) = lineage.aligned(known) else {
        return Kinship::Unknown(format!(
            "the data here are on {}, and the register knows nothing of where that came from",
            lineage
                .last()
                .map_or_else(String::new, |name| name.to_string())
        ));
    };
    let parted = |ours: Option<&TimelineName>, theirs: Option<&TimelineName>| {
        let forks = [ours, theirs].into_iter().flatten().map(|name| name.fork);
        Kinship::Diverged {
            fork: WalPosition {
                timeline: ours_or_first(common, lineage, known),
                lsn: forks.min().unwrap_or(end.lsn),
            },
            rewindable: ours.zip(theirs).is_none_or(|(ours, theirs)| {
                (ours.number, ours.fork) != (theirs.number, theirs.fork)
            }),
        }
    };
    match (ours.get(common), theirs.get(common)) {
        (None, None) => Kinship::Follows,
        (None, Some(next)) if end.lsn <= next.fork => Kinship::Follows,
        (None, Some(next)) => parted(None, Some(next)),
        (Some(_), None) if mine => Kinship::Follows,
        (own, next) => parted(own, next),
    }
}

/// The newest timeline that both have, by number.
fn ours_or_first(common: usize, lineage: &Lineage, known: &Lineage) -> TimelineId {
    let shared = lineage
        .aligned(known)
        .and_then(|(ours, _, _)| ours.get(common.checked_sub(1)?).copied());
    shared.map_or(TimelineId::FIRST, |name| name.number)
}

/// Whether a history file of the archive may be given to PostgreSQL, which follows the newest timeline
/// that it finds; its text is known once it was fetched.
///
/// # Errors
/// Why not.
pub fn may_hand_out(
    known: &Lineage,
    number: TimelineId,
    history: Option<&History>,
) -> Result<(), String> {
    let Some(first) = known.0.first() else {
        return Ok(()); // nothing is named yet
    };
    let Some(name) = known.of(number) else {
        return match number < first.number {
            true => Ok(()),
            false => Err(format!("this node knows no timeline {number}")),
        };
    };
    match history.and_then(|history| began(history, number)) {
        Some(began) if began != name.fork => Err(format!(
            "its timeline {number} began at {began}, and the one known here is {name}"
        )),
        _ => Ok(()),
    }
}

/// The timelines of a primary, the owner at `term`, that writes the timeline of this history. What a
/// standby's record knows of that number is what it might have received: where somebody else opened it, the
/// number may be of another timeline, so that the name is a new one, unless this owner has registered it.
#[must_use]
pub fn of_primary(
    record: Option<&Record>,
    history: &History,
    known: &Timelines,
    term: u64,
) -> Lineage {
    let number = history.own;
    let fork = began(history, number).unwrap_or(Lsn::INVALID);
    let (base, held) = match record {
        Some(record) if !record.lineage.is_empty() => (&record.lineage, Some(record.held)),
        _ => (&known.lineage, None),
    };
    let trusted = match held {
        Some(Held::Following | Held::Copied) => Some(&known.lineage).filter(|_| known.term == term),
        _ => Some(base),
    };
    let named = trusted.filter(|names| names.of(number).is_some_and(|name| name.fork == fork));
    if let Some(named) = named.and_then(|names| names.up_to(number)) {
        return named;
    }
    let parent = history.last_switch().map(|switch| switch.parent);
    let before = parent
        .and_then(|parent| base.up_to(parent))
        .unwrap_or_default();
    let term = match record.map(|record| record.held) {
        Some(Held::Opened(opening)) => opening.term,
        _ => term,
    };
    before.and(TimelineName { term, number, fork })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
