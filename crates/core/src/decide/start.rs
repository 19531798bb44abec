//! `start`: bring PostgreSQL up, as a standby where it is replicated.

use crate::decide::shared::attributes::{needed, show_standby};
use crate::decide::shared::descent::{Descent, descent};
use crate::decide::shared::kin::{foreign, kin, strays};
use crate::decide::shared::launch::{failed_launch, launch_standby};
use crate::decide::shared::{halt, outage};
use crate::lineage::{Held, Kinship};
use crate::names::NodeName;
use crate::ocf::OcfCode;
use crate::plan::{Action, ActionKind, Attribute, Rule, Step, StopMode};
use crate::register::{Reading, Register, Update, out_of_step};
use crate::remedy::Remedy;
use crate::repl_info::ReplInfo;
use crate::snapshot::{Answer, EndUnknown, Mode, Process, Snapshot, StandbySignal, Unfinished};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "start-unfinished",
        says: "A copy into the data directory has begun and has not ended, or that cannot be told: not started, with the command that mends it (R6).",
        decide: |s| match &s.unfinished {
            Some(unfinished @ (Unfinished::Marked { .. } | Unfinished::Unknown(_))) => {
                Some(Step::fail(OcfCode::Installed, unfinished.reason()))
            }
            _ => None,
        },
    },
    Rule {
        id: "start-unfinished-beside",
        says: "An earlier version has left the mark of such a copy beside the data directory, where others can write: not started, with the command that shows what it says (R6).",
        decide: |s| match &s.unfinished {
            Some(unfinished @ Unfinished::Beside(_)) => {
                Some(Step::fail(OcfCode::Installed, unfinished.reason()))
            }
            _ => None,
        },
    },
    Rule {
        id: "start-orphans",
        says: "The postmaster is gone and other server processes of this data directory are not: end them first, or two servers would write one directory.",
        decide: |s| {
            (s.process == Process::Orphans).then(|| match s.progress.stops.is_empty() {
                true => Step::then_reobserve(vec![Action::StopPostgres(StopMode::Kill)]),
                false => halt::not_stopped(s),
            })
        },
    },
    Rule {
        id: "start-standalone-done",
        says: "Without replication: PostgreSQL accepts writes, success.",
        decide: |s| {
            (s.settings.mode == Mode::Standalone && s.primary().is_some())
                .then(|| Step::finish(OcfCode::Success))
        },
    },
    Rule {
        id: "start-wrong-role",
        says: "PostgreSQL is up with a role that this mode does not start: an error that says so.",
        decide: wrong_role,
    },
    Rule {
        id: "start-show",
        says: "The standby is up: show it, and whether it may be promoted.",
        decide: |s| s.standby().and_then(|_| show_standby(s)),
    },
    Rule {
        id: "start-done",
        says: "The standby is up: success.",
        decide: |s| s.standby().map(|_| Step::finish(OcfCode::Success)),
    },
    Rule {
        id: "start-wait",
        says: "PostgreSQL is alive and does not answer as wanted yet: wait.",
        decide: |s| {
            matches!(s.process, Process::Alive { .. }).then(|| match &s.answer {
                Answer::Refused(text) => {
                    Step::wait(format!("PostgreSQL to accept the agent: {text}"))
                }
                _ => Step::wait("PostgreSQL to accept connections"),
            })
        },
    },
    Rule {
        id: "start-failed",
        says: "PostgreSQL was started and is gone: an error with what it said.",
        decide: failed_launch,
    },
    Rule {
        id: "start-standalone",
        says: "Without replication: start PostgreSQL as it is configured.",
        decide: |s| {
            (s.settings.mode == Mode::Standalone)
                .then(|| Step::then_reobserve(vec![Action::StartPostgres(None)]))
        },
    },
    Rule {
        id: "start-slave",
        says: "A standby of a primary that Pacemaker does not manage: start it.",
        decide: |s| {
            (s.settings.mode == Mode::Slave)
                .then(|| launch_standby(s))
                .flatten()
        },
    },
    Rule {
        id: "start-cluster-silent",
        says: "Pacemaker's tools do not answer, so that the check of the timeline cannot be made: wait.",
        decide: |s| {
            s.cluster
                .as_ref()
                .err()
                .map(|why| Step::wait(format!("Pacemaker: {why}")))
        },
    },
    Rule {
        id: "start-read-disk",
        says: "Read the control file, the real end of WAL, and the timeline history.",
        decide: |s| {
            let mut actions = vec![];
            if s.disk.is_none() && s.progress.failure(ActionKind::ReadDisk).is_none() {
                actions.push(Action::ReadDisk);
            }
            // Again in each round: what it said before this node waited is of the past.
            if s.builtin()
                && s.register.is_none()
                && s.progress.failure(ActionKind::ReadDisk).is_none()
            {
                actions.push(Action::ReadRegister);
            }
            (!actions.is_empty()).then(|| Step::then_continue(actions))
        },
    },
    Rule {
        id: "start-disk-unreadable",
        says: "The data directory cannot be read: only an operator can mend that.",
        decide: |s| {
            s.progress
                .failure(ActionKind::ReadDisk)
                .map(|failure| Step::fail(OcfCode::Installed, failure.text.clone()))
        },
    },
    Rule {
        id: "start-record-unreadable",
        says: "What this node keeps about its data cannot be read: it is not known which timelines they are on (R13).",
        decide: |s| {
            let why = s.record.as_ref().err().filter(|_| s.builtin())?;
            Some(Step::fail(OcfCode::Installed, why.clone()))
        },
    },
    Rule {
        id: "start-signal-unknown",
        says: "It cannot be seen whether the data are a standby's, so that it is not known whether somebody opened them (R13): wait, and start nothing.",
        decide: |s| {
            (s.standby_signal == StandbySignal::Unknown).then(|| {
                Step::wait(format!(
                    "the data directory on {} to show whether standby.signal is in it; see what its disk does",
                    s.me()
                ))
            })
        },
    },
    Rule {
        id: "start-await-register",
        says: "The data were opened here, another node was primary since, and the register cannot be read: whether that one's timeline is the same cannot be told (R13). Wait.",
        decide: |s| {
            let opened =
                matches!(&s.record, Ok(Some(record)) if matches!(record.held, Held::Opened(_)));
            let Some(Reading::Unknown(trouble)) = s.register.as_ref().filter(|_| s.builtin())
            else {
                return None;
            };
            (opened && switch_to_compare(s).is_some()).then(|| Step::wait(trouble.to_string()))
        },
    },
    Rule {
        id: "start-foreign-timeline",
        says: "The data are not on the register's timelines, or it cannot be told, whatever their numbers are (R13): not started, with the command that mends it.",
        decide: |s| foreign(s).map(|text| Step::fail(OcfCode::Installed, text)),
    },
    Rule {
        id: "start-malformed-repl-info",
        says: "pgsql_REPL_INFO has a text that is not understood: nothing is guessed.",
        decide: |s| match &s.cluster_or_empty().repl_info {
            Some(Err(text)) => Some(Step::fail(
                OcfCode::Installed,
                format!("look with cls_status, then run cls_recovery_master: {text}"),
            )),
            _ => None,
        },
    },
    Rule {
        id: "start-end-unknown",
        says: "Another node was primary and the end of WAL here cannot be told: not started.",
        decide: |s| {
            let info = switch_to_compare(s)?;
            let why = s.disk.as_ref()?.end.as_ref().err()?;
            let remedy = match why {
                // A rebuild would end here again.
                EndUnknown::NoProgram(program) => program.remedy().to_string(),
                EndUnknown::Other(_) => format!("{} --keep-old", Remedy::Rebuild),
            };
            Some(Step::fail(
                OcfCode::Installed,
                format!(
                    "{remedy} on {}: where its WAL ends cannot be told, so it is not known whether its data \
                     belongs to {}'s: {why}",
                    s.me(),
                    info.node
                ),
            ))
        },
    },
    Rule {
        id: "start-diverged",
        says: "This node has WAL that the primary does not have: not started, with the repair command.",
        decide: |s| {
            let unnamed = kin(s).is_none_or(|(_, kinship)| kinship == Kinship::Unnamed);
            let text = diverged(s).filter(|_| unnamed)?;
            Some(Step::fail(OcfCode::Installed, text))
        },
    },
    Rule {
        id: "start-forgotten-leave",
        says: "This node has no memory of the register and is a holder: what it had promised is not known (R7). It leaves the holders, and the primary adds it again at an epoch at which it has promised nothing.",
        decide: |s| {
            let row = s.row().filter(|_| s.progress.forgot)?;
            let may_leave =
                !row.is_owned_by(s.me()) && row.holders.contains(s.me()) && row.holders.len() > 1;
            may_leave.then(|| {
                let leave = Update::Leave {
                    node: s.me().clone(),
                };
                let text = format!(
                    "{} has lost its memory of the register and leaves the holders until the primary adds it again",
                    s.me()
                );
                Step::wait("the register to take this node out of the holders")
                    .after(vec![Action::Warn(text), Action::UpdateRegister(leave)])
            })
        },
    },
    Rule {
        id: "start-put-back-leave",
        says: "This node has less WAL on its disk than the register records for it, so its data were put back (R10): it leaves the holders before it receives anything. What it receives may come as far as was recorded and still not be what was recorded.",
        decide: |s| {
            let (row, text) = put_back(s)?;
            let may_leave = !row.is_owned_by(s.me()) && row.holders.len() > 1;
            may_leave.then(|| {
                let leave = Update::Leave {
                    node: s.me().clone(),
                };
                Step::wait("the register to take this node out of the holders").after(vec![
                    Action::Warn(format!("{text}; this node leaves the holders")),
                    Action::UpdateRegister(leave),
                ])
            })
        },
    },
    Rule {
        id: "start-put-back",
        says: "The same, of the owner, which cannot leave: not started, or it might receive from a primary that it has replaced and then go on with that one's WAL.",
        decide: |s| {
            let (_, text) = put_back(s)?;
            Some(Step::fail(
                OcfCode::Installed,
                format!(
                    "{} on {} once another node is the primary: {text}; where no \
                     other node holds the data, only cls_recovery_master goes on, and accepts the loss",
                    Remedy::Rebuild,
                    s.me()
                ),
            ))
        },
    },
    Rule {
        id: "start-unopened-close",
        says: "By promises PostgreSQL was to be restarted here as the primary, and nobody has seen it open: first make the data a standby's, since nobody is barred any more once the question is withdrawn (R7).",
        decide: outage::close_unopened,
    },
    Rule {
        id: "start-unopened-read",
        says: "Then read again where the WAL ends: from here on nobody opens it by starting it.",
        decide: outage::read_unopened,
    },
    Rule {
        id: "start-unopened-withdraw",
        says: "It was never opened, since its WAL ends exactly where it did before: withdraw the question, so that nobody is barred by a restart that has failed (R7).",
        decide: |s| {
            outage::withdraw_unopened(s).map(|withdraw| Step::then_continue(vec![withdraw]))
        },
    },
    Rule {
        id: "start-strays",
        says: "A history file in pg_wal is of no timeline of the register: move it aside, or the standby would follow it (R13).",
        decide: |s| {
            let strays = strays(s);
            let tried = s.progress.failure(ActionKind::SetHistoriesAside).is_some();
            (!strays.is_empty() && !tried).then(|| {
                let named: Vec<String> = strays
                    .iter()
                    .filter(|(_, reserved)| !reserved)
                    .map(|(number, _)| number.history_file())
                    .collect();
                let mut actions = Vec::new();
                if !named.is_empty() {
                    actions.push(Action::Warn(format!(
                        "{} in pg_wal is of no timeline of this cluster and is moved aside; see who archives into restore_command's archive",
                        named.join(", ")
                    )));
                }
                let numbers = strays.iter().map(|(number, _)| *number).collect();
                actions.push(Action::SetHistoriesAside(numbers));
                Step::then_continue(actions)
            })
        },
    },
    Rule {
        id: "start-strays-failed",
        says: "It could not be moved aside: not started.",
        decide: |s| {
            let failure = s.progress.failure(ActionKind::SetHistoriesAside)?;
            Some(Step::fail(OcfCode::Installed, failure.text.clone()))
        },
    },
    Rule {
        id: "start-standby",
        says: "Report the end of WAL and start PostgreSQL as a standby; who becomes primary is decided later.",
        decide: |s| {
            let end = s
                .disk
                .as_ref()
                .and_then(|disk| disk.end.as_ref().ok().copied());
            let mut step = launch_standby(s)?;
            if let Some(end) = end {
                let report = vec![(s.me().clone(), Attribute::Position(end))];
                step = step.after(needed(s, report));
            }
            Some(step)
        },
    },
    Rule {
        id: "start-impossible",
        says: "Nothing of the above: an error.",
        decide: |_| {
            Some(Step::fail(
                OcfCode::Generic,
                "PostgreSQL could not be started",
            ))
        },
    },
];

fn wrong_role(s: &Snapshot) -> Option<Step> {
    match (&s.answer, s.settings.mode) {
        (Answer::Primary(_), Mode::Slave | Mode::Async | Mode::Sync) => Some(Step::fail(
            OcfCode::Generic,
            format!(
                "PostgreSQL already runs as a primary on {}, started by somebody else; stop it with pg_ctl stop -m fast",
                s.me()
            ),
        )),
        (Answer::Standby(_), Mode::Standalone) => Some(Step::fail(
            OcfCode::Generic,
            format!(
                "PostgreSQL on {} is a standby although rep_mode is none; remove standby.signal or set rep_mode",
                s.me()
            ),
        )),
        _ => None,
    }
}

/// The register, and what is wrong, where it records more WAL for this node than its disk has (R10).
/// A register that was itself put back says nothing.
fn put_back(s: &Snapshot) -> Option<(&Register, String)> {
    let (row, memory) = (s.row()?, s.seen().ok()?);
    let recorded = *row.positions.get(s.me())?;
    let end = *s.disk.as_ref()?.end.as_ref().ok()?;
    let behind = end.lsn.before_page_header() < recorded.before_page_header()
        && out_of_step(row, &memory).is_none();
    behind.then(|| {
        let text = format!(
            "its data were put back to an older state: its WAL ends at {} on timeline {}, and the \
             register records {recorded} for it",
            end.lsn, end.timeline
        );
        (row, text)
    })
}

/// The switch to compare this node's data with. Where the register names another primary than
/// `pgsql_REPL_INFO`, the latter is out of date (it came from the wrong side of a healed partition)
/// and says nothing; the primary will write it again.
fn switch_to_compare(s: &Snapshot) -> Option<ReplInfo> {
    let cluster = s.cluster_or_empty();
    let info = cluster.repl_info()?.clone();
    let row = s.row().filter(|row| row.term > 0);
    let owner: Option<&NodeName> = row.and_then(|row| row.owner.as_ref());
    (&info.node != s.me() && owner.is_none_or(|owner| *owner == info.node)).then_some(info)
}

/// Why this node may not follow the primary, if so. The command comes first: Pacemaker shows the
/// first 127 characters of an exit reason (`EXIT_REASON_MAX_LEN`) and drops the rest.
pub(super) fn diverged(s: &Snapshot) -> Option<String> {
    let info = switch_to_compare(s)?;
    let disk = s.disk.as_ref()?;
    let end = *disk.end.as_ref().ok()?;
    match descent(&info, s.me(), end, &disk.history, &disk.newer) {
        Descent::Follows => None,
        Descent::Diverged { fork, end } => Some(format!(
            "{repair} on {me}: it has WAL up to {end}, and {primary} left timeline {before} at {lsn} \
             to become primary ({text}); {rebuild} --keep-old if that fails",
            repair = Remedy::Repair,
            rebuild = Remedy::Rebuild.command(),
            me = s.me(),
            primary = info.node,
            before = fork.timeline,
            lsn = fork.lsn,
            text = info,
        )),
    }
}
