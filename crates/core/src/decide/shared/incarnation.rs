//! Under which name this node's own PostgreSQL runs, and what its agent says of it (R11).

use crate::cluster::Announced;
use crate::link_name::{Flushed, LinkName};
use crate::lsn::Lsn;
use crate::names::NodeName;
use crate::plan::{Action, ActionKind, Attribute, Step};
use crate::register::{Reading, Register};
use crate::snapshot::{Mode, RunningName, Snapshot};
use crate::status::{DataStatus, SyncState, Word};
use crate::timeline::{TimelineId, WalPosition};

/// The name for a standby that is about to be started: an incarnation, unless another node has an agent
/// that announces nothing and so would not know it. A node of which the cluster knows nothing at all
/// has not had any agent yet. Once this node has had an incarnation it goes on with them: the primary's
/// own word on a node that never was there makes that node known, and no older agent of it.
pub(in crate::decide) fn name_to_start(s: &Snapshot) -> LinkName {
    let incarnations = s.settings.mode.replicated()
        && match &s.cluster {
            Ok(cluster) => {
                let begun = |name: &LinkName| name.is_incarnation();
                let own = matches!(&cluster.node(s.me()).announced, Announced::Name(n) if begun(n));
                let mut others = s.settings.nodes.iter().filter(|node| *node != s.me());
                own || others.all(|node| {
                    let known = cluster.node(node);
                    known.announced != Announced::Nothing || !known.is_known()
                })
            }
            Err(_) => s.names.kept.as_ref().is_some_and(|kept| {
                let mut names = kept.names.values();
                names.any(LinkName::is_incarnation)
            }),
        };
    if incarnations {
        s.names.fresh.clone()
    } else {
        LinkName::plain(s.me())
    }
}

/// The name with which the settings of the standby that runs here are written again: a plain one lies in
/// them, an incarnation does not.
pub(in crate::decide) fn name_in_settings(s: &Snapshot) -> LinkName {
    let announced = s.cluster_or_empty().node(s.me()).announced;
    let known = match (&s.names.running, announced) {
        (RunningName::Name(name), _) => Some(name.clone()),
        (RunningName::Unknown, Announced::Name(name)) => Some(name),
        _ => None,
    };
    known
        .filter(|name| name.may_be_of(s.me()))
        .unwrap_or_else(|| LinkName::plain(s.me()))
}

/// Tells the cluster the name of a server before it is started. Where that fails the server is started
/// all the same: nobody believes its link until a monitor has told the name.
pub(in crate::decide) fn announce_before(s: &Snapshot, name: &LinkName) -> Option<Step> {
    s.settings
        .mode
        .replicated()
        .then(|| told(s, name))
        .flatten()
}

/// Tells the cluster the name under which the server runs, where something else is there: the node was
/// upgraded, or the cluster's state came from the other side of a partition.
pub(in crate::decide) fn announce(s: &Snapshot) -> Option<Step> {
    let running = s.primary().is_some() || s.standby().is_some();
    let announced = &s.cluster.as_ref().ok()?.node(s.me()).announced;
    let name = match &s.names.running {
        RunningName::Name(name) if name.may_be_of(s.me()) => name.clone(),
        RunningName::Unknown => return None,
        _ if matches!(announced, Announced::Name(_)) => return None,
        _ => LinkName::plain(s.me()),
    };
    (running && s.settings.mode.replicated())
        .then(|| told(s, &name))
        .flatten()
}

fn told(s: &Snapshot, name: &LinkName) -> Option<Step> {
    let announced = &s.cluster.as_ref().ok()?.node(s.me()).announced;
    let failed = s.progress.failure(ActionKind::Announce).is_some();
    (*announced != Announced::Name(name.clone()) && !failed)
        .then(|| Step::then_continue(vec![Action::Announce(name.clone())]))
}

/// Whether the standby that runs here was started by somebody else than the agent, so that its primary
/// cannot know it.
pub(in crate::decide) fn is_foreign(s: &Snapshot) -> bool {
    let Ok(cluster) = &s.cluster else {
        return false;
    };
    let named = match &s.names.running {
        RunningName::Unknown => return false,
        RunningName::Unnamed => false,
        RunningName::Name(name) => name.may_be_of(s.me()),
    };
    let incarnation = match cluster.node(s.me()).announced {
        Announced::Name(name) => name.is_incarnation(),
        Announced::Nothing | Announced::Malformed => false,
    };
    s.standby().is_some() && incarnation && !named
}

/// What this standby's agent is to say of how far it has flushed, where that is not what it has said.
pub(in crate::decide) fn say(s: &Snapshot) -> Option<Step> {
    asked(s)?;
    let known = s.cluster.as_ref().ok()?.node(s.me());
    let flushed = flushed(s)?;
    let news = known.flushed.as_ref() != Some(&flushed);
    let failed = s.progress.failure(ActionKind::SetAttribute).is_some();
    (news && !failed).then(|| {
        let attribute = Attribute::Flushed(flushed);
        Step::then_continue(vec![Action::SetAttribute(s.me().clone(), attribute)])
    })
}

/// How far this standby has flushed, under the name that the cluster knows it by.
fn flushed(s: &Snapshot) -> Option<Flushed> {
    let Announced::Name(name) = s.cluster.as_ref().ok()?.node(s.me()).announced else {
        return None;
    };
    let runs = match &s.names.running {
        RunningName::Name(running) => *running == name,
        RunningName::Unnamed => !name.is_incarnation(),
        RunningName::Unknown => false,
    };
    runs.then_some(Flushed {
        name,
        position: s.standby()?.end()?,
        begun: None,
    })
}

/// The same with the name of the timeline (R13), for a node that is to be promoted: only where a third one
/// is there, and this node has kept on which timelines its standby is.
pub(in crate::decide) fn flushed_by_name(s: &Snapshot) -> Option<Flushed> {
    let wanted = s.builtin() && s.settings.mode == Mode::Sync && s.settings.nodes.len() > 2;
    let said = flushed(s).filter(|_| wanted)?;
    Some(Flushed {
        begun: Some(begun(s, said.position.timeline)?),
        ..said
    })
}

/// The term at which the timeline of this number was begun that the data here are on.
fn begun(s: &Snapshot, number: TimelineId) -> Option<u64> {
    let known = s.record.as_ref().ok()?.as_ref()?;
    Some(known.lineage.of(number)?.term)
}

/// The standby that has flushed the most of the timeline that this one is on, where that is more than this
/// one has: by the word of its own agent on the server that runs there now. And up to where.
pub(in crate::decide) fn furthest(s: &Snapshot) -> Option<(NodeName, Lsn)> {
    let wanted = s.builtin() && s.settings.mode == Mode::Sync;
    let cluster = s.cluster.as_ref().ok().filter(|_| wanted)?;
    let WalPosition { timeline, lsn } = s.standby()?.end()?;
    let term = begun(s, timeline)?;
    let ahead = cluster.nodes.iter().filter_map(|(node, known)| {
        let said = known.flushed.as_ref().filter(|_| known.online)?;
        let present = known.announced == Announced::Name(said.name.clone());
        let same = said.begun == Some(term) && said.position.timeline == timeline;
        (node != s.me() && present && same && said.position.lsn > lsn)
            .then(|| (node.clone(), said.position.lsn))
    });
    ahead.max_by_key(|(_, lsn)| *lsn)
}

/// Whether the primary may be waiting for that: it is the only holder, or it has named this standby, or is to take it
/// in the place of another. Where it has waited in vain before, it does not begin again before this is said.
fn asked(s: &Snapshot) -> Option<()> {
    let row = no_holder(s)?;
    let streams = s.standby()?.streaming;
    let known = s.cluster.as_ref().ok()?.node(s.me());
    let named = match known.data_status {
        Some(DataStatus::Replication { sync, .. }) => sync != Word::Known(SyncState::Async),
        _ => false,
    };
    (streams && (row.holders.len() == 1 || named || successor(s).is_some())).then_some(())
}

/// The register, where this standby is no holder and another node owns it.
fn no_holder(s: &Snapshot) -> Option<&Register> {
    let Some(Reading::Row(row)) = &s.register else {
        return None;
    };
    let wanted = s.builtin()
        && s.settings.mode == Mode::Sync
        && !row.holders.contains(s.me())
        && row.owner.as_ref() != Some(s.me());
    wanted.then_some(row)
}

/// Whether this standby is a holder, so that nothing more is to be said.
pub(in crate::decide) fn is_holder(s: &Snapshot) -> bool {
    match &s.register {
        Some(Reading::Row(row)) => row.holders.contains(s.me()),
        _ => false,
    }
}

/// Whether this standby is to take the place of another one soon (R3): it streams, and every holder but the
/// owner is out of sight, or could not open for writing while this one could.
pub(in crate::decide) fn successor(s: &Snapshot) -> Option<()> {
    let row = no_holder(s)?;
    let cluster = s.cluster.as_ref().ok()?;
    let mut others = row
        .holders
        .iter()
        .filter(|node| row.owner.as_ref() != Some(node));
    let fit = cluster.node(s.me()).could_take_over();
    let gone = |node: &NodeName| {
        let known = cluster.node(node);
        !known.online
            || (fit && known.is_unfit())
            || known.data_status == Some(DataStatus::Disconnect)
    };
    let lost = row.holders.len() > 1 && others.all(gone);
    (lost && s.standby()?.streaming).then_some(())
}

/// Has a process go on saying it when the operation is over, so that the primary need not wait for the
/// next monitor of this standby.
pub(in crate::decide) fn attend(s: &Snapshot) -> Option<Step> {
    s.standby()?;
    no_holder(s)?;
    let failed = s.progress.failure(ActionKind::StartAttendant).is_some();
    (!s.progress.attended && !failed).then(|| Step::then_continue(vec![Action::StartAttendant]))
}
