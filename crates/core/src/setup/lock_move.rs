//! A change of the configuration that moves the lock service: another server, another database or another name, another
//! kind of lock, or none.
//!
//! What the register says stays behind. Where the new place has no row that goes on from what this cluster has
//! seen, nobody is promoted by it and no standby is let go until an operator has written it there
//! (`cls_recovery_master`); a primary that runs goes on.
//!
//! A node that is not a member does not hear of the change. Where it is alive all the same it may be promoted by
//! the old register, beside a primary that goes on by the new one, so that it has to be there or off. One that is off
//! still has the old configuration: the old row has to be gone before it is powered on.

use std::collections::BTreeSet;

use crate::decide::operator::Refusal;
use crate::message;
use crate::message::Message;
use crate::names::NodeName;
use crate::quoted::printable;
use crate::register::Seen;

/// How much is shown of a name that is no node's.
const NAME: usize = 100;

/// Where a register is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockPlace {
    /// Its servers and database, as they are shown.
    pub server: String,
    /// The table and the name of the lock.
    pub name: String,
}

/// What is known of the change.
#[derive(Debug, Clone)]
pub struct LockMove<'a> {
    /// Where the agent looks now.
    pub from: &'a LockPlace,
    /// Where it would look; none where it would ask no such register any more.
    pub to: Option<&'a LockPlace>,
    /// Whether the database runs anywhere.
    pub runs: bool,
    /// The nodes of the database, as it is and as it would be, that are not members of this part of the cluster.
    pub away: Vec<&'a NodeName>,
    /// Those of which the operator has said that they are switched off.
    pub off: &'a BTreeSet<NodeName>,
    /// How far the register has come, as the cluster was told.
    pub seen: Option<Seen>,
    /// How far the row in the new place has come; none without a row.
    pub there: Option<Seen>,
    /// How far the one has come that is left; none where it cannot be asked.
    pub left: Option<Seen>,
}

/// What becomes of the register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// It stays where it is.
    Not,
    /// The row in the new place goes on from what was seen, or nothing was seen yet.
    GoesOn,
    /// It has to be written there by an operator.
    ToBeWritten,
    /// There is none any more.
    Left,
}

impl LockMove<'_> {
    /// Decides it.
    ///
    /// # Errors
    /// [`Refusal`] where a node would not hear of it.
    pub fn judge(&self) -> Result<Moved, Box<Refusal>> {
        let seen = self.seen.unwrap_or_default();
        if self.to == Some(self.from) {
            return Ok(Moved::Not);
        }
        // Nobody was ever promoted, and nobody is about to be. While something runs, that nothing was seen may only
        // mean that the cluster has not been told yet.
        if seen == Seen::default() && !self.runs {
            return Ok(self.to.map_or(Moved::Left, |_| Moved::GoesOn));
        }
        let away = self.away.iter().filter(|node| !self.off.contains(**node));
        let away: Vec<&NodeName> = away.copied().filter(|_| self.is_armed()).collect();
        if !away.is_empty() {
            let all: BTreeSet<&NodeName> = away.iter().copied().chain(self.off).collect();
            let off: Vec<String> = all.iter().map(|node| format!("--off {node}")).collect();
            return Err(Box::new(Refusal {
                id: "setup-lock-move",
                what: match self.to {
                    Some(to) => message!(
                        "this moves the lock service from {from} to {to}, and {node} is not in the cluster: if it is alive it may be promoted by the old one, beside the primary",
                        from = self.from.to_string(),
                        to = to.to_string(),
                        node = Message::all(away.iter().copied().map(Message::from))
                    ),
                    None => message!(
                        "this leaves the lock service {from}, and {node} is not in the cluster: if it is alive it may be promoted by it, beside the primary",
                        from = self.from.to_string(),
                        node = Message::all(away.iter().copied().map(Message::from))
                    ),
                },
                hint: message!(
                    "start Pacemaker on {node} first; if it is switched off: cls_setup {off}, and do not power it on before the old row is deleted, {from}, or that server is off for good (manual: Moving the lock service)",
                    node = Message::all(away.iter().copied().map(Message::from)),
                    off = off.join(" "),
                    from = self.from.to_string()
                ),
            }));
        }
        Ok(match (self.to, self.goes_on()) {
            (None, _) => Moved::Left,
            (Some(_), true) => Moved::GoesOn,
            (Some(_), false) => Moved::ToBeWritten,
        })
    }

    fn goes_on(&self) -> bool {
        let (there, seen) = (
            self.there.unwrap_or_default(),
            self.seen.unwrap_or_default(),
        );
        there.term >= seen.term && there.epoch >= seen.epoch
    }

    /// Whether a node that does not hear of the change may be promoted by another row than the others. It may not where
    /// a move is taken back before the row was written there: the row that is left gives the right to nobody, and the
    /// one that such a node may still ask is the one that the others ask again.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        let back = self.seen.is_some_and(|seen| seen.term > 0) && self.goes_on();
        !(back && self.left.is_some_and(|left| left.term == 0))
    }

    /// What has to be done before those are powered on that the operator has said to be off; none where all are there.
    /// The old row is deleted last: until the new one is written, it is the one that says who has every commit.
    #[must_use]
    pub fn before_power(&self) -> Option<Message> {
        let off = self
            .away
            .iter()
            .filter(|node| self.off.contains(**node) && self.is_armed());
        let off: Vec<Message> = off.copied().map(Message::from).collect();
        (!off.is_empty() && self.to != Some(self.from)).then(|| {
            message!(
                "Before {nodes} is powered on: delete the old row, {from}, by SQL on that server (where the lock service has moved, once the new row is written), or have that server off for good, and keep corosync and Pacemaker from starting there by themselves (systemctl disable corosync pacemaker) until it has joined; it may be promoted by the old row, beside the primary",
                nodes = Message::all(off),
                from = self.from.to_string()
            )
        })
    }
}

/// Those of which the operator has said that they are switched off. A name that is no node's would leave the one that
/// was meant where it is, and one that is a member is not off.
///
/// # Errors
/// [`Refusal`]: one of them cannot be.
pub fn switched_off(
    names: &[String],
    nodes: &BTreeSet<NodeName>,
    is_member: impl Fn(&NodeName) -> bool,
) -> Result<BTreeSet<NodeName>, Box<Refusal>> {
    let refused = |what, hint| {
        Err(Box::new(Refusal {
            id: "setup-off",
            what,
            hint,
        }))
    };
    let mut off = BTreeSet::new();
    for name in names {
        let Some(node) = nodes.iter().find(|node| node.as_str() == name) else {
            let known: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
            return refused(
                message!(
                    "--off {name}: no node of the database has this name; there are {known}",
                    name = printable(name, NAME),
                    known = known.join(", ")
                ),
                message!("cls_setup again, with the name as it stands there"),
            );
        };
        if is_member(node) {
            return refused(
                message!(
                    "--off {node}: it is not switched off, it is in the cluster",
                    node
                ),
                message!(
                    "cls_setup without --off {node}; or switch it off first",
                    node
                ),
            );
        }
        off.insert(node.clone());
    }
    Ok(off)
}

/// The refusal of a move for nodes that have left the cluster since it was judged.
pub fn gone_before(nodes: &[NodeName]) -> Refusal {
    Refusal {
        id: "setup-lock-move",
        what: message!(
            "{nodes} has left the cluster meanwhile: Pacemaker's configuration was not changed",
            nodes = Message::all(nodes.iter().map(Message::from))
        ),
        hint: message!("cls_setup again, which says what is to be done"),
    }
}

/// What is to be said where nodes have left while the lock service moved: what has become of it, and what is typed.
/// The register is not to be written in the new place then.
#[must_use]
pub fn gone_after(nodes: &[NodeName]) -> (Message, Message) {
    let nodes = || Message::all(nodes.iter().map(Message::from));
    (
        message!(
            "{nodes} has left the cluster while the lock service was moved, and may go on with the old one, where it may be promoted beside the primary",
            nodes = nodes()
        ),
        message!(
            "no cls_recovery_master now: put config.ini back as it was on every node, then cls_setup; move it when {nodes} is back, or is surely switched off (--off)",
            nodes = nodes()
        ),
    )
}

impl std::fmt::Display for LockPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {}", self.name, self.server)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn place(server: &str, name: &str) -> LockPlace {
        LockPlace {
            server: server.to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn a_move_is_known_by_its_place_and_its_row() {
        let from = place("node3:5432/postgres", "distlock:a");
        let at = |term, epoch| Some(Seen { term, epoch });
        let judged = |to: &LockPlace, seen, there| {
            let moves = LockMove {
                from: &from,
                to: Some(to),
                away: Vec::new(),
                off: &BTreeSet::new(),
                runs: true,
                seen,
                there,
                left: None,
            };
            moves.judge().unwrap()
        };
        let server = place("node4:5432/postgres", "distlock:a");
        let name = place("node3:5432/postgres", "distlock:b");
        assert_eq!(judged(&from, at(4, 5), at(0, 0)), Moved::Not);
        for to in [&server, &name] {
            assert_eq!(judged(to, at(4, 5), None), Moved::ToBeWritten);
            assert_eq!(judged(to, at(4, 5), at(0, 0)), Moved::ToBeWritten);
            assert_eq!(judged(to, at(4, 5), at(3, 9)), Moved::ToBeWritten);
            assert_eq!(judged(to, at(4, 5), at(4, 4)), Moved::ToBeWritten);
            // A copy of the old row, and a cluster that has never had a primary.
            assert_eq!(judged(to, at(4, 5), at(4, 5)), Moved::GoesOn);
            assert_eq!(judged(to, None, None), Moved::GoesOn);
            assert_eq!(judged(to, at(0, 0), None), Moved::GoesOn);
        }
    }

    #[test]
    fn a_node_that_would_not_hear_of_it_has_to_be_off() {
        let (from, to) = (place("node3", "distlock:a"), place("node4", "distlock:a"));
        let node2: NodeName = "node2".parse().unwrap();
        let judged = |to: Option<&LockPlace>, runs, seen, off: &BTreeSet<NodeName>| {
            let moves = LockMove {
                from: &from,
                to,
                runs,
                away: vec![&node2],
                off,
                seen,
                // Also where the row was copied: there are two that could be believed then.
                there: Some(Seen { term: 4, epoch: 5 }),
                left: None,
            };
            moves.judge()
        };
        let (seen, nobody) = (Some(Seen { term: 4, epoch: 5 }), BTreeSet::new());
        let off = BTreeSet::from([node2.clone()]);
        let (to, from) = (Some(&to), Some(&from));
        let refusal = judged(to, true, seen, &nobody).unwrap_err();
        assert_eq!(
            refusal.what.to_string(),
            "this moves the lock service from distlock:a on node3 to distlock:a on node4, and node2 is not in the cluster: if it is alive it may be promoted by the old one, beside the primary"
        );
        let hint = refusal.hint.to_string();
        assert!(
            hint.contains("if it is switched off: cls_setup --off node2, and do not power it on before the old row is deleted, distlock:a on node3,"),
            "{hint}"
        );
        assert_eq!(judged(to, true, seen, &off).unwrap(), Moved::GoesOn);
        assert_eq!(judged(from, true, seen, &nobody).unwrap(), Moved::Not);
        // Also where nothing runs that this part of the cluster sees, and where it has not been told of anything yet.
        for (runs, seen) in [(false, seen), (true, None), (true, Some(Seen::default()))] {
            assert!(judged(to, runs, seen, &nobody).is_err(), "{runs} {seen:?}");
        }
        assert_eq!(judged(to, false, None, &nobody).unwrap(), Moved::GoesOn);
        // Another kind of lock, or none: the register stays behind as well.
        let refusal = judged(None, true, seen, &nobody).unwrap_err();
        assert!(
            refusal.what.to_string().starts_with(
                "this leaves the lock service distlock:a on node3, and node2 is not in the cluster"
            ),
            "{}",
            refusal.what
        );
        assert_eq!(judged(None, true, seen, &off).unwrap(), Moved::Left);
        assert_eq!(judged(None, false, None, &nobody).unwrap(), Moved::Left);
    }

    #[test]
    fn a_move_that_was_not_finished_is_taken_back_without_those_who_left() {
        let (from, to) = (place("node4", "distlock:a"), place("node3", "distlock:a"));
        let [node2, node5]: [NodeName; 2] = ["node2", "node5"].map(|name| name.parse().unwrap());
        let at = |term, epoch| Some(Seen { term, epoch });
        let judged = |there, left| {
            let moves = LockMove {
                from: &from,
                to: Some(&to),
                runs: true,
                away: vec![&node2],
                off: &BTreeSet::new(),
                seen: at(4, 5),
                there,
                left,
            };
            moves.judge().ok()
        };
        assert_eq!(judged(at(4, 5), at(0, 0)), Some(Moved::GoesOn));
        // The one that is left could be believed, or nobody knows; or it goes to a third place.
        assert_eq!(judged(at(4, 5), at(4, 5)), None);
        assert_eq!(judged(at(4, 5), None), None);
        assert_eq!(judged(at(4, 4), at(0, 0)), None);
        assert_eq!(judged(None, at(0, 0)), None);
        let gone = [node2, node5];
        let (what, hint) = gone_after(&gone);
        assert!(
            what.to_string().contains("node2 and node5 has left"),
            "{what}"
        );
        assert!(
            hint.to_string()
                .starts_with("no cls_recovery_master now: put config.ini back"),
            "{hint}"
        );
        let refusal = gone_before(&gone);
        assert!(
            refusal.what.to_string().ends_with("was not changed"),
            "{}",
            refusal.what
        );
    }

    #[test]
    fn only_a_node_that_is_not_a_member_is_switched_off() {
        let nodes: BTreeSet<NodeName> = ["node1", "node2", "node4"]
            .map(|name| name.parse().unwrap())
            .into();
        let given = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            switched_off(&names, &nodes, |node| node.as_str() == "node1")
        };
        let off = given(&["node4", "node2", "node4"]).unwrap();
        assert_eq!(off, nodes.iter().skip(1).cloned().collect());
        assert_eq!(given(&[]).unwrap(), BTreeSet::new());
        for (name, says) in [
            (
                "nod2",
                "--off nod2: no node of the database has this name; there are node1, node2, node4",
            ),
            (
                "node1",
                "--off node1: it is not switched off, it is in the cluster",
            ),
        ] {
            let refusal = given(&["node2", name]).unwrap_err();
            assert_eq!(refusal.what.to_string(), says);
        }
    }

    /// Powered on, it asks the old lock service, which still gives it the right.
    #[test]
    fn the_old_row_goes_before_a_node_that_was_off_comes() {
        let (from, to) = (place("node3", "distlock:a"), place("node4", "distlock:a"));
        let [node2, node5]: [NodeName; 2] = ["node2", "node5"].map(|name| name.parse().unwrap());
        let said = |to: &LockPlace, off: &[&NodeName]| {
            let moves = LockMove {
                from: &from,
                to: Some(to),
                runs: true,
                away: vec![&node2, &node5],
                off: &off.iter().copied().cloned().collect(),
                seen: Some(Seen { term: 4, epoch: 5 }),
                there: None,
                left: None,
            };
            (moves.judge(), moves.before_power())
        };
        let (judged, before) = said(&to, &[&node2, &node5]);
        assert_eq!(judged.unwrap(), Moved::ToBeWritten);
        let before = before.unwrap().to_string();
        assert!(
            before.starts_with(
                "Before node2 and node5 is powered on: delete the old row, distlock:a on node3,"
            ),
            "{before}"
        );
        assert_eq!(said(&from, &[&node2]).1, None);
        // What is typed again has those that were given, too.
        let refusal = said(&to, &[&node5]).0.unwrap_err();
        assert!(
            refusal
                .hint
                .to_string()
                .contains("cls_setup --off node2 --off node5,"),
            "{}",
            refusal.hint
        );
    }
}
