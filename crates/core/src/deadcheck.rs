//! What the answer of an external lock command means, and the specification's dead-check of the
//! lock service.
//!
//! Where this node cannot reach the lock service, the listed nodes are asked over ssh to take the
//! lock for it. Only if every one of them was reached and none of them reaches the service either,
//! the service counts as dead and the lock as held. A service that answers errors to everyone (a
//! wrong password, a missing table, a full disk) is not dead (fault D3).

use crate::names::NodeName;
use crate::snapshot::ExternalLock;

/// The answer of a lock command, on this node or on another.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockAnswer {
    /// The lock is held for the owner that asked.
    Locked,
    /// Another owner holds it.
    HeldByOther,
    /// The command could not reach the lock service.
    ServiceUnreachable(String),
    /// Anything else: the service answered an error, or the command failed in another way.
    Error(String),
}

/// The exit status with which `distlock` says that it could not reach the lock service. Other lock
/// commands may use it to be understood.
pub const STATUS_UNREACHABLE: i32 = 3;

/// How many characters of a lock command's words are kept.
const SHOWN: usize = 500;

impl LockAnswer {
    /// Reads the exit status and the output of a lock command: `1` or nothing on the last line of a
    /// command that succeeded is yes; `0` on that of one that succeeded or ended with status 1 is no. A
    /// command that failed and printed nothing has not said that another owner holds the lock, for which
    /// a primary is stopped.
    pub fn of(status: i32, stdout: &str, stderr: &str) -> Self {
        let last = |text: &str| {
            let line = text.trim_end().lines().last().unwrap_or("");
            crate::quoted::printable(line.trim(), SHOWN)
        };
        let words = match (last(stderr), last(stdout)) {
            (error, _) if !error.is_empty() => error,
            (_, output) => output,
        };
        match (status, last(stdout).as_str()) {
            (0, "1" | "") => Self::Locked,
            (0 | 1, "0") => Self::HeldByOther,
            (STATUS_UNREACHABLE, _) => Self::ServiceUnreachable(words),
            (0 | 1, other) => Self::Error(format!(
                "the lock command printed {} on its last line, 1 or 0 is expected",
                crate::quoted::quoted(other)
            )),
            (status, _) => Self::Error(format!(
                "the lock command ended with status {status}: {words}"
            )),
        }
    }
}

impl LockAnswer {
    /// The lock command did not end in its time. It may have waited for the network or for the owner of
    /// the lock, so that the service does not count as unreachable.
    pub fn overdue(text: &str) -> Self {
        Self::Error(format!(
            "{text}: give the lock command a time limit of its own that is shorter"
        ))
    }

    /// What the answer of an unlock command means.
    ///
    /// # Errors
    /// Why the lock may still be held; it then ends with its time to live.
    pub fn released(self) -> Result<(), String> {
        match self {
            Self::Locked | Self::HeldByOther => Ok(()),
            Self::ServiceUnreachable(why) | Self::Error(why) => Err(why),
        }
    }
}

/// What a listed node answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerAnswer {
    /// The node itself could not be reached, or did not run the command to its end.
    Unreachable(String),
    /// It ran the lock command.
    Answered(LockAnswer),
}

/// The nodes that are asked, of those that are listed. One list serves every node, and a node has nothing to add
/// to its own answer; that it can log in to itself is not asked of it. Every other one is asked, for a service
/// that one of them reaches is not dead.
#[must_use]
pub fn to_ask(listed: &[String], me: &NodeName) -> Vec<String> {
    let nodes = listed.iter();
    let nodes = nodes.filter(|node| !node.eq_ignore_ascii_case(me.as_str()));
    nodes.cloned().collect()
}

/// The outcome of the dead-check.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadCheck {
    /// A listed node reached the service and took the lock for this node.
    Locked {
        /// Which one.
        by: String,
    },
    /// The service is dead for everyone: the lock counts as held.
    TreatedAsLocked,
    /// The service says that another owner has the lock.
    HeldByOther(String),
    /// Not locked, and why.
    NotLocked(String),
}

/// What comes next of the dead-check.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadCheckStep<'n> {
    /// Have this node run the lock command.
    Ask(&'n str),
    /// It is over.
    Decided(DeadCheck),
}

impl DeadCheck {
    /// Goes on from the answer here and those of the listed nodes so far, in their order. They are asked
    /// only where the service cannot be reached from here, and no further than needed.
    pub fn next<'n>(
        here: &LockAnswer,
        nodes: &'n [String],
        answers: &[(String, PeerAnswer)],
    ) -> DeadCheckStep<'n> {
        DeadCheckStep::Decided(match here {
            LockAnswer::Locked => Self::Locked {
                by: "this node".to_owned(),
            },
            LockAnswer::HeldByOther => Self::HeldByOther("another owner holds the lock".to_owned()),
            LockAnswer::Error(why) => Self::NotLocked(why.clone()),
            LockAnswer::ServiceUnreachable(_) => match nodes.get(answers.len()) {
                Some(node) if !Self::is_decided_by(answers) => return DeadCheckStep::Ask(node),
                _ => Self::decide(answers),
            },
        })
    }

    /// Whether this node has the lock.
    #[must_use]
    pub fn lock(self) -> ExternalLock {
        match self {
            Self::Locked { .. } | Self::TreatedAsLocked => ExternalLock::Locked,
            Self::HeldByOther(why) => ExternalLock::HeldByOther(why),
            Self::NotLocked(why) => ExternalLock::NotLocked(why),
        }
    }

    /// Whether no further node needs to be asked: the answers so far decide.
    #[must_use]
    pub fn is_decided_by(answers: &[(String, PeerAnswer)]) -> bool {
        answers.last().is_some_and(|(_, answer)| {
            !matches!(
                answer,
                PeerAnswer::Answered(LockAnswer::ServiceUnreachable(_))
            )
        })
    }

    /// Decides from the answers of the listed nodes.
    pub fn decide(answers: &[(String, PeerAnswer)]) -> Self {
        if answers.is_empty() {
            return Self::NotLocked(
                "the lock service cannot be reached, and no node is listed for the dead-check"
                    .to_owned(),
            );
        }
        // What the service itself said, through whichever node, goes before what is concluded
        // from silence.
        for (node, answer) in answers {
            match answer {
                PeerAnswer::Answered(LockAnswer::Locked) => {
                    return Self::Locked { by: node.clone() };
                }
                PeerAnswer::Answered(LockAnswer::HeldByOther) => {
                    return Self::HeldByOther(format!(
                        "node {node} reaches the lock service, and another owner holds the lock"
                    ));
                }
                PeerAnswer::Unreachable(_) | PeerAnswer::Answered(_) => {}
            }
        }
        for (node, answer) in answers {
            match answer {
                PeerAnswer::Unreachable(why) => {
                    return Self::NotLocked(format!(
                        "node {node} of the dead-check cannot be reached: {why}"
                    ));
                }
                PeerAnswer::Answered(LockAnswer::Error(why)) => {
                    return Self::NotLocked(format!(
                        "the lock service is not dead: it answered node {node} with an error: {why}"
                    ));
                }
                PeerAnswer::Answered(_) => {}
            }
        }
        Self::TreatedAsLocked
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lock_commands_are_understood() {
        use LockAnswer as A;
        let cases = [
            (0, "1\n", A::Locked),
            (0, "", A::Locked),
            (0, "NOTICE\n 1 \n", A::Locked),
            (0, "0\n", A::HeldByOther),
            (1, "0\n", A::HeldByOther),
            (3, "", A::ServiceUnreachable("refused".to_owned())),
        ];
        for (status, output, expected) in cases {
            assert_eq!(
                A::of(status, output, "refused\n"),
                expected,
                "{status} {output:?}"
            );
        }
        for (status, output) in [(0, "yes"), (1, "1"), (1, ""), (2, ""), (4, "1"), (127, "")] {
            let answer = A::of(status, output, "");
            assert!(
                matches!(answer, A::Error(_)),
                "{status} {output:?}: {answer:?}"
            );
        }
    }

    #[test]
    fn the_dead_check_follows_the_specification() {
        use LockAnswer as A;
        use PeerAnswer::{Answered, Unreachable};
        let dead = || Answered(A::ServiceUnreachable("timeout".to_owned()));
        let error = || Answered(A::Error("28P01".to_owned()));
        let gone = || Unreachable("no route".to_owned());
        let cases = [
            (vec![], None),
            (vec![dead()], Some(false)),
            (vec![dead(), dead()], Some(false)),
            (vec![dead(), gone()], None),
            (vec![gone(), dead()], None),
            (vec![gone()], None),
            (vec![dead(), error()], None),
            (vec![error(), error()], None),
            (vec![dead(), Answered(A::Locked)], Some(true)),
            (vec![gone(), Answered(A::Locked)], Some(true)),
            (vec![dead(), Answered(A::HeldByOther)], None),
        ];
        for (answers, expected) in cases {
            let named: Vec<_> = answers
                .into_iter()
                .enumerate()
                .map(|(index, answer)| (format!("node{index}"), answer))
                .collect();
            let verdict = DeadCheck::decide(&named);
            let seen = match &verdict {
                DeadCheck::Locked { .. } => Some(true),
                DeadCheck::TreatedAsLocked => Some(false),
                DeadCheck::HeldByOther(_) | DeadCheck::NotLocked(_) => None,
            };
            assert_eq!(seen, expected, "{named:?}: {verdict:?}");
        }
    }

    #[test]
    fn a_command_that_did_not_end_is_no_sign_of_a_dead_service() {
        let nodes = ["node3".to_owned()];
        let here = LockAnswer::overdue("distlock: no end within 15 s");
        let DeadCheckStep::Decided(DeadCheck::NotLocked(why)) = DeadCheck::next(&here, &nodes, &[])
        else {
            panic!("{here:?} led on to other nodes");
        };
        assert!(why.contains("time limit of its own"), "{why}");
    }

    #[test]
    fn who_says_that_another_owner_holds_the_lock_is_believed() {
        let held = PeerAnswer::Answered(LockAnswer::HeldByOther);
        for verdict in [
            DeadCheck::decide(&[("node3".to_owned(), held)]),
            match DeadCheck::next(&LockAnswer::HeldByOther, &[], &[]) {
                DeadCheckStep::Decided(verdict) => verdict,
                step => panic!("{step:?}"),
            },
        ] {
            let lock = verdict.lock();
            assert!(matches!(lock, ExternalLock::HeldByOther(_)), "{lock:?}");
        }
    }

    #[test]
    fn a_node_asks_all_that_are_listed_but_itself() {
        let me = NodeName::new("node1").unwrap();
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let listed = words(&["node1", "node2", "NODE1", "node11"]);
        assert_eq!(to_ask(&listed, &me), ["node2", "node11"]);
        // Alone it concludes nothing from silence.
        let nobody = to_ask(&words(&["node1"]), &me);
        let here = LockAnswer::ServiceUnreachable("timeout".to_owned());
        let DeadCheckStep::Decided(verdict) = DeadCheck::next(&here, &nobody, &[]) else {
            panic!("it asks itself");
        };
        assert!(matches!(verdict, DeadCheck::NotLocked(_)), "{verdict:?}");
    }

    #[test]
    fn asking_ends_with_the_first_answer_that_decides() {
        let silent = |node: &str| {
            let answer = LockAnswer::ServiceUnreachable("timeout".to_owned());
            (node.to_owned(), PeerAnswer::Answered(answer))
        };
        assert!(!DeadCheck::is_decided_by(&[]));
        assert!(!DeadCheck::is_decided_by(&[silent("a")]));
        let held = (
            "b".to_owned(),
            PeerAnswer::Answered(LockAnswer::HeldByOther),
        );
        assert!(DeadCheck::is_decided_by(&[silent("a"), held]));
        let gone = (
            "b".to_owned(),
            PeerAnswer::Unreachable("no route".to_owned()),
        );
        assert!(DeadCheck::is_decided_by(&[gone]));
    }
}
