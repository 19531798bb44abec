//! `notify`: what happens around actions elsewhere in the cluster.

use std::time::Duration;

use crate::decide::shared::attributes::{self, show_standby};
use crate::decide::shared::gate;
use crate::decide::shared::{incarnation, outage};
use crate::ocf::{self, OcfCode, When};
use crate::plan::{Action, ActionKind, Attribute, Rule, Step};
use crate::register::Eligibility;
use crate::snapshot::{Mode, Operation, Snapshot};
use crate::status::Score;

/// How long a standby that is to be promoted waits for what another one has to report. The others are
/// notified at the same time, and report within a fraction of that.
const REPORTS: Duration = Duration::from_secs(1);

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "notify-not-replicated",
        says: "Without managed replication there is nothing to announce, and synchronous_standby_names is the administrator's own.",
        decide: |s| (!s.settings.mode.replicated()).then(|| Step::finish(OcfCode::Success)),
    },
    Rule {
        id: "notify-leaving",
        says: "This node is itself about to be stopped or demoted: nothing to do.",
        decide: |s| {
            about(s)
                .filter(|n| {
                    n.when == When::Pre && (n.stop.contains(s.me()) || n.demote.contains(s.me()))
                })
                .map(|_| Step::finish(OcfCode::Success))
        },
    },
    Rule {
        id: "notify-pre-promote-close-gate",
        says: "This node is to be promoted and the register refuses it: close the gate and see it closed in the cluster, which makes Pacemaker drop the promotion instead of failing it.",
        decide: |s| {
            candidate(s)?;
            gate::refusal(s)?;
            // The attribute daemon answers before the score is in the CIB, and only there it stops
            // the transition: the notification must not be over before that.
            attributes::close_gate(s).map(|step| Step::then_reobserve(step.actions))
        },
    },
    Rule {
        id: "notify-pre-promote-refused",
        says: "The gate is closed.",
        decide: |s| {
            candidate(s)?;
            gate::refusal(s).map(|why| {
                Step::finish(OcfCode::Success)
                    .after(vec![Action::Warn(format!("not to be promoted: {why}"))])
            })
        },
    },
    Rule {
        id: "notify-pre-promote-read",
        says: "This node is to be promoted: ask the register whether it may.",
        decide: |s| {
            (candidate(s).is_some() && s.register.is_none())
                .then(|| Step::then_continue(vec![Action::ReadRegister]))
        },
    },
    Rule {
        id: "notify-pre-promote-in-place",
        says: "The lock service cannot be reached, and this node is the primary that served last: the promotion itself asks for the promises by which it may be restarted in place (R7).",
        decide: |s| {
            candidate(s)?;
            outage::may_be_promised(s).then(|| Step::finish(OcfCode::Success))
        },
    },
    Rule {
        id: "notify-pre-promote-wait",
        says: "Another node's lease runs, or the lock service does not answer: wait until it has run out or its owner has renewed it.",
        decide: |s| {
            candidate(s)?;
            match gate::eligibility(s, s.register.as_ref()?) {
                Eligibility::LeaseRunning { register, .. } => Some(Step::wait(format!(
                    "the lease to run out ({} ms left)",
                    register.lease_left.as_millis()
                ))),
                Eligibility::Unknown(trouble) => Some(Step::wait(trouble.to_string())),
                _ => None,
            }
        },
    },
    Rule {
        id: "notify-pre-promote-report",
        says: "Asynchronous mode: before a promotion every standby reports its end of WAL and sees it in the cluster, so that the one with the most is promoted.",
        decide: |s| {
            before_promotion(s).filter(|_| s.settings.mode == Mode::Async)?;
            let position = attributes::position_to_report(s, s.cluster.as_ref().ok()?)?;
            reobserved(s, Attribute::Position(position))
        },
    },
    Rule {
        id: "notify-pre-promote-yield",
        says: "Another standby has more WAL than the one that is to be promoted: lower its score and see it lowered, so that Pacemaker promotes the other.",
        decide: |s| {
            let about = before_promotion(s)?;
            let lower =
                about.promote.contains(s.me()) && gate::gate(s).score == Some(Score::LastResort);
            lower.then(|| reobserved(s, Attribute::Score(Score::LastResort)))?
        },
    },
    Rule {
        id: "notify-pre-promote-compare",
        says: "Asynchronous mode: the one that is to be promoted waits a second for another standby to report as much WAL; who has not by then is behind.",
        decide: |s| {
            before_promotion(s).filter(|about| about.promote.contains(s.me()))?;
            let other = gate::not_reported(s, s.cluster.as_ref().ok()?)?;
            (s.elapsed < REPORTS).then(|| Step::wait(format!("{other} to report its WAL")))
        },
    },
    Rule {
        id: "notify-pre-promote-say",
        says: "Synchronous mode, three nodes and more: another node is to be promoted, and this standby may have flushed more of the same timeline than that one (R13). Say how much, and see it said in the cluster: the other one receives it from here before it opens, so that this standby can follow it.",
        decide: say_before_promotion,
    },
    Rule {
        id: "notify-post-promote-reconnect",
        says: "Another node is the primary now: end the WAL receiver, so that it connects there at once and not after its timeout.",
        decide: |s| {
            about(s).filter(|n| {
                n.when == When::Post
                    && n.operation == ocf::Operation::Promote
                    && !n.promote.contains(s.me())
            })?;
            let receiver = s
                .standby()?
                .receiver
                .filter(|_| !s.progress.receiver_restarted)?;
            s.progress
                .failure(ActionKind::RestartReceiver)
                .is_none()
                .then(|| Step::then_continue(vec![Action::RestartReceiver(receiver)]))
        },
    },
    Rule {
        id: "notify-standby-show",
        says: "After any change, a standby shows itself and its gate; this is also where the first primary is elected.",
        decide: |s| {
            s.standby()?;
            about(s).filter(|n| n.when == When::Post)?;
            show_standby(s)
        },
    },
    Rule {
        id: "notify-pre-stop-read",
        says: "Another standby is about to be stopped: read the register, which says whether this one is a holder.",
        decide: |s| {
            s.standby()
                .filter(|_| s.builtin() && s.register.is_none())?;
            about(s).filter(|n| n.when == When::Pre && n.operation == ocf::Operation::Stop)?;
            Some(Step::then_continue(vec![Action::ReadRegister]))
        },
    },
    Rule {
        id: "notify-standby-attend",
        says: "A standby that is no holder: say how far it has flushed, and have that said for a while after this notification (R11). It may be the one that takes the place of another that is about to be stopped (R3).",
        decide: |s| {
            about(s).filter(|n| n.when == When::Post || n.operation == ocf::Operation::Stop)?;
            incarnation::say(s).or_else(|| incarnation::attend(s))
        },
    },
    Rule {
        id: "notify-pre-nothing",
        says: "Before a start, a promotion or a demotion elsewhere there is nothing to do.",
        decide: |s| {
            about(s)
                .filter(|n| n.when == When::Pre && n.operation != ocf::Operation::Stop)
                .map(|_| Step::finish(OcfCode::Success))
        },
    },
];

fn about(s: &Snapshot) -> Option<&ocf::Notification> {
    match &s.operation {
        Operation::Notify(about) => Some(about),
        _ => None,
    }
}

/// This node is a standby, and some node is about to be promoted.
fn before_promotion(s: &Snapshot) -> Option<&ocf::Notification> {
    s.standby()?;
    about(s).filter(|n| n.when == When::Pre && n.operation == ocf::Operation::Promote)
}

/// Writes what is not there yet, and looks again: the attribute daemon answers before the value is
/// in the CIB, and the notification must not be over before that.
fn reobserved(s: &Snapshot, attribute: Attribute) -> Option<Step> {
    let actions = attributes::needed(s, vec![(s.me().clone(), attribute)]);
    (!actions.is_empty()).then(|| Step::then_reobserve(actions))
}

/// Says once how far this standby has flushed, and sees these very words in the cluster: those of an earlier
/// promotion, which has failed, are of the same server and timeline, and say less. What comes after that is not
/// waited for: a primary that is alive might send for ever.
fn say_before_promotion(s: &Snapshot) -> Option<Step> {
    before_promotion(s).filter(|about| !about.promote.contains(s.me()))?;
    let Some(said) = &s.progress.said else {
        return reobserved(s, Attribute::Flushed(incarnation::flushed_by_name(s)?));
    };
    let is_there = s.cluster.as_ref().ok()?.node(s.me()).flushed.as_ref() == Some(&said.what);
    (!is_there && s.elapsed < REPORTS).then(|| Step::wait("the cluster to show what was said"))
}

/// Whether this standby is the one that is about to be promoted, and the register decides.
fn candidate(s: &Snapshot) -> Option<()> {
    before_promotion(s)
        .filter(|about| s.builtin() && about.promote.contains(s.me()))
        .map(drop)
}
