//! The same in sentences.

use serde::Serialize;

use super::{Cause, Event, Kind, Loss, Moment, Outage};

/// Names in a row; `nobody` where there are none.
fn names(names: &[String]) -> String {
    match names {
        [] => "nobody".to_owned(),
        names => names.join(", "),
    }
}

fn or_nobody(name: Option<&String>) -> &str {
    name.map_or("nobody", String::as_str)
}

impl Event {
    /// What happened, in one line without the time.
    #[must_use]
    pub fn headline(&self) -> String {
        let node = or_nobody(self.node.as_ref());
        let from = or_nobody(self.from.as_ref());
        let (joined, gone) = (names(&self.joined), names(&self.gone));
        let what = match self.kind {
            Kind::Made => "the register's row was made".to_owned(),
            Kind::First => format!("{node} is the first primary"),
            Kind::Takeover | Kind::Switch => match self.from {
                Some(_) => format!("{from} -> {node}"),
                None => format!("{node} is primary"),
            },
            Kind::Restart => format!("{node} is primary again"),
            Kind::Elected => format!("{node} is primary, as was decided"),
            Kind::Stopped => format!("{node} is primary no more, and nobody else is"),
            Kind::Degraded => format!("{node} goes on without {gone}"),
            Kind::Added => format!("{joined} holds every acknowledged commit"),
            Kind::Exchanged => format!("{joined} in place of {gone}"),
            Kind::Left => format!("{node} left, before its data are replaced"),
            Kind::GivenBack => format!("{node} did not open"),
            Kind::Recovery => format!("an operator chose the data of {}", names(&self.holders)),
            Kind::Operator => match &self.cause {
                Some(cause) => self.because(cause),
                None => String::new(),
            },
            Kind::Lock => match self.ended {
                Some(_) => format!("{node} gave the lock back"),
                None => format!("{from} -> {node}"),
            },
            Kind::Edited => format!("somebody else changed the row: owner {}", {
                or_nobody(self.owner.as_ref())
            }),
            Kind::Other => node.to_owned(),
        };
        match self.term.filter(|_| self.kind != Kind::Operator) {
            Some(term) => format!("{:<10}{what} (term {term})", self.kind),
            None => format!("{:<10}{what}", self.kind),
        }
    }

    /// Why, for how long, and what it cost; each a line.
    #[must_use]
    pub fn details(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let cause = self.cause.as_ref().filter(|_| self.kind != Kind::Operator);
        lines.extend(cause.map(|cause| self.because(cause)));
        lines.extend(self.outage.and_then(Outage::text));
        let promoted = matches!(
            self.kind,
            Kind::First | Kind::Takeover | Kind::Switch | Kind::Restart | Kind::Elected
        );
        if promoted && self.opened.is_none() {
            lines.push("when it was open for writing is not recorded".to_owned());
        }
        lines.extend(self.lost.as_ref().map(|lost| self.what_was_lost(lost)));
        if matches!(
            self.kind,
            Kind::Degraded | Kind::Exchanged | Kind::Left | Kind::GivenBack | Kind::Edited
        ) {
            lines.push(format!(
                "every acknowledged commit from then on: {}",
                names(&self.holders)
            ));
        }
        lines
    }

    fn because(&self, cause: &Cause) -> String {
        let from = or_nobody(self.from.as_ref().or(self.node.as_ref()));
        match cause {
            Cause::Silent { seconds } => format!(
                "{from} had said nothing for {seconds:.1} s and not given its lease back: no power, no \
                 network, or it stood still"
            ),
            Cause::Stopped => format!(
                "PostgreSQL was stopped on {from} and the lease given back: on purpose, or after a failure"
            ),
            Cause::Ended => format!(
                "PostgreSQL or {from} itself had ended, and not by the cluster: a crash"
            ),
            Cause::Command(operator) => {
                format!("{} on {}: {}", operator.who, operator.node, operator.command)
            }
            Cause::Decision { by } => by.clone(),
            Cause::Replication => match self.kind {
                Kind::Degraded => format!("{} streamed no more", names(&self.gone)),
                Kind::Added => format!("{} streams and has caught up", names(&self.joined)),
                _ => format!(
                    "{} streamed no more or was to be stopped; {} streams",
                    names(&self.gone),
                    names(&self.joined)
                ),
            },
            Cause::NotOpened => format!(
                "PostgreSQL on {from} ended before it was open for writing, and {from} gave the right back"
            ),
            Cause::Itself => "its own doing: cls_repair_slave, cls_rebuild_slave, or a start with other data".to_owned(),
            Cause::Words { text } => text.clone(),
            Cause::NotRecorded => {
                "a takeover or a switch: the entry is of an older version, which did not record which"
                    .to_owned()
            }
        }
    }

    fn what_was_lost(&self, lost: &Loss) -> String {
        let from = or_nobody(self.from.as_ref());
        match lost {
            Loss::Nothing => "no acknowledged commit was lost".to_owned(),
            Loss::Behind { bytes: Some(0) } => format!(
                "lost is at most what {from} wrote after its last word (asynchronous replication)"
            ),
            Loss::Behind { bytes: Some(lost) } => format!(
                "lost are {lost} bytes of WAL, and what {from} wrote after its last word (asynchronous \
                 replication)"
            ),
            Loss::Behind { bytes: None } => {
                "what was lost is not recorded (asynchronous replication)".to_owned()
            }
            Loss::Possible { holders } => format!(
                "lost are the commits, if any, that were on no other node than {}",
                names(holders)
            ),
            Loss::NotRecorded => "whether commits were lost is not recorded".to_owned(),
        }
    }

    /// Whether commits may have been lost.
    #[must_use]
    pub fn may_have_lost(&self) -> bool {
        !matches!(self.lost, None | Some(Loss::Nothing))
    }
}

impl Outage {
    fn text(self) -> Option<String> {
        Some(match (self.at_least_seconds, self.at_most_seconds) {
            (Some(least), Some(most)) => {
                format!("no primary for {least:.1} s to {most:.1} s")
            }
            (Some(least), None) => format!("no primary for at least {least:.1} s"),
            (None, Some(most)) => format!("no primary for at most {most:.1} s"),
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
    pub fn lines(&self) -> [String; 2] {
        let some = |count: usize, one: &str| match count {
            1 => format!("1 {one}"),
            count => format!("{count} {one}s"),
        };
        let switches = match self.switches {
            1 => "1 switch".to_owned(),
            count => format!("{count} switches"),
        };
        let decisions = match self.recoveries {
            0 => String::new(),
            count => format!(", {}", some(count, "operator's decision")),
        };
        let lost = match (self.with_loss, self.since) {
            (0, None) => "nothing is recorded".to_owned(),
            (0, Some(since)) => {
                format!("since {since} no loss of an acknowledged commit is recorded")
            }
            (count, _) => format!("{} may have lost commits", some(count, "event")),
        };
        let longest = match (self.longest_seconds, self.longest_at) {
            (Some(seconds), Some(at)) => {
                format!("; the longest time without a primary: at most {seconds:.1} s ({at})")
            }
            _ => String::new(),
        };
        [
            format!(
                "{}, {switches}, {}, {}{decisions}",
                some(self.takeovers, "takeover"),
                some(self.restarts, "restart"),
                some(self.degradations, "degradation"),
            ),
            format!("{lost}{longest}"),
        ]
    }
}
