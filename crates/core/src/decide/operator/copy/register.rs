//! What the register's answers mean to a copy (R6).

use super::super::Refusal;
use super::{CopyPlan, CopyStep};
use crate::message;
use crate::message::Message;
use crate::names::NodeName;
use crate::register::{Reading, Register, Reply, Seen, believed};

/// Whether a node that has asked to leave the holders ([`super::CopyStep::Leave`]) is none of them, so that
/// its data may be replaced.
///
/// # Errors
/// Why it is not known to be none.
pub fn has_left(reply: &Reply, me: &NodeName) -> Result<(), Box<Refusal>> {
    let (what, hint) = match (reply, reply.row()) {
        (Reply::Applied(_), _) => return Ok(()),
        (_, Ok(row)) if !row.holders.contains(me) && !row.may_be_given_back_to(me) => {
            return Ok(());
        }
        (_, Ok(_)) => (
            message!(
                "the register does not let {node} leave: it is the owner, or the only holder",
                node = me
            ),
            message!("look at it with cls_status, then give the command again"),
        ),
        (_, Err(no_row)) => (no_row.advised(), no_row.before_again()),
    };
    Err(Box::new(Refusal::new("copy-left", what, hint)))
}

/// Whether a node's data may be replaced as was planned, looked at again under its change lock: from then on no operation
/// starts PostgreSQL there (R12). Between the plan and that Pacemaker may have started it, so that it became a holder,
/// and stopped it again. `runs`: a server works in the data directory, or that cannot be told.
///
/// # Errors
/// What has changed, so that the plan does not hold any more.
pub fn is_still_so(
    plan: &CopyPlan,
    me: &NodeName,
    runs: bool,
    register: Option<&Reading>,
    told: Option<Seen>,
) -> Result<(), Box<Refusal>> {
    if runs {
        return Err(started_meanwhile(me));
    }
    let leaves = plan.steps.contains(&CopyStep::Leave);
    let Some(reading) = register.filter(|_| !leaves) else {
        return Ok(());
    };
    let (what, hint) = match believed(reading, None, told) {
        Ok(row) if !row.holders.contains(me) && !row.may_be_given_back_to(me) => return Ok(()),
        Ok(_) => (
            message!("{node} has become a holder meanwhile", node = me),
            message!("give the command again"),
        ),
        Err(no_row) => (no_row.advised(), no_row.before_again()),
    };
    Err(Box::new(Refusal::new("copy-still-so", what, hint)))
}

/// Somebody has started a server in data that are to be replaced.
#[must_use]
pub fn started_meanwhile(me: &NodeName) -> Box<Refusal> {
    Box::new(Refusal::new(
        "copy-started",
        message!("a server was started on {node} meanwhile", node = me),
        message!("cls_status shows by whom; then give the command again"),
    ))
}

/// Whether a copy that was made may be used: its source is the primary still, at the term at which the copy was planned.
/// The row that shows it, where there is a register; `told` is how far the cluster was told that it has come. Without
/// one `promoted` says who is the primary. `serves` asks the source itself whether it is no standby.
///
/// # Errors
/// Those of asking.
pub fn may_be_used<'r, E>(
    source: &NodeName,
    term: Option<u64>,
    register: Option<&'r Reading>,
    told: Option<Seen>,
    promoted: impl FnOnce() -> Result<Option<NodeName>, E>,
    serves: impl FnOnce() -> Result<bool, E>,
) -> Result<Result<Option<&'r Register>, Message>, E> {
    let held = match register {
        Some(reading) => source_holds(source, term, reading, told).map(Some),
        None => source_is_promoted(source, promoted()?.as_ref()).map(|()| None),
    };
    let row = match held {
        Ok(row) => row,
        Err(why) => return Ok(Err(Message::from(why))),
    };
    Ok(match serves()? {
        true => Ok(row),
        false => Err(message!("{node} is in recovery", node = source)),
    })
}

/// The register's row, where it shows that the source of a copy still owns it, at the term at which the copy
/// was planned; `told` is how far the cluster was told that the register has come. A primary that was replaced meanwhile may have given WAL that nobody else has.
///
/// # Errors
/// What has changed, so that the copy cannot be used.
pub(super) fn source_holds<'r>(
    source: &NodeName,
    term: Option<u64>,
    reading: &'r Reading,
    told: Option<Seen>,
) -> Result<&'r Register, String> {
    let row = believed(reading, None, told).map_err(|no_row| no_row.what().to_string())?;
    let owned = term.is_some_and(|term| row.is_owned_at(source, term));
    owned.then_some(row).ok_or_else(|| {
        format!(
            "the register's owner or term has changed (term {})",
            row.term
        )
    })
}

/// The same without a register: the source is promoted still, and nobody else.
///
/// # Errors
/// What has changed, so that the copy cannot be used.
fn source_is_promoted(source: &NodeName, primary: Option<&NodeName>) -> Result<(), String> {
    match primary == Some(source) {
        true => Ok(()),
        false => Err("another node became primary".to_owned()),
    }
}

/// What is seen of a standby that was copied and is let start again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied<'a> {
    /// The node.
    pub node: &'a NodeName,
    /// The primary sees it stream.
    pub streams: bool,
    /// It is a synchronous standby.
    pub synchronous: bool,
    /// Another one is.
    pub other_synchronous: bool,
    /// Commits wait for a synchronous standby (`rep_mode=sync`).
    pub waits: bool,
    /// How far the cluster was told that the register has come.
    pub told: Option<Seen>,
}

/// What is still missing for it to be one whose data count ([`super::CopyStep::Await`]): it streams, and where commits
/// wait for it, it is a holder (R4). Where they wait for another one, or for none, there is no more to wait for.
/// `register` is read where that matters; it has none without the built-in lock service.
///
/// # Errors
/// Those of reading it.
pub fn still_missing<E>(
    copied: &Copied<'_>,
    register: impl FnOnce() -> Result<Option<Reading>, E>,
) -> Result<Option<String>, E> {
    let missing = |what: &str| Ok(Some(what.to_owned()));
    match *copied {
        Copied { streams: false, .. } => missing("it does not stream yet"),
        Copied { waits: false, .. } => Ok(None),
        // The primary names one where it has none.
        Copied {
            synchronous: false,
            other_synchronous,
            ..
        } => match other_synchronous {
            true => Ok(None),
            false => missing("it streams, and is not synchronous yet"),
        },
        Copied { node, told, .. } => {
            let Some(reading) = register()? else {
                return Ok(None);
            };
            match believed(&reading, None, told) {
                Ok(row) if row.holders.contains(node) => Ok(None),
                Ok(_) => missing("it streams, and is no holder in the register yet"),
                Err(no_row) => Ok(Some(format!(
                    "it streams; whether it is a holder is not known: {no_row}"
                ))),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::register::Trouble;

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    /// The register of a's first reign.
    fn row(holders: &[&NodeName]) -> Reading {
        Reading::Row(Register {
            owner: Some(name("a")),
            term: 1,
            holders: holders.iter().map(|node| (*node).clone()).collect(),
            ..Register::fresh()
        })
    }

    /// It was stopped and no holder when the copy was planned; then Pacemaker was told to start it.
    #[test]
    fn data_are_replaced_as_planned_or_not_at_all() {
        let (a, b) = (name("a"), name("b"));
        let plan = |steps: &[CopyStep]| CopyPlan {
            source: a.clone(),
            method: super::super::Method::Backup,
            term: Some(1),
            steps: steps.to_vec(),
            because: None,
        };
        let (stays, leaves) = (
            plan(&[CopyStep::SetAside, CopyStep::Backup]),
            plan(&[CopyStep::Leave, CopyStep::SetAside, CopyStep::Backup]),
        );
        let so = |plan: &CopyPlan, runs, reading: &Reading| {
            is_still_so(plan, &b, runs, Some(reading), None).map_err(|refused| refused.id)
        };
        assert_eq!(so(&stays, false, &row(&[&a])), Ok(()));
        assert_eq!(so(&stays, true, &row(&[&a])), Err("copy-started"));
        assert_eq!(so(&stays, false, &row(&[&a, &b])), Err("copy-still-so"));
        let unknown = Reading::Unknown(Trouble::Unreachable("no answer".to_owned()));
        assert_eq!(so(&stays, false, &unknown), Err("copy-still-so"));
        // It leaves by a step of its own, whose answer is looked at.
        assert_eq!(so(&leaves, false, &row(&[&a, &b])), Ok(()));
        assert_eq!(so(&leaves, true, &row(&[&a, &b])), Err("copy-started"));
        assert!(is_still_so(&stays, &b, false, None, None).is_ok());
    }

    #[test]
    fn a_copied_standby_is_done_when_its_data_count() {
        let (a, b) = (name("a"), name("b"));
        let all = Copied {
            node: &b,
            streams: true,
            synchronous: true,
            other_synchronous: false,
            waits: true,
            told: None,
        };
        let with = |copied: Copied<'_>, reading: Option<Reading>| {
            still_missing(&copied, || Ok::<_, ()>(reading)).unwrap()
        };
        assert_eq!(with(all, Some(row(&[&a, &b]))), None);
        // Without a register the cluster's word is all that there is.
        assert_eq!(with(all, None), None);
        assert!(with(all, Some(row(&[&a]))).is_some());
        assert!(with(all, Some(Reading::Missing)).is_some());
        let (silent, third) = (
            Copied {
                streams: false,
                ..all
            },
            Copied {
                synchronous: false,
                ..all
            },
        );
        assert!(with(silent, Some(row(&[&a, &b]))).is_some());
        assert!(with(third, Some(row(&[&a, &b]))).is_some());
        // Commits wait for another one, or for none: the register is not even read.
        for copied in [
            Copied {
                other_synchronous: true,
                ..third
            },
            Copied {
                waits: false,
                ..third
            },
        ] {
            assert_eq!(still_missing(&copied, || Err(())), Ok(None));
        }
    }

    #[test]
    fn without_a_register_the_source_has_to_be_promoted_still() {
        assert_eq!(source_is_promoted(&name("a"), Some(&name("a"))), Ok(()));
        assert!(source_is_promoted(&name("a"), Some(&name("b"))).is_err());
        assert!(source_is_promoted(&name("a"), None).is_err());
    }
}
