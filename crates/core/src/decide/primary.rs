//! What a primary does about its lease, its standbys and what it shows, in monitors and
//! notifications. The order of the rows is the order of the protocol: first the lease, then the
//! register loses a holder, then PostgreSQL loses the name (R3); first PostgreSQL has the name in
//! force, then the barrier, then the flush, then the register gains a holder (R4).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::decide::{attributes, outage};
use crate::lsn::Lsn;
use crate::names::NodeName;
use crate::ocf::{self, OcfCode, When};
use crate::plan::{Action, Attribute, Rule, Step, StopMode, with_reign};
use crate::register::{Ownership, Reading, Register, Reign, Update, judge_owner};
use crate::repl_info::ReplInfo;
use crate::snapshot::{Arbiter, ExternalLock, Mode, Operation, PrimaryView, Snapshot, StandbyLink};
use crate::status::{PgsqlStatus, Score, WalSenderState};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "primary-stopped",
        says: "A superseded primary was stopped: not running, with the reason.",
        decide: |s| {
            (s.primary().is_none() && !s.progress.stops.is_empty())
                .then(|| stopped_as_superseded(s))
        },
    },
    Rule {
        id: "primary-gone",
        says: "PostgreSQL is no primary (any more): nothing to do here.",
        decide: |s| s.primary().is_none().then(|| done(s)),
    },
    Rule {
        id: "primary-renew",
        says: "Renew the lease and record how far the holders have flushed (R10); the reply says who owns the register.",
        decide: renew,
    },
    Rule {
        id: "primary-adopt",
        says: "This node owns the register at a term that its memory does not have, because it was interrupted while it promoted: adopt it.",
        decide: adopt_term,
    },
    Rule {
        id: "primary-adopt-failed",
        says: "That term cannot be kept durably (a full disk): the primary goes on and changes nothing.",
        decide: |s| {
            term_to_adopt(s)?;
            let why = s.progress.failure("remember")?.text.clone();
            Some(show_and_end(s, why))
        },
    },
    Rule {
        id: "primary-claim",
        says: "No primary was ever registered and this one runs (a cluster of the older agent): it claims the register as the only holder (R0).",
        decide: |s| match ownership(s)? {
            Ownership::NeverElected(_) if s.progress.failure("update-register").is_none() => Some(
                Step::then_reobserve(vec![Action::UpdateRegister(Update::FirstPrimary {
                    node: s.me().clone(),
                    ttl: s.settings.ttl,
                })]),
            ),
            Ownership::NeverElected(_) => Some(show_and_end(
                s,
                "the register could not be claimed".to_owned(),
            )),
            _ => None,
        },
    },
    Rule {
        id: "primary-superseded",
        says: "Another node owns the register: stop PostgreSQL at once, immediate mode, and never touch the names again (R5).",
        decide: |s| superseded(s).map(|row| stop_superseded(s, row)),
    },
    Rule {
        id: "primary-register-damaged",
        says: "The register is missing or older than what this node has seen: the primary goes on, nothing is degraded, the operator is told.",
        decide: |s| match ownership(s)? {
            Ownership::Damage(text) => Some(show_and_end(
                s,
                format!(
                    "the register is damaged: {text}; nothing is promoted and no standby is let go until that is mended"
                ),
            )),
            _ => None,
        },
    },
    Rule {
        id: "primary-ask-promises",
        says: "The lock service cannot be reached and commits wait for a standby that is lost: ask every other node to promise not to be promoted at this epoch, or to pass the change of the holders on (R7).",
        decide: |s| {
            names_after_loss(s)?;
            outage::ask(s).map(|ask| Step::then_continue(vec![ask]))
        },
    },
    Rule {
        id: "primary-degrade-by-promise",
        says: "Every other node has promised: PostgreSQL no longer waits for the lost standby (R7).",
        decide: |s| {
            let names = names_after_loss(s)?;
            outage::promised(s)
                .then(|| once(s, "set-names", Action::SetNames(names)))
                .flatten()
        },
    },
    Rule {
        id: "primary-register-unknown",
        says: "The register cannot be read: the primary goes on, and its names stay as they are (R3).",
        decide: |s| match ownership(s)? {
            Ownership::Unknown(trouble) => {
                let commits = names_after_loss(s).and_then(|_| outage::complaint(s));
                let text = commits.map_or(trouble.clone(), |why| format!("{trouble}; {why}"));
                Some(show_and_end(s, text))
            }
            _ => None,
        },
    },
    Rule {
        id: "primary-drop-holder",
        says: "A holder is gone, or commits do not wait for it: the register loses it first (R3).",
        decide: drop_holder,
    },
    Rule {
        id: "primary-end-promises",
        says: "Other nodes were asked to promise at this epoch, the register is back, and commits wait for every holder: move the epoch, so that a holder may be promoted again (R7).",
        decide: |s| outage::end(s, &mine(s)?).map(|end| Step::then_continue(vec![end])),
    },
    Rule {
        id: "primary-degrade-lock",
        says: "With the external lock, a name may only be taken away under the lock.",
        decide: |s| {
            let wanted = s.settings.arbiter == Arbiter::External && names_after_loss(s)?.is_empty();
            (wanted && s.progress.external.is_none())
                .then(|| Step::then_continue(vec![Action::LockExternal]))
        },
    },
    Rule {
        id: "primary-degrade-refused",
        says: "The external lock was not obtained: the names stay, and commits wait.",
        decide: |s| {
            names_after_loss(s)?;
            match &s.progress.external {
                Some(ExternalLock::NotLocked(why)) => Some(show_and_end(
                    s,
                    format!("commits wait for the lost standby: {why}"),
                )),
                _ => None,
            }
        },
    },
    Rule {
        id: "primary-drop-name",
        says: "A named standby is gone and is no holder: PostgreSQL no longer waits for it.",
        decide: |s| {
            let names = names_after_loss(s)?;
            (!s.builtin() || s.progress.epoch_moved)
                .then(|| once(s, "set-names", Action::SetNames(names)))
                .flatten()
        },
    },
    Rule {
        id: "primary-name-standby",
        says: "A standby streams and none is named: name it.",
        decide: |s| {
            let view = s.primary()?;
            let link = candidate(s)?;
            let none_named = s.settings.mode == Mode::Sync && view.names.is_empty();
            none_named
                .then(|| once(s, "set-names", Action::SetNames(vec![link.name.clone()])))
                .flatten()
        },
    },
    Rule {
        id: "primary-take-barrier",
        says: "A named standby is no holder: see that its naming is in force, then take the barrier (R4).",
        decide: |s| {
            let name = named_non_holder(s)?;
            let known = s
                .progress
                .barrier
                .as_ref()
                .is_some_and(|(of, _)| *of == name);
            (!known)
                .then(|| once(s, "take-barrier", Action::TakeBarrier(name.clone())))
                .flatten()
        },
    },
    Rule {
        id: "primary-add-holder",
        says: "It has flushed past the barrier: it holds every acknowledged commit, so the register gains it (R4).",
        decide: add_holder,
    },
    Rule {
        id: "primary-slots",
        says: "With replication_slot_name: a standby's slot is missing on the primary: create it.",
        decide: |s| {
            let view = s.primary()?;
            let missing: Vec<String> = s
                .settings
                .slots
                .iter()
                .filter(|(node, slot)| *node != s.me() && !view.slots.contains(slot))
                .map(|(_, slot)| slot.clone())
                .collect();
            (!missing.is_empty())
                .then(|| once(s, "ensure-slots", Action::EnsureSlots(missing)))
                .flatten()
        },
    },
    Rule {
        id: "primary-repl-info",
        says: "pgsql_REPL_INFO is not what the timeline history of the primary says: write it.",
        decide: |s| {
            let wanted = repl_info(s)?;
            let present = s.cluster.as_ref().ok()?.repl_info();
            (present != Some(&wanted) && s.progress.failure("write-repl-info").is_none())
                .then(|| Step::then_continue(vec![Action::WriteReplInfo(wanted)]))
        },
    },
    Rule {
        id: "primary-show",
        says: "Show the primary and its standbys in the node attributes.",
        decide: show,
    },
    Rule {
        id: "primary-await-standby",
        says: "A standby is on its way: look again for a moment instead of leaving it to the next monitor.",
        decide: |s| {
            (s.elapsed < patience(s) && s.progress.failures.is_empty() && on_its_way(s))
                .then(|| Step::wait("a standby to stream and to flush past the barrier"))
        },
    },
    Rule {
        id: "primary-done",
        says: "All is as it should be.",
        decide: |s| Some(done(s)),
    },
];

/// The end of a primary that was superseded. It leaves no score of a primary behind: where two parts
/// of a cluster have just met, Pacemaker would demote the new primary for the sake of it.
pub(super) fn stopped_as_superseded(s: &Snapshot) -> Step {
    let me = s.me();
    let shown = vec![
        (me.clone(), Attribute::Score(Score::MayNot)),
        (me.clone(), Attribute::Status(PgsqlStatus::Stop)),
    ];
    let failed = Step::fail(
        OcfCode::NotRunning,
        format!(
            "another node became the owner in the register, so PostgreSQL was stopped on {} (R5)",
            s.me()
        ),
    );
    failed.after(attributes::needed(s, shown))
}

fn done(s: &Snapshot) -> Step {
    match s.operation {
        Operation::Monitor { .. } => Step::finish(OcfCode::RunningPromoted),
        _ => Step::finish(OcfCode::Success),
    }
}

/// An action that is tried once in an operation: its failure is in the log, and the next monitor
/// tries again.
fn once(s: &Snapshot, kind: &str, action: Action) -> Option<Step> {
    s.progress
        .failure(kind)
        .is_none()
        .then(|| Step::then_reobserve(vec![action]))
}

fn renew(s: &Snapshot) -> Option<Step> {
    if !s.builtin() || s.progress.renewed || s.register.is_some() {
        return None;
    }
    let Some(reign) = s.memory.reign else {
        return Some(Step::then_continue(vec![Action::ReadRegister]));
    };
    Some(Step::then_continue(vec![Action::UpdateRegister(
        Update::Renew {
            node: s.me().clone(),
            term: reign.term,
            positions: positions(s),
            ttl: s.settings.ttl,
        },
    )]))
}

/// How far each node is known to have flushed whole records (R10). A flushed position may lie inside
/// a record, of which a crash leaves nothing that counts: recorded, it would make a healthy node look
/// as if its data had been put back. What is replayed ends with a record, on the primary as well.
pub(super) fn positions(s: &Snapshot) -> BTreeMap<NodeName, Lsn> {
    let Some(view) = s.primary() else {
        return BTreeMap::new();
    };
    let standbys = view.standbys.iter().filter_map(|link| {
        let node = s
            .settings
            .nodes
            .iter()
            .find(|node| node.as_str() == link.name)?;
        Some((node.clone(), link.replayed?))
    });
    let shipped = view.standbys.iter().filter_map(|link| link.replayed).max();
    let own = shipped.max(view.complete);
    standbys
        .chain(own.map(|own| (s.me().clone(), own)))
        .collect()
}

fn ownership(s: &Snapshot) -> Option<Ownership> {
    if !s.builtin() {
        return None;
    }
    let reading = s.register.as_ref()?;
    let term = s.memory.reign.map_or(0, |reign| reign.term);
    Some(judge_owner(reading, s.me(), term, &s.memory))
}

/// Why the register is damaged, where it is.
pub(super) fn damage(s: &Snapshot) -> Option<String> {
    match ownership(s)? {
        Ownership::Damage(text) => Some(text),
        _ => None,
    }
}

/// The register, where it says that this node owns it.
fn mine(s: &Snapshot) -> Option<Register> {
    match ownership(s)? {
        Ownership::Mine(row) => Some(row),
        _ => None,
    }
}

/// The register, where it is this node's at a term that its memory does not have.
fn term_to_adopt(s: &Snapshot) -> Option<&Register> {
    match s.register.as_ref().filter(|_| s.builtin())? {
        Reading::Row(row) if row.is_owned_by(s.me()) && row.term > 0 => {
            let other = s.memory.reign.map(|known| known.term) != Some(row.term);
            (other && row.term >= s.memory.term).then_some(row)
        }
        _ => None,
    }
}

fn adopt_term(s: &Snapshot) -> Option<Step> {
    let view = s.primary()?;
    let reign = Reign {
        term: term_to_adopt(s)?.term,
        timeline: view.timeline,
    };
    once(
        s,
        "remember",
        Action::Remember(with_reign(&s.memory, reign)),
    )
}

/// The register, where another node owns it or nobody does at a later term (R5). One that is older
/// than what this node has seen is damage and supersedes nobody; one that names this node at another
/// term than its memory does is to be adopted.
pub(super) fn superseded(s: &Snapshot) -> Option<&Register> {
    match (ownership(s)?, s.register.as_ref()?) {
        (Ownership::Superseded { owner, .. }, Reading::Row(row)) => {
            (owner.as_ref() != Some(s.me())).then_some(row)
        }
        _ => None,
    }
}

/// R5. Immediate mode first: a superseded primary owes nobody a checkpoint, and each second counts.
pub(super) fn stop_superseded(s: &Snapshot, row: &Register) -> Step {
    let owner = row
        .owner
        .as_ref()
        .map_or("nobody".to_owned(), ToString::to_string);
    let reason = format!(
        "{owner} owns the register at term {}: PostgreSQL on {} is stopped at once",
        row.term,
        s.me()
    );
    match super::halt::next_stop(s, StopMode::Immediate) {
        Some(mode) => Step::then_reobserve(vec![Action::Warn(reason), Action::StopPostgres(mode)]),
        None => super::stop::not_stopped(s),
    }
}

/// The end of a round in which the register must not be relied on. What is shown does not depend on it.
fn show_and_end(s: &Snapshot, warning: String) -> Step {
    let actions = attributes::of_primary(s);
    done(s).after(actions).after(vec![Action::Warn(warning)])
}

/// Whether this node's standby can no longer be waited for: it does not stream, its node is no
/// member of this partition, or it is about to be stopped.
fn lost(s: &Snapshot, name: &str) -> bool {
    let streams = s.primary().is_some_and(|view| {
        view.standbys
            .iter()
            .any(|link| link.name == name && link.state == WalSenderState::Streaming)
    });
    let Some(node) = s.settings.nodes.iter().find(|node| node.as_str() == name) else {
        return true; // a name that is not in node_list was written by nobody of ours
    };
    let member = s
        .cluster
        .as_ref()
        .map_or(true, |cluster| cluster.node(node).online);
    !streams || !member || leaving(s, node)
}

/// Nodes that a notification announces to be stopped or demoted.
fn leaving(s: &Snapshot, node: &NodeName) -> bool {
    match &s.operation {
        Operation::Notify(about) if about.when == When::Pre => {
            about.stop.contains(node) || about.demote.contains(node)
        }
        _ => false,
    }
}

/// The names without the lost ones, where any is lost; a streaming standby takes their place, so
/// that commits wait for one standby or the other.
fn names_after_loss(s: &Snapshot) -> Option<Vec<String>> {
    let view = s.primary()?;
    if s.settings.mode != Mode::Sync {
        return (!view.names.is_empty()).then(Vec::new);
    }
    let kept: Vec<String> = view
        .names
        .iter()
        .filter(|name| !lost(s, name))
        .cloned()
        .collect();
    if kept.len() == view.names.len() {
        return None;
    }
    if kept.is_empty()
        && let Some(link) = candidate(s)
    {
        return Some(vec![link.name.clone()]);
    }
    Some(kept)
}

/// The standby to name: the first of `node_list` that streams and stays. It has reported how far it
/// is: what one reports that has diverged shows that it has ([`StandbyLink::follows`]). And it has WAL
/// of this timeline, so that it cannot follow an older primary any more, which does not know that it was
/// replaced, and come back with the WAL of that one while commits wait for it.
fn candidate(s: &Snapshot) -> Option<&StandbyLink> {
    let view: &PrimaryView = s.primary()?;
    let began = view.history.last_switch().map(|switch| switch.end);
    s.settings
        .nodes
        .iter()
        .filter(|node| *node != s.me() && !lost(s, node.as_str()))
        .filter_map(|node| view.standbys.iter().find(|link| link.name == node.as_str()))
        .find(|link| link.flushed > began)
}

/// Holders other than this node for which PostgreSQL does not wait, or which are lost.
///
/// The epoch moves before every name that is taken away, also one that is no holder: an addition
/// whose reply was lost may still lie in the lock service's socket, and would make a holder of a
/// standby for which nobody waits any more.
fn drop_holder(s: &Snapshot) -> Option<Step> {
    let row = mine(s)?;
    let view = s.primary()?;
    let keep: BTreeSet<NodeName> = row
        .holders
        .iter()
        .filter(|node| {
            *node == s.me()
                || (s.settings.mode == Mode::Sync
                    && view.names.iter().any(|name| name == node.as_str())
                    && !lost(s, node.as_str()))
        })
        .cloned()
        .chain([s.me().clone()])
        .collect();
    let name_goes = names_after_loss(s).is_some() && s.progress.failure("set-names").is_none();
    let fenced = s.progress.epoch_moved || !name_goes;
    (keep != row.holders || !fenced).then(|| {
        Step::then_continue(vec![Action::UpdateRegister(Update::set_holders(
            &row,
            s.me().clone(),
            keep,
            s.settings.ttl,
        ))])
    })
}

/// A standby that PostgreSQL waits for and that the register does not know as a holder.
fn named_non_holder(s: &Snapshot) -> Option<String> {
    let row = mine(s)?;
    let view = s.primary().filter(|_| s.settings.mode == Mode::Sync)?;
    view.names
        .iter()
        .find(|name| {
            s.settings
                .nodes
                .iter()
                .any(|node| node.as_str() == name.as_str() && !row.holders.contains(node))
                && !lost(s, name)
        })
        .cloned()
}

fn add_holder(s: &Snapshot) -> Option<Step> {
    let name = named_non_holder(s)?;
    let (of, barrier) = s.progress.barrier.as_ref()?;
    let view = s.primary()?;
    let link = view.standbys.iter().find(|link| link.name == name)?;
    let node = s.settings.nodes.iter().find(|node| node.as_str() == name)?;
    let row = mine(s)?;
    let ready = *of == name && link.flushed.is_some_and(|flushed| flushed >= *barrier);
    (ready && s.progress.failure("update-register").is_none()).then(|| {
        let holders = row.holders.iter().cloned().chain([node.clone()]).collect();
        let update = Update::set_holders(&row, s.me().clone(), holders, s.settings.ttl);
        Step::then_continue(vec![Action::UpdateRegister(update)])
    })
}

/// What `pgsql_REPL_INFO` ought to be: this node, and the switch that began its timeline.
pub(super) fn repl_info(s: &Snapshot) -> Option<ReplInfo> {
    let view = s.primary().filter(|_| s.settings.mode.replicated())?;
    Some(match view.history.last_switch() {
        Some(switch) => ReplInfo::after_switch(s.me().clone(), switch),
        None => ReplInfo::before_any_switch(s.me().clone()),
    })
}

pub(super) fn show(s: &Snapshot) -> Option<Step> {
    let actions = attributes::of_primary(s);
    (!actions.is_empty()).then(|| Step::then_continue(actions))
}

/// How long a monitor or a notification may linger for a standby that is on its way. Only the start
/// of a standby is worth waiting for: after a promotion the standbys come by the writer's address,
/// which Pacemaker starts when the notification is over.
fn patience(s: &Snapshot) -> Duration {
    match &s.operation {
        Operation::Notify(about) if about.operation == ocf::Operation::Start => {
            Duration::from_secs(5)
        }
        Operation::Notify(_) => Duration::ZERO,
        _ => Duration::from_millis(1500),
    }
}

/// Whether a standby of this partition runs and commits do not wait for any standby yet.
fn on_its_way(s: &Snapshot) -> bool {
    let Ok(cluster) = &s.cluster else {
        return false;
    };
    let Some(view) = s.primary().filter(|_| s.settings.mode == Mode::Sync) else {
        return false;
    };
    let secured = match mine(s) {
        Some(row) => row.holders.len() > 1,
        None => s.builtin() || !view.names.is_empty(),
    };
    !secured
        && s.settings.nodes.iter().any(|node| {
            let known = cluster.node(node);
            node != s.me()
                && known.online
                && !leaving(s, node)
                && matches!(
                    known.status,
                    Some(
                        PgsqlStatus::HsAlone
                            | PgsqlStatus::HsConnected
                            | PgsqlStatus::HsAsync
                            | PgsqlStatus::HsPotential
                            | PgsqlStatus::HsSync
                    )
                )
        })
}
