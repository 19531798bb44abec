//! What a primary does about its lease, its standbys and what it shows, in monitors and
//! notifications. The order of the rows is the order of the protocol: first the lease, then the
//! register loses a holder, then PostgreSQL loses the name (R3); first PostgreSQL has the name in
//! force, then the barrier, then the flush, then the register gains a holder (R4).

use std::time::Duration;

use crate::decide::shared::attributes::{repl_info, show};
use crate::decide::shared::ending::{done, show_and_end};
use crate::decide::shared::halt::{stop_superseded, stopped_as_superseded};
use crate::decide::shared::kin::{name_timelines, number_of_another};
use crate::decide::shared::ownership::{mine, ownership, superseded, tell, to_adopt};
use crate::decide::shared::standbys::{
    candidate, exchange, exchanges, has_flushed, holders_that_stay, named_non_holder, on_its_way,
    positions, taken_back, waits_after_loss, waits_renewed, waits_without_register,
};
use crate::decide::shared::{external, kept_by_quorum, links, outage, quorum};
use crate::lsn::Lsn;
use crate::names::{NodeName, copy_slot};
use crate::ocf::{self, OcfCode};
use crate::parse::standby_names::Waits;
use crate::plan::{Action, ActionKind, Rule, Step, with_reign};
use crate::register::{NoRow, Ownership, Reign, Update};
use crate::snapshot::{
    Arbiter, ExternalLock, InMemory, KeptHold, KeptLinks, Mode, Operation, Snapshot,
};

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
        id: "primary-opened",
        says: "PostgreSQL was to be restarted in place by promises, and is a primary: keep durably that it was opened, so that they are never withdrawn (R7).",
        decide: |s| outage::opened(s).map(|opened| Step::then_continue(vec![opened])),
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
            to_adopt(s)?;
            let why = s.progress.failure(ActionKind::Remember)?.text.clone();
            Some(show_and_end(s, why))
        },
    },
    Rule {
        id: "primary-claim",
        says: "No primary was ever registered and this one runs (a cluster of the older agent): it claims the register as the only holder (R0).",
        decide: |s| match ownership(s)? {
            Ownership::NeverElected(_)
                if s.progress.failure(ActionKind::UpdateRegister).is_none() =>
            {
                Some(Step::then_reobserve(vec![Action::UpdateRegister(
                    Update::FirstPrimary {
                        node: s.me().clone(),
                        ttl: s.settings.ttl,
                    },
                )]))
            }
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
        decide: |s| superseded(s).map(|row| stop_superseded(s, &row)),
    },
    Rule {
        id: "primary-number-of-another",
        says: "Its timeline has a number that was given to another one before, since somebody opened it (R13): an error, so that it is stopped and not started again.",
        decide: |s| number_of_another(s).map(|why| Step::fail(OcfCode::FailedPromoted, why)),
    },
    Rule {
        id: "primary-keep-names",
        says: "Another node's PostgreSQL runs under another name than before: keep that for the guard, and for when Pacemaker does not answer (R11). So also that commits are not held any more, and what becomes of a primary without quorum.",
        decide: |s| {
            let (Ok(_), true) = (&s.cluster, s.settings.mode.replicated()) else {
                return None;
            };
            let held = s.primary().is_some_and(|view| view.waits.is_held());
            let kept = s.names.kept.clone();
            let wanted = KeptLinks {
                names: links::names(s),
                barrier: kept.as_ref().and_then(|kept| kept.barrier.clone()),
                hold: kept
                    .as_ref()
                    .and_then(|kept| kept.hold.clone())
                    .filter(|_| held),
                without_quorum: Some(quorum::without_quorum(s)),
                unanswered: kept_by_quorum::in_vain(s),
            };
            (kept.as_ref() != Some(&wanted))
                .then(|| once_more(s, Action::KeepLinks(wanted)))
                .flatten()
        },
    },
    Rule {
        id: "primary-end-links",
        says: "Several links have one node's name, or a receiver that replays nothing has one that commits wait for: end all but the standby's newest, since PostgreSQL believes any of them (R11). So also a link that does not stream under an earlier name of a node that is linked by its present one.",
        decide: |s| {
            let ends = links::superfluous(s);
            let ends = (!ends.is_empty() && s.settings.mode.replicated()).then_some(ends)?;
            once(s, Action::EndLinks(ends))
        },
    },
    Rule {
        id: "primary-renew-name",
        says: "A standby for which commits wait has come back under another name: name that one in the place of the old. What it held it holds, and the register stays as it is (R11).",
        decide: |s| {
            let waits = waits_renewed(s)?;
            once(s, Action::SetNames(waits))
        },
    },
    Rule {
        id: "primary-end-hold",
        says: "Commits are held, the register does not say who holds what, and the standby for which they waited before streams again: nothing was changed since, so they wait for that one alone, as before (R3).",
        decide: |s| {
            let waits = waits_without_register(s)?;
            let tried = |kind| s.progress.failure(kind).is_some();
            (!tried(ActionKind::KeepLinks) && !tried(ActionKind::SetNames))
                .then(|| Step::then_reobserve(taken_back(s, waits)))
        },
    },
    Rule {
        id: "primary-name-again",
        says: "Commits wait for nobody, while the agent's file names a standby: somebody has emptied synchronous_standby_names (ALTER SYSTEM), or a naming was not taken up. The register cannot tell who holds what, so that nobody can be let go: commits wait for that standby again (R3). A barrier that is kept counts no more (R4).",
        decide: name_again,
    },
    Rule {
        id: "primary-register-damaged",
        says: "The register is missing or older than what this node has seen: the primary goes on, nothing is degraded, the operator is told.",
        decide: |s| match ownership(s)? {
            Ownership::Damage { damage, .. } => Some(show_and_end(
                s,
                format!(
                    "{}; nothing is promoted and no standby is let go until that is mended",
                    NoRow::Damage(damage)
                ),
            )),
            _ => None,
        },
    },
    Rule {
        id: "primary-without-quorum",
        says: "This part of the cluster has no quorum, or does not say so, and Pacemaker ends a primary without: no standby is let go or exchanged, so that a holder in the other part may take over (R3).",
        decide: kept_by_quorum::keep_standbys,
    },
    Rule {
        id: "primary-ask-quorum",
        says: "A holder is to go, or without a register the standby that commits wait for, also where another one takes its place: the cluster may be falling apart, so ask first whether this part of it has quorum once that is settled, and look again (R3).",
        decide: kept_by_quorum::ask,
    },
    Rule {
        id: "primary-ask-promises",
        says: "The lock service cannot be reached and commits wait for a standby that is lost: ask every other node to promise not to be promoted at this epoch, or to pass the change of the holders on (R7).",
        decide: |s| {
            waits_after_loss(s)?;
            outage::ask(s).map(|ask| Step::then_continue(vec![ask]))
        },
    },
    Rule {
        id: "primary-degrade-by-promise",
        says: "Every other node has promised: keep that their promises are relied on, so that none is withdrawn, and PostgreSQL no longer waits for the lost standby (R7).",
        decide: |s| {
            let waits = waits_after_loss(s)?;
            let used = outage::used(s)?;
            let tried = |kind| s.progress.failure(kind).is_some();
            let failed = [
                ActionKind::UsePromises,
                ActionKind::KeepLinks,
                ActionKind::SetNames,
            ];
            let mut actions = vec![used];
            actions.extend(outage::without_barrier(s));
            actions.push(Action::SetNames(waits));
            (!failed.into_iter().any(tried)).then(|| Step::then_reobserve(actions))
        },
    },
    Rule {
        id: "primary-register-unknown",
        says: "The register cannot be read: the primary goes on, and its names stay as they are (R3).",
        decide: |s| match ownership(s)? {
            Ownership::Unknown(trouble) => {
                let commits = waits_after_loss(s).and_then(|_| outage::complaint(s));
                let text = commits.map_or(trouble.to_string(), |why| format!("{trouble}; {why}"));
                Some(show_and_end(s, text))
            }
            _ => None,
        },
    },
    Rule {
        id: "primary-exchange-hold",
        says: "The other holder is lost, or is about to be stopped, while another standby streams; or it could not open for writing (R14), and another one could: name that one beside it, and let no commit pass until it is a holder in its place (R3). Where nothing is lost, the cluster is asked before whether this part of it has quorum.",
        decide: hold_commits,
    },
    Rule {
        id: "primary-drop-holder",
        says: "A holder is gone, or commits do not wait for it: the register loses it first (R3).",
        decide: drop_holder,
    },
    Rule {
        id: "primary-end-promises",
        says: "Other nodes were asked to promise at this epoch, or this one has given their promises up, the register is back, and commits wait for every holder: move the epoch, so that a holder may be promoted again, and promises may be asked for (R7).",
        decide: |s| outage::end(s, &mine(s)?).map(|end| Step::then_continue(vec![end])),
    },
    Rule {
        id: "primary-tell",
        says: "The term or the epoch has moved: tell the cluster before PostgreSQL lets a standby go, so that every node notices a register that is put back to before that.",
        decide: |s| {
            mine(s)?;
            tell(s)
        },
    },
    Rule {
        id: "primary-degrade-lock",
        says: "With the external lock, a name may only be taken away under the lock.",
        decide: |s| {
            let alone = waits_after_loss(s)? == Waits::ForNobody;
            let wanted = s.settings.arbiter == Arbiter::External && alone;
            (wanted && s.progress.external.is_none())
                .then(|| Step::then_continue(vec![Action::LockExternal]))
        },
    },
    Rule {
        id: "primary-lock-of-another",
        says: "With the external lock: another node holds it, and this primary would go on alone, or does: stop PostgreSQL at once, immediate mode.",
        decide: external::stop_superseded,
    },
    Rule {
        id: "primary-degrade-refused",
        says: "The external lock was not obtained: the names stay, and commits wait.",
        decide: |s| {
            waits_after_loss(s)?;
            let why = s
                .progress
                .external
                .as_ref()
                .and_then(ExternalLock::refusal)?;
            Some(show_and_end(
                s,
                format!("commits wait for the lost standby: {why}"),
            ))
        },
    },
    Rule {
        id: "primary-drop-name",
        says: "A named standby is gone and is no holder: PostgreSQL no longer waits for it.",
        decide: |s| {
            let waits = waits_after_loss(s).filter(|_| !exchanges(s))?;
            (!s.builtin() || s.progress.epoch_moved)
                .then(|| once(s, Action::SetNames(waits)))
                .flatten()
        },
    },
    Rule {
        id: "primary-name-standby",
        says: "A standby streams and none is named: name it. A barrier that is kept of an earlier naming is dropped first: commits have passed since (R4).",
        decide: |s| {
            let view = s.primary()?;
            let (_, name) = candidate(s)?;
            let none_named = s.settings.mode == Mode::Sync && view.waits == Waits::ForNobody;
            none_named
                .then(|| naming(s, Waits::For(name.to_string())))
                .flatten()
        },
    },
    Rule {
        id: "primary-alone-renew",
        says: "With the external lock: commits wait for nobody, which is allowed under the lock alone, and the lock has an end: each monitor renews it.",
        decide: external::renew,
    },
    Rule {
        id: "primary-alone-hold",
        says: "It was not renewed: commits wait again, until a standby streams or the lock is there.",
        decide: external::hold,
    },
    Rule {
        id: "primary-names-in-file",
        says: "The file that says for whom commits wait says something else than PostgreSQL has: a change that was not taken up, or not to the end, or somebody has removed it, or an earlier version has written it elsewhere. Write there what PostgreSQL has, before anything is built on that: whoever has the files read again would let commits pass a holder by.",
        decide: |s| {
            let view = s.primary()?;
            let own = !matches!(view.waits, Waits::Foreign(_));
            (own && !s.names_are_taken_up() && s.settings.mode.replicated())
                .then(|| once(s, Action::WriteNames(view.waits.clone())))
                .flatten()
        },
    },
    Rule {
        id: "primary-take-barrier",
        says: "A named standby is no holder, and the file says so too: see that its naming is in force, then take the barrier (R4).",
        decide: |s| {
            let (_, name) = named_non_holder(s).filter(|_| s.names_are_taken_up())?;
            let waits = s.primary()?.waits.clone();
            barrier(s, &name)
                .is_none()
                .then(|| once(s, Action::TakeBarrier { name, waits }))
                .flatten()
        },
    },
    Rule {
        id: "primary-exchange-ask-quorum",
        says: "A standby is about to take the place of the lost holder: ask once more whether this part of the cluster has quorum, since what was answered before commits were held may be of another operation, and of before it fell apart (R3).",
        decide: ask_before_exchange,
    },
    Rule {
        id: "primary-add-holder",
        says: "It has flushed past the barrier, and its own agent says so too: it holds every acknowledged commit, so the register gains it (R4, R11); in an exchange it loses the lost ones by the same change (R3).",
        decide: add_holder,
    },
    Rule {
        id: "primary-keep-barrier",
        says: "Its own agent has not said so yet: keep the barrier for the next monitor.",
        decide: keep_barrier,
    },
    Rule {
        id: "primary-name-timelines",
        says: "The register does not know the timeline that this primary writes by its name: keep it beside the data, and register it (R13).",
        decide: name_timelines,
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
                .filter(|(node, slot)| *node != s.me() && !view.has_slot(slot))
                .map(|(_, slot)| slot.clone())
                .collect();
            (!missing.is_empty())
                .then(|| once(s, Action::EnsureSlots(missing)))
                .flatten()
        },
    },
    Rule {
        id: "primary-copy-slots",
        says: "A slot that was made for the copy of a standby's data is left although that standby streams again: drop it, or it keeps WAL until the disk is full.",
        decide: |s| {
            let view = s.primary()?;
            let over = |node: &&NodeName| links::streams(s, node);
            let left = s.settings.nodes.iter().filter(over).map(copy_slot);
            let left: Vec<String> = left.filter(|slot| view.has_slot(slot)).collect();
            (!left.is_empty() && s.progress.failure(ActionKind::DropSlots).is_none())
                .then(|| Step::then_continue(vec![Action::DropSlots(left)]))
        },
    },
    Rule {
        id: "primary-repl-info",
        says: "pgsql_REPL_INFO is not what the timeline history of the primary says: write it.",
        decide: |s| {
            let wanted = repl_info(s)?;
            let present = s.cluster.as_ref().ok()?.repl_info();
            (present != Some(&wanted) && s.progress.failure(ActionKind::WriteReplInfo).is_none())
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
        says: "A standby is on its way: look again for a moment instead of leaving it to the next monitor. The change lock is left to others meanwhile: the guard may have to ask for promises.",
        decide: |s| {
            // An exchange ends in this operation, whatever else has failed: commits are held for it.
            let goes_on = s.progress.failures.is_empty() || exchanges(s);
            (s.elapsed < patience(s) && goes_on && on_its_way(s)).then(|| {
                let wait = Step::wait("a standby to stream and to flush past the barrier");
                wait.after(left_to_others(s))
            })
        },
    },
    Rule {
        id: "primary-done",
        says: "All is as it should be.",
        decide: |s| Some(done(s)),
    },
];

/// The same where nothing has to be observed again.
fn once_more(s: &Snapshot, action: Action) -> Option<Step> {
    s.progress
        .failure(action.kind())
        .is_none()
        .then(|| Step::then_continue(vec![action]))
}

/// An action that is tried once in an operation: its failure is in the log, and the next monitor
/// tries again.
fn once(s: &Snapshot, action: Action) -> Option<Step> {
    s.progress
        .failure(action.kind())
        .is_none()
        .then(|| Step::then_reobserve(vec![action]))
}

fn renew(s: &Snapshot) -> Option<Step> {
    if !s.builtin() || s.progress.renewed || s.register.is_some() || s.memory.is_err() {
        return None;
    }
    let Some(reign) = s.reign() else {
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

fn adopt_term(s: &Snapshot) -> Option<Step> {
    let view = s.primary()?;
    let reign = Reign {
        term: to_adopt(s)?.term,
        timeline: view.timeline,
    };
    let memory = s.memory.as_ref().ok()?;
    once(s, Action::Remember(with_reign(memory, reign)))
}

fn hold_commits(s: &Snapshot) -> Option<Step> {
    let exchange = exchange(s)?;
    let row = mine(s)?;
    let view = s.primary()?;
    let kept = s.names.kept.clone().unwrap_or_default();
    let hold = Some(KeptHold {
        holder: exchange.holder,
        term: row.term,
        epoch: row.epoch,
    });
    let names = view.waits.names();
    if view.waits.is_held() && names.contains(&exchange.name) && kept.hold == hold {
        return None;
    }
    if let Some(ask) = quorum::question(s).filter(|_| exchange.unfit) {
        return Some(ask);
    }
    let names = names.iter().filter(|other| **other != exchange.name);
    let names = names.cloned().chain([exchange.name.clone()]).collect();
    let tried = |kind| s.progress.failure(kind).is_some();
    (!tried(ActionKind::KeepLinks) && !tried(ActionKind::HoldCommits)).then(|| {
        Step::then_reobserve(vec![
            Action::KeepLinks(KeptLinks { hold, ..kept }),
            Action::SetNames(Waits::Held(names)),
        ])
    })
}

/// Holders other than this node for which PostgreSQL does not wait, or which are lost.
///
/// The epoch moves before every name that is taken away, also one that is no holder: an addition
/// whose reply was lost may still lie in the lock service's socket, and would make a holder of a
/// standby for which nobody waits any more.
fn drop_holder(s: &Snapshot) -> Option<Step> {
    let row = mine(s).filter(|_| !exchanges(s))?;
    s.primary()?;
    let keep = holders_that_stay(s, &row);
    let name_goes =
        waits_after_loss(s).is_some() && s.progress.failure(ActionKind::SetNames).is_none();
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

/// With a register that can be read the holder goes there first ([`drop_holder`]), since commits have passed it by.
fn name_again(s: &Snapshot) -> Option<Step> {
    let view = s.primary()?;
    let emptied = s.settings.mode == Mode::Sync && view.waits == Waits::ForNobody;
    let InMemory::Says(waits @ Waits::For(_)) = &s.in_memory else {
        return None;
    };
    let unreadable = matches!(
        ownership(s)?,
        Ownership::Unknown(_) | Ownership::Damage { .. }
    );
    (emptied && unreadable)
        .then(|| naming(s, waits.clone()))
        .flatten()
}

/// Names a standby where none is: a barrier of an earlier naming is dropped first.
fn naming(s: &Snapshot, waits: Waits) -> Option<Step> {
    let tried = |kind| s.progress.failure(kind).is_some();
    let failed = [ActionKind::KeepLinks, ActionKind::SetNames];
    (!failed.into_iter().any(tried)).then(|| {
        let mut actions: Vec<Action> = outage::without_barrier(s).into_iter().collect();
        actions.push(Action::SetNames(waits));
        Step::then_reobserve(actions)
    })
}

fn add_holder(s: &Snapshot) -> Option<Step> {
    let (node, name) = named_non_holder(s).filter(|_| s.names_are_taken_up())?;
    let ready = has_flushed(s, &node, barrier(s, &name)?);
    let row = mine(s)?;
    (ready && s.progress.failure(ActionKind::UpdateRegister).is_none()).then(|| {
        let exchanged = exchanges(s);
        let stay = row
            .holders
            .iter()
            .filter(|node| *node == s.me() || !exchanged);
        let holders = stay.cloned().chain([node]).collect();
        let update = Update::set_holders(&row, s.me().clone(), holders, s.settings.ttl);
        Step::then_continue(vec![Action::UpdateRegister(update)])
    })
}

/// The barrier is kept before the question, which leaves the change lock to others.
fn ask_before_exchange(s: &Snapshot) -> Option<Step> {
    add_holder(s).filter(|_| exchanges(s))?;
    let ask = quorum::question(s)?;
    Some(keep_barrier(s).unwrap_or(ask))
}

/// The barrier that this standby has to flush (R4): taken by this operation, or by an earlier one, at the present
/// epoch. Where that has moved, the standby may have been a holder meanwhile, and have left to have its data
/// replaced (R6): what was seen of it before, and a barrier of before, prove nothing any more.
fn barrier(s: &Snapshot, name: &str) -> Option<Lsn> {
    let row = mine(s)?;
    let kept = s.names.kept.as_ref().and_then(|kept| kept.barrier.as_ref());
    let mut barriers = s.progress.barrier.iter().chain(kept);
    let present = barriers.find(|barrier| {
        barrier.name == name && (barrier.term, barrier.epoch) == (row.term, row.epoch)
    });
    present.map(|barrier| barrier.lsn)
}

fn keep_barrier(s: &Snapshot) -> Option<Step> {
    let (_, name) = named_non_holder(s)?;
    let barrier = s.progress.barrier.clone()?;
    let kept = s.names.kept.clone().unwrap_or_default();
    (barrier.name == name && kept.barrier.as_ref() != Some(&barrier))
        .then(|| {
            let barrier = Some(barrier);
            once_more(s, Action::KeepLinks(KeptLinks { barrier, ..kept }))
        })
        .flatten()
}

/// The release of the change lock, unless this operation alone knows of the barrier that it has taken.
fn left_to_others(s: &Snapshot) -> Vec<Action> {
    let kept = s.names.kept.as_ref().and_then(|kept| kept.barrier.as_ref());
    let own = s.progress.barrier.as_ref();
    let known = own.is_none_or(|own| kept == Some(own));
    let release = s.progress.change_lock.is_taken() && known;
    release
        .then_some(Action::ReleaseChangeLock)
        .into_iter()
        .collect()
}

/// How long a monitor or a notification may linger for a standby that is on its way. Only the start
/// of a standby is worth waiting for: after a promotion the standbys come by the writer's address,
/// which Pacemaker starts when the notification is over.
fn patience(s: &Snapshot) -> Duration {
    if exchanges(s) {
        return Duration::MAX; // it ends by itself
    }
    match &s.operation {
        Operation::Notify(about) if about.operation == ocf::Operation::Start => {
            Duration::from_secs(5)
        }
        Operation::Notify(_) => Duration::ZERO,
        // One that is named already is a holder in a moment, and this primary is the only one until then: the
        // next monitor would come seconds later.
        _ if named_non_holder(s).is_some() => Duration::from_secs(5),
        _ => Duration::from_millis(1500),
    }
}
