//! R11: links that are not what they call themselves.
//!
//! A stranger acknowledges whatever it is sent. It has a node's plain name, as a copy of an older
//! version's files has, or the present one, where that can be had by nobody's mistake but the protocol's
//! own: not once the node's agent has said anything of the server that has it, and not while that server
//! streams or the node is a holder. Beyond that it is impersonation, which the promise excludes in words.

use std::collections::BTreeMap;

use pha_core::cluster::Announced;
use pha_core::decide::decide;
use pha_core::link_name::{Flushed, LinkName};
use pha_core::lsn::Lsn;
use pha_core::names::NodeName;
use pha_core::plan::{Action, Attribute};
use pha_core::register::Reading;
use pha_core::snapshot::{
    Answer, KeptBarrier, KeptHold, KeptLinks, LinkId, LinkNames, LinkRow, Operation, Progress,
    RunningName, Snapshot,
};
use pha_core::status::{SyncState, WalSenderState};
use pha_core::timeline::{TimelineId, WalPosition};

use crate::agent::timeline_id;
use crate::model::{Explored, Move, upstream};
use crate::mutation::Mutation;
use crate::state::{HELD_BIT, Kind, NODES, Node, Postgres, State, View, name};

/// R11.
pub(crate) const FORMER_NAME: &str =
    "no monitor leaves a name of an earlier start in force beside the standby that had it";

/// Names, as `synchronous_standby_names` has them: a bit for each node and, above them, the number of
/// the incarnation; 0 is the plain name.
const SHIFT: u8 = NODES as u8;

/// A receiver that acknowledges whatever it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stranger {
    /// From which primary.
    pub(crate) from: u8,
    /// Under which name, as in [`crate::state::Node::names`].
    pub(crate) called: u8,
}

/// What a node's own agent has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Said {
    pub(crate) incarnation: u8,
    pub(crate) timeline: u8,
    pub(crate) end: u8,
    /// The term of the timeline's name, where that was said.
    pub(crate) begun: Option<u8>,
}

pub(crate) fn called(node: usize, incarnation: u8) -> u8 {
    1 << node | incarnation << SHIFT
}

pub(crate) fn link_name(node: usize, incarnation: u8) -> LinkName {
    match incarnation {
        0 => LinkName::plain(&name(node)),
        number => LinkName::incarnation(&name(node), u64::from(number)),
    }
}

pub(crate) fn texts(names: u8) -> Vec<String> {
    let nodes = (0..NODES).filter(|node| names & 1 << node != 0);
    nodes
        .map(|node| link_name(node, incarnation(names)).to_string())
        .collect()
}

/// The incarnation in names.
fn incarnation(names: u8) -> u8 {
    (names & !HELD_BIT) >> SHIFT
}

/// The other way.
pub(crate) fn of_texts(texts: &[String]) -> u8 {
    let all = (0..NODES).flat_map(|node| (0..8).map(move |number| (node, number)));
    let known = all.filter(|(node, number)| texts.contains(&link_name(*node, *number).to_string()));
    known.fold(0, |names, (node, number)| names | called(node, number))
}

/// The number in a name of this node.
pub(crate) fn number(node: usize, of: &LinkName) -> u8 {
    (0..8)
        .find(|number| link_name(node, *number) == *of)
        .unwrap_or(0)
}

impl Explored {
    /// A number that nothing has any more.
    fn fresh(&self, state: &State, i: usize) -> u8 {
        if !self.strangers {
            return 0;
        }
        let node = &state.nodes[i];
        let mut used = vec![node.incarnation, node.announced];
        used.extend(node.said.map(|said| said.incarnation));
        let mut names: Vec<u8> = state
            .stranger
            .iter()
            .map(|stranger| stranger.called)
            .collect();
        for other in &state.nodes {
            names.extend([other.names, other.shown]);
            names.extend(other.kept.map(|(names, _)| names));
            if let Postgres::Primary { in_force } = other.postgres {
                names.push(in_force);
            }
        }
        let of_node = names.into_iter().filter(|names| names & 1 << i != 0);
        used.extend(of_node.map(incarnation));
        (1..8)
            .find(|number| !used.contains(number))
            .expect("a free number")
    }

    pub(crate) fn link_names(&self, state: &State, i: usize) -> LinkNames {
        let node = &state.nodes[i];
        let barrier = node.kept.map(|(names, lsn)| KeptBarrier {
            name: texts(names).concat(),
            lsn: Lsn::new(u64::from(lsn)),
            term: state.register().term,
            epoch: state.register().epoch,
        });
        LinkNames {
            fresh: link_name(i, self.fresh(state, i)),
            running: match (node.postgres, node.incarnation) {
                (Postgres::Down, _) => RunningName::Unknown,
                (_, 0) => RunningName::Unnamed,
                (_, number) => RunningName::Name(link_name(i, number)),
            },
            kept: Some(KeptLinks {
                names: self.known_names(state),
                barrier,
                hold: node.hold.map(|holder| KeptHold {
                    holder: name(usize::from(holder)),
                    term: state.register().term,
                    epoch: state.register().epoch,
                }),
                without_quorum: Some(self.without_quorum()),
                unanswered: 0,
            }),
        }
    }

    /// Under which name each node is known.
    pub(crate) fn known_names(&self, state: &State) -> BTreeMap<NodeName, LinkName> {
        let nodes = state.nodes.iter().enumerate();
        let known = nodes.map(|(j, node)| match self.mutation {
            Mutation::GuardBelievesStrangers => (name(j), link_name(j, 0)),
            _ => (name(j), link_name(j, node.announced)),
        });
        known.collect()
    }

    /// What node `j` has told the cluster, as node `i` sees it.
    pub(crate) fn told(&self, state: &State, i: usize, j: usize) -> (Announced, Option<Flushed>) {
        let node = &state.nodes[j];
        let flushed = node.said.map(|said| Flushed {
            name: link_name(j, said.incarnation),
            position: WalPosition {
                timeline: timeline_id(said.timeline),
                lsn: Lsn::new(u64::from(said.end)),
            },
            begun: said.begun.map(u64::from),
        });
        if !self.strangers {
            // An agent that announces nothing, but this node's own, and who says before a promotion what it has.
            let plain = Announced::Name(link_name(j, 0));
            return match i == j || self.ahead {
                true => (plain, flushed),
                false => (Announced::Nothing, flushed),
            };
        }
        let former = match state.nodes[i].shown {
            names if names & 1 << j != 0 => incarnation(names),
            _ => node.announced,
        };
        match self.mutation {
            Mutation::PlainNamesBelieved if i != j => (Announced::Nothing, None),
            Mutation::AnnouncementIgnored if i != j => {
                (Announced::Name(link_name(j, former)), flushed)
            }
            Mutation::StatementIgnored => {
                let name = link_name(j, node.announced);
                let position = WalPosition {
                    timeline: timeline_id(state.nodes[i].log.timeline()),
                    lsn: Lsn::new(u64::MAX),
                };
                (
                    Announced::Name(name.clone()),
                    Some(Flushed {
                        name,
                        position,
                        begun: None,
                    }),
                )
            }
            _ => (Announced::Name(link_name(j, node.announced)), flushed),
        }
    }

    /// The stranger's row.
    pub(crate) fn stranger_row(&self, state: &State, i: usize) -> Option<LinkRow> {
        let stranger = state
            .stranger
            .filter(|stranger| usize::from(stranger.from) == i)?;
        let end = Lsn::new(u64::from(state.nodes[i].log.end()));
        Some(LinkRow {
            id: LinkId { pid: 99, began: 99 },
            name: texts(stranger.called).concat(),
            address: None,
            state: Some(WalSenderState::Streaming),
            sync: Some(SyncState::Async),
            sent: Some(end),
            flushed: Some(end),
            replayed: Some(Lsn::new(1)),
            lag: None,
        })
    }

    pub(crate) fn stranger_moves(&self, state: &State, i: usize, moves: &mut Vec<Move>) {
        if !self.strangers {
            return;
        }
        if let Some(stranger) = state.stranger {
            if usize::from(stranger.from) == i {
                moves.push(Move::StrangerGoes);
            }
        } else if matches!(state.nodes[i].postgres, Postgres::Primary { .. }) {
            for (j, node) in state.nodes.iter().enumerate().filter(|(j, _)| *j != i) {
                for number in [0, node.announced] {
                    let stranger = Stranger {
                        from: i as u8,
                        called: called(j, number),
                    };
                    if may_be_had(state, stranger) {
                        moves.push(Move::StrangerComes(stranger));
                    }
                }
            }
        }
        if matches!(state.nodes[i].postgres, Postgres::Standby { .. }) {
            moves.push(Move::Says(i));
        }
    }

    /// The node's own agent looks at its standby, and says what its rules say in this operation.
    pub(crate) fn says(&self, state: &mut State, i: usize, operation: Operation) -> Option<()> {
        let memory = state.nodes[i].memory();
        let progress = Progress::default();
        let mut snapshot: Snapshot =
            self.observe(state, i, Kind::Monitor, View::All, progress, memory);
        snapshot.operation = operation;
        snapshot.register = Some(Reading::Row(state.register()));
        let streams = upstream(&state.nodes[i]).is_some();
        let log = state.nodes[i].log;
        if let Answer::Standby(view) = &mut snapshot.answer {
            view.streaming = streams;
            view.received = Some(Lsn::new(u64::from(log.end())));
            view.replayed = view.received;
            view.timeline = TimelineId::new(u32::from(log.timeline()));
        }
        let plan = decide(&snapshot);
        let said = plan.actions.iter().find_map(|action| match action {
            Action::SetAttribute(_, Attribute::Flushed(flushed)) => Some(flushed),
            _ => None,
        })?;
        state.nodes[i].said = Some(Said {
            incarnation: number(i, &said.name),
            timeline: said.position.timeline.get() as u8,
            end: said.position.lsn.as_u64() as u8,
            begun: said.begun.map(|term| term as u8),
        });
        Some(())
    }
}

/// Whether somebody else may have the name.
fn may_be_had(state: &State, stranger: Stranger) -> bool {
    let mut nodes = state.nodes.iter().enumerate();
    let owner = nodes.find(|(j, node)| stranger.called == called(*j, node.announced));
    owner.is_none_or(|(j, node)| {
        let holds = state.row.holders & 1 << j != 0;
        let said = node
            .said
            .is_some_and(|said| said.incarnation == node.announced);
        !holds && !said && upstream(node).is_none()
    })
}

/// A stranger goes with its primary, and where its name becomes another's.
pub(crate) fn settle(state: &mut State) {
    let stays = |stranger: &Stranger| {
        let from = &state.nodes[usize::from(stranger.from)];
        matches!(from.postgres, Postgres::Primary { .. }) && may_be_had(state, *stranger)
    };
    state.stranger = state.stranger.filter(stays);
}

/// Whether this standby has the name that is in force, and lets commits pass: where they are held no
/// incarnation is the one that is in force.
pub(crate) fn is_called(node: usize, standby: &Node, names: u8) -> bool {
    names & 1 << node != 0 && standby.incarnation == names >> SHIFT
}

/// Whether a monitor of node `i` that ends now, and could have done something about it, leaves a name in force that a standby had before, while
/// that one streams under another.
pub(crate) fn leaves_former(state: &State, i: usize, snapshot: &Snapshot) -> bool {
    let monitors = matches!(snapshot.operation, Operation::Monitor { .. });
    let names = state.nodes[i].shown;
    let Some(view) = snapshot.primary().filter(|_| monitors) else {
        return false;
    };
    // One that sees the other nodes, and whose register answers.
    let known = matches!(snapshot.register, Some(Reading::Row(_)));
    let member = |j: usize| {
        let cluster = snapshot.cluster.as_ref();
        cluster.is_ok_and(|cluster| cluster.node(&name(j)).online)
    };
    let mut others = state
        .nodes
        .iter()
        .enumerate()
        .filter(|(j, _)| names & 1 << j != 0);
    others.any(|(j, node)| {
        let present = link_name(j, node.incarnation).to_string();
        let seen = view
            .links
            .rows
            .iter()
            .any(|row| row.name == present && row.replayed.is_some());
        seen && known
            && member(j)
            && node.announced == node.incarnation
            && node.incarnation != incarnation(names)
            && upstream(node) == Some(i)
    })
}
