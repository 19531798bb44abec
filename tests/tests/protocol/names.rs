//! R13: timelines by name, where numbers are given again, operators pass an owner over, and standbys are
//! opened by hand.
//!
//! Terms are kept relative to the register's, so a name's term is kept as who began the timeline: what
//! matters of it is only whether it is the same. `FIRST` is the timeline that nobody began.

use pha_core::decide::operator::{NodePosition, RecoveryFacts, plan_recovery};
use pha_core::lineage::{Held, Lineage, Opening, OwnData, Record, Seen, TimelineName, Timelines};
use pha_core::lsn::Lsn;
use pha_core::register::{Reading, Update};
use pha_core::timeline::{History, HistoryEntry, TimelineId, WalPosition};

use crate::agent::timeline_id;
use crate::model::{Explored, Move};
use crate::mutation::Mutation;
use crate::state::{Log, Node, Postgres, State, index, name};

/// The term in the name of the timeline that nobody began; one of node `i` has this and `i + 1`.
const FIRST: u64 = 9;
/// The most timelines that the bounds allow.
const MOST: usize = 4;

/// Names, as small as a state wants them: who began the timeline, its number and its fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Names {
    len: u8,
    all: [(u8, u8, u8); MOST],
}

impl Names {
    pub(crate) fn of(lineage: &Lineage) -> Self {
        let mut names = Self::default();
        for name in lineage.names() {
            let fork = name.fork.as_u64() as u8;
            names.all[usize::from(names.len)] =
                ((name.term - FIRST) as u8, name.number.get() as u8, fork);
            names.len += 1;
        }
        names
    }

    /// The timelines of a log, as it has them in itself.
    pub(crate) fn written(log: &Log) -> Self {
        let mut names = first();
        for (parent, fork) in log.switches() {
            let next = log.first(usize::from(fork)).timeline();
            debug_assert!(next > parent);
            let who = log.began(next).map_or(0, |who| who + 1);
            names.all[usize::from(names.len)] = (who, next, fork);
            names.len += 1;
        }
        names
    }

    pub(crate) fn lineage(&self) -> Lineage {
        let names = self.all[..usize::from(self.len)].iter();
        Lineage::new(
            names
                .map(|(who, number, fork)| TimelineName {
                    term: FIRST + u64::from(*who),
                    number: timeline_id(*number),
                    fork: Lsn::new(u64::from(*fork)),
                })
                .collect(),
        )
    }

    pub(crate) fn timelines(&self, term: u64, highest: u8) -> Timelines {
        Timelines {
            term,
            highest: u32::from(highest),
            lineage: self.lineage(),
            former: None,
        }
    }
}

/// What a node keeps about its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Kept {
    pub(crate) names: Names,
    pub(crate) held: Held,
}

impl Kept {
    pub(crate) fn record(&self) -> Record {
        Record {
            system: 1,
            lineage: self.names.lineage(),
            held: self.held,
        }
    }
}

/// The history of a log's timeline, as PostgreSQL has it in a file.
pub(crate) fn history(log: &Log) -> History {
    let entries = log
        .switches()
        .into_iter()
        .map(|(parent, end)| HistoryEntry {
            parent: timeline_id(parent),
            end: Lsn::new(u64::from(end)),
        });
    History {
        own: timeline_id(log.timeline()),
        entries: entries.collect(),
    }
}

/// The lineage with the terms of names that a decision has just made replaced by who began them, which
/// the log knows.
pub(crate) fn translated(lineage: &Lineage, log: &Log) -> Lineage {
    let names = lineage.names().iter().map(|name| TimelineName {
        term: match name.term {
            known if known >= FIRST => known,
            _ => log
                .began(name.number.get() as u8)
                .map_or(FIRST, |who| FIRST + 1 + u64::from(who)),
        },
        ..*name
    });
    Lineage::new(names.collect())
}

impl Explored {
    /// What the register is told: names with who began them.
    pub(crate) fn named_update(&self, state: &State, update: &Update) -> Update {
        let mut update = update.clone();
        if let Update::NameTimelines { node, lineage, .. } = &mut update
            && let Some(node) = index(node)
        {
            *lineage = translated(lineage, &state.nodes[node].log);
        }
        update
    }

    pub(crate) fn keep_record(&self, node: &mut Node, lineage: &Lineage, held: Held) {
        if !self.named || self.mutation == Mutation::RecordNotKept {
            return;
        }
        node.record = Some(Kept {
            names: Names::of(&translated(lineage, &node.log)),
            held: match held {
                Held::Opened(_) if self.mutation == Mutation::OpeningNotBounded => {
                    Held::Opened(Opening::at(0))
                }
                Held::Opened(opening) => Held::Opened(Opening { term: 0, ..opening }),
                held => held,
            },
        });
    }

    pub(crate) fn override_moves(&self, state: &State, i: usize, moves: &mut Vec<Move>) {
        // The owner is off, as the operator has to say (R15).
        let in_the_way = |(j, node): (usize, &Node)| {
            let runs = matches!(node.postgres, Postgres::Standby { .. });
            node.run.is_some() || (runs && j != i && state.row.owner == Some(j as u8))
        };
        if self.overrides
            && !self.outages
            && state.overrides_left > 0
            && state.row.elected
            && !state.nodes[i].unfinished
            && !state.nodes.iter().enumerate().any(in_the_way)
        {
            moves.push(Move::Overrides(i));
        }
    }

    /// An operator goes on with this node's data: what the others have acknowledged beyond is given up.
    pub(crate) fn overridden(&self, state: &mut State, i: usize) -> Option<()> {
        let facts = self.recovery_facts(state, i);
        let plan = plan_recovery(&facts).ok()?;
        let update = plan.update(&facts, String::new())?;
        state.acknowledged &= state.nodes[i].log.commits();
        state.overrides_left -= 1;
        self.update(state, &update);
        Some(())
    }

    /// What the operator's command finds, whose nodes are all members of the cluster and have all seen the
    /// register as it is.
    fn recovery_facts(&self, state: &State, i: usize) -> RecoveryFacts {
        let register = state.register();
        let nodes = state.nodes.iter().enumerate().map(|(j, node)| {
            let runs = matches!(node.postgres, Postgres::Standby { .. });
            NodePosition {
                node: name(j),
                member: true,
                usable: true,
                runs,
                end: Ok(WalPosition {
                    timeline: timeline_id(node.log.timeline()),
                    lsn: Lsn::new(u64::from(node.log.end())),
                }),
                system: Some(1),
                lineage: lineage(node),
                unproven: None,
            }
        });
        let primary = |j: &usize| matches!(state.nodes[*j].postgres, Postgres::Primary { .. });
        let known = state.nodes.iter().filter_map(|node| node.record);
        let highest = known.filter_map(|kept| kept.names.lineage().last());
        RecoveryFacts {
            wanted: Some(name(i)),
            replicated: true,
            promoted: (0..self.nodes).filter(primary).map(name).collect(),
            off: Default::default(),
            nodes: nodes.collect(),
            me: name(i),
            here: Some(1),
            known: pha_core::register::Seen::of(&register),
            seen: pha_core::register::Seen::of(&register),
            number: highest.map(|name| name.number.get()).max().unwrap_or(0),
            register: Some(Reading::Row(register)),
            gave_way: None,
        }
    }

    /// The number that PostgreSQL takes: the next one that it sees no history file of.
    pub(crate) fn opens(&self, node: &mut Node, i: usize) {
        let reserved = match self.mutation {
            Mutation::NumberNotReserved => 0,
            _ => node.reserved,
        };
        node.log.begin_timeline(i, reserved);
        node.reserved = 0;
        node.standby_signal = false;
        node.postgres = Postgres::Primary {
            in_force: match self.mutation {
                Mutation::StandbyIsOpen => node.shown & !crate::state::NOBODY_BIT,
                _ => node.shown,
            },
        };
    }
}

/// The timelines of a node's data by name, as its own commands tell them: of a server that runs the record
/// is believed, and otherwise what lies on the disk is held against it.
pub(crate) fn lineage(node: &Node) -> Option<Lineage> {
    let record = node.record.map(|kept| kept.record());
    let number = timeline_id(node.log.timeline());
    if node.postgres != Postgres::Down {
        return OwnData::Served(record.as_ref(), number).lineage();
    }
    let stopped = OwnData::Stopped(Seen {
        record: record.as_ref(),
        system: Some(1),
        end: WalPosition {
            timeline: number,
            lsn: Lsn::new(u64::from(node.log.end())),
        },
        history: &history(&node.log),
        standby_signal: node.standby_signal.into(),
        fresh_copy: false,
    });
    Some(translated(&stopped.lineage()?, &node.log))
}

/// The name of a timeline that node `i` has begun.
pub(crate) fn begun_by(i: usize, number: TimelineId, fork: Lsn) -> TimelineName {
    TimelineName {
        term: FIRST + 1 + i as u64,
        number,
        fork,
    }
}

/// The first timeline, as everybody has recorded it who begins with it.
pub(crate) fn first() -> Names {
    Names::of(&Lineage::new(vec![TimelineName {
        term: FIRST,
        number: TimelineId::FIRST,
        fork: Lsn::INVALID,
    }]))
}
