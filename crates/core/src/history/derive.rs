//! What happened, from entries that follow each other.

use std::collections::BTreeSet;

use super::{Cause, Entry, Event, Kind, Loss, Moment, Operator, Outage, Reason};

/// For how many seconds a stop belongs to the promotion after it.
const TOGETHER: f64 = 900.0;

/// The commands that stop a primary, and for how many seconds they can be the reason of a stop: those that go
/// round restart the standbys first. One that was refused is noted as well, and a failure soon after it is
/// not to bear its name.
const STOPPING: [(&str, f64); 6] = [
    ("cls_online_switch", 120.0),
    ("cls_restart", 900.0),
    ("cls_setup", 900.0),
    ("cls_standby_node", 120.0),
    ("cls_start", 180.0),
    ("cls_stop", 180.0),
];

/// What the entries tell, in their order: the oldest first.
#[must_use]
pub fn events(entries: &[Entry]) -> Vec<Event> {
    let mut story = Story::default();
    for entry in entries {
        story.go_on(entry);
        story.last = Some(entry);
    }
    story.events
}

#[derive(Default)]
struct Story<'e> {
    events: Vec<Event>,
    /// The entry before.
    last: Option<&'e Entry>,
    /// The owner's stop, until somebody is promoted.
    stop: Option<Stop<'e>>,
    /// The latest command of an operator that nothing has followed.
    command: Option<(Moment, &'e Operator)>,
    /// Somebody else has changed the row: what it says of the holders proves nothing until the owner has written
    /// them again.
    doubt: bool,
    /// The last promotion: its place among the events, and its entry.
    promoted: Option<(usize, &'e Entry)>,
}

/// That the owner gave its lease back.
struct Stop<'e> {
    event: usize,
    entry: &'e Entry,
    handed_over: bool,
}

/// Whether no change can lie between an entry and the one before it: a decision moves term and epoch beyond
/// whatever any node has seen, also beyond what a lock service that was put back has forgotten, and beyond what
/// a node that could not be asked may have.
fn follows(entry: &Entry, last: &Entry) -> bool {
    let next = |now: Option<u64>, before: Option<u64>| {
        now.is_some() && now == before.map(|before| before.saturating_add(1))
    };
    next(entry.term, last.term) && next(entry.epoch, last.epoch)
}

impl<'e> Story<'e> {
    fn go_on(&mut self, entry: &'e Entry) {
        if let (Reason::Operator(operator), true) = (&entry.reason, self.is_kept(entry)) {
            self.command = Some((entry.at, operator));
            let mut event = self.event(entry, Kind::Operator);
            event.node = Some(operator.node.clone());
            event.cause = Some(Cause::Command(operator.clone()));
            self.events.push(event);
            return;
        }
        if !self.fits(entry) {
            self.foreign(entry);
            return;
        }
        match &entry.reason {
            Reason::Init | Reason::MadeAgain => {
                let event = self.event(entry, Kind::Made);
                self.events.push(event);
            }
            Reason::FirstPrimary(node) | Reason::Promote(node) => self.promotion(entry, node),
            Reason::SetHolders(node) => self.holders(entry, node),
            Reason::NameTimelines(node) => self.opened(entry, node),
            Reason::Release(node) | Reason::HandOver(node) => self.stopped(entry, node),
            Reason::Leave(node) => {
                let mut event = self.event(entry, Kind::Left);
                event.node = Some(node.clone());
                event.cause = Some(Cause::Itself);
                self.events.push(event);
            }
            Reason::GiveBack(node) => {
                let mut event = self.event(entry, Kind::GivenBack);
                event.node = Some(node.clone());
                event.cause = Some(Cause::NotOpened);
                self.events.push(event);
            }
            Reason::Override(by) => self.decision(entry, by),
            Reason::Renew(_) | Reason::Other(_) | Reason::Operator(_) => self.other(entry),
        }
    }

    /// Whether owner, term and holders are those of the entry before.
    fn is_kept(&self, entry: &Entry) -> bool {
        self.last.is_none_or(|last| {
            let names = |entry: &'e Entry| (&entry.owner, entry.term, &entry.holders);
            names(last) == (&entry.owner, entry.term, &entry.holders)
        })
    }

    /// Whether the entry can be the change that its reason names. Whoever edits the row leaves the reason of
    /// the change before.
    fn fits(&self, entry: &Entry) -> bool {
        let owner = entry.owner.as_deref();
        let Some(last) = self.last else { return true };
        let term = |more: u64| entry.term == last.term.map(|term| term.saturating_add(more));
        let kept = owner == last.owner.as_deref() && term(0);
        match &entry.reason {
            Reason::FirstPrimary(node) | Reason::Promote(node) => {
                owner == Some(node) && (term(1) || last.term.is_none())
            }
            Reason::SetHolders(node)
            | Reason::NameTimelines(node)
            | Reason::Release(node)
            | Reason::HandOver(node) => owner == Some(node) && kept,
            Reason::Leave(node) => kept && !entry.holders.contains(node),
            Reason::GiveBack(node) => {
                owner.is_none() && term(1) && last.owner.as_deref() == Some(node)
            }
            Reason::Init | Reason::MadeAgain => entry.term.unwrap_or(0) == 0,
            Reason::Override(_) | Reason::Other(_) => true,
            Reason::Renew(_) | Reason::Operator(_) => false,
        }
    }

    fn event(&self, entry: &Entry, kind: Kind) -> Event {
        let none = BTreeSet::new();
        let before = self.last.map_or(&none, |last| &last.holders);
        let only_in = |some: &BTreeSet<String>, others: &BTreeSet<String>| {
            some.difference(others).cloned().collect()
        };
        Event {
            at: entry.at,
            kind,
            node: None,
            from: None,
            term: entry.term.filter(|term| *term > 0),
            owner: entry.owner.clone(),
            holders: entry.holders.iter().cloned().collect(),
            joined: only_in(&entry.holders, before),
            gone: only_in(before, &entry.holders),
            cause: None,
            opened: None,
            heard: None,
            ended: None,
            outage: None,
            lost: None,
        }
    }

    /// The command that a stop at that moment can have been ordered by.
    fn order(&self, at: Moment) -> Option<&'e Operator> {
        let (begun, operator) = self.command?;
        let since = at.seconds_since(begun);
        let stops =
            |(name, limit): &(&str, f64)| operator.command.starts_with(name) && since <= *limit;
        STOPPING.iter().any(stops).then_some(operator)
    }

    fn promotion(&mut self, entry: &'e Entry, node: &str) {
        let stop = self.stop.take();
        let from = self.last.and_then(|last| last.owner.clone());
        let given_back = stop.is_some() || entry.before.as_ref().is_some_and(|b| b.given_back);
        let ordered = given_back.then(|| self.order(entry.at)).flatten();
        let same = from.as_deref() == Some(node);
        let kind = match (&entry.reason, &from, self.last) {
            (Reason::FirstPrimary(_), ..) => Kind::First,
            (_, None, Some(_)) => Kind::Elected,
            _ if same => Kind::Restart,
            _ if ordered.is_some() || stop.as_ref().is_some_and(|stop| stop.handed_over) => {
                Kind::Switch
            }
            _ => Kind::Takeover,
        };
        let near = |stop: &Stop<'_>| entry.at.seconds_since(stop.entry.at) <= TOGETHER;
        if let Some(stop) = stop.as_ref().filter(|stop| near(stop)) {
            // It is part of this. Events behind it are referred to by nothing.
            self.events.remove(stop.event);
        }
        let mut event = self.event(entry, kind);
        event.node = Some(node.to_owned());
        if !matches!(kind, Kind::First | Kind::Elected) {
            event.cause = Some(match (ordered, &entry.before) {
                (Some(operator), _) => Cause::Command(operator.clone()),
                _ if given_back => Cause::Stopped,
                (None, None) => Cause::NotRecorded,
                (None, Some(_)) if same => Cause::Ended,
                (None, Some(before)) => Cause::Silent {
                    seconds: entry.at.seconds_since(before.renewed),
                },
            });
            (event.heard, event.ended) = match (&stop, &entry.before) {
                (Some(stop), _) => {
                    let before = stop.entry.before.as_ref();
                    (before.map(|before| before.renewed), Some(stop.entry.at))
                }
                // A lease that was given back bears the time of that.
                (None, Some(before)) if before.given_back => (None, Some(before.renewed)),
                (None, before) => (before.as_ref().map(|before| before.renewed), None),
            };
            event.from = from;
        }
        event.lost = self.lost(entry, kind, node);
        self.command = self.command.filter(|_| ordered.is_none());
        self.promoted = Some((self.events.len(), entry));
        self.events.push(event);
    }

    /// What a promotion loses, as far as it is known before the new primary is open.
    fn lost(&self, entry: &Entry, kind: Kind, node: &str) -> Option<Loss> {
        let last = match (kind, self.last) {
            // What a decision may have lost is told with it.
            (Kind::First | Kind::Elected, _) => return None,
            _ if self.doubt => return Some(Loss::NotRecorded),
            (_, None) => return Some(Loss::NotRecorded),
            (_, Some(last)) => last,
        };
        if last.holders.contains(node) || last.owner.as_deref() == Some(node) {
            return Some(Loss::Nothing);
        }
        let position = |node: Option<&str>| {
            let before = entry.before.as_ref()?;
            before.positions.get(node?).copied()
        };
        let both = position(last.owner.as_deref()).zip(position(Some(node)));
        let bytes = both.map(|(had, has)| had.distance(has));
        Some(Loss::Behind { bytes })
    }

    /// The last promoted node is open, and where its timeline begins is known.
    fn opened(&mut self, entry: &Entry, node: &str) {
        let Some((index, promotion)) = self.promoted else {
            return;
        };
        let event = &mut self.events[index];
        let its = event.node.as_deref() == Some(node) && event.term == entry.term;
        if !its || event.opened.is_some() {
            return;
        }
        event.opened = Some(entry.at);
        let gap = |since: Option<Moment>| since.map(|since| entry.at.seconds_since(since));
        event.outage = event.heard.or(event.ended).map(|_| Outage {
            at_least_seconds: gap(event.ended),
            at_most_seconds: gap(event.heard),
        });
        if let Some(Loss::Behind { bytes }) = &mut event.lost {
            let positions = promotion.before.as_ref().map(|before| &before.positions);
            let had = positions.and_then(|known| known.get(event.from.as_deref()?));
            let fork = entry.timeline.map(|timeline| timeline.fork);
            *bytes = had.zip(fork).map(|(had, fork)| had.distance(fork));
        }
    }

    fn holders(&mut self, entry: &'e Entry, node: &str) {
        self.doubt = false;
        let mut event = self.event(entry, Kind::Other);
        event.kind = match (&event.joined[..], &event.gone[..]) {
            // A write of what was there already moves the epoch alone.
            ([], []) => return,
            (_, []) => Kind::Added,
            ([], _) => Kind::Degraded,
            _ => Kind::Exchanged,
        };
        event.node = Some(node.to_owned());
        event.cause = Some(Cause::Replication);
        self.events.push(event);
    }

    fn stopped(&mut self, entry: &'e Entry, node: &str) {
        let handed_over = matches!(entry.reason, Reason::HandOver(_));
        // The lease is given back by the stop, and the register handed over after that.
        if let Some(stop) = &mut self.stop {
            stop.handed_over |= handed_over;
            return;
        }
        let mut event = self.event(entry, Kind::Stopped);
        event.node = Some(node.to_owned());
        event.heard = entry.before.as_ref().map(|before| before.renewed);
        event.ended = Some(entry.at);
        event.cause = Some(
            self.order(entry.at)
                .map_or(Cause::Stopped, |operator| Cause::Command(operator.clone())),
        );
        self.stop = Some(Stop {
            event: self.events.len(),
            entry,
            handed_over,
        });
        self.events.push(event);
    }

    /// An operator's decision: what was lost is what the chosen nodes were not known to hold.
    fn decision(&mut self, entry: &Entry, by: &str) {
        let mut event = self.event(entry, Kind::Recovery);
        event.node = event.holders.first().cloned();
        event.cause = Some(Cause::Decision { by: by.to_owned() });
        event.from = self.last.and_then(|last| last.owner.clone());
        // A row that was made again just before names nobody.
        let known = self
            .last
            .filter(|last| !self.doubt && !last.holders.is_empty());
        event.lost = Some(match known {
            None => Loss::NotRecorded,
            Some(last) if !entry.holders.is_subset(&last.holders) => Loss::Possible {
                holders: last.holders.iter().cloned().collect(),
            },
            Some(last) if follows(entry, last) => Loss::Nothing,
            Some(_) => Loss::NotRecorded,
        });
        self.stop = None;
        self.doubt = false;
        self.events.push(event);
    }

    /// A change of this program that this version does not know. The plain lock leaves no reason.
    fn other(&mut self, entry: &Entry) {
        let Reason::Other(text) = &entry.reason else {
            return;
        };
        if entry.term.unwrap_or(0) == 0 {
            self.lock(entry);
            return;
        }
        let mut event = self.event(entry, Kind::Other);
        event.node = entry.owner.clone();
        event.cause = Some(Cause::Words { text: text.clone() });
        self.events.push(event);
    }

    /// Changed by somebody else: as the bare lock is, or by hand.
    fn foreign(&mut self, entry: &Entry) {
        if entry.term.unwrap_or(0) == 0 && self.last.is_some_and(|last| last.term == entry.term) {
            self.lock(entry);
            return;
        }
        let mut event = self.event(entry, Kind::Edited);
        event.from = self.last.and_then(|last| last.owner.clone());
        event.lost = Some(Loss::NotRecorded);
        self.stop = None;
        self.doubt = true;
        self.events.push(event);
    }

    fn lock(&mut self, entry: &Entry) {
        let mut event = self.event(entry, Kind::Lock);
        event.from = self.last.and_then(|last| last.owner.clone());
        event.node = entry.owner.clone();
        event.ended = entry.given_back.then_some(entry.at);
        self.events.push(event);
    }
}
