//! Rules left out, one at a time. A mutation changes what a decision is shown, what becomes of a
//! result, or which conditions the lock service checks; the decision code stays as it is.

use std::time::Duration;

use pha_core::cluster::WithoutQuorum;
use pha_core::lsn::Lsn;
use pha_core::names::NodeName;
use pha_core::parse::standby_names::Waits;
use pha_core::plan::{Action, Effect};
use pha_core::register::{Condition, Memory, Promises, Reading, Register, Reply, Update};
use pha_core::snapshot::{
    Acquired, Answer, Closed, InMemory, KeptBarrier, Links, Operation, Process, Served, Snapshot,
    StandbySignal, Watch,
};
use pha_core::timeline::WalPosition;

/// A rule of the protocol that is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// All rules are kept.
    None,
    /// R0: the election does not wait for every node.
    ElectionOfThePresent,
    /// R0: the election does not look at the data.
    ElectionByOrder,
    /// R0: the first primary may be registered again.
    FirstPrimaryTwice,
    /// R1: any node may promote.
    AnyoneMayPromote,
    /// R1: the lease of another node is ignored.
    LeaseIgnored,
    /// R1: a promotion applies to another register than the one that was read.
    PromotionFromAnOldReading,
    /// R2: a new owner goes on with the old timeline.
    SameTimeline,
    /// R2: an owner restarts in place, whether it served the last term or not.
    InPlaceWithoutReign,
    /// R3: the register is not told.
    DegradeWithoutRegister,
    /// R3: PostgreSQL first, then the register.
    DegradeBeforeRegister,
    /// R3: no reply counts as success.
    NoReplyIsYes,
    /// R3: a name that is no holder goes without moving the epoch.
    EpochStays,
    /// R3, R4: a change of the holders applies to another epoch than the one that was read.
    HoldersFromAnOldReading,
    /// R4: the barrier is read before the name is in force.
    BarrierBeforeInForce,
    /// R4: there is no barrier.
    NoBarrier,
    /// R4: the barrier is what is flushed at the moment, and not what is written after the naming; only
    /// needed where what a standby was sent is not compared either.
    BarrierOfTheMoment,
    /// R4: a standby is believed that reports more than the primary has.
    ReportsBelieved,
    /// R4: what a standby reports is not compared with what it was sent.
    SentIgnored,
    /// R4: a standby is named that has no WAL of the primary's timeline yet.
    NamedBeforeTheFork,
    /// R4: a standby is named that has not reported yet how far it is.
    SilentIsNamed,
    /// R4: what the standby has flushed is not looked at.
    NoFlushCheck,
    /// R4: the register gains the standby before PostgreSQL waits for it.
    RegisterBeforeNames,
    /// R5: a superseded primary goes on.
    SupersededGoesOn,
    /// R3: a standby that streams is not made a holder before the last one is taken out.
    ExchangeNotTried,
    /// R3, R14: a holder that could not open is not exchanged as long as it acknowledges.
    UnfitStays,
    /// R14: a node that could not open asks for the register.
    UnfitIsPromoted,
    /// R4: what the file of the settings says is not looked at.
    FileForgotten,
    /// R14: a node that takes up no change of its settings asks for the register.
    UnreadIsPromoted,
    /// R14: whether a standby has taken up that it is open is not looked at.
    OpeningUnseen,
    /// R3, R6: a change of the holders applies although one has left since they were read.
    LeaverIsPutBack,
    /// R4, R6: a barrier that an operation has taken counts after the epoch has moved.
    OldLookAdds,
    /// None: who becomes a holder by a change that was on its way when its data were replaced (R6) is pointed out.
    AdditionOfTheRemade,
    /// R3: commits pass on either of two standbys while one takes the place of the other.
    ExchangePasses,
    /// R3: without the register commits stay held although the holder from before streams again.
    HoldNotTakenBack,
    /// R3: what was kept when commits were held counts after the epoch has moved.
    HoldOfAnotherEpoch,
    /// R3: the guard leaves commits held that nobody is at.
    GuardLeavesHold,
    /// R3: nobody asks whether this part of the cluster has quorum before a holder goes.
    QuorumNotAsked,
    /// R3: nobody asks as long as another standby streams.
    OnlyTheLastAsked,
    /// R3: nobody asks once more before another standby takes the place of a holder.
    ExchangeNotAsked,
    /// R3: a primary that cannot ask Pacemaker does not know that quorum decides.
    PolicyForgotten,
    /// R3: the guard asks for promises without asking whether this part of the cluster has quorum.
    GuardAsksNoQuorum,
    /// R3: the guard of a primary without quorum asks for promises as one with.
    GuardWithoutQuorumGoesOn,
    /// R3: a primary without quorum lets its standbys go as one with.
    WithoutQuorumGoesOn,
    /// The names are never taken away again.
    NeverDegrades,
    /// A primary that may not restart in place does not promote either.
    NeverANewTimeline,
    /// R8: the lock is released before PostgreSQL is stopped.
    ReleaseBeforeStop,
    /// R7: a node that has promised is promoted all the same.
    PromiseIgnored,
    /// R7: a promise is not on the disk when it is told.
    PromiseNotKept,
    /// R7: a node that was not reached counts as one that has promised.
    UnreachablePromises,
    /// R7: a node promises for an epoch that has passed, as it knows.
    PromiseOfAnOldEpoch,
    /// R7: a node promises that serves as a primary.
    PrimariesPromise,
    /// R7: a node promises that has asked to be promoted and does not know what came of it.
    PromiseWhileAsked,
    /// R7: a primary relies on promises although its own addition of a holder is not settled.
    DegradeWhileAsked,
    /// R7: a promise is given while this node is being promoted.
    PromotionLockIgnored,
    /// R7: a question is withdrawn although a standby was let go by the promises.
    WithdrawnAlthoughUsed,
    /// R7: that a standby is let go by promises is not kept.
    UseNotKept,
    /// R7: that the question is withdrawn is not kept before it is told.
    WithdrawalNotKept,
    /// R7: a withdrawal ends a promise of whatever epoch.
    WithdrawalOfAnotherEpoch,
    /// R7: a withdrawal frees nobody.
    WithdrawalUnheard,
    /// R7: a primary that has crashed is restarted in place although nobody has promised.
    RestartUnasked,
    /// R7: that it is restarted by promises is not kept.
    RestartUseNotKept,
    /// R7: the question is withdrawn, and the data of the restart open as a primary all the same.
    WithdrawnWhileOpen,
    /// R7: that the data are as they were before the restart is not looked at.
    OpenedUnlooked,
    /// R7, R10: what was seen of a primary before it crashed is not looked at.
    ServedIgnored,
    /// R7, R10: an old look of the guard's counts as its last.
    OldLookCounts,
    /// R15: an operator decides beside nodes that may use promises, and asks none of them to give way.
    NobodyGivesWay,
    /// R15: a node that gives way does not keep it.
    GiveWayNotKept,
    /// R15: an operator decides although a node that gives way serves as a primary.
    ServingGivesWay,
    /// R15: an operator decides although a node that gives way has used promises.
    UsedGivesWay,
    /// R15: an operator decides although the chosen node has promised an owner that nobody sees.
    PromisedUnheard,
    /// R15: for whom commits wait is still said by a file when the machine has been off.
    NamesOutliveTheMachine,
    /// R15: it is still said when the node has given way.
    NamesOutliveGivingWay,
    /// R15: it is still said when PostgreSQL has been stopped.
    NamesOutliveAStop,
    /// R6: a node does not leave the holders before its data are replaced.
    CopyWhileHolder,
    /// R6: what the register answers to a node that leaves is not looked at.
    LeaveUnheard,
    /// R6: a data directory that is neither old nor new is started.
    CopyMarkIgnored,
    /// R6: whoever runs as a primary is copied.
    CopyFromAnyone,
    /// R9: it is not looked at whether the successor has received everything.
    HandOverUnseen,
    /// R9: the primary is not stopped first.
    HandOverWhileServing,
    /// R9, R13: a standby on another timeline, with as much WAL, is handed the register.
    HandOverForeign,
    /// R9: the other holders stay, although commits may have passed without one by its promise.
    HandOverKeepsOthers,
    /// R9, R7: that it was asked for is not kept.
    HandOverNotKept,
    /// R9: a hand-over of another time is accepted.
    HandOverOfAnotherTime,
    /// R7: a promise holds after the epoch has moved.
    VoidPromiseKept,
    /// R10: the positions are not compared.
    PositionsIgnored,
    /// R10: a node whose data were put back starts as if nothing had happened.
    PutBackStarts,
    /// R11: a node is known by its plain name, whatever its agent has announced.
    PlainNamesBelieved,
    /// R11: the guard takes the link of anybody who has a node's plain name for the node's.
    GuardBelievesStrangers,
    /// R11: the name that is in force stays the node's when it has come back under another one.
    AnnouncementIgnored,
    /// R11: what the node's own agent says is not looked at.
    StatementIgnored,
    /// R4: a barrier that was kept counts after the epoch has moved.
    BarrierOfAnotherEpoch,
    /// The guard never stops a primary for want of a proof.
    GuardNeverFences,
    /// R5: the guard lets a replaced primary go on.
    GuardLetsSuperseded,
    /// The guard renews whatever lease it finds, and takes it for its own.
    GuardRenewsForAnother,
    /// A standby that was linked once counts as linked.
    GuardTrustsOldLinks,
    /// R7: what was promised to the guard counts after the epoch has moved.
    GuardTrustsOldPromises,
    /// R7: the guard relies on promises while an own change is unsettled.
    GuardIgnoresUnsettled,
    /// The guard looks at the holders that it last saw, and not at who is named.
    GuardForgetsNamed,
    /// R13: what the data are on is not kept.
    RecordNotKept,
    /// R13: data are started whatever timeline they are on.
    ForeignStarts,
    /// R13: a number that was given before is given again.
    NumberNotReserved,
    /// R13: a node that opens its data does not keep above which number.
    OpeningNotBounded,
    /// R13: a primary goes on with a number that was given to another timeline.
    NumberOfAnotherGoesOn,
    /// A standby that is opened by hand acknowledges by itself.
    StandbyIsOpen,
    /// Who takes over receives nothing from a standby that is ahead.
    NothingIsLent,
    /// R13: it receives from one on a timeline of another name too.
    AnyTermIsLent,
    /// It does not wait for what it asks for.
    LentInVain,
    /// R13: it is promoted on whatever timeline it has received.
    StrayedIsOpened,
    /// It still receives from the other one when it looks at its timeline for the last time.
    LenderIsKept,
    /// Nobody sees that its settings name another standby.
    ChangeNotMarked,
    /// No monitor starts a guard.
    GuardNotStarted,
    /// A guard that stands still is not replaced.
    GuardNotReplaced,
    /// R7: a node that has lost its memory takes it that it has promised nothing.
    ForgottenIsNothing,
    /// R14: whoever was given the register and never opens keeps the right.
    RightIsKept,
    /// R14: the right is given back whatever timeline the data are on.
    GivenBackAfterOpening,
    /// R14: it is given back although `standby.signal` is gone.
    SignalIgnored,
    /// R14: the right is given back of another term than it was given for.
    GivenBackOfAnotherTime,
    /// R14: who replaces its data becomes a holder again by a right that is given back.
    LeaverIsGivenBack,
    /// R14: the owner that promotes itself again may give back what it has as holders, although promises have passed
    /// them by.
    OwnerGivesBackItsHolders,
    /// R14: what was recorded of the holders is not kept.
    PositionsNotGivenBack,
    /// R12: nobody takes the change lock.
    ChangeLockIgnored,
    /// The cluster is not told how far the register has come.
    ToldNothing,
    /// It is told after commits no longer wait for a standby.
    ToldAfterwards,
    /// It is told once PostgreSQL has been promoted.
    ToldByTheMonitor,
    /// A node goes by its own memory alone.
    ToldIgnored,
}

impl Mutation {
    /// What the decision is shown, where that is changed, and the rows that are left out.
    pub(crate) fn before_decision(
        self,
        snapshot: &Snapshot,
    ) -> (Option<Snapshot>, &'static [&'static str]) {
        if self == Self::None {
            return (None, &[]);
        }
        let mut shown = snapshot.clone();
        let mut dropped: &'static [&'static str] = &[];
        match self {
            Self::ElectionOfThePresent => {
                if let Ok(cluster) = &snapshot.cluster {
                    shown
                        .settings
                        .nodes
                        .retain(|node| cluster.node(node).online);
                }
            }
            Self::ElectionByOrder => equal_positions(&mut shown),
            Self::AnyoneMayPromote => on_row(&mut shown, |row, me| {
                if snapshot.operation == Operation::Promote {
                    row.holders.insert(me.clone());
                }
            }),
            Self::LeaseIgnored => on_row(&mut shown, |row, _| {
                row.lease_left = std::time::Duration::ZERO
            }),
            Self::DegradeWithoutRegister => {
                shown.progress.epoch_moved = true;
                dropped = &["primary-drop-holder"];
            }
            Self::DegradeBeforeRegister => {
                shown.progress.epoch_moved = true;
                let named = snapshot
                    .primary()
                    .is_some_and(|view| view.waits != Waits::ForNobody);
                if named {
                    dropped = &["primary-drop-holder"];
                }
            }
            Self::EpochStays => shown.progress.epoch_moved = true,
            Self::NoBarrier => {
                let name = snapshot
                    .primary()
                    .and_then(|view| view.waits.names().last());
                shown.progress.barrier = name.zip(snapshot.row()).map(|(name, row)| KeptBarrier {
                    name: name.clone(),
                    lsn: Lsn::new(0),
                    term: row.term,
                    epoch: row.epoch,
                });
            }
            Self::OldLookAdds => {
                if let (Some(barrier), Some(row)) = (&mut shown.progress.barrier, snapshot.row()) {
                    (barrier.term, barrier.epoch) = (row.term, row.epoch);
                }
            }
            Self::NoFlushCheck => {
                on_links(&mut shown, |links| {
                    believe(links);
                    for row in &mut links.rows {
                        row.flushed = Some(ANY);
                    }
                });
            }
            Self::SilentIsNamed => {
                on_links(&mut shown, |links| {
                    believe(links);
                    for row in &mut links.rows {
                        row.flushed = row.flushed.or(Some(ANY));
                        row.replayed = row.replayed.or(Some(ANY));
                    }
                });
            }
            Self::ReportsBelieved => on_links(&mut shown, trust),
            Self::SentIgnored | Self::BarrierOfTheMoment => on_links(&mut shown, |links| {
                for row in &mut links.rows {
                    row.sent = None;
                }
            }),
            Self::RegisterBeforeNames => {
                if let Answer::Primary(view) = &mut shown.answer
                    && let (Waits::ForNobody, Some(link)) = (&view.waits, view.links.rows.first())
                {
                    view.waits = Waits::For(link.name.clone());
                    shown.in_memory = InMemory::of(&view.waits);
                }
            }
            Self::PromiseIgnored if snapshot.operation == Operation::Promote => {
                on_memory(&mut shown, |memory| memory.promised = None);
            }
            Self::WithdrawnAlthoughUsed => on_memory(&mut shown, |memory| memory.used = None),
            Self::RestartUnasked => {
                if snapshot.operation == Operation::Promote
                    && let Ok(memory) = &snapshot.memory
                {
                    let others = snapshot.settings.nodes.iter();
                    shown.progress.promises = Some(Promises {
                        epoch: memory.epoch,
                        asked: others.cloned().collect(),
                        missing: vec![],
                    });
                }
            }
            Self::OldLookCounts => {
                if let Some(served) = &mut shown.served {
                    served.look.outlived = Duration::ZERO;
                }
            }
            Self::ServedIgnored => {
                if let Some(Served { view: served, .. }) = &mut shown.served {
                    (served.complete, served.links.flushed) = (None, Lsn::new(0));
                }
            }
            Self::OpenedUnlooked => {
                let restart = snapshot.memory.as_ref().ok().and_then(Memory::unopened);
                if let (Some(restart), Some(disk)) = (restart, &mut shown.disk) {
                    disk.end = Ok(restart.from.end);
                }
            }
            Self::WithdrawnWhileOpen if snapshot.process == Process::Absent => {
                shown.progress.closed = Closed::Read;
                shown.standby_signal = StandbySignal::There;
            }
            Self::DegradeWhileAsked => on_memory(&mut shown, |memory| memory.asked = None),
            Self::PositionsIgnored => on_row(&mut shown, |row, _| row.positions.clear()),
            Self::ForeignStarts => dropped = &["start-foreign-timeline", "demote-foreign-timeline"],
            Self::NumberOfAnotherGoesOn => {
                dropped = &["primary-number-of-another", "promote-number-of-another"];
            }
            Self::CopyMarkIgnored => dropped = &["start-unfinished", "start-unfinished-beside"],
            Self::NothingIsLent => dropped = &["promote-catch-up"],
            Self::LentInVain => dropped = &["promote-catch-up-wait"],
            Self::StrayedIsOpened => dropped = &["promote-strayed"],
            Self::LenderIsKept => dropped = &["promote-catch-up-end"],
            Self::AnyTermIsLent => {
                let own = snapshot.record.as_ref().ok().and_then(Option::as_ref);
                let begun = own.and_then(|own| own.lineage.last()).map(|name| name.term);
                if let Ok(cluster) = &mut shown.cluster {
                    let said = cluster
                        .nodes
                        .values_mut()
                        .filter_map(|node| node.flushed.as_mut());
                    said.for_each(|said| said.begun = begun);
                }
            }
            Self::PutBackStarts => dropped = &["start-put-back-leave", "start-put-back"],
            Self::GuardNeverFences => dropped = &["guard-overdue", "guard-fence"],
            Self::GuardLetsSuperseded => dropped = &["guard-superseded"],
            Self::GuardTrustsOldLinks => on_watch(&mut shown, |watch| {
                let nodes = snapshot.settings.nodes.iter();
                watch.links = nodes.map(|node| (node.clone(), Duration::ZERO)).collect();
            }),
            Self::GuardIgnoresUnsettled => {
                if matches!(snapshot.operation, Operation::Guard(_)) {
                    on_memory(&mut shown, |memory| memory.asked = None);
                }
            }
            Self::GuardForgetsNamed => {
                if let (Operation::Guard(_), Answer::Primary(view)) =
                    (&snapshot.operation, &mut shown.answer)
                {
                    view.waits = Waits::ForNobody;
                }
            }
            Self::ToldNothing => dropped = &["primary-tell", "promote-tell"],
            Self::ToldByTheMonitor => dropped = &["promote-tell"],
            Self::ToldAfterwards => {
                let named = snapshot
                    .primary()
                    .is_some_and(|view| view.waits != Waits::ForNobody);
                if named {
                    dropped = &["primary-tell"];
                }
            }
            Self::ToldIgnored => {
                if let Ok(cluster) = &mut shown.cluster
                    && snapshot.operation == Operation::Promote
                {
                    cluster.seen = None;
                }
            }
            Self::SignalIgnored => {
                if snapshot.operation == Operation::Stop {
                    shown.standby_signal = StandbySignal::There;
                }
            }
            Self::RightIsKept => dropped = &["stop-give-back", "demote-give-back"],
            Self::GivenBackAfterOpening => {
                if let Some(disk) = &mut shown.disk {
                    let first = pha_core::timeline::TimelineId::FIRST;
                    disk.end = disk.end.clone().map(|end| WalPosition {
                        timeline: first,
                        ..end
                    });
                }
            }
            Self::ChangeLockIgnored => dropped = &["change-lock-take"],
            Self::GuardNotStarted => dropped = &["guard-keep-start"],
            Self::GuardNotReplaced => dropped = &["guard-keep-replace"],
            Self::SupersededGoesOn => dropped = &["primary-superseded", "promote-superseded"],
            Self::ExchangeNotTried => dropped = &["primary-exchange-hold"],
            Self::UnfitStays => {
                if let Ok(cluster) = &mut shown.cluster {
                    cluster
                        .nodes
                        .values_mut()
                        .for_each(|node| node.unfit = None);
                }
            }
            Self::UnfitIsPromoted => {
                if let (Answer::Standby(view), Operation::Promote) =
                    (&mut shown.answer, &snapshot.operation)
                {
                    view.paused = None;
                }
            }
            Self::FileForgotten => {
                if let Some(view) = snapshot.primary() {
                    shown.in_memory = InMemory::of(&view.waits);
                }
            }
            Self::UnreadIsPromoted => {
                if let (Answer::Standby(view), Operation::Promote) =
                    (&mut shown.answer, &snapshot.operation)
                {
                    view.unread = None;
                }
            }
            Self::HoldNotTakenBack => dropped = &["primary-end-hold"],
            Self::GuardLeavesHold => dropped = &["guard-end-hold"],
            Self::QuorumNotAsked => dropped = &["primary-ask-quorum"],
            Self::WithoutQuorumGoesOn => dropped = &["primary-without-quorum"],
            Self::OnlyTheLastAsked => {
                let view = snapshot.primary();
                if view.is_some_and(|view| !view.links.rows.is_empty()) {
                    dropped = &["primary-ask-quorum", "primary-exchange-ask-quorum"];
                }
            }
            Self::ExchangeNotAsked => dropped = &["primary-exchange-ask-quorum"],
            Self::GuardAsksNoQuorum => dropped = &["guard-ask-quorum"],
            Self::GuardWithoutQuorumGoesOn => dropped = &["guard-without-quorum"],
            Self::PolicyForgotten => {
                if let (Err(_), Some(kept)) = (&snapshot.cluster, &mut shown.names.kept) {
                    kept.without_quorum = Some(WithoutQuorum::GoesOn);
                }
            }
            Self::NeverDegrades => dropped = &["primary-drop-name"],
            Self::NeverANewTimeline => dropped = &["promote-new-timeline"],
            Self::ReleaseBeforeStop => {
                let stops = matches!(
                    snapshot.operation,
                    Operation::Stop | Operation::Demote { .. }
                );
                let asked = !matches!(snapshot.register, Some(Reading::Unknown(_)));
                let primary = snapshot.primary().is_some() && !snapshot.progress.released;
                if stops && primary && asked {
                    shown.process = Process::Absent;
                    shown.answer = Answer::NotAsked;
                }
            }
            _ => return (None, dropped),
        }
        (Some(shown), dropped)
    }

    /// Folds the result of an action.
    pub(crate) fn fold(
        self,
        snapshot: Snapshot,
        action: &Action,
        result: Result<Effect, String>,
    ) -> Snapshot {
        let reign = snapshot.reign();
        match (self, action) {
            (Self::UseNotKept, Action::UsePromises { .. }) => snapshot,
            (Self::RestartUseNotKept, Action::UsePromises { .. })
                if snapshot.operation == Operation::Promote =>
            {
                let memory = snapshot.memory.clone();
                let mut after = snapshot.fold(action, result);
                after.memory = memory;
                after
            }
            (Self::SameTimeline, _) => {
                let mut after = snapshot.fold(action, result);
                let acquired = &mut after.progress.acquired;
                *acquired = acquired.map(|_| Acquired::InPlace);
                after
            }
            (
                Self::InPlaceWithoutReign,
                Action::UpdateRegister(Update::Promote { from_term, .. }),
            ) => {
                let mut before = snapshot;
                on_memory(&mut before, |memory| {
                    memory.reign = Some(pha_core::register::Reign {
                        term: *from_term,
                        timeline: pha_core::timeline::TimelineId::FIRST,
                    });
                });
                let mut after = before.fold(action, result);
                on_memory(&mut after, |memory| memory.reign = reign);
                after
            }
            (Self::GuardRenewsForAnother, Action::UpdateRegister(Update::Renew { node, .. }))
                if matches!(snapshot.operation, Operation::Guard(_)) =>
            {
                let believed = result.map(|effect| match effect {
                    Effect::Reply(Reply::NotApplied(row)) => {
                        Effect::Reply(Reply::Applied(Register {
                            owner: Some(node.clone()),
                            ..row
                        }))
                    }
                    other => other,
                });
                snapshot.fold(action, believed)
            }
            (Self::NoReplyIsYes, Action::UpdateRegister(update)) => {
                let believed = match (&result, update) {
                    (
                        Ok(Effect::Reply(Reply::Unknown(_))),
                        Update::SetHolders {
                            node,
                            term,
                            from_epoch,
                            holders,
                            ..
                        },
                    ) => Ok(Effect::Reply(Reply::Applied(Register {
                        owner: Some(node.clone()),
                        term: *term,
                        epoch: *from_epoch,
                        holders: holders.clone(),
                        ..Register::fresh()
                    }))),
                    _ => result,
                };
                snapshot.fold(action, believed)
            }
            _ => snapshot.fold(action, result),
        }
    }

    /// Whether a rule of a promotion is left out.
    pub(crate) fn promotes_without(self, rule: &str) -> bool {
        self == Self::PositionsIgnored && rule == "R10-rolled-back"
    }

    /// The condition of a hand-over that is left out.
    pub(crate) fn hands_over_without(self) -> Option<&'static str> {
        match self {
            Self::HandOverUnseen => Some("hand-over-received"),
            Self::HandOverWhileServing => Some("hand-over-stopped"),
            Self::HandOverForeign => Some("hand-over-timeline"),
            _ => None,
        }
    }

    /// Whether a barrier is only taken once the names are in force.
    pub(crate) fn waits_for_names(self) -> bool {
        self != Self::BarrierBeforeInForce
    }

    /// Whether stopping PostgreSQL is one step with the decision to do so.
    pub(crate) fn stops_at_once(self) -> bool {
        self != Self::ReleaseBeforeStop
    }

    /// The conditions that the lock service does not check.
    pub(crate) fn conditions(self) -> &'static [Condition] {
        use Condition as C;
        match self {
            Self::FirstPrimaryTwice => &[C::TermZero],
            Self::AnyoneMayPromote => &[C::IsHolder],
            Self::LeaseIgnored => &[C::LeaseFree],
            Self::PromotionFromAnOldReading => &[C::OwnerAsRead, C::TermAsRead, C::EpochAsRead],
            Self::HoldersFromAnOldReading => &[C::EpochAsRead],
            Self::LeaverIsPutBack => &[C::HoldersAsRead],
            Self::HandOverOfAnotherTime | Self::GivenBackOfAnotherTime => {
                &[C::OwnerAtTerm, C::EpochAsRead]
            }
            _ => &[],
        }
    }
}

fn on_row(shown: &mut Snapshot, change: impl FnOnce(&mut Register, &NodeName)) {
    let me = shown.settings.me.clone();
    if let Some(Reading::Row(row)) = &mut shown.register {
        change(row, &me);
    }
}

fn on_memory(shown: &mut Snapshot, change: impl FnOnce(&mut Memory)) {
    if let Ok(memory) = &mut shown.memory {
        change(memory);
    }
}

fn on_links(shown: &mut Snapshot, change: impl FnOnce(&mut Links)) {
    if let Answer::Primary(view) = &mut shown.answer {
        change(&mut view.links);
    }
}

/// Further than any primary is.
const ANY: Lsn = Lsn::new(u64::MAX);

/// Whatever is reported seems to be WAL of the primary that was sent.
fn trust(links: &mut Links) {
    links.flushed = ANY;
    for row in &mut links.rows {
        row.sent = Some(ANY);
    }
}

/// The same of those that are believed; the others are not there.
fn believe(links: &mut Links) {
    let end = links.flushed;
    links.rows.retain(|row| row.follows(end));
    trust(links);
}

fn on_watch(shown: &mut Snapshot, change: impl FnOnce(&mut Watch)) {
    if let Operation::Guard(watch) = &mut shown.operation {
        change(watch);
    }
}

fn equal_positions(shown: &mut Snapshot) {
    let Ok(cluster) = &mut shown.cluster else {
        return;
    };
    let any = cluster.nodes.values().find_map(|node| node.position);
    for node in cluster.nodes.values_mut() {
        node.position = node.position.and(any);
    }
}
