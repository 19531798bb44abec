//! The same in sentences.

use serde::Serialize;

use super::{Cause, Event, Kind, Loss, Moment, Outage};
use crate::message;
use crate::message::Message;

/// Names in a row; `nobody` where there are none.
fn names(names: &[String]) -> Message {
    match names {
        [] => message!("nobody"),
        names => names.join(", ").into(),
    }
}

fn or_nobody(name: Option<&String>) -> Message {
    name.map_or_else(|| message!("nobody"), Message::from)
}

/// Seconds as they are shown.
fn shown(seconds: f64) -> String {
    format!("{seconds:.1}")
}

impl Event {
    /// What happened, in one line without the time. It begins with the kind, which is the same in every language.
    #[must_use]
    pub fn headline(&self) -> Message {
        let node = or_nobody(self.node.as_ref());
        let from = or_nobody(self.from.as_ref());
        let (joined, gone) = (names(&self.joined), names(&self.gone));
        let what = match self.kind {
            Kind::Made => message!("the register's row was made"),
            Kind::First => message!("{node} is the first primary", node),
            Kind::Takeover | Kind::Switch => match self.from {
                Some(_) => message!("{from} -> {node}", from, node),
                None => message!("{node} is primary", node),
            },
            Kind::Restart => message!("{node} is primary again", node),
            Kind::Elected => message!("{node} is primary, as was decided", node),
            Kind::Stopped => message!("{node} is primary no more, and nobody else is", node),
            Kind::Degraded => message!("{node} goes on without {gone}", node, gone),
            Kind::Added => message!("{joined} holds every acknowledged commit", joined),
            Kind::Exchanged => message!("{joined} in place of {gone}", joined, gone),
            Kind::Left => message!("{node} left, before its data are replaced", node),
            Kind::GivenBack => message!("{node} did not open", node),
            Kind::Recovery => message!(
                "an operator chose the data of {nodes}",
                nodes = names(&self.holders)
            ),
            Kind::Operator => match &self.cause {
                Some(cause) => self.because(cause),
                None => Message::from(""),
            },
            Kind::Lock => match self.ended {
                Some(_) => message!("{node} gave the lock back", node),
                None => message!("{from} -> {node}", from, node),
            },
            Kind::Edited => message!(
                "somebody else changed the row: owner {owner}",
                owner = or_nobody(self.owner.as_ref())
            ),
            Kind::Other => node,
        };
        let kind = format!("{:<10}", self.kind);
        match self.term.filter(|_| self.kind != Kind::Operator) {
            Some(term) => message!("{kind}{what} (term {term})", kind, what, term),
            None => message!("{kind}{what}", kind, what),
        }
    }

    /// Why, for how long, and what it cost; each a line.
    #[must_use]
    pub fn details(&self) -> Vec<Message> {
        let mut lines = Vec::new();
        let cause = self.cause.as_ref().filter(|_| self.kind != Kind::Operator);
        lines.extend(cause.map(|cause| self.because(cause)));
        lines.extend(self.outage.and_then(Outage::text));
        let promoted = matches!(
            self.kind,
            Kind::First | Kind::Takeover | Kind::Switch | Kind::Restart | Kind::Elected
        );
        if promoted && self.opened.is_none() {
            lines.push(message!("when it was open for writing is not recorded"));
        }
        lines.extend(self.lost.as_ref().map(|lost| self.what_was_lost(lost)));
        if matches!(
            self.kind,
            Kind::Degraded | Kind::Exchanged | Kind::Left | Kind::GivenBack | Kind::Edited
        ) {
            lines.push(message!(
                "every acknowledged commit from then on: {nodes}",
                nodes = names(&self.holders)
            ));
        }
        lines
    }

    fn because(&self, cause: &Cause) -> Message {
        let from = or_nobody(self.from.as_ref().or(self.node.as_ref()));
        match cause {
            Cause::Silent { seconds } => message!(
                "{from} had said nothing for {seconds} s and not given its lease back: no power, no network, or it stood still",
                from,
                seconds = shown(*seconds)
            ),
            Cause::Stopped => message!(
                "PostgreSQL was stopped on {from} and the lease given back: on purpose, or after a failure",
                from
            ),
            Cause::Ended => message!(
                "PostgreSQL or {from} itself had ended, and not by the cluster: a crash",
                from
            ),
            Cause::Command(operator) => message!(
                "{who} on {node}: {command}",
                who = operator.who,
                node = operator.node,
                command = operator.command
            ),
            Cause::Decision { by } => by.into(),
            Cause::Replication => match self.kind {
                Kind::Degraded => message!("{gone} streamed no more", gone = names(&self.gone)),
                Kind::Added => message!(
                    "{joined} streams and has caught up",
                    joined = names(&self.joined)
                ),
                _ => message!(
                    "{gone} streamed no more or was to be stopped; {joined} streams",
                    gone = names(&self.gone),
                    joined = names(&self.joined)
                ),
            },
            Cause::NotOpened => message!(
                "PostgreSQL on {from} ended before it was open for writing, and {from} gave the right back",
                from
            ),
            Cause::Itself => message!(
                "its own doing: cls_repair_slave, cls_rebuild_slave, or a start with other data"
            ),
            Cause::Words { text } => text.into(),
            Cause::NotRecorded => message!(
                "a takeover or a switch: the entry is of an older version, which did not record which"
            ),
        }
    }

    fn what_was_lost(&self, lost: &Loss) -> Message {
        let from = or_nobody(self.from.as_ref());
        match lost {
            Loss::Nothing => message!("no acknowledged commit was lost"),
            Loss::Behind { bytes: Some(0) } => message!(
                "lost is at most what {from} wrote after its last word (asynchronous replication)",
                from
            ),
            Loss::Behind { bytes: Some(lost) } => message!(
                "lost are {bytes} bytes of WAL, and what {from} wrote after its last word (asynchronous replication)",
                bytes = *lost,
                from
            ),
            Loss::Behind { bytes: None } => {
                message!("what was lost is not recorded (asynchronous replication)")
            }
            Loss::Possible { holders } => message!(
                "lost are the commits, if any, that were on no other node than {nodes}",
                nodes = names(holders)
            ),
            Loss::NotRecorded => message!("whether commits were lost is not recorded"),
        }
    }

    /// Whether commits may have been lost.
    #[must_use]
    pub fn may_have_lost(&self) -> bool {
        !matches!(self.lost, None | Some(Loss::Nothing))
    }
}

impl Outage {
    fn text(self) -> Option<Message> {
        let times = (self.at_least_seconds, self.at_most_seconds);
        Some(match times {
            (Some(least), Some(most)) => message!(
                "no primary for {least} s to {most} s",
                least = shown(least),
                most = shown(most)
            ),
            (Some(least), None) => {
                message!("no primary for at least {least} s", least = shown(least))
            }
            (None, Some(most)) => message!("no primary for at most {most} s", most = shown(most)),
            (None, None) => return None,
        })
    }

    /// The longest that it can have been.
    #[must_use]
    pub fn longest(self) -> Option<f64> {
        self.at_most_seconds.or(self.at_least_seconds)
    }
}

/// All of it in a few numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// When the first event was; none where there is none.
    pub since: Option<Moment>,
    /// Changes of the primary that nobody had ordered.
    pub takeovers: usize,
    /// Those that an operator had.
    pub switches: usize,
    /// Returns of the same primary.
    pub restarts: usize,
    /// An operator's decisions.
    pub recoveries: usize,
    /// Times that the primary went on without a standby.
    pub degradations: usize,
    /// How many of them may have lost commits.
    pub with_loss: usize,
    /// The longest time without a primary that is known, in seconds.
    pub longest_seconds: Option<f64>,
    /// When that was.
    pub longest_at: Option<Moment>,
}

impl Summary {
    /// Of these events.
    #[must_use]
    pub fn of(events: &[Event]) -> Self {
        let count = |kind: Kind| events.iter().filter(|event| event.kind == kind).count();
        let times = events
            .iter()
            .filter_map(|event| Some((event.outage?.longest()?, event.at)));
        let longest = times.max_by(|one, other| one.0.total_cmp(&other.0));
        Self {
            since: events.first().map(|event| event.at),
            takeovers: count(Kind::Takeover),
            switches: count(Kind::Switch),
            restarts: count(Kind::Restart),
            recoveries: count(Kind::Recovery),
            degradations: count(Kind::Degraded),
            with_loss: events.iter().filter(|event| event.may_have_lost()).count(),
            longest_seconds: longest.map(|(seconds, _)| seconds),
            longest_at: longest.map(|(_, at)| at),
        }
    }

    /// In two sentences.
    #[must_use]
    pub fn lines(&self) -> [Message; 2] {
        let takeovers = match self.takeovers {
            1 => message!("1 takeover"),
            count => message!("{count} takeovers", count),
        };
        let switches = match self.switches {
            1 => message!("1 switch"),
            count => message!("{count} switches", count),
        };
        let restarts = match self.restarts {
            1 => message!("1 restart"),
            count => message!("{count} restarts", count),
        };
        let degradations = match self.degradations {
            1 => message!("1 degradation"),
            count => message!("{count} degradations", count),
        };
        let mut counts = vec![takeovers, switches, restarts, degradations];
        counts.extend(match self.recoveries {
            0 => None,
            1 => Some(message!("1 operator's decision")),
            count => Some(message!("{count} operator's decisions", count)),
        });
        let counts = counts
            .into_iter()
            .reduce(|before, name| message!("{before}, {name}", before, name));
        let lost = match (self.with_loss, self.since) {
            (0, None) => message!("nothing is recorded"),
            (0, Some(since)) => message!(
                "since {since} no loss of an acknowledged commit is recorded",
                since = since.to_string()
            ),
            (1, _) => message!("1 event may have lost commits"),
            (count, _) => message!("{count} events may have lost commits", count),
        };
        let cost = match (self.longest_seconds, self.longest_at) {
            (Some(seconds), Some(at)) => message!(
                "{lost}; the longest time without a primary: at most {seconds} s ({at})",
                lost,
                seconds = shown(seconds),
                at = at.to_string()
            ),
            _ => lost,
        };
        [counts.unwrap_or_else(|| Message::from("")), cost]
    }
}
