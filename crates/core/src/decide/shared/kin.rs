//! Timelines by name (R13): what this node's data are to the register's timelines, and what is kept
//! about them before they are started.

use crate::lineage::{
    Held, Kinship, Lineage, Opening, Origin, Record, Seen, TimelineName, Timelines, kinship,
    of_primary, origin,
};
use crate::link_name::LinkName;
use crate::plan::{Action, ActionKind, Step};
use crate::register::{Reading, Register, Update, out_of_step};
use crate::remedy::Remedy;
use crate::snapshot::{Disk, Mode, PrimaryView, Snapshot, StandbyView};
use crate::timeline::{History, TimelineId, WalPosition};

use super::ownership::mine;

/// The register's row, where it could be read and a primary was elected once.
fn row(s: &Snapshot) -> Option<&Register> {
    match s.register.as_ref().filter(|_| s.builtin())? {
        Reading::Row(row) if row.term > 0 => Some(row),
        _ => None,
    }
}

/// The same where it is no older than what this node or the cluster has seen. One that was put back knows nothing
/// of the latest timelines, and who is on them has the data that are to be gone on with.
fn current(s: &Snapshot) -> Option<&Register> {
    let seen = s.seen().ok()?;
    row(s).filter(|row| out_of_step(row, &seen).is_none())
}

fn record(s: &Snapshot) -> Option<&Record> {
    s.record.as_ref().ok()?.as_ref()
}

/// Whether the present owner has not named its timelines: it has just opened, or its agent knows no
/// names. What was received from it has no name yet.
fn unnamed(row: &Register) -> bool {
    row.named_lineage().is_none()
}

/// What the data on this node's disk are to the register's timelines; none while the disk was not read.
pub(in crate::decide) fn kin(s: &Snapshot) -> Option<(Origin, Kinship)> {
    let disk = s.disk.as_ref().filter(|_| s.builtin())?;
    let end = *disk.end.as_ref().ok()?;
    let seen = Seen {
        record: record(s),
        system: s.system,
        end,
        history: &disk.history,
        standby_signal: s.standby_signal,
        fresh_copy: disk.fresh_copy,
    };
    let known = row(s).map_or_else(Lineage::default, |row| row.timelines.lineage.clone());
    let owner = row(s).is_some_and(|row| row.is_owned_by(s.me()));
    let origin = origin(&seen, &known);
    let received = s.standby_signal.is_there() && !owner && row(s).is_none_or(unnamed);
    let kinship = match &origin {
        Origin::OpenedByHand(_) if received => Kinship::Unnamed,
        origin => kinship(origin, end, &known, owner),
    };
    Some((origin, kinship))
}

/// Why these data must not be started, if so. The command comes first: Pacemaker shows the first 127
/// characters of an exit reason (`EXIT_REASON_MAX_LEN`) and drops the rest.
pub(in crate::decide) fn foreign(s: &Snapshot) -> Option<String> {
    let (me, repair, rebuild) = (s.me(), Remedy::Repair, Remedy::Rebuild);
    // There is nobody to copy from, nor will there be.
    let alone = |row: &Register| row.holders.iter().all(|node| node == me);
    let only = s.settings.mode == Mode::Sync && row(s).is_some_and(alone);
    match kin(s)?.1 {
        Kinship::Unnamed | Kinship::Follows => None,
        Kinship::Diverged { fork, .. } if only => Some(format!(
            "cls_recovery_master on {me}, since no other node can be primary: it has WAL from {fork} on which \
             is on no timeline that the register knows"
        )),
        Kinship::Unknown(why) if only => Some(format!(
            "cls_recovery_master on {me}, since no other node can be primary: {why}"
        )),
        Kinship::Diverged { fork, rewindable } => {
            let option = if rewindable { "" } else { " --or-rebuild" };
            Some(format!(
                "{repair}{option} on {me}: it has WAL of its own from {fork} on, which the \
                 timelines that the register knows have not; where no node can be primary any more, \
                 cls_recovery_master on {me} goes on with it"
            ))
        }
        Kinship::Unknown(why) => Some(format!("{rebuild} --keep-old on {me}: {why}")),
    }
}

/// The timelines that data which are about to be started as a standby are on, or will receive from.
fn to_record(s: &Snapshot) -> Option<Lineage> {
    let known = row(s)
        .map(|row| &row.timelines.lineage)
        .filter(|known| !known.is_empty());
    match (kin(s)?, known) {
        ((Origin::Named(own), Kinship::Follows | Kinship::Unnamed), known) => Some(
            known
                .filter(|known| own.leads_to(known))
                .cloned()
                .unwrap_or(own),
        ),
        // Once, when names begin: what was judged by numbers and positions so far is named now.
        ((Origin::Unrecorded, _), Some(known)) if !unnamed(row(s)?) => {
            adopted(s.disk.as_ref()?, known)
        }
        _ => None,
    }
}

/// The register's timelines, where data of which nothing is recorded may be a part of them.
fn adopted(disk: &Disk, known: &Lineage) -> Option<Lineage> {
    let number = disk.end.as_ref().ok()?.timeline;
    let began = disk.history.last_switch().map(|switch| switch.end);
    let part = match known.of(number) {
        Some(name) => began.is_none_or(|began| began == name.fork),
        None => known
            .names()
            .first()
            .is_some_and(|first| number < first.number),
    };
    part.then(|| known.clone())
}

/// Starts a standby with what has to be on the disk before it receives its first byte. In between
/// nothing is said of `standby.signal`, which tells later that the data were not opened.
pub(in crate::decide) fn recorded_launch(s: &Snapshot, name: &LinkName) -> Vec<Action> {
    let keep = |lineage: &Lineage, held| Action::KeepRecord {
        lineage: lineage.clone(),
        held,
    };
    let mut actions = vec![
        Action::WriteStandbySettings(name.clone()),
        Action::StartPostgres(Some(name.clone())),
    ];
    if let Some(lineage) = to_record(s) {
        let as_it_is = record(s)
            .is_some_and(|known| known.lineage == lineage && known.held == Held::Following);
        if !as_it_is {
            actions.insert(0, keep(&lineage, Held::Copied));
            actions.insert(2, keep(&lineage, Held::Following));
        }
    }
    actions
}

/// What is kept before this node's data are opened at the register's term, on a timeline that goes on
/// from `number`.
pub(in crate::decide) fn recorded_opening(
    s: &Snapshot,
    number: Option<TimelineId>,
) -> Option<Action> {
    let known = record(s).filter(|_| s.builtin())?;
    // After the stop of an operation that began as a standby's the row was not read again.
    let opening = match row(s) {
        Some(row) => Opening {
            term: row.term,
            above: row.timelines.highest,
        },
        None => Opening::at(s.memory.as_ref().map_or(0, |memory| memory.term)),
    };
    let cut = number.and_then(|number| {
        let own = known.lineage.up_to(number);
        own.or_else(|| ahead(&known.lineage, &row(s)?.timelines.lineage, number))
    });
    Some(Action::KeepRecord {
        lineage: cut.unwrap_or_else(|| known.lineage.clone()),
        held: Held::Opened(opening),
    })
}

/// Why a standby that this node was told to open is not to be opened, if so: it has gone on to a timeline
/// that it had not then, and that the register does not know.
pub(in crate::decide) fn strayed(s: &Snapshot) -> Option<String> {
    let known = record(s).filter(|_| s.builtin())?;
    let number = s.standby()?.timeline?;
    let last = known.lineage.last()?;
    let told = matches!(known.held, Held::Opened(_));
    let named = row(s).and_then(|row| ahead(&known.lineage, &row.timelines.lineage, number));
    let whole = match s.settings.mode {
        Mode::Sync => ", which is everything that was acknowledged",
        _ => "",
    };
    (told && number > last.number && named.is_none()).then(|| {
        format!(
            "cls_recovery_master on {0}: PostgreSQL on {0} has gone on from {last} to a timeline {number} that the \
             cluster has not begun, since another standby, from which it received, was opened by somebody else; the \
             command goes on with what {0} has{whole}",
            s.me()
        )
    })
}

/// The highest number that was ever given, where this node has not seen that.
pub(in crate::decide) fn number_to_reserve(s: &Snapshot, view: &StandbyView) -> Option<TimelineId> {
    let highest = TimelineId::new(row(s)?.timelines.highest)?;
    (view.timeline < Some(highest)).then_some(highest)
}

/// A primary keeps and names the timelines that it writes, before anybody follows them. A server that this
/// node was not told to open is named in the register first: until the register knows its number, another
/// holder may be given the same one, and what is not kept is not started as a standby either.
pub(in crate::decide) fn name_timelines(s: &Snapshot) -> Option<Step> {
    let (row, view): (Register, &PrimaryView) = (mine(s)?, s.primary()?);
    let lineage = of_primary(record(s), &view.history, &row.timelines, row.term);
    let opened = match record(s).map(|known| known.held) {
        Some(held @ Held::Opened(_)) => Some(held),
        _ => None,
    };
    let held = opened.unwrap_or(Held::Opened(Opening::at(row.term)));
    let kept = record(s).is_some_and(|known| known.lineage == lineage && known.held == held);
    let named = !unnamed(&row) && row.timelines.lineage == lineage;
    if !kept && (opened.is_some() || named) {
        let failed = s.record.is_err() || s.progress.failure(ActionKind::KeepRecord).is_some();
        return (!failed).then(|| Step::then_continue(vec![Action::KeepRecord { lineage, held }]));
    }
    (!named && !s.progress.named).then(|| {
        Step::then_continue(vec![Action::UpdateRegister(Update::NameTimelines {
            node: s.me().clone(),
            term: row.term,
            lineage,
        })])
    })
}

/// A primary whose timeline has a number that was given to another one, which the register may no more know
/// after an operator's choice: somebody opened a standby that did not know of it. It acknowledges nothing before it is named, and goes on as a primary only
/// together with standbys on that other timeline, which PostgreSQL would let receive its WAL.
pub(in crate::decide) fn number_of_another(s: &Snapshot) -> Option<String> {
    let (row, view) = (mine(s)?, s.primary()?);
    let lineage = of_primary(record(s), &view.history, &row.timelines, row.term);
    let (own, named) = (lineage.last()?, &row.timelines.lineage);
    let another = match lineage.clash(named).and_then(|number| named.of(number)) {
        Some(known) => format!("its timeline {} is not {known}", known.number),
        None => {
            let above = given_before(record(s), own, &row.timelines)?;
            let number = own.number;
            format!("its timeline {number} has a number that was given before (up to {above})")
        }
    };
    Some(format!(
        "{} --or-rebuild on {}, when another node is primary (cls_recovery_master): PostgreSQL was opened there \
         by somebody else than the cluster, and {another}",
        Remedy::Repair,
        s.me(),
    ))
}

/// The highest number that was given before a primary's own timeline, where that has no higher one and
/// nothing proves it the primary's. What this node was told to open is proven by its record, and what it was
/// not told to open by the register.
fn given_before(record: Option<&Record>, own: TimelineName, known: &Timelines) -> Option<u32> {
    let (above, proof) = match record {
        Some(Record {
            held: Held::Opened(opening),
            lineage,
            ..
        }) => (opening.above, lineage),
        _ => (known.highest, &known.lineage),
    };
    (own.number.get() <= above && !proof.names().contains(&own)).then_some(above)
}

/// The timelines of a standby that has gone on with its primary to this number, which its next monitor
/// would keep: it may be promoted before that.
fn ahead(kept: &Lineage, named: &Lineage, number: TimelineId) -> Option<Lineage> {
    named.up_to(number).filter(|ahead| kept.leads_to(ahead))
}

/// A running standby: which timelines it is on, by what is kept and what it shows.
fn of_standby(s: &Snapshot, view: &StandbyView) -> Option<Result<Lineage, TimelineId>> {
    let (known, number) = (record(s)?, view.timeline?);
    let named = &row(s)?.timelines.lineage;
    if known
        .lineage
        .names()
        .first()
        .is_none_or(|first| number < first.number)
    {
        return None; // from before names began
    }
    let on = known.lineage.up_to(number);
    let on = on.or_else(|| ahead(&known.lineage, named, number));
    Some(on.ok_or(number))
}

/// Why a running standby is not on the register's timelines, if so (R10 compares positions on one
/// timeline only).
pub(in crate::decide) fn foreign_standby(s: &Snapshot) -> Option<String> {
    let (row, view) = (current(s)?, s.standby()?);
    let named = &row.timelines.lineage;
    if named.is_empty() {
        return None;
    }
    let (me, repair, rebuild) = (s.me(), Remedy::Repair, Remedy::Rebuild);
    let lineage = match of_standby(s, view)? {
        Ok(lineage) => lineage,
        Err(_) if unnamed(row) => return None,
        Err(number) => {
            return Some(format!(
                "{repair} on {me}: it is on a timeline {number} that the register does not know"
            ));
        }
    };
    let end = WalPosition {
        timeline: view.timeline?,
        // A part of a record that the primary never had may be received, and is not replayed.
        lsn: view.replayed.or(view.received)?,
    };
    let owner = row.is_owned_by(me);
    match kinship(&Origin::Named(lineage), end, named, owner) {
        Kinship::Unnamed | Kinship::Follows => None,
        Kinship::Diverged { fork, rewindable } => {
            let option = if rewindable { "" } else { " --or-rebuild" };
            Some(format!(
                "{repair}{option} on {me}: it has WAL of its own from {fork} on"
            ))
        }
        Kinship::Unknown(why) => Some(format!("{rebuild} --keep-old on {me}: {why}")),
    }
}

/// Keeps that a running standby has gone on, or may go on, to the register's newest timeline. One that was
/// started before the register knew any name adopts them.
pub(in crate::decide) fn record_standby(s: &Snapshot) -> Option<Step> {
    let (view, row) = (s.standby()?, current(s)?);
    let named = &row.timelines.lineage;
    let name = named.of(view.timeline?)?;
    let behind = match s.record.as_ref().ok()? {
        Some(known) => {
            known.held == Held::Following
                && known.lineage != *named
                && known.lineage.leads_to(named)
        }
        None => {
            let own = view.histories.iter().find(|own| own.own == name.number);
            let began = own.and_then(History::last_switch);
            !unnamed(row) && began.is_none_or(|began| began.end == name.fork)
        }
    };
    (behind && s.progress.failure(ActionKind::KeepRecord).is_none()).then(|| {
        Step::then_continue(vec![Action::KeepRecord {
            lineage: named.clone(),
            held: Held::Following,
        }])
    })
}

/// The history files in `pg_wal` that would lead a standby away from the register's timelines, each
/// with whether it only stands for a number that was given before.
pub(in crate::decide) fn strays(s: &Snapshot) -> Vec<(TimelineId, bool)> {
    let Some(own) = to_record(s) else {
        return vec![];
    };
    let (Some(disk), Some(row)) = (&s.disk, row(s)) else {
        return vec![];
    };
    let named = &row.timelines.lineage;
    let newest = own.last().max(named.last()).map(|name| name.number);
    let known = |number, fork| {
        [&own, named].into_iter().any(|lineage| {
            lineage
                .of(number)
                .is_some_and(|name| Some(name.fork) == fork)
        })
    };
    // What a primary that does not name its timelines has begun is not known.
    if unnamed(row) && !row.is_owned_by(s.me()) {
        return vec![];
    }
    let newer = disk.newer.iter().filter(|history| {
        let fork = history.last_switch().map(|switch| switch.end);
        let placeholder = history.is_reservation() && Some(history.own) < newest;
        !known(history.own, fork) && !placeholder
    });
    newer
        .map(|history| (history.own, history.is_reservation()))
        .collect()
}
