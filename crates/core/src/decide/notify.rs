//! `notify`: what happens around actions elsewhere in the cluster.

use crate::decide::demote::show_standby;
use crate::decide::{gate, promote};
use crate::ocf::{self, OcfCode, When};
use crate::plan::{Action, Rule, Step};
use crate::register::Eligibility;
use crate::snapshot::{Operation, Snapshot};

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
            promote::refusal(s)?;
            // The attribute daemon answers before the score is in the CIB, and only there it stops
            // the transition: the notification must not be over before that.
            promote::close_gate(s).map(|step| Step::then_reobserve(step.actions))
        },
    },
    Rule {
        id: "notify-pre-promote-refused",
        says: "The gate is closed.",
        decide: |s| {
            candidate(s)?;
            promote::refusal(s).map(|why| {
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
                .failure("restart-receiver")
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

/// Whether this standby is the one that is about to be promoted, and the register decides.
fn candidate(s: &Snapshot) -> Option<()> {
    let about = about(s)?;
    (s.builtin()
        && s.standby().is_some()
        && about.when == When::Pre
        && about.operation == ocf::Operation::Promote
        && about.promote.contains(s.me()))
    .then_some(())
}
